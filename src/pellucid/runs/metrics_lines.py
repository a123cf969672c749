"""The lines of `metrics.jsonl` as values, each of its type and within its range."""

from typing import Any

from pellucid.strict_json import Fields, parse_json


MAX_LINE_BYTES = 1 << 20
LARGEST_COUNT = 2**53 - 1
LARGEST_ID = 2**31 - 1
_NUMBERS = {
    "loss", "lr", "grad_norm", "tokens_per_s", "waiting", "flops_per_s", "matmul_share", "held_out_loss", "bits_per_byte",
}  # fmt: skip
_TEXTS = {"prompt", "sample"}


def parse_line(line: bytes) -> dict[str, Any]:
    """The values of a line, each of its type.

    Raises:
        ValueError: what is wrong with it.
    """
    found = Fields(parse_json(line, max_bytes=MAX_LINE_BYTES), "it")
    found.integer("step", most=LARGEST_COUNT)
    for name in ("tokens", "right", "examples"):
        found.integer(name, None, most=LARGEST_COUNT)
    for name in _NUMBERS.intersection(found.values):
        found.number(name)
    for name in _TEXTS.intersection(found.values):
        found.text(name)
    found.integers("ids", None, most=LARGEST_ID)
    if (skipped := found.object("skipped", None)) is not None:
        for name in skipped:
            skipped.number(name)
    return found.values
