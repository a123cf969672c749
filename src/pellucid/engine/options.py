"""The table of sampling options, and `SamplingOptions`, one request's options, checked against it. No torch here.

Each row of `SAMPLING_OPTIONS` says all that is known of an option: type, range, default, help, and whether a record names it.
From the table derive: the checks of `SamplingOptions`, the flags of the command line (`cli.generate`), the fields of the
studio's HTTP request and form (`serve.studio.generate_request`), and the columns of a record's sampling options
(`interpret.capture`, re-read by `interpret.verify.identity`). `SamplingOptions` and `GenerationMixin.generate` are written
out for type checkers; a test compares them with the table.
"""

import os
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from re import fullmatch
from typing import TYPE_CHECKING, Any, Literal

from pellucid.arguments import as_float, as_integer, flag, shown
from pellucid.errors import PellucidError
from pellucid.strict_json import is_text


if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# As in GPT-3's API: its ranges for penalties and biases. The range of repetition_penalty is a choice.
MAX_PENALTY, MAX_BIAS, MAX_REPETITION_PENALTY = 2.0, 100.0, 100.0
# Choices: no text or vocabulary is longer, and JavaScript holds it exactly; a sequence is made for each completion.
MAX_COUNT, MAX_SAMPLES = 2**31 - 1, 2**16 - 1

OptionType = Literal["int", "float", "bool", "texts", "biases"]
Recorded = Literal["always", "when changed", "in provenance", "never"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingOption:
    """One row of the table.

    Attributes:
        name: of the keyword; `--name` with hyphens is the flag, and the JSON field has the same name.
        type: "int", "float", "bool", "texts" (strings, none of them empty) or "biases" ((token id, number) pairs).
        default: what its absence means.
        help: one line for the command line and the form.
        minimum, maximum: the range, both ends included unless `above_minimum`; None: no limit.
        nullable: None is a value: the option does nothing.
        draws: whether it changes which tokens are drawn, or how many.
        recorded: whether the sampling options of a generation record name it: always, only where it differs from the default,
            in a field of the provenance itself, or never (an x-ray refuses the option).
        metavar: how `--help` names the value.
        requirement: what a value must be, for the error message; None: made from type and range.
    """

    name: str
    type: OptionType
    default: Any
    help: str
    minimum: float | None = None
    maximum: float | None = None
    above_minimum: bool = False
    nullable: bool = False
    draws: bool = True
    recorded: Recorded = "when changed"
    metavar: str | None = None
    requirement: str | None = None

    @property
    def flag(self) -> str:
        """The option of the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def flag_default(self) -> Any:
        """What argparse gives where the flag is not given: a list for flags that may be repeated."""
        return [] if self.type in ("texts", "biases") else self.default

    def check(self, value: Any) -> Any:
        """The value as `SamplingOptions` holds it.

        Raises:
            PellucidError: another type, or outside the range.
        """
        if value is None and self.nullable:
            return None
        match self.type:
            case "texts":
                return _texts(value)
            case "biases":
                return bias_pairs(value)
            case "bool":
                return flag(self.name, value)
            case "int":
                number: float | None = as_integer(value)
            case "float":  # a whole number stays one, so that a record names 1 as it was given; beyond 2**53 floats are coarser
                whole = as_integer(value)
                number = whole if whole is not None and abs(whole) <= 2**53 else as_float(value)
        if number is None or not self._in_range(number):
            raise PellucidError(f"{self.name} must be {self._required(value)}, not {shown(value)}")
        return number

    def from_json(self, value: Any) -> Any:
        """The checked value of a JSON field. Biases come as an object, {"50256": -100}; a whole number that
        JavaScript's numbers cannot hold exactly (a seed) may come as a string of digits.

        Raises:
            PellucidError: another type, or outside the range.
        """
        if self.type == "biases" and isinstance(value, dict):
            for key in value:
                if not (key.isascii() and key.isdigit() and len(key) < 16):
                    raise PellucidError(f"{self.name} gives token ids their biases: {key!r} is no token id")
            value = [(int(key), bias) for key, bias in value.items()]  # "5" and "05" are one token: `check` refuses that
        wide = self.type == "int" and self.maximum is not None and self.maximum > 2**53
        if wide and isinstance(value, str) and fullmatch(r"-?[0-9]{1,19}", value):
            value = int(value)
        return self.check(value)

    def wire(self) -> dict[str, Any]:
        """The row as JSON, for a form."""
        return {
            "name": self.name, "type": self.type, "default": list(self.default) if self.default == () else self.default,
            "help": self.help, "minimum": self.minimum, "maximum": self.maximum, "above_minimum": self.above_minimum,
            "nullable": self.nullable,
        }  # fmt: skip

    def _in_range(self, value: float) -> bool:
        if self.minimum is not None and (value <= self.minimum if self.above_minimum else value < self.minimum):
            return False
        return self.maximum is None or value <= self.maximum

    def _required(self, value: object) -> str:
        if self.requirement is not None:
            return self.requirement
        if self.type == "int":
            if self.maximum is not None and (given := as_integer(value)) is not None and given > self.maximum:
                return f"less than 2**{(int(self.maximum) + 1).bit_length() - 1}"
            return f"a whole number, {int(self.minimum or 0)} or more"
        return f"from {self.minimum:g} to {self.maximum:g}"


SAMPLING_OPTIONS: tuple[SamplingOption, ...] = (
    SamplingOption(
        name="max_tokens", type="int", default=64, minimum=0, maximum=MAX_COUNT, recorded="always", metavar="N",
        help="tokens to write at most",
    ),
    SamplingOption(
        name="temperature", type="float", default=1.0, minimum=0, recorded="always", metavar="X",
        requirement="0 (the likeliest token) or more", help="0 takes the likeliest token",
    ),
    SamplingOption(
        name="top_k", type="int", default=None, minimum=1, maximum=MAX_COUNT, nullable=True, recorded="always", metavar="K",
        help="draw from the K likeliest tokens only",
    ),
    SamplingOption(
        name="top_p", type="float", default=None, minimum=0, above_minimum=True, maximum=1, nullable=True, recorded="always",
        metavar="P", requirement="more than 0 and at most 1", help="draw from the likeliest tokens that together reach P",
    ),
    SamplingOption(name="stop", type="texts", default=(), recorded="always", metavar="TEXT", help="stop before this text"),
    SamplingOption(
        name="min_p", type="float", default=None, minimum=0, maximum=1, nullable=True, metavar="P",
        help="draw from tokens at least P times as likely as the likeliest",
    ),
    SamplingOption(
        name="presence_penalty", type="float", default=0.0, minimum=-MAX_PENALTY, maximum=MAX_PENALTY, metavar="X",
        help="-2 to 2, against tokens drawn before",
    ),
    SamplingOption(
        name="frequency_penalty", type="float", default=0.0, minimum=-MAX_PENALTY, maximum=MAX_PENALTY, metavar="X",
        help="-2 to 2, for each time drawn before",
    ),
    SamplingOption(
        name="repetition_penalty", type="float", default=1.0, minimum=1 / MAX_REPETITION_PENALTY,
        maximum=MAX_REPETITION_PENALTY, metavar="X", help="divides logits, if drawn before",
    ),
    SamplingOption(name="logit_bias", type="biases", default=(), metavar="ID=X", help="add X (-100 to 100) to a token's logit"),
    SamplingOption(
        name="seed", type="int", default=None, minimum=-(2**63), maximum=2**63 - 1, recorded="in provenance", metavar="N",
        help="the same seed gives the same text (default: a new one)",
    ),
    SamplingOption(
        name="slide", type="bool", default=False, recorded="never",
        help="go on past the context window, forgetting the beginning",
    ),
    SamplingOption(
        name="logprobs", type="int", default=None, minimum=0, maximum=MAX_COUNT, nullable=True, draws=False, recorded="never",
        metavar="K", help="also report the K likeliest tokens at each place",
    ),
)  # fmt: skip
# Of a request, not of a draw: how many completions there are.
REQUEST_OPTIONS: tuple[SamplingOption, ...] = (
    SamplingOption(
        name="n", type="int", default=1, minimum=1, maximum=MAX_SAMPLES, recorded="never", metavar="N",
        help="how many completions",
    ),
    SamplingOption(
        name="best_of", type="int", default=None, minimum=1, maximum=MAX_SAMPLES, nullable=True, recorded="never", metavar="N",
        help="write N, give the likeliest per token",
    ),
)  # fmt: skip


def option_named(name: str) -> SamplingOption:
    """The row of a sampling or request option."""
    return next(option for option in (*SAMPLING_OPTIONS, *REQUEST_OPTIONS) if option.name == name)


def recordable_options() -> tuple[SamplingOption, ...]:
    """The options that a generation record can hold: those of `xray` and of the studio."""
    return tuple(option for option in SAMPLING_OPTIONS if option.recorded != "never")


def fresh_seed() -> int:
    """A new seed from the operating system's randomness, short enough to be typed again."""
    return int.from_bytes(os.urandom(4), "little")


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingOptions:
    """How tokens are drawn, checked against `SAMPLING_OPTIONS`.

    Attributes:
        max_tokens: tokens to draw at most; 0 draws none.
        temperature: logits are divided by it. 0 takes the likeliest token (of equals the lowest id).
        top_k: only the k likeliest tokens stay (of equals the lower ids); None: all.
        top_p: then only the fewest, likeliest first, that together have at least this share of what is left; None: all.
        min_p: then only those at least this many times as likely as the likeliest; None: all.
        presence_penalty: subtracted from the logit of each token that this completion has drawn already, -2 to 2.
        frequency_penalty: subtracted once for each time it was drawn, -2 to 2.
        repetition_penalty: those logits are divided by it if positive, else multiplied, 0.01 to 100; 1 does nothing.
        logit_bias: (token id, what is added to its logit) pairs, -100 (as good as never) to 100; a mapping becomes these.
        slide: continue past the context window, reading only the last part of the text (`sequence.window_start`).
        stop: the text ends before any of these strings; one string is taken as a tuple of one.
        seed: of the draws, a signed 64-bit number.
        logprobs: how many of the likeliest tokens to report at each position; None: none.

    Raises:
        PellucidError: a value out of range.
    """

    max_tokens: int = 64
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int = field(default_factory=fresh_seed)
    logprobs: int | None = None
    min_p: float | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    slide: bool = False

    def __post_init__(self) -> None:
        for option in SAMPLING_OPTIONS:
            object.__setattr__(self, option.name, option.check(getattr(self, option.name)))

    @property
    def uses_counts(self) -> bool:
        """Whether a draw depends on how often each token was drawn before."""
        return bool(self.presence_penalty or self.frequency_penalty) or self.repetition_penalty != 1

    def truncates(self, vocab_size: int) -> bool:
        """Whether fewer than all of `vocab_size` tokens may be left to draw from."""
        few = self.top_k is not None and self.top_k < vocab_size
        return few or (self.top_p is not None and self.top_p < 1) or bool(self.min_p)

    def recorded(self) -> dict[str, Any]:
        """The options as JSON, as a generation record names them (`SamplingOption.recorded`), all but the seed."""
        named = {}
        for option in SAMPLING_OPTIONS:
            value = getattr(self, option.name)
            if option.recorded == "always" or (option.recorded == "when changed" and value != option.default):
                named[option.name] = _as_json(value)
        return named

    @classmethod
    def from_record(cls, named: Mapping[str, Any], seed: int) -> "SamplingOptions":
        """The options that a record names, checked again.

        Raises:
            KeyError: one that is always recorded is not there. PellucidError: a value out of range.
        """
        stated: dict[str, Any] = {"seed": seed}
        for option in SAMPLING_OPTIONS:
            if option.recorded == "always" or (option.recorded == "when changed" and option.name in named):
                stated[option.name] = named[option.name]
        return cls(**stated)


def _as_json(value: Any) -> Any:
    return [_as_json(one) for one in value] if isinstance(value, tuple) else value


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = (value,)
    try:
        if isinstance(value, Mapping | Set | bytes):
            raise TypeError
        texts: tuple[Any, ...] = tuple(value)  # type: ignore[arg-type]
    except TypeError:
        raise PellucidError(f"stop is a text or several, not {shown(value)}") from None
    for text in texts:
        if not isinstance(text, str) or not text or not is_text(text):
            raise PellucidError(f"a stop string must be text, and not empty; got {shown(text)}")
    return texts


class BiasPairs(tuple[tuple[int, float], ...]):
    """(token id, bias) pairs, sorted. A bias for every token costs a draw little: as arrays they are made once."""

    @cached_property
    def arrays(self) -> "tuple[NDArray[np.int64], NDArray[np.float64]]":
        """(ids, biases)."""
        import numpy as np  # here: commands read the table without it

        return np.array([token for token, _ in self], np.int64), np.array([bias for _, bias in self], np.float64)


def bias_pairs(bias: object) -> BiasPairs:
    """Biases by token id, a mapping or pairs, as `SamplingOptions` holds them: sorted (id, bias) pairs.

    Raises:
        PellucidError: other types, a bias outside -100 to 100, or two biases of one token.
    """
    listed = bias.items() if isinstance(bias, Mapping) else bias
    try:
        given = [(token, value) for token, value in listed]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise PellucidError(f"logit_bias gives token ids their biases, as {{50256: -100}}; not {shown(bias)}") from None
    pairs: dict[int, float] = {}
    for name, value in given:
        token, number = as_integer(name), as_float(value)
        if token is None or token < 0:
            raise PellucidError(f"a token id of logit_bias must be a whole number, 0 or more, not {shown(name)}")
        if number is None or not -MAX_BIAS <= number <= MAX_BIAS:
            raise PellucidError(
                f"the logit_bias of token {shown(token)} must be from {-MAX_BIAS:g} to {MAX_BIAS:g}, not {shown(value)}"
            )
        if token in pairs:
            raise PellucidError("logit_bias names a token twice: give each one bias")
        pairs[token] = number
    return BiasPairs(sorted(pairs.items()))
