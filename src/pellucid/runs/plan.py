"""The plan of a run: every choice, made once, kept in `run.json`, used again on resume."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pellucid.errors import PellucidError
from pellucid.files import write_whole
from pellucid.gpt.config import GPTConfig
from pellucid.runs.files import RUN_FILE
from pellucid.runs.recipe import DEFAULT, Recipe


VERSION = 1
DAMAGED = "start a new run; the models in its checkpoints/ can still be used"
LOOKS = 20  # times in a run that held-out text is looked at and a checkpoint saved, unless asked otherwise
SAMPLE_TOKENS = 48
# Left out of `run.json` where they are not asked for: a run without them is written as if there were none.
ASKED_FOR: dict[str, Any] = {
    "keep": 2, "skip_spikes": 0.0, "patience": 0, "optimizer": DEFAULT, "optimizer_settings": {}, "mask_documents": False,
}  # fmt: skip
SAMPLE_TEMPERATURE, SAMPLE_TOP_P = 0.8, 0.95  # of a run's samples; their seed is the run's


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do.

    Attributes:
        kind: "train" or "finetune".
        batch: windows (or examples) in one optimizer step; micro_batch: how many go through the model at once.
        total_steps: steps in all.
        dtype: of the matrix products, "bfloat16" or "float32".
        compiled: whether steps take the compiled operators (`pellucid.operators`), which round otherwise than PyTorch's.
        threads: PyTorch's; another number would round sums differently.
        held_out_every, checkpoint_every: in steps; both also happen at the end.
        sample_at: the steps at which the model writes a sample. sample_prompt: after what.
        keep_best: whether `model/` ends as the model with the lowest held-out loss rather than the last one.
        record: whether the run is recorded, from its first step on.
        keep: complete checkpoints kept, the newest: one to go on from, and those to fall back on.
        skip_spikes: a step whose loss or gradient lies more standard deviations than this above those of the steps before it
            is left out (`guard`); 0: none is.
        patience: looks at held-out text in a row without a lower loss after which the run ends; 0: it goes to its end.
        optimizer, optimizer_settings: which (`optimizers`), and what else its class is given.
        mask_documents: whether a token sees its own document only.
        source: where the data and the first weights come from, in words and fingerprints.
    """

    kind: str
    config: GPTConfig
    recipe: Recipe
    seed: int
    batch: int
    micro_batch: int
    total_steps: int
    dtype: str
    threads: int
    held_out_every: int
    checkpoint_every: int
    sample_at: tuple[int, ...]
    sample_prompt: str
    keep_best: bool = False
    record: bool = False
    keep: int = ASKED_FOR["keep"]
    skip_spikes: float = ASKED_FOR["skip_spikes"]
    patience: int = ASKED_FOR["patience"]
    optimizer: str = ASKED_FOR["optimizer"]
    optimizer_settings: dict[str, Any] = field(default_factory=dict)
    mask_documents: bool = ASKED_FOR["mask_documents"]
    compiled: bool = False
    source: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values = {name: value for name, value in values.items() if name not in ASKED_FOR or value != ASKED_FOR[name]}
        return {"version": VERSION} | values | {"config": self.config.to_dict(), "recipe": self.recipe.to_dict()}

    def save(self, run: Path) -> None:
        """Writes `run.json`, whole or not at all."""
        write_whole(run / RUN_FILE, json.dumps(self.to_dict(), indent=2) + "\n")

    @classmethod
    def load(cls, run: Path, *, kind: str) -> Self:
        """Reads `run.json` to go on with a run of that kind.

        Raises:
            PellucidError: no run there, one of a newer version, or of another kind; the message says how to resume that.
        """
        path = run / RUN_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise PellucidError(f"no run in {run}: it has no {RUN_FILE}") from None
        except ValueError as error:
            raise PellucidError(f"{path} is damaged ({error}): {DAMAGED}") from None
        try:
            if values.pop("version") > VERSION:
                raise PellucidError(f"{path} was written by a newer version of pellucid: upgrade to go on with it")
            plan = cls(**values | {
                "config": GPTConfig.from_dict(values["config"]),
                "recipe": Recipe.from_dict(values["recipe"]),
                "sample_at": tuple(values["sample_at"]),
            })  # fmt: skip
        except (KeyError, TypeError, AttributeError) as error:
            raise PellucidError(f"{path} is damaged ({error!r}): {DAMAGED}") from None
        if plan.kind != kind:
            raise PellucidError(f"{run} is a {plan.kind} run: resume it with pellucid {plan.kind} --resume --out {run}")
        return plan


def log_spaced(total: int) -> tuple[int, ...]:
    """Steps 0, 1, 2, 4, 8, ... and the last: where a model changes most, one looks most often."""
    return tuple(sorted({0, total, *(2**i for i in range(total.bit_length()))}))


def spaced(total: int, times: int) -> int:
    """Every how many steps something happens about `times` times in `total` steps, and no more often."""
    return -(-total // times)
