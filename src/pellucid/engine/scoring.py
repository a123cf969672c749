"""The log-probability of each token of texts that are given, many tracks read together. No torch here.

T tracks, V vocabulary.
"""

from collections.abc import Sequence

import numpy as np

from pellucid.engine.completion import Score, TopLogprobs
from pellucid.engine.sampling import SamplingOptions, largest, log_softmax
from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.runtime.runner import Runner, TokenSpan


AT_ONCE = 256  # tokens of a pass: their logits take 51 MB for GPT-3's vocabulary


def score(runner: Runner, texts: Sequence[Sequence[int]], logprobs: int | None) -> list[Score]:
    """What the model gives each token after those before it. Arguments and errors as `GPT.score` has them.

    Texts are read one after the other, the end of one together with the beginning of the next.
    """
    SamplingOptions(max_tokens=0, logprobs=logprobs)  # refuses what is no number of tokens
    for text in texts:
        _check(text, logprobs, runner.config)
    found: list[list[float | None]] = [[None] for _ in texts]
    tops: list[list[TopLogprobs | None]] = [[None] for _ in texts]
    opened: dict[int, int] = {}  # by text: its sequence
    left = [(number, 0) for number, text in enumerate(texts) if len(text) > 1]  # and the first track not read
    try:
        while left:
            parts: list[tuple[int, int, int]] = []  # text, first track, the track after the last
            room = AT_ONCE
            while left and room:
                number, first = left.pop(0)
                end = min(first + room, len(texts[number]) - 1)  # the last token is not read
                parts.append((number, first, end))
                room -= end - first
                if end < len(texts[number]) - 1:
                    left.insert(0, (number, end))
            for number, _, _ in parts:
                if number not in opened:
                    opened[number] = runner.open(len(texts[number]) - 1)
            segments = [TokenSpan(opened[number], first, texts[number][first:end], "all") for number, first, end in parts]
            for (number, first, end), logits in zip(parts, runner.run(segments), strict=True):
                assert logits is not None
                rows = log_softmax(logits)  # (T, V)
                found[number] += rows[np.arange(end - first), list(texts[number][first + 1 : end + 1])].tolist()
                for row in rows if logprobs is not None else ():
                    best = largest(row, logprobs or 0)
                    tops[number].append(tuple(zip(best.tolist(), row[best].tolist(), strict=True)))
                if end == len(texts[number]) - 1:
                    runner.close(opened.pop(number))
    finally:
        for sequence in opened.values():
            runner.close(sequence)
    return [Score(list(text), of, None if logprobs is None else top) for text, of, top in zip(texts, found, tops, strict=True)]


def _check(text: Sequence[int], logprobs: int | None, config: GPTConfig) -> None:
    for token in text:
        if not 0 <= token < config.vocab_size:
            raise PellucidError(f"token id {token} is outside the vocabulary: ids go from 0 to {config.vocab_size - 1}")
    if len(text) > config.n_ctx + 1:  # the last one is not read
        raise PellucidError(f"the text has {len(text)} tokens, but {config.n_ctx + 1} can be scored at most: shorten it")
    if logprobs is not None and logprobs > config.vocab_size:
        raise PellucidError(f"logprobs is {logprobs}, but there are only {config.vocab_size} tokens")
