"""`pellucid generate`: generates text after a prompt, token by token."""

import argparse
import gc
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pellucid.cli import generate_modes
from pellucid.cli.parsing import escaped_text, utf8_text
from pellucid.engine import options as option_table
from pellucid.errors import PellucidError


if TYPE_CHECKING:
    from pellucid.engine.completion import Completion, Token
    from pellucid.engine.speculation import Drafter
    from pellucid.generation.text_generator import TextGenerator

HELP = "write text after a prompt"
DESCRIPTION = "Writes text after a prompt, one token at a time. Without a prompt it starts from end-of-text."
EXAMPLE = 'pellucid generate "Once upon a time" --max-tokens 60 --temperature 0.8 --seed 1'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "prompt", nargs="?", type=utf8_text, metavar="PROMPT", help="what to continue; - reads standard input as it is"
    )
    parser.add_argument("-m", "--model", default="default", help="a model or run directory (default: the embedded model)")
    add_options(parser, (*option_table.SAMPLING_OPTIONS, *option_table.REQUEST_OPTIONS))
    parser.add_argument("--tokens", action="store_true", help="a line a token, with its probability and the likeliest others")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument(
        "--kernel", choices=("auto", "off", "only"), default="auto",
        help="auto: the C kernel where it can run the model, else PyTorch; off: PyTorch; only: the C kernel (default auto)",
    )  # fmt: skip
    parser.add_argument(
        "--weights", choices=("float32", "bfloat16", "int8", "int4"),
        help="dtype of the weights (default float32); int8 and int4 need the kernel",
    )  # fmt: skip
    parser.add_argument(
        "--draft", metavar="lookup|MODEL",
        help="speculative decoding: drafts from the text itself, or by a smaller model; the answer is the same",
    )  # fmt: skip
    add_ablation(parser)
    generate_modes.add_arguments(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="print the runner and the times on stderr")


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """The flags of the sampling options that a record can hold."""
    add_options(parser, option_table.recordable_options())


def add_ablation(parser: argparse.ArgumentParser) -> None:
    """The flags of an ablation."""
    parser.add_argument(
        "--ablate", type=_part, action="append", default=[], metavar="BLOCK[:HEAD|:mlp]",
        help="replace the output of a block, a head of it or its MLP, counted from 0, such as 3:2; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--ablate-with", choices=("zero", "mean"), default="zero",
        help="by zeros, or by the part's mean output over the prompt (default zero)",
    )  # fmt: skip


def ablation(args: argparse.Namespace) -> dict[str, Any]:
    """The ablation that was read from the flags, as `generate` takes it."""
    return {"ablate": args.ablate or None, "ablate_with": args.ablate_with}


def _part(text: str) -> tuple[int, int | str | None]:
    block, colon, inside = text.partition(":")
    try:
        return int(block), None if not colon else inside if inside == "mlp" else int(inside)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no block, head or MLP, such as 3, 3:2 or 3:mlp") from None


def add_options(parser: argparse.ArgumentParser, options: Iterable[option_table.SamplingOption]) -> None:
    """A flag for each option of the table."""
    for option in options:
        if option.type == "bool":
            parser.add_argument(option.flag, action="store_true", help=option.help)
            continue
        repeated = isinstance(option.flag_default, list)
        usual = "" if repeated or option.default is None else f" (default {option.default:g})"
        parser.add_argument(
            option.flag, type=_TYPES[option.type],
            action="append" if repeated else "store", default=option.flag_default, metavar=option.metavar,
            help=option.help + _ESCAPES * (option.type == "texts") + ("; may be repeated" if repeated else usual),
        )  # fmt: skip


def sampling(args: argparse.Namespace) -> dict[str, Any]:
    """The sampling options that were read from the flags, as `generate` takes them.

    Raises:
        PellucidError: a token with two biases.
    """
    bias = dict(args.logit_bias)
    if len(bias) < len(args.logit_bias):
        raise PellucidError("--logit-bias names a token twice: give each one bias")
    names = [option.name for option in option_table.SAMPLING_OPTIONS if hasattr(args, option.name)]
    named = {name: getattr(args, name) for name in names}
    return named | {"stop": tuple(args.stop), "logit_bias": bias}


def _bias(text: str) -> tuple[int, float]:
    token, _, value = text.partition("=")
    try:
        return int(token), float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no token id and number, such as 50256=-100") from None


_TYPES: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "texts": escaped_text, "biases": _bias}
_ESCAPES = r", in which \n is a line break, \t a tab and \\ a backslash"


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    several = args.n != 1 or args.best_of is not None
    if args.tokens and (args.json or several):
        print("pellucid generate: --tokens shows one completion: leave out --json, --n and --best-of", file=sys.stderr)
        return 2
    if args.logprobs is not None and not args.json:
        print("pellucid generate: --logprobs goes with --json; --tokens shows the likeliest tokens", file=sys.stderr)
        return 2
    if wrong := generate_modes.wrong_use(args):
        print(f"pellucid generate: {wrong}", file=sys.stderr)
        return 2
    prompt = read_prompt(args.prompt)
    options = sampling(args) | ablation(args)
    began = perf_counter()
    model = _open_model(args)
    opened = perf_counter()
    if args.beam is not None:
        prompt, completion = generate_modes.beam(args, prompt, model)
        generate_modes.note_if_empty([completion.text], args.max_tokens)
        print(json.dumps(as_json(completion), ensure_ascii=False) if args.json else f"{prompt or ''}{completion.text}")
        if args.verbose:
            _print_path(model.runner.path, opened - began, len(completion.ids), opened)
        return 0
    if args.score:
        generate_modes.print_score(args, prompt, model)
        return 0
    prompt, options["stop"] = generate_modes.primed(args, prompt, model)
    drafter = model.drafter(args.draft)
    if args.json or several:
        n: int = args.n
        done = model.generate(prompt, n=n, best_of=args.best_of, draft=drafter, **options)
        completions = done if isinstance(done, list) else [done]
        if args.json:
            listed = [as_json(c) for c in completions]
            print(json.dumps(listed[0] if args.n == 1 else {"completions": listed}, ensure_ascii=False))
        else:
            for number, completion in enumerate(completions, start=1):
                print(f"[{number}] " * (args.n != 1) + f"{prompt or ''}{completion.text}")
        generate_modes.note_if_empty((completion.text for completion in completions), args.max_tokens)
        _print_slid(max(completion.slid for completion in completions), model.config.n_ctx)
        if args.verbose:
            _print_path(model.runner.path, opened - began, sum(len(completion.ids) for completion in completions), opened)
            _print_drafts(drafter)
        return 0
    options["logprobs"] = 3 if args.tokens else None
    sequence = model.new_sequence(prompt, **options)  # refuses before anything is printed
    written: list[str] = []
    tokens = _noted((token for _, token in model.run([sequence], drafter)), written)
    if args.tokens:
        from pellucid.cli.token_lines import print_tokens

        print_tokens(model, tokens)
    else:
        print(prompt or "", end="", flush=True)
        try:
            for token in tokens:
                print(token.text, end="", flush=True)
        finally:
            print()  # an error's line begins on its own
    generate_modes.note_if_empty(written, args.max_tokens)
    _print_slid(sequence.start, model.config.n_ctx)
    if args.verbose:
        _print_path(model.runner.path, opened - began, len(sequence.tokens), opened)
        _print_drafts(drafter)
    return 0


def _noted(tokens: "Iterable[Token]", written: list[str]) -> "Iterator[Token]":
    """The tokens as they come; their texts are added to `written`."""
    for token in tokens:
        written.append(token.text)
        yield token


def _open_model(args: argparse.Namespace) -> "TextGenerator":
    gc.disable()  # what is imported and read here stays: collecting garbage in it took a tenth of the whole time (docs/log.md)
    try:
        from pellucid.generation.text_generator import open_text_generator

        model = open_text_generator(args.model, kernel=args.kernel, weights=args.weights, notify=_print_note)
        if args.verbose and model.no_kernel:
            _print_note(model.no_kernel)
        return model
    finally:
        gc.enable()


def _print_note(line: str) -> None:
    print(f"pellucid: {line}", file=sys.stderr)


def _print_path(path: str, opening: float, tokens: int, since: float) -> None:
    took = perf_counter() - since
    print(f"{path}: opened in {opening:.2f} s, {tokens} tokens in {took:.2f} s (prompt included)", file=sys.stderr)


def _print_drafts(drafter: "Drafter | None") -> None:
    if drafter:
        print(drafter.summary(), file=sys.stderr)


def _print_slid(slid: int, n_ctx: int) -> None:
    if slid:
        from pellucid.languages import tr

        line = tr(
            "the window of {size} tokens slid: at the end the first {slid} tokens were no longer read", size=n_ctx, slid=slid
        )  # fmt: skip
        print(line, file=sys.stderr)


def read_prompt(prompt: str | None) -> str | None:
    """The prompt as it was given; `-` is standard input.

    Raises:
        PellucidError: that is not UTF-8, or closed.
    """
    if prompt != "-":
        return prompt
    if sys.stdin is None:
        raise PellucidError("standard input is closed: give the prompt as an argument, or send it through a pipe")
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise PellucidError(f"standard input is not UTF-8 text: {error}") from None


def as_json(completion: "Completion") -> dict[str, object]:
    """A completion as plain values."""
    values = asdict(completion)
    unused = [name for name in ("top_logprobs", "slid", "prompt_logprobs", "prompt_top_logprobs") if not values[name]]
    return {name: value for name, value in values.items() if name not in unused or value == []}
