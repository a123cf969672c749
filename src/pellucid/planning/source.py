"""`planned_model`: the config to plan for, from a preset's name, a model or run directory, or a config file."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pellucid.arguments import path_of
from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.presets import PRESETS, preset
from pellucid.gpt.published import PUBLISHED, TOTAL_TOKENS, Published
from pellucid.runs.files import RUN_FILE
from pellucid.runs.plan import MAX_STEPS, read_plan
from pellucid.runs.recipe import MAX_NUMBER, MAX_TOKENS, TOKENS_PER_PARAMETER
from pellucid.strict_json import Fields, read_json


MAX_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedModel:
    """A config with what is known of its training.

    Attributes:
        name: as the user gave it.
        tokens: to train on. tokens_reason: why so many, as text.
        batch_tokens, learning_rate: the preset's or run's, if known.
        published: the paper's rows, for a GPT-3 size.
    """

    name: str
    config: GPTConfig
    tokens: int
    tokens_reason: str
    batch_tokens: int | None = None
    learning_rate: float | None = None
    published: Published | None = None


def planned_model(source: str | Path) -> PlannedModel:
    """The model that `source` names.

    Args:
        source: a preset; "default", the embedded model; a model directory (config.json), a run directory (run.json), or
            either file; or a JSON file of `GPTConfig.to_dict`'s keys.

    Raises:
        PellucidError: nothing readable there; the message lists the presets or names the file.
    """
    name = str(source)
    if name in PRESETS:
        return _preset(name)
    path = path_of("a model", source)
    if name == "default":
        path = Path(str(resources.files("pellucid"))) / "assets" / "default"
    from pellucid.gpt.config_json import CONFIG  # presets need neither this nor numpy

    if path.is_dir() and (path / RUN_FILE).exists():
        path /= RUN_FILE
    if path.is_file() and path.name != CONFIG:
        return _from_json(name, path)
    if path.is_dir() or path.is_file():
        from pellucid.formats.hf_config import read_config  # presets need none

        return _untrained(name, read_config(path if path.is_dir() else path.parent))
    raise PellucidError(
        f"{name!r} is neither a preset nor a directory or file that exists; presets: {', '.join(PRESETS)}"
    )


def _preset(name: str) -> PlannedModel:
    chosen, config = preset(name), GPTConfig.preset(name)
    found, published = _untrained(name, config), PUBLISHED.get(name)
    return PlannedModel(
        name=name, config=config,
        tokens=int(TOTAL_TOKENS) if published else found.tokens,
        tokens_reason="as GPT-3, Table D.1" if published else found.tokens_reason,
        batch_tokens=chosen.batch_tokens, learning_rate=chosen.learning_rate, published=published,
    )  # fmt: skip


def _untrained(name: str, config: GPTConfig) -> PlannedModel:
    return PlannedModel(
        name=name, config=config, tokens=TOKENS_PER_PARAMETER * config.parameters(),
        tokens_reason=f"{TOKENS_PER_PARAMETER} a parameter, a choice",
    )  # fmt: skip


def _from_json(name: str, path: Path) -> PlannedModel:
    if path.name == RUN_FILE:
        plan = Fields(read_plan(path.parent), path)
        recipe, config = plan.object("recipe"), GPTConfig.from_dict(plan.object("config").values)
        return PlannedModel(
            name=name, config=config, tokens=recipe.integer("total_tokens", minimum=1, maximum=MAX_TOKENS),
            tokens_reason="as this run was planned",
            batch_tokens=plan.integer("batch", minimum=1, maximum=MAX_STEPS) * config.n_ctx,
            learning_rate=recipe.number("learning_rate", minimum=0, maximum=MAX_NUMBER),
        )  # fmt: skip
    try:
        values = read_json(path, max_bytes=MAX_CONFIG_BYTES)
    except (OSError, PellucidError) as error:
        raise PellucidError(f"{path} is not a JSON file that can be read: {error}") from None
    if not isinstance(values, dict):
        raise PellucidError(f"{path} is not a config: it is not a JSON object")
    try:
        return _untrained(name, GPTConfig.from_dict(values))
    except PellucidError as error:
        raise PellucidError(f"{path}: {error}") from None
