"""The types of every message between the studio's server and its page.

`python tools/wire.py` generates `studio/src/wire.ts` from this module, so a message is described once for both languages.
All messages are JSON objects unless their type says otherwise:

    GET  /api/sources              Sources
    GET  /api/runs/{id}            RunPlan
    GET  /api/runs/{id}/metrics    lines of MetricsLine, with the headers of MetricsHeader
    GET  /api/figures/{id}/{name}  FilmFile, or AbsentFigure where the record lacks what the figure needs
    GET  /api/figures/{id}/{name}/file?format=  the figure as a file of that format
    POST /api/generate             GenerateRequest; the answer is a stream of GenerationEvent (server-sent events)
    any answer of status 4xx       ErrorMessage (416 has no body)
    a page without a server        `page_wire.StaticPage`, in the document's element `pellucid-data`

A key that is `NotRequired` is absent, never null, where there is no value. A message has only the keys of its type, except the
types in `OPEN`: those are files of a run directory, sent as they are.

A field's comment after `#:` gives its meaning and unit; the generator copies it.
"""

from enum import StrEnum
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict


#: Why an answer ends: end of the text or a stop string, or max_tokens.
FinishReason: TypeAlias = Literal["stop", "length"]


class Limits(TypedDict):
    """The largest request to generate that the server accepts."""

    prompt: int  #: Longest prompt, in characters.
    max_tokens: int  #: Most tokens drawn for one request.


class RunInfo(TypedDict):
    """A run directory in the list of sources."""

    id: str  #: Names the run in addresses.
    title: str  #: Name of its directory.
    kind: NotRequired[str]  #: "train" or "finetune"; absent where `run.json` cannot be read.
    total_steps: NotRequired[int]  #: Planned optimizer steps; absent where `run.json` cannot be read.
    steps: NotRequired[int]  #: Optimizer steps done, by the last line of `metrics.jsonl`; absent where there is none.
    ended: NotRequired[str]  #: Why it ended before its planned steps, in the words of `events.EndReason`; else absent.
    resume: NotRequired[str]  #: Command that goes on with it, as typed where the server was started; absent where it cannot.
    running: NotRequired[bool]  #: Whether a process holds the lock of its directory; absent where that is unknown.
    idle: NotRequired[float]  #: Seconds since `metrics.jsonl` last changed; absent where there is none, or in a static page.
    records: list[str]  #: Ids of the records in its directory.
    model: str | None  #: Id of its newest model; null before the first checkpoint.
    problem: NotRequired[str]  #: Why `run.json` cannot be read; absent where it can.


class ModelShape(TypedDict):
    """The shape of the model of a record, as far as the record's header states it."""

    name: str | None  #: Name of the preset or configuration.
    n_layers: int | None  #: Number of blocks.
    d_model: int | None  #: Width of the residual stream.
    n_heads: int | None  #: Attention heads in a block.


class RecordInfo(TypedDict):
    """A record in the list of sources; the page reads everything else from the record itself.

    One that cannot be read has id, title and problem only.
    """

    id: str  #: Names the record in addresses.
    title: str  #: Name of its file, preceded by that of its run if it has one.
    url: NotRequired[str]  #: Address of its bytes, which answers byte ranges; absent in a static page.
    bytes: NotRequired[int]  #: Size of its file, in bytes.
    kind: NotRequired[str]  #: "generation", "training", "finetuning", "priming" or "plan".
    model: NotRequired[str]  #: Fingerprint of the model's weights.
    figures: NotRequired[list[str]]  #: Names of the figures that `/api/figures` draws from it.
    shape: NotRequired[ModelShape]  #: Shape of its model.
    parameters: NotRequired[int]  #: Number of parameters of its model.
    about_model: NotRequired[str]  #: Its model in words: size, shape, and what it was trained on where that is known.
    text: NotRequired[str]  #: On one line, of a generation the beginning of prompt and answer; of a priming its question.
    tracks: NotRequired[int]  #: Of a generation: number of tokens, prompt and answer together.
    problem: NotRequired[str]  #: Why it cannot be read; absent where it can.


class ModelInfo(TypedDict):
    """A model that can generate, in the list of sources. One that cannot be read has id, title and problem only."""

    id: str  #: Names the model in a request to generate.
    title: str  #: Name of its directory.
    parameters: NotRequired[int]  #: Number of parameters.
    n_ctx: NotRequired[int]  #: Context window, in tokens.
    vocab_size: NotRequired[int]  #: Size of the vocabulary, in tokens.
    prompt: NotRequired[str]  #: A prompt of the kind that it was trained on; absent where none is known.
    problem: NotRequired[str]  #: Why its configuration cannot be read; absent where it can.


class OptionField(TypedDict):
    """A sampling option that a request to generate may name, for the form; from the table in `engine.options`."""

    name: str  #: Field of the request.
    type: str  #: "int", "float", "bool", "text", "texts" or "biases".
    default: int | float | bool | str | list[str] | None  #: Its value where the request does not name it.
    help: str  #: What it does, in one line.
    minimum: float | None  #: Least value; null where there is none.
    maximum: float | None  #: Greatest value; null where there is none.
    above_minimum: bool  #: Whether the value must be greater than `minimum`.
    nullable: bool  #: Whether null is a value: the option is then not applied.


class FigureInfo(TypedDict):
    """A figure that can be drawn from a record, in the list of all of them."""

    name: str  #: Its name in addresses and in commands.
    kind: str  #: Kind of the record that it is drawn from.
    about: str  #: What it shows, in one line.
    command: str  #: Makes a record that holds everything that it needs.


class FormatInfo(TypedDict):
    """A format in which the server saves figures."""

    format: str  #: "html", "png", "svg", "gif", "webp" or "mp4".
    missing: NotRequired[str]  #: What is not installed here and how to install it; absent where the format can be written.


class AbsentFigure(TypedDict):
    """The answer of `/api/figures` for a record that lacks something the figure needs."""

    why: str  #: What is missing, in one line.
    command: str  #: Makes a record that has it.


class SourceLists(TypedDict):
    """Runs, records and models."""

    runs: list[RunInfo]  #: Run directories, in the order in which they were first seen.
    records: list[RecordInfo]  #: Records in files, then those of answers generated on the page.
    models: list[ModelInfo]  #: Models that can generate, the embedded one first.


class Sources(SourceLists):
    """The answer of `/api/sources`: everything that the studio shows."""

    pellucid: str  #: Version of the package.
    limits: Limits  #: Limits of a request to generate.
    options: list[OptionField]  #: Sampling options that a request to generate may name.
    known_figures: list[FigureInfo]  #: Every figure that this version draws.
    formats: list[FormatInfo]  #: Formats of figures' files, with what those lack that cannot be written.
    copies: bool  #: Whether the page may have copies of models, at `/api/models/{id}/page`.
    tuning: bool  #: Whether the server has files and fine-tuning jobs, at `/v1/files` and `/v1/fine_tuning/jobs`.
    meanings: dict[str, str]  #: What the chunks of a generation record hold, in the page's language, by the English text.


class RunPlan(TypedDict):
    """`run.json`: the choices of a run, made once. Only the keys that the page reads are listed; the file has more."""

    kind: str  #: "train" or "finetune".
    seed: int  #: Seed of the run.
    batch: int  #: Windows (or examples) in one optimizer step.
    total_steps: int  #: Planned optimizer steps.
    dtype: str  #: Data type of the matrix products.
    threads: int  #: CPU threads.
    config: dict[str, Any]  #: Configuration of the model.
    recipe: dict[str, Any]  #: Settings of the optimizer: learning_rate and others.
    source: NotRequired[dict[str, Any]]  #: The data: train_tokens, held_out_tokens and others.


class MetricsLine(TypedDict):
    """A line of `metrics.jsonl`: a step, an evaluation on held-out text, or a sample. The file has more keys."""

    step: int  #: Optimizer steps done.
    tokens: NotRequired[int]  #: Training tokens processed so far.
    loss: NotRequired[float]  #: Training loss of the step, in nats per token.
    held_out_loss: NotRequired[float]  #: Loss on held-out text, in nats per token.
    bits_per_byte: NotRequired[float]  #: Loss on held-out text, in bits per byte.
    right: NotRequired[int]  #: Held-out examples that the model answers exactly.
    examples: NotRequired[int]  #: How many examples are held out.
    tokens_per_s: NotRequired[float]  #: Measured throughput of the step, in tokens per second.
    prompt: NotRequired[str]  #: Prompt of the sample.
    sample: NotRequired[str]  #: Text generated after the prompt.


class MetricsHeader(StrEnum):
    """Response headers of `/api/runs/{id}/metrics?from=BYTE`, which answers whole lines of the file."""

    NEXT = "X-Next"  #: `from` of the next request, in bytes.
    SIZE = "X-Size"  #: Size of the file, in bytes.
    AGAIN = "X-Again"  #: "1" where the file is shorter than `from` (it was begun anew) and is sent from its start, else "0".


# Generation.


class GenerateRequest(TypedDict, total=False):
    """The body of `/api/generate`. A sampling option that is absent or null has its default."""

    model: str  #: Id of a model; "default" if absent.
    prompt: str  #: Text to continue; empty or absent starts a new document.
    record: bool  #: Whether the completion is recorded (if absent, it is); others are generated together.
    max_tokens: int | None  #: Most tokens to draw.
    temperature: float | None  #: Logits are divided by it; 0 takes the most likely token.
    top_k: int | None  #: Draw from the k most likely tokens.
    top_p: float | None  #: Draw from the fewest most likely tokens that together have this probability.
    min_p: float | None  #: Draw from tokens at least this many times as likely as the most likely one.
    presence_penalty: float | None  #: Subtracted from the logit of each token generated before.
    frequency_penalty: float | None  #: Subtracted once for each time it was generated before.
    repetition_penalty: float | None  #: Divides (multiplies, if negative) the logit of each token generated before.
    stop: list[str] | str | None  #: Texts before which the completion ends.
    logit_bias: dict[str, float] | None  #: Added to the logits of tokens, by token id.
    seed: int | str | None  #: Seed of the draws; in decimal digits where a JavaScript number does not hold it.


class TokenPiece(TypedDict):
    """A token of the prompt.

    Where a character is spread over several tokens, each of them has `part`.
    """

    id: int  #: Token id.
    piece: str  #: The token's bytes as a printable label; its id where the model has no tokenizer.
    part: NotRequired[str]  #: Its bytes in hexadecimal digits, where they are not whole characters of UTF-8.


class Candidate(TokenPiece):
    """One of the most likely tokens of a step."""

    logprob: float  #: Natural logarithm of the model's probability.
    share: NotRequired[float]  #: Of a recorded one: probability of being drawn after all options; 0 where they exclude it.


class GenerationBegin(TypedDict):
    """Data of the event `begin`."""

    prompt: list[TokenPiece]  #: Tokens that the model reads.
    seed: str  #: Seed of the draws, in decimal digits.
    text: NotRequired[str]  #: What the prompt's tokens stand for, where the request stated tokens in place of a text.


class GeneratedToken(TokenPiece):
    """Data of the event `token`, sent as soon as the token is drawn."""

    text: str  #: What the token adds to the answer's text; empty within a character of several tokens.
    logprob: float  #: Natural logarithm of the model's probability.
    position: int  #: Position in prompt and answer, from 0.
    finish_reason: FinishReason | None  #: Why the answer ends with this token; null where it goes on.
    kept: NotRequired[int]  #: Of a recorded one: number of tokens left to draw from.
    top: list[Candidate]  #: The five most likely tokens, the most likely first.


class GenerationDone(TypedDict):
    """Data of the event `done`."""

    record: NotRequired[str]  #: Id of the answer's record, which the server keeps in memory; absent if it is not recorded.
    url: NotRequired[str]  #: Address of its bytes.
    text: str  #: The whole answer.
    finish_reason: FinishReason  #: Why the answer ends.
    seed: str  #: Seed of the draws, in decimal digits.
    bytes: NotRequired[int]  #: Size of the record, in bytes.


class ErrorMessage(TypedDict):
    """The body of an answer of status 4xx, and the data of the event `error`."""

    error: str  #: What is wrong and how to fix it, in one line.
    fitting: NotRequired[str]  #: Of a prompt that is too long: the end of it that fits, from the start of a word on.


class BeginEvent(TypedDict):
    """The first event of a generation."""

    event: Literal["begin"]
    data: GenerationBegin


class TokenEvent(TypedDict):
    """An event for each token drawn."""

    event: Literal["token"]
    data: GeneratedToken


class DoneEvent(TypedDict):
    """The last event of a generation."""

    event: Literal["done"]
    data: GenerationDone


class ErrorEvent(TypedDict):
    """The last event of a generation that failed."""

    event: Literal["error"]
    data: ErrorMessage


#: A server-sent event of `/api/generate`: `event: NAME` and `data: JSON`.
GenerationEvent: TypeAlias = BeginEvent | TokenEvent | DoneEvent | ErrorEvent


class FilmFileSegment(TypedDict):
    """A part of a film."""

    name: str  #: Name, as the transcript shows it.
    start: float  #: Start, in seconds.
    end: float  #: End, in seconds.
    rests: list[tuple[float, float]]  #: [from, to] of each pause, in seconds.


class FilmCaption(TypedDict):
    """A caption of a film."""

    start: float  #: Start, in seconds.
    end: float  #: End, in seconds.
    text: str  #: Shown below the picture.


class FilmMatrix(TypedDict):
    """A matrix that images of a film show."""

    rows: int  #: Number of rows.
    columns: int  #: Number of columns.
    data: str  #: uint8 palette indices, row by row, in base64.


#: By "family-weight" and character: [advance, outline as SVG path data with y upwards], in font units.
Glyphs: TypeAlias = dict[str, dict[str, tuple[float, str]]]

#: By "family-weight" and text, of texts with characters that the bundled fonts lack: the runs from left to right, each the
#: key of a glyph, or [text for the reader's fonts, advance, length, whether it is right to left].
TextRuns: TypeAlias = dict[str, dict[str, list[str | tuple[str, float, float, bool]]]]


class FilmFile(TypedDict):
    """A film as JSON. `docs/film.md` describes its nodes; the player checks them when it reads the file."""

    format: Literal["pellucid-film"]  #: Name of the format.
    version: int  #: Version of the format.
    title: str  #: Title of the figure.
    width: float  #: Width, in the film's units.
    height: float  #: Height, in the film's units.
    background: str  #: Colour, #rrggbb.
    alt: str  #: Description of the figure, for screen readers.
    notes: list[str]  #: What the figure simplifies.
    segments: list[FilmFileSegment]  #: Consecutive, from 0 s to the film's duration.
    captions: list[FilmCaption]  #: In order of time.
    matrices: list[FilmMatrix]  #: Nodes refer to them by index.
    palettes: dict[str, str]  #: By name: 256 colours, as 1536 hexadecimal digits.
    nodes: list[dict[str, Any]]  #: In paint order.
    em: NotRequired[float]  #: Font units per em; absent where the film holds no glyphs.
    glyphs: NotRequired[Glyphs]  #: Outlines of its characters.
    text_runs: NotRequired[TextRuns]  #: The runs of its texts; absent with the glyphs.


# A page that holds a model.


OPEN: tuple[type, ...] = (RunPlan, MetricsLine)  # messages that may hold more keys than their type says
