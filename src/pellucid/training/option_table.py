"""The table of a run's options: what each is beside its name, the checks of its value, and what derives from it. Torch-free."""

import inspect
import numbers
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from pellucid.arguments import shown, text_of
from pellucid.errors import PellucidError
from pellucid.runs.plan import MAX_PROMPT_LENGTH, MAX_STEPS


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOption:
    """The description of an option beside its name.

    Attributes:
        kind: what its flag reads: int, float, str, bool (a switch) or Mapping (NAME=VALUE, repeated). None: it has no flag.
        help, metavar: for `--help`.
        choices: the values it may have; empty: any.
        positive: whether it must be a finite number above 0. maximum: the largest that a plan and its record can hold.
        group: at most one option of a group may be given.
        repeated: whether its flag may be given several times, for a list of values.
        planned: whether the plan has a field of the same name that takes the value as it is.
        flag: the flag's name, where it is not the option's.
        elastic: whether it may differ when the run is resumed.
    """

    kind: type | None
    help: str
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    positive: bool = False
    maximum: float = MAX_STEPS
    group: str = ""
    repeated: bool = False
    planned: bool = False
    flag: str = ""
    elastic: bool = False


def option(kind: type | None, help: str, **known: Any) -> Any:
    """A dataclass field that is an option; its arguments are `RunOption`'s."""
    return field(default=None, metadata={"option": RunOption(kind=kind, help=help, **known)})


def check_type(name: str, kind: type | None, value: object) -> None:
    """Refuses a value of another type than the option's.

    Raises:
        PellucidError: it names the option.
    """
    if kind is bool and not isinstance(value, bool):
        raise PellucidError(f"{name} must be true or false, not {shown(value)}")
    if kind is int and (isinstance(value, bool) or not isinstance(value, numbers.Integral)):
        raise PellucidError(f"{name} must be a whole number, not {shown(value)}")
    if kind is float and (isinstance(value, bool) or not isinstance(value, numbers.Real)):
        raise PellucidError(f"{name} must be a number, not {shown(value)}")
    if kind is str and name not in ("held_out", "tokenizer", "lora_targets"):  # which take more than their flags give
        text_of(name, value)
    if kind is Mapping and not isinstance(value, Mapping):
        raise PellucidError(f"{name} must be a mapping of names to values, not {shown(value)}")


def check_prompt(prompt: str) -> None:
    """Refuses a prompt that no plan can hold.

    Raises:
        PellucidError: it is too long, or not text as UTF-8 has it.
    """
    if len(prompt) > MAX_PROMPT_LENGTH:
        raise PellucidError(f"prompt may have at most {MAX_PROMPT_LENGTH:,} characters, not {len(prompt):,}")
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise PellucidError(f"prompt must be text in UTF-8, not {shown(prompt)}: it holds bytes of another encoding") from None


def table(options: type[Any]) -> Iterator[tuple[str, RunOption]]:
    """(name, description) of each option, in the order of the fields."""
    return ((f.name, f.metadata["option"]) for f in fields(options))


Function = TypeVar("Function", bound=Callable[..., Any])


def takes_options(options: type[Any]) -> Callable[[Function], Function]:
    """Shows a function's `**options` as the keywords that it takes, in `help` and in completion."""

    def decorate(function: Function) -> Function:
        shown = inspect.signature(function)
        own = [p for p in shown.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        keywords = [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=f.type) for f in fields(options)
        ]
        function.__signature__ = shown.replace(parameters=[*own, *keywords])  # type: ignore[attr-defined]
        return function

    return decorate


def parse_setting(text: str) -> tuple[str, Any]:
    """"momentum=0.9" -> ("momentum", 0.9): true, false, none, numbers, and numbers with commas between them.

    Raises:
        ValueError: it is none of these.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"{text!r} is no name and value, such as momentum=0.9")
    words: dict[str, Any] = {"true": True, "false": False, "none": None}
    if value.lower() in words:
        return name, words[value.lower()]
    if "," in value:
        return name, tuple(float(part) for part in value.split(","))
    try:
        return name, int(value)
    except ValueError:
        pass
    try:
        return name, float(value)
    except ValueError:
        return name, value
