"""The modes of `pellucid generate` beside sampling: beam search, scoring a text, few-shot prompts."""

import argparse
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pellucid.cli.parsing import utf8_text
from pellucid.engine import options as option_table
from pellucid.errors import PellucidError


if TYPE_CHECKING:
    from pellucid.engine.completion import Completion
    from pellucid.generation.mixin import GenerationMixin
    from pellucid.generation.text_generator import TextGenerator

# Flags that a mode makes no use of, with the value that each has when it is not given.
_UNUSED_BY_BOTH: dict[str, object] = {"tokens": False, "draft": None}
_UNUSED_BY_BEAM: dict[str, object] = {"ablate": [], "ablate_with": "zero"}
_UNUSED_BY_SCORE: dict[str, object] = {"beam": None, "task": None, "example": [], "examples": None, "shots": None}


def _all_options() -> tuple[option_table.SamplingOption, ...]:
    return (*option_table.SAMPLING_OPTIONS, *option_table.REQUEST_OPTIONS)


def _defaults(options: Iterable[option_table.SamplingOption]) -> dict[str, object]:
    return {option.name: option.flag_default for option in options}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the modes."""
    parser.add_argument("--beam", type=int, metavar="N", help="beam search of width N instead of sampling")
    parser.add_argument("--length-penalty", type=float, metavar="X", help="penalty of --beam, 0 (none) to 10 (default 0.6)")
    parser.add_argument("--score", action="store_true", help="print the log-probability of each token of PROMPT instead")
    parser.add_argument("--task", type=utf8_text, metavar="TEXT", help="few-shot prompt: the task, in words")
    parser.add_argument(
        "--example", type=_example, action="append", default=[], metavar="'IN => OUT'",
        help="few-shot prompt: an example, before PROMPT; may be repeated; those that do not fit are left out",
    )  # fmt: skip
    parser.add_argument(
        "--examples", metavar="FILE", help="few-shot prompt: examples from a file, as `pellucid prime` and `finetune` read them"
    )
    parser.add_argument("-k", "--shots", type=_count, metavar="N", help="take the first N of them (default: all that fit)")
    parser.add_argument("--format", metavar="NAME", help="format of a few-shot prompt: arrow (default), equals, qa or code")


def _example(text: str) -> tuple[str, str]:
    given, arrow, answer = utf8_text(text).partition("=>")
    if not (arrow and given.strip() and answer.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is no input and output, such as 'cheese => fromage'")
    return given.strip(), answer.strip()


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of examples, such as 8")
    return int(text)


def wrong_use(args: argparse.Namespace) -> str | None:
    """The error of flags that do not go together, in a line; None where they do."""
    primes = args.task is not None or bool(args.example) or args.examples is not None
    if args.length_penalty is not None and args.beam is None:
        return "--length-penalty goes with --beam"
    if args.format is not None and not primes:
        return "--format goes with --task, --example or --examples"
    if args.shots is not None and args.examples is None:
        return "--shots (-k) goes with --examples FILE"
    if args.examples is not None and args.example:
        return "give --example or --examples, not both"
    if primes and args.prompt is None:
        return "--task, --example and --examples need a PROMPT: the input to be answered"
    if args.score:
        if args.prompt is None:
            return "--score needs a PROMPT: the text"
        unused = _defaults(option for option in _all_options() if option.draws) | _UNUSED_BY_BOTH | _UNUSED_BY_SCORE
        return _needless(args, "--score writes nothing", unused)
    if args.beam is not None:
        options = (option for option in _all_options() if option.name not in ("max_tokens", "stop"))
        return _needless(args, "--beam draws nothing", _defaults(options) | _UNUSED_BY_BOTH | _UNUSED_BY_BEAM)
    return None


def _needless(args: argparse.Namespace, why: str, neutral: dict[str, object]) -> str | None:
    given = ["--" + name.replace("_", "-") for name, value in neutral.items() if getattr(args, name) != value]
    return f"{why}: leave out {', '.join(given)}" if given else None


def primed(args: argparse.Namespace, prompt: str | None, model: "GenerationMixin") -> tuple[str | None, tuple[str, ...]]:
    """The prompt to continue and the texts that end an answer.

    Raises:
        PellucidError: as `Prompt` and `Prompt.fitted`.
    """
    stops = tuple(args.stop)
    if args.task is None and not args.example and args.examples is None:
        return prompt, stops
    from pellucid.generation.prompt import Prompt

    if args.examples is None:
        made = Prompt(args.task or "", args.example, prompt or "", args.format or "arrow")
    else:
        from pellucid.generation.prompt_file import read_prompt_examples

        found = read_prompt_examples(args.examples, format=args.format)
        made = Prompt(found.task if args.task is None else args.task, found.examples, prompt or "", found.format)
        made = made if args.shots is None else made.shots(args.shots)
    asked = len(made.examples)
    made = made.fitted(model, max_tokens=args.max_tokens)
    if made.dropped:
        print(f"pellucid: no room for the last {len(made.dropped)} of {asked} examples", file=sys.stderr)
    return made.text, (*stops, made.stop)


def note_if_empty(texts: Iterable[str], max_tokens: int) -> None:
    """Says on stderr that the model wrote nothing, which looks like an error where it is an answer."""
    whole = "".join(texts)
    if max_tokens and not whole.strip():
        what = "nothing but white space" if whole else "nothing: the text ended at once"
        print(f"pellucid: the model wrote {what}", file=sys.stderr)


def beam(args: argparse.Namespace, prompt: str | None, model: "TextGenerator") -> "tuple[str | None, Completion]":
    """The prompt as it was continued, and the answer. Raises PellucidError as `GPT.beam`."""
    from pellucid.generation.beam import LENGTH_PENALTY

    text, stops = primed(args, prompt, model)
    penalty = LENGTH_PENALTY if args.length_penalty is None else args.length_penalty
    return text, model.beam(text, width=args.beam, length_penalty=penalty, max_tokens=args.max_tokens, stop=stops)


def print_score(args: argparse.Namespace, text: str | None, model: "GenerationMixin") -> None:
    """A line a token, and the sum; with --json one object.

    Raises:
        PellucidError: as `GenerationMixin.score`, or no text.
    """
    from pellucid.cli.output import print_json
    from pellucid.languages import tr
    from pellucid.text import piece

    if not text:
        raise PellucidError("there is no text to score: PROMPT is empty")
    found = model.score(text, logprobs=args.logprobs, ablate=args.ablate or None, ablate_with=args.ablate_with)
    pieces = [piece(model.require_tokenizer().token_bytes(token)) for token in found.ids]
    if args.json:
        tops = {} if found.top_logprobs is None else {"top_logprobs": found.top_logprobs}
        print_json({"ids": found.ids, "pieces": pieces, "logprobs": found.logprobs, **tops, "total_logprob": found.total})
        return
    for shown, logprob in zip(pieces, found.logprobs, strict=True):
        print(f"{'' if logprob is None else f'{logprob:.4f}':>10}  {shown}")
    print(f"{found.total:>10.4f}  {tr('the sum of {count} tokens after the first', count=len(pieces) - 1)}")
