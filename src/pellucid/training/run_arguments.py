"""The arguments that a run was started with, kept in `RUN/arguments.json`: the same command may resume it, another may not.

A run goes on as it was planned. So an argument that is given again with resume has to be what it was at the start; one that is
not is refused by its name, never ignored. Paths are compared by their absolute names, documents and examples by a digest.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.events import Observer, Skipped, emit
from pellucid.files import write_whole
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.fingerprint import fingerprint
from pellucid.runs.files import ARGUMENTS
from pellucid.runs.plan import MAX_BYTES, Plan
from pellucid.strict_json import Fields, read_json
from pellucid.text.tokenizer import Tokenizer


VERSION = 1
PATHS = ("corpus", "held_out", "examples")  # arguments whose text is a path


def save_arguments(run: Path, arguments: Mapping[str, Any]) -> None:
    """Writes `arguments.json`.

    Args:
        arguments: as they were given, by name; None: not given.
    """
    values = {name: _plain(name, value) for name, value in arguments.items() if value is not None}
    write_whole(run / ARGUMENTS, json.dumps({"version": VERSION, "arguments": values}, indent=2) + "\n")


def check_same_arguments(run: Path, plan: Plan, arguments: Mapping[str, Any], observers: Sequence[Observer]) -> None:
    """Refuses arguments that are not those of the run that is resumed.

    Args:
        arguments: as `save_arguments` takes them; those that were not given are not compared.
        observers: receive the names of those that cannot be compared, where `arguments.json` is lost.

    Raises:
        PellucidError: one differs; the message names it.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    stored, planned = _stored(run), _planned(plan, given)
    unknown = sorted(given.keys() - planned.keys()) if stored is None else []
    if unknown:
        reason = f"it is missing or damaged, so {', '.join(unknown)} cannot be compared: the run goes on as it was planned"
        emit(observers, Skipped(path=str(run / ARGUMENTS), reason=reason))
    for name, value in given.items():
        plain = json.loads(json.dumps(_plain(name, value)))
        known = [place[name] for place in (stored or {}, planned) if name in place]
        if plain not in known and name not in unknown:
            differs = f"is {shown(known[0])} in {run}, not {shown(plain)}" if known else f"was not given when {run} was started"
            raise PellucidError(f"{name} {differs}: a run goes on as it was planned; leave it out, or start a new run")


def _stored(run: Path) -> dict[str, Any] | None:
    """The arguments in `arguments.json`; None where there is no such file, as in runs of earlier versions, or a damaged one."""
    try:
        found = Fields(read_json(run / ARGUMENTS, max_bytes=MAX_BYTES), ARGUMENTS).object("arguments")
    except (OSError, PellucidError):
        return None
    return dict(found.values)


def _planned(plan: Plan, names: Iterable[str]) -> dict[str, Any]:
    """The values of arguments that follow from the plan, defaults included."""
    found = {name: _plain(name, getattr(plan, name)) for name in names if hasattr(plan, name)}
    return found | {
        "steps": plan.total_steps, "learning_rate": plan.recipe.learning_rate, "prompt": plan.sample_prompt,
        "batch_tokens": plan.batch * plan.config.n_ctx, "batch_ramp": plan.recipe.ramp_tokens > 0,
    }  # fmt: skip


def _plain(name: str, value: Any) -> Any:
    """A value as JSON holds it, equal for equal arguments."""
    if isinstance(value, str | Path):
        text = os.fspath(value)
        if name in PATHS or isinstance(value, Path) or os.path.exists(text):
            text = os.path.abspath(text)
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, GPTConfig):
        return value.to_dict()
    if isinstance(value, Tokenizer):
        return value.fingerprint
    if isinstance(value, Decoder):
        return fingerprint(value)
    if isinstance(value, Mapping):
        return {str(key): _plain("", one) for key, one in value.items()}
    if isinstance(value, Iterable):
        listed = list(value)
        if any(not isinstance(one, str | Path | int | float) for one in listed):  # documents or examples
            return sha256("\n".join(map(repr, listed)).encode("utf-8", "backslashreplace")).hexdigest()
        return [_plain(name, one) for one in listed]
    if isinstance(value, bool | int | float):
        return value
    return sha256(repr(value).encode("utf-8", "backslashreplace")).hexdigest()  # one document
