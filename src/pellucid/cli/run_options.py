"""Flags of `train` and `finetune`, derived from the tables of `training.options`. No torch here."""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from pellucid.training.option_table import RunOption, parse_setting, table
from pellucid.training.options import RunOptions


def add_options(
    parser: argparse.ArgumentParser, options: type[RunOptions], read: Mapping[str, Callable[[str], Any]] | None = None
) -> None:
    """Adds a flag for each option that has one.

    Args:
        read: how to read the text of an option, by name, where its kind does not say so.
    """
    groups: dict[str, argparse._MutuallyExclusiveGroup] = {}
    for name, known in table(options):
        if known.kind is None:
            continue
        if known.group and known.group not in groups:
            groups[known.group] = parser.add_mutually_exclusive_group()
        target = groups.get(known.group, parser)
        flag = f"--{known.flag or name.replace('_', '-')}"
        if known.kind is bool:
            target.add_argument(flag, dest=name, action="store_true", default=None, help=known.help)
            continue
        repeated: dict[str, Any] = {"action": "append"} if known.repeated or known.kind is Mapping else {}
        target.add_argument(
            flag, dest=name, type=(read or {}).get(name, _setting if known.kind is Mapping else known.kind),
            metavar=known.metavar, choices=known.choices or None, help=known.help, **repeated,
        )  # fmt: skip


def given_options(args: argparse.Namespace, options: type[RunOptions]) -> dict[str, Any]:
    """The options that were given on the command line, as keywords of the options' class."""
    flags = {name: known for name, known in table(options) if known.kind is not None}
    values = {name: getattr(args, name) for name in flags}
    return {name: _value(flags[name], value) for name, value in values.items() if value is not None}


def _value(known: RunOption, value: Any) -> Any:
    return dict(value) if known.kind is Mapping else value


def _setting(text: str) -> tuple[str, Any]:
    try:
        return parse_setting(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
