"""The chunks of the five kinds of record, as data: names, shapes, dtypes, meanings, truth classes.

Shape letters; a letter stands for one number in the whole record, "X+1" for one more, "?" for any:

    P tokens of the prompt      S drawn tokens (steps)       T positions that went through the model
    L blocks                    H heads                      C width
    K candidates kept a step    J lens candidates            U pieces listed, Y their bytes together
    A positions with a token after them (P + S - 1)          I nearest tokens
    F likeliest tokens whose rows are kept                   D width of a token's row
    N steps of the run          M recorded steps ("moments"), spaced by their logarithm
    Q weight matrices           W positions of the fixed window    X positions of the example     E held-out measurements
    R tokens of the stretch     Z windows in it, or in the general text                G positions of each
    B prompts, of other numbers of examples                     O tokens of all of them together
    V tokens of the right answer
    N ranks of a plan's pipeline      S stages of it      E passes of its timetable

`{level}` counts the L + 1 inputs of blocks, the last being the last block's output, before the final LayerNorm; `{block}`
the L blocks; `{matrix}` stands for a weight matrix's name, such as `h.0.attn.c_attn` (`GPTConfig.matrices()`).

A record may hold other chunks (views put theirs under `views/`), and need not hold optional ones: figures say "not in this
record" in their place. What is kept of a generation by default, with its size, is in docs/record.md.
"""

from dataclasses import dataclass
from typing import TypedDict

from pellucid.errors import PellucidError
from pellucid.record.container import KINDS, Kind
from pellucid.record.entry import Truth


Shape = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ChunkSpec:
    """One row of the schema: a chunk that a record of the kind holds, or may hold.

    Attributes:
        name: with `{level}`, `{block}` or `{matrix}` where there is one chunk of each.
        dtypes: the allowed ones.
        shape: of the array that reading returns (a triangle's is square); empty for text.
        truth, meaning, unit: as in `entry.ChunkEntry`.
        required: whether the record is incomplete without it.
        scaled: uint8 numbers are steps of a range. triangle: stored as lower triangles.
        encoding: the one to write with; None for the default. Readers accept any.
    """

    name: str
    dtypes: tuple[str, ...]
    shape: Shape
    truth: Truth
    meaning: str
    unit: str = ""
    required: bool = True
    scaled: bool = False
    triangle: bool = False
    encoding: str | None = None


def _numbers(
    name: str, dtype: str, shape: Shape, truth: Truth, meaning: str, unit: str = "", *, optional: bool = False
) -> ChunkSpec:
    return ChunkSpec(name, tuple(dtype.split("|")), shape, truth, meaning, unit, not optional)


def _json(name: str, truth: Truth, meaning: str, *, optional: bool = False) -> ChunkSpec:
    return ChunkSpec(name, ("json",), (), truth, meaning, "", not optional)


# Pieces of every token that the record names, so that it can be shown without a tokenizer. Bytes, since a piece need not be
# valid UTF-8 alone. Optional because a model may have no tokenizer.
_PIECES = (
    _numbers("pieces/ids", "int32", ("U",), "given", "token ids whose bytes follow, ascending", optional=True),
    _numbers("pieces/starts", "int32", ("U+1",), "given", "where each piece begins in pieces/bytes, and where the last ends",
             optional=True),
    _numbers("pieces/bytes", "uint8", ("Y",), "given", "the bytes of all pieces, one after the other", optional=True),
)  # fmt: skip

_GENERATION = (
    *_PIECES,
    # Tokens: prompt_ids, then drawn_ids. The last drawn one need not have gone through the model.
    _numbers("generation/prompt_ids", "int32", ("P",), "given", "the tokens that are continued"),
    _numbers("generation/steps/drawn_ids", "int32", ("S",), "derived", "the token that each step drew"),
    _numbers("generation/steps/drawn_logprobs", "float32", ("S",), "derived",
             "log-probability of the drawn token in the model's own distribution", "nats"),
    # The distribution, the cut by top-k, top-p and min-p, and the draw.
    _numbers("generation/steps/topk_ids", "int32", ("S", "K"), "derived", "the likeliest tokens, the likeliest first"),
    _numbers("generation/steps/topk_logprobs", "float32", ("S", "K"), "derived",
             "their log-probabilities in the model's own distribution: temperature 1, nothing cut off", "nats"),
    _numbers("generation/steps/topk_shares", "float32", ("S", "K"), "derived",
             "their probabilities in what was drawn from: after temperature, top-k and top-p; 0 where cut off"),
    _numbers("generation/steps/kept", "int32", ("S",), "derived", "how many tokens the cut left to draw from", "tokens"),
    _numbers("generation/steps/draw", "float64", ("S",), "derived",
             "the draw u in [0, 1), a hash of (seed, sample, position); NaN at temperature 0, which draws nothing"),
    _numbers("generation/steps/drawn_span", "float64", ("S", 2), "derived",
             "the part of [0, 1) that is the drawn token's when tokens lie side by side in the order of their ids; u is in it",
             optional=True),
    # Inside the model.
    _numbers("generation/block_inputs/{level}", "bfloat16|float32", ("T", "C"), "derived",
             "the vector of each track as it enters the block"),
    _numbers("generation/lens/ids", "int32", ("L+1", "T", "J"), "derived",
             "logit lens: the likeliest next tokens if the stream at this level went to the final LayerNorm at once"),
    _numbers("generation/lens/logprobs", "float32", ("L+1", "T", "J"), "derived", "their log-probabilities", "nats"),
    _numbers("generation/lens/next_ranks", "int32", ("L+1", "A"), "derived",
             "how many tokens the lens finds likelier at this level than the one that follows", "tokens", optional=True),
    _numbers("generation/lens/next_logprobs", "float32", ("L+1", "A"), "derived",
             "log-probability by the lens of the token that follows", "nats", optional=True),
    # The followed position is that of the last prompt token, whose output is the first drawn token.
    _numbers("generation/embedding/token", "float32", ("C",), "derived",
             "the vector of the followed position's token", optional=True),
    _numbers("generation/embedding/position", "float32", ("C",), "derived",
             "the vector of the followed position, which is added to it", optional=True),
    _numbers("generation/embedding/nearest_ids", "int32", ("I",), "derived",
             "the other tokens whose rows have the largest cosine with that token's, the largest first", optional=True),
    _numbers("generation/embedding/nearest_cosines", "float32", ("I",), "derived", "their cosines", optional=True),
    _numbers("generation/writes/attention", "float32", ("L", "T"), "derived",
             "L2 norm of what attention adds to the stream, by block and track", optional=True),
    _numbers("generation/writes/mlp", "float32", ("L", "T"), "derived",
             "L2 norm of what the MLP adds to it", optional=True),
    _numbers("generation/output/vector", "float32", ("D",), "derived",
             "the followed position's vector after the final LayerNorm: its products with the tokens' rows are the logits",
             optional=True),
    _numbers("generation/output/rows", "float32", ("F", "D"), "derived",
             "the rows of the likeliest tokens there, the first of generation/steps/topk_ids", optional=True),
    # float16: rounded row by row (`triangle`). uint8: of schema 1.0, in steps of 1/255.
    ChunkSpec("generation/attention/{block}", ("float16", "float32", "uint8"), ("H", "T", "T"), "derived",
         "attention weights, query by key; 0 for keys that the block's pattern does not see", scaled=True, triangle=True),
    _numbers("generation/cells", "uint8", ("S", "L", "T"), "derived",
             "keys and values by step, block and track: 0 not there yet, 1 computed in this step, 2 in the cache, 3 in the "
             "cache although no later query can read it: an evicting cache would drop it"),
    # Time. The first step includes the prompt.
    _numbers("generation/timings/steps", "float32|float64", ("S",), "measured", "time that each step took", "s"),
    _numbers("generation/timings/blocks", "float32|float64", ("S", "L"), "measured", "time in each block", "s", optional=True),
    _numbers("generation/cache_bytes", "int64", (1,), "measured", "allocated by the runner for the sequence's keys and values",
             "bytes", optional=True),
)  # fmt: skip

_TRAINING = (
    *_PIECES,
    _json("training/plan", "given", "every choice of the run, as run.json holds it; the seed is decimal text"),
    # The run, one number a step.
    _numbers("training/steps/tokens", "int64", ("N",), "given", "training tokens seen, this step's included", "tokens"),
    _numbers("training/steps/lr", "float32|float64", ("N",), "given", "learning rate of the schedule"),
    _numbers("training/steps/loss", "float32|float64", ("N",), "replayed", "mean loss before the update", "nats/token"),
    _numbers("training/steps/grad_norm", "float32|float64", ("N",), "replayed", "L2 norm of the gradient before clipping"),
    _numbers("training/steps/tokens_per_s", "float32|float64", ("N",), "measured", "throughput", "tokens/s", optional=True),
    # Recorded steps. matrices is a list of names; what is kept by matrix is in its order.
    _numbers("training/moments/steps", "int64", ("M",), "given",
             "steps done at each moment; 0 is the untrained model. In a finished run's record the last is the end"),
    _json("training/matrices", "given", "names of the weight matrices"),
    _numbers("training/moments/gradients", "float32", ("M", "Q"), "replayed",
             "L2 norm of each matrix's gradient in the next step, before clipping; NaN at the end, which no step follows"),
    _numbers("training/moments/updates", "float32", ("M", "Q"), "replayed",
             "L2 norm of each matrix's change in that step; NaN at the end"),
    _numbers("training/moments/weights", "float32", ("M", "Q"), "derived", "L2 norm of each matrix before it"),
    ChunkSpec("training/thumbnails/{matrix}", ("uint8",), ("M", "?", "?"), "derived",
         "the matrix, rows in by columns out, averaged over equal tiles, 32 x 32 of them at most", scaled=True,
         encoding="delta+deflate"),
    # One window of held-out text, the same at every recorded step: ids[1:] are the targets of ids[:-1].
    _numbers("training/window/ids", "int32", ("W+1",), "given", "the fixed window"),
    _numbers("training/window/loss", "float32|float16|bfloat16", ("M", "W"), "derived",
             "loss of each target of the window at each moment", "nats"),
    _json("training/samples", "derived",
          "what the model writes after a fixed prompt: a list of {step, tokens, prompt, text, ids}; tokens are those "
          "trained on by then, ids the text's", optional=True),
    # One example, just before and just after the update that it was part of: the first window of the batch of a step at
    # about an eighth of the run. Optional, since a run may end before. Losses are those without dropout.
    _numbers("training/example/step", "int64", (), "given",
             "the step that took it, counted from 1: its gradients and updates are those of the moment before it",
             optional=True),
    _numbers("training/example/ids", "int32", ("X+1",), "given", "the example's window", optional=True),
    _numbers("training/example/loss", "float32", (2, "X"), "replayed", "loss of each target before and after", "nats",
             optional=True),
    _numbers("training/example/track", "int64", (), "replayed",
             "the track that the next two follow: a chosen one, that whose target's probability the update raised most",
             optional=True),
    _numbers("training/example/corrected", "int64", (), "replayed",
             "1 if it was chosen among the tracks whose likeliest next token was another than the target before the update "
             "and is the target after it; 0 if no track is one of these, so that it was chosen among all", optional=True),
    _numbers("training/example/topk_ids", "int32", (2, "K"), "replayed", "likeliest next tokens there, before and after",
             optional=True),
    _numbers("training/example/topk_logprobs", "float32", (2, "K"), "replayed", "their log-probabilities", "nats",
             optional=True),
    # Neighbouring windows of the training text, as the sampler cuts them in the first epoch. Optional: there may be only one.
    _numbers("training/stretch/ids", "int32", ("R",), "given",
             "training text in reading order: the first neighbouring windows with the end of a document in them, if any "
             "have it", optional=True),
    _numbers("training/stretch/starts", "int32", ("Z",), "given",
             "where each window begins in it; the last target of one is the first input of the next", optional=True),
    _numbers("training/stretch/loss", "float32", ("Z", "G"), "derived",
             "loss of each target of those windows, by the model that provenance names; not there while the run goes on",
             "nats", optional=True),
    # Optional: a run may hold nothing out.
    _numbers("training/held_out/steps", "int64", ("E",), "given", "steps done at each measurement", optional=True),
    _numbers("training/held_out/loss", "float32|float64", ("E",), "derived", "mean loss on held-out text", "nats/token",
             optional=True),
    _numbers("training/held_out/bits_per_byte", "float32|float64", ("E",), "derived", "the same by byte of text", "bits/byte",
             optional=True),
)  # fmt: skip

_FINETUNING = (
    *_PIECES,
    _json("finetuning/plan", "given", "every choice of the run, as run.json holds it; the seed is decimal text"),
    _json("finetuning/answers", "derived",
          "the first examples that were not trained on, each with the likeliest answer before and after: a list of "
          "{prompt, expected, before, after}; none where the run learned from plain text"),
    _json("finetuning/matrices", "given", "names of the weight matrices"),
    _numbers("finetuning/change", "float32", ("Q",), "derived", "L2 norm of the change of each matrix, from base/ to model/"),
    _numbers("finetuning/weights", "float32", ("Q",), "derived", "L2 norm of each matrix before"),
    # Optional: norms alone make the table; these make the map of which cells moved.
    ChunkSpec("finetuning/thumbnails/{matrix}", ("uint8",), ("?", "?"), "derived",
         "mean |change| over equal tiles of the matrix, 32 x 32 of them at most", required=False, scaled=True),
    _numbers("finetuning/steps/loss", "float32|float64", ("N",), "replayed", "mean loss before each update", "nats/token",
             optional=True),
    _numbers("finetuning/held_out/steps", "int64", ("E",), "given", "steps done at each measurement", optional=True),
    _numbers("finetuning/held_out/loss", "float32|float64", ("E",), "derived",
             "mean loss on the completions of the examples that were not trained on, or on held-out text", "nats/token",
             optional=True),
    _numbers("finetuning/held_out/right", "int64", ("E",), "derived",
             "how many of those examples the model answers exactly at temperature 0, token by token", "examples",
             optional=True),
    _numbers("finetuning/held_out/examples", "int64", (), "given", "how many those examples are", "examples", optional=True),
    # Text that is not of the task, the same for both models. Where it comes from is said by the source of its ids.
    _numbers("finetuning/general/ids", "int32", ("Z", "G+1"), "given",
             "windows of text that is not of the task: in each, every token but the first is predicted", optional=True),
    _numbers("finetuning/general/loss", "float32", (2, "Z", "G"), "derived", "loss of each target before and after", "nats",
             optional=True),
)  # fmt: skip

# One question after different numbers of examples: B prompts, whose tokens stand one prompt after the other. The answer's place
# is that of a prompt's last token, whose output is the answer's first token.
_PRIMING = (
    *_PIECES,
    _json("priming/prompt", "given",
          "the texts: {task, examples: a list of {prompt, completion}, query, answer, format}; the answer is the right one"),
    _numbers("priming/shots", "int32", ("B",), "given", "how many of the examples each prompt has, the first ones", "examples"),
    _numbers("priming/ids", "int32", ("O",), "given", "the tokens of all prompts, one prompt after the other"),
    _numbers("priming/starts", "int32", ("B+1",), "given", "where each prompt begins in priming/ids, and where the last ends"),
    _numbers("priming/parts", "int32", ("O",), "given",
             "the part of its prompt that each token belongs to: 0 the task, 1 to k the examples, k + 1 the query"),
    _numbers("priming/roles", "uint8", ("O",), "given",
             "what each token is in its part: 0 task, 1 input, 2 output of an example, 3 put there by the format"),
    _numbers("priming/answer_ids", "int32", ("V",), "given", "the tokens of the right answer"),
    _numbers("priming/logprobs", "float32", ("B", "V"), "derived",
             "log-probability of each token of the right answer after each prompt and the answer's tokens before it", "nats"),
    _numbers("priming/topk_ids", "int32", ("B", "K"), "derived", "the likeliest first tokens of an answer, likeliest first"),
    _numbers("priming/topk_logprobs", "float32", ("B", "K"), "derived", "their log-probabilities", "nats"),
    _numbers("priming/greedy_ids", "int32", ("B", "V"), "derived",
             "the answer at temperature 0, as many tokens as the right one has; nothing ends it earlier"),
    _numbers("priming/greedy_logprobs", "float32", ("B", "V"), "derived", "their log-probabilities", "nats"),
    _numbers("priming/attention/{block}", "float16|float32", ("H", "O"), "derived",
             "attention weights of each prompt's last token on all tokens of its prompt; 0 for those that it does not see"),
)  # fmt: skip

# A training that was planned, not run: how it is laid out over devices. The layout is the fastest that fits.
_PLAN = (
    _json("plan/inputs", "given", "what the plan follows from: model, tokens, batch, devices and their published figures"),
    _json("plan/layout", "estimated", "the layout, the memory of its fullest rank, its step, the run at three efficiencies"),
    _json("plan/ranking", "estimated", "the fastest layouts, each as plan/layout"),
    _json("plan/search", "estimated", "how many layouts were looked at, how many fit, and bytes of a device that may be used"),
    _json("plan/failures", "estimated", "failures, checkpoints, and the share of the time that goes into training"),
    _numbers("plan/stages", "int32", ("S+1",), "estimated", "the first block of each stage, and the number of blocks"),
    _numbers("plan/memory", "int64", ("N", 5), "estimated",
             "bytes of a rank by its place in the pipeline: parameters, gradients, optimizer, activations, communication",
             "bytes"),
    _numbers("plan/in_flight", "int32", ("N",), "estimated", "micro-batches, or chunks of them, that a rank holds at most"),
    _numbers("plan/timetable/ranks", "int32", ("E",), "estimated", "the rank of the pipeline of each pass of a step"),
    _numbers("plan/timetable/stages", "int32", ("E",), "estimated", "its stage"),
    _numbers("plan/timetable/micro_batches", "int32", ("E",), "estimated", "its micro-batch"),
    _numbers("plan/timetable/forward", "uint8", ("E",), "estimated", "1 for a forward pass, 0 for a backward pass"),
    _numbers("plan/timetable/spans", "float64", ("E", 2), "estimated", "when it begins and ends in the step", "s"),
    _numbers("plan/timetable/waits", "float64", ("E",), "estimated", "communication in it that nothing hides", "s"),
)  # fmt: skip

SCHEMA: dict[Kind, tuple[ChunkSpec, ...]] = {
    "generation": _GENERATION, "training": _TRAINING, "finetuning": _FINETUNING, "priming": _PRIMING, "plan": _PLAN,
}  # fmt: skip
assert tuple(SCHEMA) == KINDS


class ChunkDescription(TypedDict):
    """The schema's description of a chunk, as keyword arguments of `RecordWriter.add`."""

    truth: Truth
    meaning: str
    unit: str
    encoding: str | None


def describe(kind: Kind, name: str) -> ChunkDescription:
    """The description of one of the schema's names: `writer.add(name.format(block=3), x, **describe(kind, name))`.

    Raises:
        PellucidError: the schema has no such name.
    """
    for spec in SCHEMA[kind]:
        if spec.name == name:
            return {"truth": spec.truth, "meaning": spec.meaning, "unit": spec.unit, "encoding": spec.encoding}
    raise PellucidError(f"the schema of a {kind} record has no {name}")
