"""`pellucid generate`: text from a prompt, token by token."""

import argparse
import gc
import json
import sys
from dataclasses import asdict
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pellucid.cli import generate_modes as ways
from pellucid.errors import PellucidError


if TYPE_CHECKING:
    from pellucid.engine.completion import Completion
    from pellucid.engine.speculation import Drafter
    from pellucid.generation.text_generator import TextGenerator

HELP = "write text after a prompt"
DESCRIPTION = "Writes text after a prompt, one token at a time. Without a prompt it starts from end-of-text."
EXAMPLE = 'pellucid generate "Once upon a time" --max-tokens 60 --temperature 0.8 --seed 1'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help="what to continue; - reads standard input as it is")
    parser.add_argument("-m", "--model", default="default", help="a model or run directory (default: the embedded model)")
    add_sampling(parser)
    parser.add_argument("--n", type=int, default=1, metavar="N", help="how many completions (default 1)")
    parser.add_argument("--best-of", type=int, metavar="N", help="write N, give the likeliest per token")
    parser.add_argument("--slide", action="store_true", help="go on past the context window, forgetting the beginning")
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="stop before this text; may be repeated")
    parser.add_argument("--logprobs", type=int, metavar="K", help="with --json, also the K best tokens at each place")
    parser.add_argument("--tokens", action="store_true", help="a line a token, with its probability and the runners-up")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument(
        "--kernel", choices=("auto", "off", "only"), default="auto",
        help="who computes: the C kernel where it can, else PyTorch (auto); PyTorch (off); the kernel (only)",
    )  # fmt: skip
    parser.add_argument(
        "--weights", choices=("float32", "bfloat16", "int8", "int4"),
        help="what is computed with (default float32); int8 and int4 need the kernel",
    )  # fmt: skip
    parser.add_argument(
        "--draft", metavar="lookup|MODEL",
        help="guess several tokens for each pass: from the text itself, or by a smaller model; the answer is the same",
    )  # fmt: skip
    ways.add_ways(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="say on stderr what computed, and how long it took")


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """The options of sampling that several commands share."""
    parser.add_argument("--max-tokens", type=int, default=64, metavar="N", help="tokens to write at most (default 64)")
    parser.add_argument("--temperature", type=float, default=1.0, metavar="X", help="0 takes the likeliest token (default 1)")
    parser.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens only")
    parser.add_argument("--top-p", type=float, metavar="P", help="draw from the likeliest tokens that together reach P")
    parser.add_argument("--min-p", type=float, metavar="P", help="draw from tokens at least P times as likely as the likeliest")
    parser.add_argument("--presence-penalty", type=float, default=0.0, metavar="X", help="-2 to 2, against tokens drawn before")
    parser.add_argument("--frequency-penalty", type=float, default=0.0, metavar="X", help="-2 to 2, for each time drawn before")
    parser.add_argument("--repetition-penalty", type=float, default=1.0, metavar="X", help="divides logits, if drawn before")
    parser.add_argument(
        "--logit-bias", type=_bias, action="append", default=[], metavar="ID=X",
        help="add X (-100 to 100) to a token's logit; may be repeated",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same text (default: a new one)")


def sampling(chosen: argparse.Namespace) -> dict[str, Any]:
    """What `add_sampling` read, as `generate` takes it.

    Raises:
        PellucidError: a token with two biases.
    """
    bias = dict(chosen.logit_bias)
    if len(bias) < len(chosen.logit_bias):
        raise PellucidError("--logit-bias names a token twice: give each one bias")
    names = (
        "max_tokens", "temperature", "top_k", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty",
        "seed",
    )  # fmt: skip
    return {name: getattr(chosen, name) for name in names} | {"logit_bias": bias}


def _bias(text: str) -> tuple[int, float]:
    token, _, value = text.partition("=")
    try:
        return int(token), float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no token id and number, such as 50256=-100") from None


def run(chosen: argparse.Namespace) -> int:
    """Runs the command."""
    several = chosen.n != 1 or chosen.best_of is not None
    if chosen.tokens and (chosen.json or several):
        print("pellucid generate: --tokens shows one answer as it comes: leave out --json, --n and --best-of", file=sys.stderr)
        return 2
    if chosen.logprobs is not None and not chosen.json:
        print("pellucid generate: --logprobs goes with --json; --tokens shows the runners-up", file=sys.stderr)
        return 2
    if wrong := ways.wrong_use(chosen):
        print(f"pellucid generate: {wrong}", file=sys.stderr)
        return 2
    prompt = read_prompt(chosen.prompt)
    options = sampling(chosen) | {"slide": chosen.slide}
    began = perf_counter()
    model = _opened(chosen)
    opened = perf_counter()
    if chosen.beam is not None:
        prompt, completion = ways.beam(chosen, prompt, model)
        print(json.dumps(as_json(completion), ensure_ascii=False) if chosen.json else f"{prompt or ''}{completion.text}")
        if chosen.verbose:
            _say_path(model.runner.path, opened - began, len(completion.ids), opened)
        return 0
    if chosen.score:
        ways.print_score(chosen, prompt, model)
        return 0
    prompt, options["stop"] = ways.primed(chosen, prompt, model)
    drafter = model.drafter(chosen.draft)
    if chosen.json or several:
        n: int = chosen.n
        done = model.generate(prompt, n=n, best_of=chosen.best_of, logprobs=chosen.logprobs, draft=drafter, **options)
        completions = done if isinstance(done, list) else [done]
        if chosen.json:
            listed = [as_json(c) for c in completions]
            print(json.dumps(listed[0] if chosen.n == 1 else {"completions": listed}, ensure_ascii=False))
        else:
            for number, completion in enumerate(completions, start=1):
                print(f"[{number}] " * (chosen.n != 1) + f"{prompt or ''}{completion.text}")
        _say_slid(max(completion.slid for completion in completions), model.config.n_ctx)
        if chosen.verbose:
            _say_path(model.runner.path, opened - began, sum(len(completion.ids) for completion in completions), opened)
            _say_drafts(drafter)
        return 0
    row = model.new_sequence(prompt, logprobs=3 if chosen.tokens else None, **options)  # refuses before anything is printed
    tokens = (token for _, token in model.run([row], drafter))
    if chosen.tokens:
        from pellucid.cli.token_lines import print_tokens

        print_tokens(model, tokens)
    else:
        print(prompt or "", end="", flush=True)
        for token in tokens:
            print(token.text, end="", flush=True)
        print()
    _say_slid(row.start, model.config.n_ctx)
    if chosen.verbose:
        _say_path(model.runner.path, opened - began, len(row.tokens), opened)
        _say_drafts(drafter)
    return 0


def _opened(chosen: argparse.Namespace) -> "TextGenerator":
    gc.disable()  # what is imported and read here stays: looking for garbage in it took a tenth of the whole (docs/log.md)
    try:
        from pellucid.generation.text_generator import open_text_generator

        writer = open_text_generator(chosen.model, kernel=chosen.kernel, weights=chosen.weights, tell=_tell)
        if chosen.verbose and writer.no_kernel:
            _tell(writer.no_kernel)
        return writer
    finally:
        gc.enable()


def _tell(line: str) -> None:
    print(f"pellucid: {line}", file=sys.stderr)


def _say_path(path: str, opening: float, tokens: int, since: float) -> None:
    took = perf_counter() - since
    print(f"{path}: opened in {opening:.2f} s, {tokens} tokens in {took:.2f} s (prompt included)", file=sys.stderr)


def _say_drafts(drafter: "Drafter | None") -> None:
    if drafter:
        print(drafter.summary(), file=sys.stderr)


def _say_slid(slid: int, n_ctx: int) -> None:
    if slid:
        print(f"the window of {n_ctx} tokens slid: at the end the first {slid} tokens were no longer read", file=sys.stderr)


def read_prompt(prompt: str | None) -> str | None:
    """The prompt as it was given; `-` is standard input.

    Raises:
        PellucidError: that is not UTF-8.
    """
    if prompt != "-":
        return prompt
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise PellucidError(f"standard input is not UTF-8 text: {error}") from None


def as_json(completion: "Completion") -> dict[str, object]:
    """A completion as plain values."""
    values = asdict(completion)
    if values["top_logprobs"] is None:
        del values["top_logprobs"]
    if not values["slid"]:
        del values["slid"]
    return values
