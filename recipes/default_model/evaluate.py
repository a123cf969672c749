"""Measures a model: bits per byte of held-out books, and zero-, one- and few-shot scores on task families.

    python -m recipes.default_model.evaluate MODEL --data DATA                 a model directory
    python -m recipes.default_model.evaluate RUN/checkpoints/STEP --data DATA  a checkpoint's averaged weights

Few-shot scores: for each query of a family a rule is drawn, with eight examples and the query; with k shots the prompt has the
first k examples. An answer is right if each of its tokens is the likeliest one. "gain" is the mean over queries of
log p(answer | 8 examples) - log p(answer | no example), in nats, with 1.96 standard errors of these paired differences.
"""

import argparse
import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.corpus import TokenCorpus, Tokens, open_corpus, sequential
from pellucid.evaluation.families import FREQUENT
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.gpt.config import GPTConfig
from pellucid.text import Tokenizer
from pellucid.training.held_out import held_out_loss
from recipes.default_model import checkpoints
from recipes.default_model.books import TEST, VALIDATION
from recipes.default_model.draws import Draws
from recipes.default_model.families import BY_NAME, HELD_OUT, TRAINED
from recipes.default_model.groups import MARKUP, Group, markup_group, task_group
from recipes.default_model.lexicon import Lexicon
from recipes.default_model.settings import Settings


SHOTS = (0, 1, 8)
QUERIES = 40
OFTEN = TRAINED[:FREQUENT]  # the families that are most frequent in training
WINDOWS_A_BOOK = 8
# `pellucid.evaluation.families` calls it "markup_held_out"; this name is a part of the key from which its queries are drawn.
MARKUP_HELD_OUT = "markup, held-out pairs"
_EVALUATION = 8  # the purpose in the key of these draws; those of training are 1 to 6, the tokenizer's is 7
_ROW_TOKENS = 2048  # tokens that go through the model at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """A model's answers to the queries of one family, for one number of shots.

    Attributes:
        logprobs: of each answer, in nats. right: whether every token of it was the likeliest one.
        dropped: how many examples did not fit into the context, over all queries.
    """

    family: str
    shots: int
    logprobs: tuple[float, ...]
    right: tuple[bool, ...]
    dropped: int

    @property
    def accuracy(self) -> float:
        """The share of answers that are right, 0 to 1."""
        return sum(self.right) / len(self.right)


def gain(few: Answers, zero: Answers) -> tuple[float, float]:
    """(mean, 1.96 standard errors) of the paired differences of log-probability, in nats."""
    return interval([a - b for a, b in zip(few.logprobs, zero.logprobs, strict=True)])


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """(mean, 1.96 standard errors) of some differences; infinity for a single one."""
    values = np.array(differences)
    return float(values.mean()), float(1.96 * values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.inf


def groups_of(family: str, lexicon: Lexicon, queries: int, seed: int) -> list[Group]:
    """The groups on which a family is measured, each with a rule of its own, eight examples and a query."""
    made: list[Group] = []
    key = tuple(family.encode())
    for i in range(queries):
        draws = Draws(seed, _EVALUATION, i, *key)
        if family in (MARKUP, MARKUP_HELD_OUT):
            made.append(markup_group(draws, lexicon, held_out=family == MARKUP_HELD_OUT, examples=max(SHOTS)))
        else:
            made.append(task_group(draws, lexicon, BY_NAME[family], examples=max(SHOTS)))
    return made


@torch.inference_mode()
def answer(model: GPT, groups: Sequence[Group], shots: int) -> Answers:
    """Scores the right answer of each group after `shots` examples, or as many as fit into the context."""
    rows: list[tuple[list[int], int]] = []
    dropped = 0
    for group in groups:
        for count in range(shots, -1, -1):
            ids, first = group.shots(count).answered(model, group.answer)
            if len(ids) <= model.config.n_ctx:
                break
        dropped += shots - count
        rows.append((ids[-model.config.n_ctx :], max(1, first - max(0, len(ids) - model.config.n_ctx))))
    logprobs, right = [0.0] * len(rows), [False] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    while order:
        length = len(rows[order[0]][0])
        batch = [i for i in order if len(rows[i][0]) <= length * 1.25 + 4]
        batch = batch[: max(1, int(_ROW_TOKENS / (length * 1.25 + 4)))]
        order = order[len(batch) :]
        longest = max(len(rows[i][0]) for i in batch)
        hidden = model.hidden(torch.tensor([rows[i][0] + [0] * (longest - len(rows[i][0])) for i in batch]))
        for row, i in enumerate(batch):
            whole, first = rows[i]
            found = model.logits(hidden[row, first - 1 : len(whole) - 1]).log_softmax(-1)
            targets = torch.tensor(whole[first:])
            logprobs[i] = found.gather(1, targets[:, None]).sum().item()
            right[i] = bool((found.argmax(-1) == targets).all())
    return Answers(family=groups[0].family, shots=shots, logprobs=tuple(logprobs), right=tuple(right), dropped=dropped)


def few_shot(
    model: GPT, lexicon: Lexicon, families: Iterable[str], *, queries: int = QUERIES, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Scores of each family: accuracy and mean log-probability with 0, 1 and 8 shots, and the gain of 8 shots over 0."""
    model.eval()
    scores: dict[str, dict[str, Any]] = {}
    for family in families:
        groups = groups_of(family, lexicon, queries, seed)
        answers = {shots: answer(model, groups, shots) for shots in SHOTS}
        mean, error = gain(answers[8], answers[0])
        scores[family] = {
            "accuracy": {shots: round(found.accuracy, 4) for shots, found in answers.items()},
            "logprob": {shots: round(float(np.mean(found.logprobs)), 4) for shots, found in answers.items()},
            "gain": round(mean, 4), "gain_interval": round(error, 4), "dropped": answers[8].dropped,
        }  # fmt: skip
    return scores


def average_scores(scores: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The means of accuracy and gain over families."""
    count = len(scores)
    return {
        "accuracy": {k: round(sum(s["accuracy"][k] for s in scores.values()) / count, 4) for k in SHOTS},
        "gain": round(sum(s["gain"] for s in scores.values()) / count, 4),
    }


def books_of(corpus: TokenCorpus, paths: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """The tokens of held-out books by path."""
    found: dict[str, NDArray[np.int64]] = {}
    start = 0
    for entry in corpus.documents():
        if entry["part"] == "held_out":
            if entry["name"] in paths:
                found[entry["name"]] = corpus.held_out[start : start + entry["tokens"]]
            start += entry["tokens"]
    assert len(found) == len(paths)
    return found


def windows_of(ids: NDArray[np.int64], n_ctx: int, most: int | None) -> list[NDArray[np.int64]]:
    """The windows of a book, each of at most n_ctx + 1 tokens: `most` of them, evenly spaced, or all (None)."""
    whole = list(sequential(Tokens([ids], 0), n_ctx))
    if most is None or len(whole) <= most + 1:
        return whole
    return [whole[(2 * i + 1) * (len(whole) - 1) // (2 * most)] for i in range(most)]


def bits_per_byte(
    model: GPT,
    corpus: TokenCorpus,
    paths: Sequence[str],
    *,
    windows_a_book: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> float:
    """Bits per byte of the held-out books at `paths`: of all windows, or of `windows_a_book` of each, evenly spaced."""
    n_ctx = model.config.n_ctx
    windows = [w for ids in books_of(corpus, paths).values() for w in windows_of(ids, n_ctx, windows_a_book)]
    model.eval()
    lengths = np.array(model.require_tokenizer().byte_lengths)
    return held_out_loss(model, windows, lengths, dtype=dtype, rows=max(1, _ROW_TOKENS // n_ctx))[1]


def read_model(path: Path, data: Path) -> GPT:
    """A model directory, or a checkpoint's averaged weights."""
    if not (path / checkpoints.STATE).is_file():
        return load(path)
    settings = Settings.load(path.parent.parent)
    model = GPT(GPTConfig.from_dict(settings.config), tokenizer=Tokenizer.load(data))
    checkpoints.load_average(path, model)
    return model


def evaluate(
    model: GPT, data: Path, *, queries: int = QUERIES, seed: int = 0, test: bool = True, trained: Sequence[str] = OFTEN
) -> dict[str, Any]:
    """Bits per byte of held-out books, and few-shot scores of held-out families, of `trained` ones and of `markup`.

    Args:
        data: the folder that `prepare` made. queries: of each family. seed: of the queries.
        test: whether the test books are measured, all of each; of validation books `WINDOWS_A_BOOK` windows always are.
    """
    corpus, lexicon = open_corpus(data / "prose", verify=False), Lexicon.load(data)
    found: dict[str, Any] = {"validation": round(bits_per_byte(model, corpus, VALIDATION, windows_a_book=WINDOWS_A_BOOK), 4)}
    if test:
        found["test"] = round(bits_per_byte(model, corpus, TEST), 4)
    for part, families in (("held_out", HELD_OUT), ("trained", trained), ("markup", (MARKUP, MARKUP_HELD_OUT))):
        scores = few_shot(model, lexicon, families, queries=queries, seed=seed)
        found[part] = {"mean": average_scores(scores), "families": scores}
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--all", action="store_true", help="all trained families, not only the most frequent ones")
    parser.add_argument("--no-test", action="store_true", help="leave out the test books, which take minutes")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    began = time.perf_counter()
    found = evaluate(
        read_model(chosen.model, chosen.data),
        chosen.data,
        queries=chosen.queries,
        seed=chosen.seed,
        test=not chosen.no_test,
        trained=TRAINED if chosen.all else OFTEN,
    )
    if chosen.json:
        print(json.dumps(found, indent=1))
        return
    print(f"bits per byte: validation {found['validation']}" + (f", test {found['test']}" if "test" in found else ""))
    print(f"{'family':26} {'accuracy with 0, 1, 8 shots':>30} {'gain of 8 shots over 0, nats':>32}")
    for part in ("held_out", "trained", "markup"):
        for family, s in found[part]["families"].items():
            accuracies = "".join(f"{s['accuracy'][k]:10.2f}" for k in SHOTS)
            print(f"{family:26} {accuracies:>30} {s['gain']:20.3f} +- {s['gain_interval']:.3f}")
        print(f"{'mean of ' + part:26} {json.dumps(found[part]['mean'])}\n")
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
