"""Measures what a model card states; `card` renders it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.corpus import open_corpus
from pellucid.evaluation.families import HELD_OUT
from pellucid.evaluation.overlap import LEAST, longest_shared
from pellucid.generation.model import GPT
from pellucid.interpret.heads import KINDS, head_scores
from pellucid.text import Tokenizer
from recipes.default_model.books import TEST
from recipes.default_model.evaluate import MARKUP_HELD_OUT, OFTEN, QUERIES, books_of, few_shot
from recipes.default_model.grammar import measure as grammar_of
from recipes.default_model.groups import MARKUP
from recipes.default_model.lexicon import Lexicon
from recipes.default_model.rounding import bits_and_bytes


PROMPTS = ("A robot must", "Once upon a time", "The king said")
SEEDS = 10
TOKENS, TEMPERATURE, TOP_P = 60, 0.8, 0.95
PASSAGES_A_BOOK, PASSAGE = 20, 200  # passages of each test book, and tokens of each, to compare the samples with


def samples_of(model: GPT, *, seeds: int = SEEDS, max_tokens: int = TOKENS) -> list[dict[str, Any]]:
    """Samples of each of `PROMPTS` with seeds 0, 1, ...: all of them, none selected."""
    found = []
    for prompt in PROMPTS:
        for seed in range(seeds):
            made = model.generate(prompt, max_tokens=max_tokens, temperature=TEMPERATURE, top_p=TOP_P, seed=seed)
            found.append({"prompt": prompt, "seed": seed, "text": made.text, "ids": [*made.prompt_ids, *made.ids]})
    return found


def passages(data: Path) -> list[str]:
    """Passages of the test books, evenly spaced: the grammar of sentences that people wrote is measured on them."""
    tokenizer, corpus = Tokenizer.load(data), open_corpus(data / "prose", verify=False)
    return [
        tokenizer.decode(ids[start : start + PASSAGE].tolist())
        for ids in books_of(corpus, TEST).values()
        for start in ((2 * i + 1) * len(ids) // (2 * PASSAGES_A_BOOK) for i in range(PASSAGES_A_BOOK))
    ]


def shared_with_training(model: GPT, samples: Sequence[dict[str, Any]], data: Path) -> list[dict[str, Any]]:
    """The longest stretch of each sample that is in the training books, the longest first; none of fewer than `LEAST` tokens.

    The samples of a model with another tokenizer are encoded with that of `data` first.
    """
    tokenizer, corpus = Tokenizer.load(data), open_corpus(data / "prose", verify=False)
    same = model.require_tokenizer().fingerprint == tokenizer.fingerprint
    rows = [one["ids"] if same else tokenizer.encode(f"{one['prompt']}{one['text']}") for one in samples]
    found = longest_shared(rows, corpus.train)
    listed = [
        {
            "prompt": one["prompt"], "seed": one["seed"], "tokens": stretch.tokens,
            "text": tokenizer.decode(row[stretch.start : stretch.start + stretch.tokens]),
        }
        for one, row, stretch in zip(samples, rows, found, strict=True) if stretch.tokens
    ]  # fmt: skip
    return sorted(listed, key=lambda one: -one["tokens"])


def families_of(model: GPT, data: Path, *, queries: int = QUERIES) -> dict[str, dict[str, Any]]:
    """The few-shot scores (`evaluate.few_shot`) of held-out, frequent and markup families, by part and family."""
    lexicon = Lexicon.load(data)
    parts = {"held_out": HELD_OUT, "frequent": OFTEN, "markup": (MARKUP, MARKUP_HELD_OUT)}
    return {part: few_shot(model, lexicon, families, queries=queries) for part, families in parts.items()}


def clear_gains(scores: dict[str, dict[str, Any]]) -> list[str]:
    """The families whose gain's interval (1.96 standard errors) is above 0."""
    return [name for name, score in scores.items() if score["gain"] - score["gain_interval"] > 0]


def measure(
    model: GPT, data: Path, corpus: Path, known: frozenset[str], *, queries: int = QUERIES, seeds: int = SEEDS,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:  # fmt: skip
    """Everything that is measured about one model.

    Args:
        data: the folder that `prepare` made. corpus: the folder of the books. known: `grammar.known_words(data)`.
        report: called with the name of each part before it is measured.
    """
    model.eval()
    found: dict[str, Any] = {"parameters": model.config.parameters(), "shape": model.config.to_dict()}
    report("samples")
    samples = samples_of(model, seeds=seeds, max_tokens=min(TOKENS, model.config.n_ctx // 2))
    found["samples"] = [{name: one[name] for name in ("prompt", "seed", "text")} for one in samples]
    found["grammar"] = asdict(grammar_of([f"{one['prompt']}{one['text']}" for one in samples], known))
    found["shared"] = shared_with_training(model, samples, data)
    found["least_shared"] = LEAST
    report("heads")
    heads = head_scores(model)
    found["heads"] = {
        "named": [asdict(one) for one in heads.named()],
        "loss_first": heads.loss_first, "loss_second": heads.loss_second,
        "highest": {kind: asdict(heads.highest(kind)) for kind in KINDS},
        "uniform_loss": float(np.log(model.config.vocab_size)),
    }  # fmt: skip
    report("families")
    found["families"], found["queries"] = families_of(model, data, queries=queries), queries
    report("bits per byte of the test books")
    measured = {path: bits_and_bytes(model, corpus, [path]) for path in TEST}
    found["bits_per_byte"] = {path: bits for path, (bits, _) in measured.items()}
    total = sum(size for _, size in measured.values())
    found["bits_per_byte"]["all"] = sum(bits * size for bits, size in measured.values()) / total
    return found
