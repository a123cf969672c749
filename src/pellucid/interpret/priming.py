"""`prime`: asks one question after different numbers of examples, and records probabilities, answers and attention.

P tokens of a prompt, V of the right answer, H heads, L blocks, B prompts, K candidates.

No weight changes: the examples are only read ("few-shot", section 2 of the GPT-3 paper). The prompt's last token predicts the
answer's first token; its attention is recorded, which shows how much it attends to each example.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.arguments import instance, one_of, shown, text_of, whole_number
from pellucid.engine.sampling import largest, log_softmax
from pellucid.errors import PellucidError
from pellucid.generation.model import GPT
from pellucid.generation.prompt import ROLES, Prompt, encode_answered, token_labels
from pellucid.gpt.torch_defaults import torch_defaults
from pellucid.interpret.capture import PIECES, check_blocks, hidden_from_tap, model_provenance, piece_table
from pellucid.interpret.formulas import attention_source, attention_weights
from pellucid.interpret.tap import ActivationTap
from pellucid.record import Record, RecordWriter, describe, open_record
from pellucid.runtime.inference_mode import inference_mode
from pellucid.runtime.runner import Runner, TokenSpan
from pellucid.runtime.runner_selection import torch_runner
from pellucid.text.tokenizer import Tokenizer


USUAL_SHOTS = (0, 1, 8)
MOST_SHOTS = 64  # numbers of examples in one record
CANDIDATES = 10


@torch_defaults()
def prime(
    model: GPT, prompt: Prompt, *, answer: str, shots: Iterable[int] | None = None, candidates: int = CANDIDATES,
    record_dtype: str = "float16",
) -> Record:  # fmt: skip
    """Asks the prompt's query after different numbers of its examples, and records how likely the right answer is.

    PyTorch computes, as in `xray`. Nothing is sampled: the record holds the log-probability of each token of the right answer,
    the likeliest first tokens, the greedy answer of the same length, and attention weights.

    Args:
        prompt: with all examples.
        answer: the right answer to its query, without the space before it.
        shots: numbers of examples, counted from the first; default: 0, 1 and 8, or as many as there are.
        candidates: likeliest first tokens to list.
        record_dtype: of attention weights, "float16" (rounded) or "float32".

    Returns:
        An open record in memory; `save` writes it to a file.

    Raises:
        PellucidError: a model without a tokenizer, fewer examples than shots, an empty answer or one that holds the format's
            separator, or a prompt that does not fit into the context (the message says how many examples do).
    """
    instance("model", model, GPT, "a model (pellucid.load(...))")
    instance("prompt", prompt, Prompt, "a pellucid.Prompt")
    one_of("record_dtype", record_dtype, ("float16", "float32"))
    candidates = min(whole_number("candidates", candidates, 1), model.config.vocab_size)
    check_blocks(model)
    numbers = _numbers_of_shots(shots, prompt)
    if (stop := prompt.stop) in text_of("answer", answer):
        raise PellucidError(f"the answer {shown(answer)} holds {stop!r}, which ends an answer: give what comes before it")
    tokens = tokens_of(prompt, answer, numbers, model.require_tokenizer())
    for count, one in zip(numbers, tokens.prompts, strict=True):
        if len(one.ids) + len(tokens.answer) - 1 > model.config.n_ctx:
            raise _too_long(model, prompt, answer, count, len(one.ids), len(tokens.answer))
    buffer = BytesIO()
    with inference_mode(model), RecordWriter(buffer, "priming", model_provenance(model)) as writer:
        read = [read_prompt(model, one.ids, tokens.answer, candidates) for one in tokens.prompts]
        _write(writer, model, prompt_text(prompt.shots(max(numbers)), answer), numbers, tokens, read, record_dtype)
    buffer.seek(0)
    return open_record(buffer)


def _numbers_of_shots(shots: Iterable[int] | None, prompt: Prompt) -> list[int]:
    """The numbers of examples in ascending order, each once."""
    there = len(prompt.examples)
    if shots is None:
        return sorted({min(count, there) for count in USUAL_SHOTS})
    if isinstance(shots, str | bytes) or not isinstance(shots, Iterable):
        raise PellucidError(f"shots must be numbers of examples, such as (0, 1, 8), not {shown(shots)}")
    found = sorted({whole_number("shots", count, 0) for count in shots})
    if not 0 < len(found) <= MOST_SHOTS:
        raise PellucidError(f"name 1 to {MOST_SHOTS} numbers of examples in shots, not {len(found)}")
    prompt.shots(found[-1])  # refuses more than there are
    return found


@dataclass(frozen=True, slots=True)
class LabelledPrompt:
    """The tokens of a prompt; the part of each (0 the task, 1 to k the examples, k + 1 the query); its index in `ROLES`."""

    ids: list[int]
    parts: list[int]
    roles: list[int]


@dataclass(frozen=True, slots=True)
class PrimingTokens:
    """The prompts of a record, and the right answer, which has the same tokens after each of them."""

    prompts: list[LabelledPrompt]
    answer: list[int]


def tokens_of(prompt: Prompt, answer: str, shots: Sequence[int], tokenizer: Tokenizer) -> PrimingTokens:
    """The tokens of the prompts with these numbers of examples, and of the right answer.

    Raises:
        PellucidError: an empty answer, or one that has other tokens after other prompts.
    """
    prompts, answers = [], []
    for count in shots:
        one = prompt.shots(count)
        whole, start = encode_answered(one, answer, tokenizer)
        labels = token_labels(one, tokenizer)[:start]
        roles = [ROLES.index(role) for _, role in labels]
        prompts.append(LabelledPrompt(whole[:start], [part for part, _ in labels], roles))
        answers.append(whole[start:])
    if any(ids != answers[0] for ids in answers) or any(not one.ids for one in prompts):
        raise PellucidError(
            f"the answer {shown(answer)} shares a token with the prompt, or has other tokens after another number of examples: "
            "choose another format"
        )
    return PrimingTokens(prompts, answers[0])


def prompt_text(prompt: Prompt, answer: str) -> dict[str, Any]:
    """The chunk `priming/prompt`."""
    examples = [{"prompt": given, "completion": output} for given, output in prompt.examples]
    return {"task": prompt.task, "examples": examples, "query": prompt.query, "answer": answer, "format": prompt.format}


def _too_long(model: GPT, prompt: Prompt, answer: str, count: int, length: int, answered: int) -> PellucidError:
    """The error of a prompt that does not fit; it tells how many examples would."""
    room, tokenizer = model.config.n_ctx + 1 - answered, model.require_tokenizer()
    fitting = [k for k in range(count) if encode_answered(prompt.shots(k), answer, tokenizer)[1] <= room]
    fits = f"{fitting[-1]} of the examples fit" if fitting else "not even task and query fit"
    return PellucidError(
        f"with {count} examples the prompt is {length:,} tokens long, and a context of {model.config.n_ctx:,} has room for "
        f"{max(room, 0):,} before an answer of {answered}: {fits}"
    )


@dataclass(frozen=True, slots=True)
class ReadPrompt:
    """What is recorded of one prompt.

    Attributes:
        logprobs: (V,) of the right answer, natural logarithm. topk_ids, topk_logprobs: (K,) the likeliest first tokens.
        greedy_ids, greedy_logprobs: (V,) the greedy answer. attention: (H, P) for each block, of the prompt's last token.
    """

    logprobs: list[float]
    topk_ids: list[int]
    topk_logprobs: list[float]
    greedy_ids: list[int]
    greedy_logprobs: list[float]
    attention: list[NDArray[np.float32]]


def read_prompt(model: GPT, prompt: list[int], answer: list[int], candidates: int) -> ReadPrompt:
    """Reads a prompt, scores the right answer after it, then generates the greedy answer.

    Args:
        prompt: (P,) ids. answer: (V,) ids of the right answer. candidates: K.

    Raises:
        PellucidError: the model was changed so that its attention cannot be observed.
    """
    tap = ActivationTap(model.config.n_layers, ("attention",), clock=False)
    runner = torch_runner(model, tap)
    sequence = runner.open(len(prompt) + len(answer) - 1)
    (first,) = runner.run([TokenSpan(sequence, 0, prompt)])
    assert first is not None
    if (missing := tap.missing()) is not None:
        raise hidden_from_tap(model, *missing)
    attention = []
    for block, pattern in enumerate(model.config.pattern):
        q, k = tap.queries_and_keys(block)
        weights = attention_weights(q[:, -1:], k, pattern, model.compressor(block))[:, 0]
        attention.append(weights.float().cpu().numpy())
    right = _answered(runner, sequence, len(prompt), first, answer)
    top = largest(first, candidates)
    greedy_ids, greedy_logprobs = _likeliest(runner, sequence, len(prompt), right, answer)
    runner.close(sequence)
    return ReadPrompt(
        logprobs=[float(log_softmax(logits)[token]) for logits, token in zip(right, answer, strict=True)],
        topk_ids=top.tolist(), topk_logprobs=log_softmax(first)[top].tolist(), greedy_ids=greedy_ids,
        greedy_logprobs=greedy_logprobs, attention=attention,
    )  # fmt: skip


def _answered(
    runner: Runner, sequence: int, start: int, first: NDArray[np.float32], answer: Sequence[int]
) -> list[NDArray[np.float32]]:
    """The logits before each token of an answer that begins at position `start`."""
    found = [first]
    for place, token in enumerate(answer[:-1]):
        (logits,) = runner.run([TokenSpan(sequence, start + place, [token])])
        assert logits is not None
        found.append(logits)
    return found


def _likeliest(
    runner: Runner, sequence: int, start: int, right: Sequence[NDArray[np.float32]], answer: list[int]
) -> tuple[list[int], list[float]]:
    """The greedy answer, as many tokens as the right one, and their log-probabilities.

    Args:
        right: the logits before each token of the right answer, reused as long as the greedy answer begins as the right one.
    """
    ids, logprobs, logits = list[int](), list[float](), right[0]
    for place in range(len(answer)):
        token = int(largest(logits, 1)[0])
        ids.append(token)
        logprobs.append(float(log_softmax(logits)[token]))
        if place + 1 == len(answer):
            break
        if ids == answer[: place + 1]:
            logits = right[place + 1]
        else:
            (after,) = runner.run([TokenSpan(sequence, start + place, [token])])
            assert after is not None
            logits = after
    return ids, logprobs


def _write(
    writer: RecordWriter, model: GPT, text: dict[str, Any], numbers: Sequence[int], tokens: PrimingTokens,
    read: Sequence[ReadPrompt], record_dtype: str,
) -> None:  # fmt: skip
    def add(name: str, value: Any, source: dict[str, Any] | None = None, **parts: int) -> None:
        writer.add(f"priming/{name}".format(**parts), value, source=source, **describe("priming", f"priming/{name}"))

    given = given_chunks(text, numbers, tokens)
    for name, value in given.items():
        add(name, value)
    for name in ("logprobs", "topk_ids", "topk_logprobs", "greedy_ids", "greedy_logprobs"):
        add(name, np.array([getattr(one, name) for one in read], np.int32 if name.endswith("ids") else np.float32))
    for block in range(model.config.n_layers):
        weights = np.concatenate([one.attention[block] for one in read], axis=1).astype(record_dtype)
        add("attention/{block}", weights, attention_source(model.config, block), block=block)
    named = {token for one in read for token in (*one.topk_ids, *one.greedy_ids)}
    for name, value in pieces_of(tokens, named, model.require_tokenizer()).items():
        writer.add(name, value, **describe("priming", name))


def given_chunks(text: dict[str, Any], numbers: Sequence[int], tokens: PrimingTokens) -> dict[str, Any]:
    """The chunks that follow from the texts and the tokenizer, by name without "priming/"."""

    def together(part: str) -> list[int]:
        return [number for one in tokens.prompts for number in getattr(one, part)]

    return {
        "prompt": text,
        "shots": np.array(numbers, np.int32),
        "ids": np.array(together("ids"), np.int32),
        "starts": np.cumsum([0, *(len(one.ids) for one in tokens.prompts)]).astype(np.int32),
        "parts": np.array(together("parts"), np.int32),
        "roles": np.array(together("roles"), np.uint8),
        "answer_ids": np.array(tokens.answer, np.int32),
    }


def pieces_of(tokens: PrimingTokens, named: Iterable[int], tokenizer: Tokenizer) -> dict[str, Any]:
    """The chunks of pieces: those of the prompts, of the right answer, and of the tokens that the model predicted (`named`)."""
    known = {token for one in tokens.prompts for token in one.ids}.union(tokens.answer, named)
    return dict(zip(PIECES, piece_table(tokenizer, known), strict=True))
