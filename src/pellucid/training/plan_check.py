"""Checks a plan before its run's folder is made: that the run can be resumed, recorded and stored on its disk."""

import json
import shutil
from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.runs.metrics import MAX_COUNT
from pellucid.runs.plan import Plan
from pellucid.strict_json import parse_json
from pellucid.training.optimizers import optimizer_bytes
from pellucid.training.watch import steps_before_example


def check_plan(plan: Plan, folder: Path) -> None:
    """Refuses a plan that cannot be read again to resume its run, that a record cannot hold, or that the disk has no room for.

    Args:
        folder: on the disk of the run.

    Raises:
        PellucidError: the message names the number that is too large, or how much room is missing.
    """
    try:
        Plan.from_dict(parse_json(json.dumps(plan.to_dict()).encode()))
    except (TypeError, ValueError) as error:
        raise PellucidError(f"this run could not be resumed: {_reason(error)}") from None
    if (tokens := plan.recipe.total_tokens) > MAX_COUNT:
        raise PellucidError(f"a run has at most {MAX_COUNT:,} tokens, not {tokens:,}: give a smaller budget or batch")
    need, free = disk_bytes(plan), shutil.disk_usage(folder).free
    if free < need:
        raise PellucidError(
            f"the run takes {need / 1e6:,.1f} MB on its disk, {checkpoints_at_once(plan):,} checkpoints and its models, which "
            f"has {free / 1e6:,.1f} MB left: make room, name another --out, or keep fewer checkpoints (--keep 1)"
        )


def _reason(error: Exception) -> str:
    """Why a plan is refused; of a value that JSON cannot hold, where such values come from."""
    if isinstance(error, PellucidError):
        return str(error)
    return f"optimizer_settings must be finite numbers, texts, true or false, or lists of these ({error})"


def checkpoints_at_once(plan: Plan) -> int:
    """How many checkpoints are on the disk while the last is written: it, those that are kept, and that of the example."""
    saved = -(-plan.total_steps // plan.checkpoint_every)
    example = plan.record and plan.kind == "train" and steps_before_example(plan.total_steps) > 0
    return min(plan.keep, saved - 1) + 1 + example


def disk_bytes(plan: Plan) -> int:
    """Bytes that a run's weights and optimizer states take on its disk at most: its checkpoints, `model/` and `best/` with one
    file being replaced. Metrics, record and text are not counted.
    """
    weights = 4 * plan.config.parameters()
    if plan.lora is None:
        checkpoint = weights + optimizer_bytes(plan.config, plan.optimizer, plan.optimizer_settings)
    else:  # the merged model; the adapters, and two moments of each
        checkpoint = weights + 3 * 4 * plan.lora.parameters(plan.config)
    return checkpoints_at_once(plan) * checkpoint + (2 + 2 * plan.keep_best) * weights
