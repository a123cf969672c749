"""The origin of a record: what was run, in enough detail to run it again."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from re import fullmatch
from typing import Any, Self

from pellucid.record.text import check_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """What a record was made from. The recorder gives every value; nothing is looked up here, neither clock nor machine.

    Attributes:
        pellucid: the version that recorded.
        model: fingerprint of the weights.
        config: the model's shape, as `GPTConfig.to_dict()` gives it.
        parameters: how many numbers the model holds.
        dtype: in which it computed ("float32", "bfloat16").
        tokenizer: its fingerprint; None for a model without one.
        checkpoint: name of the checkpoint, and `step`: the training step it belongs to; None where there is none.
        seed: of the draws, or of the run.
        prompt_ids: the tokens that were continued.
        sampling: how tokens were drawn, by option.
        ablation: what was replaced in the model, as `gpt.ablation.Ablation` states it; None: nothing.
        machine: what the timings were measured on, in words by topic.
        created: when, as text (ISO 8601), if the caller wants it in the file.
    """

    pellucid: str
    model: str
    config: Mapping[str, Any]
    parameters: int
    dtype: str
    tokenizer: str | None = None
    checkpoint: str | None = None
    step: int | None = None
    seed: int | None = None
    prompt_ids: tuple[int, ...] | None = None
    sampling: Mapping[str, Any] | None = None
    ablation: Mapping[str, Any] | None = None
    machine: Mapping[str, Any] | None = None
    created: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """For the header. The seed is decimal text: JavaScript's numbers do not hold 64 bits.

        Raises:
            PellucidError: a value that JSON cannot hold.
        """
        plain = {key: value for key, value in asdict(self).items() if value is not None}
        plain |= {key: list(plain[key]) for key in ("prompt_ids",) if key in plain}
        plain |= {key: str(plain[key]) for key in ("seed",) if key in plain}
        check_json(plain, "provenance")
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse; fields of newer minor versions are skipped.

        Raises:
            ValueError: a field is missing or of the wrong type.
        """
        known = {field.name: plain[field.name] for field in fields(cls) if field.name in plain}
        for name, maximum in _MAX.items():
            if name in known and isinstance(known[name], str | int) and not _within(known[name], maximum):
                raise ValueError(f"its provenance has no valid {name}")
        for name, kinds in _KINDS.items():
            if name in known and (not isinstance(known[name], kinds) or isinstance(known[name], bool)):
                raise ValueError(f"its provenance has no valid {name}")
        if "seed" in known:
            if not fullmatch(r"-?[0-9]{1,20}", known["seed"]):
                raise ValueError("its provenance has no valid seed")
            known["seed"] = int(known["seed"])
        if "prompt_ids" in known:
            if not all(type(token) is int and 0 <= token < 2**31 for token in known["prompt_ids"]):
                raise ValueError("its provenance has no valid prompt_ids")
            known["prompt_ids"] = tuple(known["prompt_ids"])
        try:
            return cls(**known)
        except TypeError as error:  # a field without a default is missing
            raise ValueError("its provenance lacks a field") from error


def _within(value: str | int, maximum: int) -> bool:
    """Whether a text is not longer, or a number not larger and not negative."""
    return len(value) <= maximum if isinstance(value, str) else 0 <= value <= maximum


# The longest text, or the largest number.
_MAX = {
    "pellucid": 100, "model": 200, "parameters": 2**53 - 1, "dtype": 20, "tokenizer": 200, "checkpoint": 200,
    "step": 2**53 - 1, "created": 100,
}  # fmt: skip
_KINDS: dict[str, type] = {
    "pellucid": str, "model": str, "config": dict, "parameters": int, "dtype": str, "tokenizer": str, "checkpoint": str,
    "step": int, "seed": str, "prompt_ids": list, "sampling": dict, "ablation": dict,
    "machine": dict, "created": str,
}  # fmt: skip
