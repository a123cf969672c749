"""The types of what a page that opens without a server holds: the films, records and runs, and a model with its tokenizer.

As `wire`: `tools/wire.py` makes TypeScript of them.
"""

from typing import Any, Literal, NotRequired, TypedDict

from pellucid.serve.wire import FigureInfo, FilmFile, Glyphs, OptionField, RecordInfo, RunInfo, RunPlan, TextRuns


class PageAddedToken(TypedDict):
    """A token that is found whole in a text before the text is split and merged; see `text.token_table.AddedToken`."""

    id: int  #: Token id.
    text: str  #: As it stands in a text.
    lstrip: bool  #: It takes the white space before it.
    rstrip: bool  #: It takes the white space after it.
    normalized: bool  #: It is searched for after the others, in the text between them.


class PageTokenizer(TypedDict):
    """A tokenizer in a page."""

    bytes: str  #: The bytes of all tokens in the order of their ids, in base64.
    lengths: list[int]  #: How many of them each token has.
    merged: int  #: How many tokens merging makes, single bytes included.
    ids: NotRequired[list[int]]  #: Their ids in the order of merging; absent where these are 0, 1, 2, ...
    added: list[PageAddedToken]  #: Tokens that are found whole in what a user types.
    prefix_space: bool  #: Whether a space is put before a text that does not begin with one.
    eot: int  #: Id of the token that ends a text.
    begin: int | None  #: Id put before every prompt.
    fingerprint: str  #: SHA-256 that names the tokenizer.


class ChunkText(TypedDict):
    """What the schema says of a chunk of a generation record."""

    truth: Literal["given", "derived", "replayed", "measured", "estimated"]  #: How its numbers can be checked.
    meaning: str  #: What it holds.
    unit: str  #: Of its numbers.


class PageWeights(TypedDict):
    """The weight file that a page holds."""

    name: str  #: Of the model's directory.
    bytes: int  #: Size of the file.
    sha256: str  #: Of the file, in hexadecimal.
    bits: float  #: Bits of the file for each parameter.


class PageDigits(TypedDict):
    """The digits of boxes that stand for bytes."""

    advance: float  #: Of each, in font units.
    paths: dict[str, str]  #: The outline of each.


class PageDrawing(TypedDict):
    """What a page draws figures with; lengths in font units, y upwards."""

    em: float  #: Font units per em.
    glyphs: dict[str, dict[str, tuple[float, str]]]  #: By "family-weight" and character: its advance and its outline.
    digits: dict[str, PageDigits]  #: By "family-weight".
    chinese: str  #: Characters that the bundled fonts for pictures hold besides.
    wide: list[list[int]]  #: First and last code of ranges of characters that are as wide as two letters.
    palettes: dict[str, str]  #: By name: 256 colours, as 1536 hexadecimal digits.
    film_page: str  #: An HTML document for one film: @LANGUAGE@, @TITLE@, @PLACE@ and @FILMS@ are replaced.


class PromptFormat(TypedDict):
    """How an example is written in a few-shot prompt; see `generation.prompt.Format`."""

    before: str  #: What stands before an input.
    between: str  #: Between input and output, before a space.
    separator: str  #: After an example; it ends an answer, too.


class PagePriming(TypedDict):
    """A few-shot prompt with the right answer to its question."""

    task: str  #: What is to be done, in words; "" for nothing.
    examples: list[list[str]]  #: (input, output) of each.
    query: str  #: The question.
    answer: str  #: Its right answer.
    format: str  #: Name of a `PromptFormat`.


class PageModel(TypedDict):
    """A model in a page; its weight file and the kernel stand in elements of their own, in base64."""

    title: str  #: Name of the model.
    config: dict[str, Any]  #: Its shape, as `GPTConfig.to_dict` gives it.
    shape: str  #: The first line of what the fingerprint is taken of: the shape as JSON.
    fingerprint: str  #: Of the model in float32.
    parameters: int  #: Number of parameters.
    weights: PageWeights  #: The weight file.
    kernels: dict[str, str]  #: SHA-256 of the kernel's modules, "relaxed" and "exact", in hexadecimal.
    tokenizer: PageTokenizer  #: Its tokenizer.
    start_ids: list[int]  #: What is continued where there is no prompt.
    end_ids: list[int]  #: Any of these tokens ends a text.
    options: list[OptionField]  #: Sampling options that a record names.
    chunks: dict[str, ChunkText]  #: The schema of a generation record, by name.
    prompt: str  #: A prompt of the kind that it was trained on.
    formats: dict[str, PromptFormat]  #: Of few-shot prompts, by name.
    priming: PagePriming  #: What the form of priming begins with.


class PageFiles(TypedDict):
    """A model with what runs it, which the studio's page keeps for the time when its server is gone."""

    model: PageModel  #: The model.
    weights: str  #: Its weight file, in base64.
    relaxed: str  #: The kernel for browsers whose multiply-add rounds once, in base64.
    exact: str  #: The kernel for others, in base64.
    worker: str  #: The script of the worker that runs it.
    drawing: PageDrawing  #: What the page draws figures of its answers with.


class AbsentModel(TypedDict):
    """In place of `PageFiles`: a model that a page cannot run."""

    why: str  #: What the page lacks for it.


# A page without a server.


class StaticFile(TypedDict):
    """A file beside a static page."""

    format: str  #: "svg", "png", "html" ...
    url: str  #: Its address, relative to the page.


class StaticFigure(TypedDict):
    """A figure in a static page; its glyphs are the page's."""

    title: str  #: Heading.
    name: NotRequired[str]  #: Name of the figure; absent for a picture of another kind.
    record: NotRequired[str]  #: Id of the record that it is drawn from; absent where that is not in the page.
    files: list[StaticFile]  #: Files of it beside the page.
    command: NotRequired[str]  #: Command that draws it in other formats; absent where there is none.
    language: NotRequired[str]  #: That its words are in; absent where all figures are in the page's.
    wide: FilmFile  #: Layout for a wide screen.
    narrow: FilmFile  #: Layout for a phone, with as many segments.


class StaticRecord(RecordInfo):
    """A record in a static page."""

    base64: str  #: The whole file.


class StaticRun(RunInfo):
    """A run in a static page."""

    plan: RunPlan  #: `run.json`.
    metrics: str  #: `metrics.jsonl`, whole lines.


class StaticPage(TypedDict):
    """Everything that a page without a server shows."""

    pellucid: str  #: Version of the package.
    title: str  #: Title of the page.
    command: str  #: Command that starts a server, for what the page cannot do.
    figures: list[StaticFigure]  #: In the order in which they are shown.
    known_figures: list[FigureInfo]  #: Every figure that this version draws.
    meanings: dict[str, str]  #: As in `Sources`.
    em: float  #: Font units per em.
    glyphs: Glyphs  #: Outlines of the characters of all figures.
    text_runs: TextRuns  #: The runs of their texts.
    records: list[StaticRecord]  #: Each with its whole file.
    runs: list[StaticRun]  #: Each with its plan and metrics.
    model: NotRequired[PageModel]  #: The model that it holds; absent where it holds none.
    drawing: NotRequired[PageDrawing]  #: What a page with a model draws figures of its answers with.
    texts: NotRequired[dict[str, dict[str, str]]]  #: By language and English text, what a page with a model says of it.
    browser_language: NotRequired[bool]  #: Whether it opens in the first of the browser's languages that it has.
