"""The modes of `pellucid generate` beside sampling: beam search, scores of a text, a prompt made of a task and examples."""

import argparse
import math
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pellucid.engine import options as option_table
from pellucid.errors import PellucidError


if TYPE_CHECKING:
    from pellucid.engine.completion import Completion
    from pellucid.generation.mixin import GenerationMixin
    from pellucid.generation.text_generator import TextGenerator

# Flags that a mode makes no use of, with the value that each has when it is not given.
_UNUSED_BY_BOTH: dict[str, object] = {"tokens": False, "draft": None}
_UNUSED_BY_SCORE: dict[str, object] = {"beam": None, "task": None, "example": []}


def _all_options() -> tuple[option_table.Option, ...]:
    return (*option_table.SAMPLING_OPTIONS, *option_table.REQUEST_OPTIONS)


def _defaults(options: Iterable[option_table.Option]) -> dict[str, object]:
    return {option.name: option.flag_default for option in options}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the modes."""
    parser.add_argument("--beam", type=int, metavar="N", help="draw nothing: beam search for the likeliest answer, N wide")
    parser.add_argument("--length-penalty", type=float, metavar="X", help="of --beam, 0 (none) to 10 (default 0.6)")
    parser.add_argument("--score", action="store_true", help="write nothing: the log-probability of each token of PROMPT")
    parser.add_argument("--task", metavar="TEXT", help="prime: what is to be done with PROMPT, in words")
    parser.add_argument(
        "--example", type=_example, action="append", default=[], metavar="'IN => OUT'",
        help="prime: an example, before PROMPT; may be repeated; those for which there is no room are left out",
    )  # fmt: skip
    parser.add_argument("--format", metavar="NAME", help="how primed prompts are written: arrow (default), equals, qa or code")


def _example(text: str) -> tuple[str, str]:
    given, arrow, answer = text.partition("=>")
    if not (arrow and given.strip() and answer.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is no input and output, such as 'cheese => fromage'")
    return given.strip(), answer.strip()


def wrong_use(chosen: argparse.Namespace) -> str | None:
    """Flags that do not go together, in a line."""
    primes = chosen.task is not None or bool(chosen.example)
    if chosen.length_penalty is not None and chosen.beam is None:
        return "--length-penalty goes with --beam"
    if chosen.format is not None and not primes:
        return "--format goes with --task or --example"
    if primes and chosen.prompt is None:
        return "--task and --example need a PROMPT: the input to be answered"
    if chosen.score:
        if chosen.prompt is None:
            return "--score needs a PROMPT: the text"
        unused = _defaults(option for option in _all_options() if option.draws) | _UNUSED_BY_BOTH | _UNUSED_BY_SCORE
        return _needless(chosen, "--score writes nothing", unused)
    if chosen.beam is not None:
        options = (option for option in _all_options() if option.name not in ("max_tokens", "stop"))
        return _needless(chosen, "--beam draws nothing", _defaults(options) | _UNUSED_BY_BOTH)
    return None


def _needless(chosen: argparse.Namespace, why: str, neutral: dict[str, object]) -> str | None:
    given = ["--" + name.replace("_", "-") for name, value in neutral.items() if getattr(chosen, name) != value]
    return f"{why}: leave out {', '.join(given)}" if given else None


def primed(chosen: argparse.Namespace, prompt: str | None, model: "GenerationMixin") -> tuple[str | None, tuple[str, ...]]:
    """The prompt to continue and the texts that end an answer.

    Raises:
        PellucidError: as `Prompt` and `Prompt.fitted`.
    """
    stops = tuple(chosen.stop)
    if chosen.task is None and not chosen.example:
        return prompt, stops
    from pellucid.generation.prompt import Prompt

    made = Prompt(chosen.task or "", chosen.example, prompt or "", chosen.format or "arrow")
    made = made.fitted(model, max_tokens=chosen.max_tokens)
    if made.dropped:
        print(f"pellucid: no room for the last {len(made.dropped)} of {len(chosen.example)} examples", file=sys.stderr)
    return made.text, (*stops, made.stop)


def beam(chosen: argparse.Namespace, prompt: str | None, model: "TextGenerator") -> "tuple[str | None, Completion]":
    """The prompt as it was continued, and the answer. Raises PellucidError as `GPT.beam`."""
    from pellucid.generation.beam import LENGTH_PENALTY

    text, stops = primed(chosen, prompt, model)
    penalty = LENGTH_PENALTY if chosen.length_penalty is None else chosen.length_penalty
    return text, model.beam(text, width=chosen.beam, length_penalty=penalty, max_tokens=chosen.max_tokens, stop=stops)


def print_score(chosen: argparse.Namespace, text: str | None, model: "GenerationMixin") -> None:
    """A line a token, and the sum; with --json one object.

    Raises:
        PellucidError: as `GenerationMixin.score`, or no text.
    """
    from pellucid.cli.output import print_json  # imported here: it takes subprocess along
    from pellucid.text import piece

    if not text:
        raise PellucidError("there is no text to score: PROMPT is empty")
    found = model.score(text, logprobs=chosen.logprobs)
    total = math.fsum(logprob for logprob in found.logprobs if logprob is not None)
    pieces = [piece(model.require_tokenizer().token_bytes(token)) for token in found.ids]
    if chosen.json:
        tops = {} if found.top_logprobs is None else {"top_logprobs": found.top_logprobs}
        print_json({"ids": found.ids, "pieces": pieces, "logprobs": found.logprobs, **tops, "total_logprob": total})
        return
    for shown, logprob in zip(pieces, found.logprobs, strict=True):
        print(f"{'' if logprob is None else f'{logprob:.4f}':>10}  {shown}")
    print(f"{total:>10.4f}  the sum of {len(pieces) - 1} tokens after the first")
