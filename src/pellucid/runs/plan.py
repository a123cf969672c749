"""The plan of a run: every choice, made once, kept in `run.json`, used again on resume."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pellucid.errors import PellucidError
from pellucid.files import write_whole
from pellucid.gpt.config import GPTConfig
from pellucid.runs.files import RECORDS, RUN_FILE
from pellucid.runs.lora import LoraSettings
from pellucid.runs.recipe import DEFAULT_OPTIMIZER, MAX_NUMBER, Recipe
from pellucid.strict_json import MAX_INTEGER, Fields, read_json


VERSION = 1
DAMAGED = "start a new run; the models in its checkpoints/ can still be used"
MAX_BYTES = 1 << 22
MAX_STEPS = 2**40
MAX_THREADS = 1 << 12
MAX_PROMPT_LENGTH = 100_000  # characters of a prompt
DTYPES = ("float32", "bfloat16")
EVALUATIONS = 20  # times in a run that held-out loss is measured and a checkpoint saved, unless asked otherwise
# Of a run's samples; their seed is the run's.
SAMPLE_TOKENS, SAMPLE_TEMPERATURE, SAMPLE_TOP_P = 48, 0.8, 0.95
# Written to `run.json` only where they differ from these: a run without them reads as one from before they existed.
OPTIONAL: dict[str, Any] = {
    "keep": 2, "skip_spikes": 0.0, "patience": 0, "optimizer": DEFAULT_OPTIMIZER, "optimizer_settings": {},
    "mask_documents": False, "device": "cpu", "held_out_windows": 0, "lora": None, "prompt_loss_weight": 0.0,
    "recompute": False,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do.

    Attributes:
        kind: "train" or "finetune".
        batch: windows (or examples) in one optimizer step; micro_batch: how many go through the model at once.
        total_steps: steps in all.
        dtype: of the matrix products, "bfloat16" or "float32".
        compiled: whether steps use the compiled operators (`native.operators`), which round otherwise than PyTorch's.
        threads: PyTorch's on the CPU; another number would round sums differently.
        held_out_every, checkpoint_every: in steps; both also happen at the end.
        sample_at: the steps at which the model writes a sample. sample_prompt: what the sample continues.
        keep_best: whether `model/` ends as the best model on held-out data rather than the last one: the one with the lowest
            loss, or of examples first of all with the most exact answers (`training.checkpoint.KeptModel`).
        record: whether the run is recorded, from its first step on.
        keep: complete checkpoints kept, the newest: one to resume from, and those to fall back on.
        skip_spikes: a step whose loss or gradient norm lies more standard deviations than this above those of the steps
            before it is skipped (`training.spike_guard`); 0: none is.
        patience: held-out evaluations in a row without a lower loss after which the run ends; 0: it takes all its steps.
        optimizer, optimizer_settings: its name (`training.optimizers`), and further arguments of its class.
        mask_documents: whether a token attends to its own document only.
        device: where the model is trained: "cpu", "cuda", "cuda:1", "mps".
        held_out_windows: how many windows of n_ctx tokens held-out loss is measured on, spread over all held-out text; 0: the
            first 8,192 tokens of it, or examples.
        lora: what is trained, if it is adapters beside frozen weights.
        prompt_loss_weight: of the tokens of prompts in the training loss of examples.
        recompute: whether the backward pass computes each block's activations again instead of keeping them.
        source: where the data and the first weights come from, in words and fingerprints.
        machine: the machine that planned the run, in words.
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
    keep: int = OPTIONAL["keep"]
    skip_spikes: float = OPTIONAL["skip_spikes"]
    patience: int = OPTIONAL["patience"]
    optimizer: str = OPTIONAL["optimizer"]
    optimizer_settings: dict[str, Any] = field(default_factory=dict)
    mask_documents: bool = OPTIONAL["mask_documents"]
    device: str = OPTIONAL["device"]
    held_out_windows: int = OPTIONAL["held_out_windows"]
    lora: LoraSettings | None = OPTIONAL["lora"]
    prompt_loss_weight: float = OPTIONAL["prompt_loss_weight"]
    recompute: bool = OPTIONAL["recompute"]
    compiled: bool = False
    source: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values = {name: value for name, value in values.items() if name not in OPTIONAL or value != OPTIONAL[name]}
        values |= {} if self.lora is None else {"lora": self.lora.to_dict()}
        return {"version": VERSION} | values | {"config": self.config.to_dict(), "recipe": self.recipe.to_dict()}

    def save(self, run: Path) -> None:
        """Writes `run.json`, whole or not at all."""
        write_whole(run / RUN_FILE, json.dumps(self.to_dict(), indent=2) + "\n")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            PellucidError: a field is missing, unknown, or of another type or out of range.
        """
        found = Fields(values, "run.json")
        found.only({"version": int} | cls.__dataclass_fields__, "was this run written by a newer version?")
        for name in ("batch", "micro_batch", "total_steps", "held_out_every", "checkpoint_every"):
            found.integer(name, minimum=1, maximum=MAX_STEPS)
        found.integer("seed", minimum=-MAX_INTEGER)
        found.integer("threads", minimum=1, maximum=MAX_THREADS)
        found.integer("keep", 1, minimum=1, maximum=MAX_STEPS)
        found.integer("patience", 0, maximum=MAX_STEPS)
        found.number("skip_spikes", 0.0, minimum=0, maximum=MAX_NUMBER)
        found.number("prompt_loss_weight", 0.0, minimum=0, maximum=1)
        lora = found.object("lora", None)
        for name in ("kind", "sample_prompt"):
            found.text(name, max_length=MAX_PROMPT_LENGTH)
        for name in ("optimizer", "device"):
            found.text(name, "", max_length=100)
        for name in ("keep_best", "record", "mask_documents", "recompute", "compiled"):
            found.flag(name, False)
        for name in ("optimizer_settings", "source", "machine"):
            found.object(name, None)
        if found.value("kind") not in RECORDS:
            raise found.wrong("kind", " or ".join(RECORDS))
        if found.text("dtype") not in DTYPES:
            raise found.wrong("dtype", " or ".join(DTYPES))
        if values["micro_batch"] > values["batch"]:
            raise found.wrong("micro_batch", f"at most the batch of {values['batch']:,}")
        return cls(**{name: value for name, value in values.items() if name != "version"} | {
            "config": GPTConfig.from_dict(found.object("config").values),
            "recipe": Recipe.from_dict(found.object("recipe").values),
            "sample_at": found.integers("sample_at", maximum=MAX_STEPS),
            "lora": None if lora is None else LoraSettings.from_fields(lora),
        })  # fmt: skip

    @classmethod
    def load(cls, run: Path, *, kind: str | None) -> Self:
        """Reads `run.json` to resume a run of that kind; None takes either.

        Raises:
            PellucidError: no run there, one of a newer version, or of another kind; the message says how to resume that.
        """
        path = run / RUN_FILE
        values = read_plan(run)
        if Fields(values, path).integer("version") > VERSION:
            raise PellucidError(f"{path} was written by a newer version of pellucid: upgrade to go on with it")
        try:
            plan = cls.from_dict(values)
        except PellucidError as error:
            raise PellucidError(f"{path} is damaged ({error}): {DAMAGED}") from None
        if kind is not None and plan.kind != kind:
            raise PellucidError(f"{run} is a {plan.kind} run: resume it with pellucid {plan.kind} --resume --out {run}")
        return plan


def read_plan(run: Path) -> dict[str, Any]:
    """The plain values of `run.json`, to show a plan rather than resume it.

    Raises:
        PellucidError: no run there, or a file that is not a JSON object.
    """
    path = run / RUN_FILE
    try:
        return Fields(read_json(path, max_bytes=MAX_BYTES), path).values
    except FileNotFoundError:
        raise PellucidError(f"no run in {run}: it has no {RUN_FILE}") from None
    except OSError as error:
        raise PellucidError(f"{path} cannot be read: {error.strerror or error}") from None
    except PellucidError as error:
        raise PellucidError(f"{path} is damaged ({error}): {DAMAGED}") from None


def read_shown_plan(run: Path) -> dict[str, Any]:
    """The values of `run.json` for a page, each that pages show of its type.

    Raises:
        PellucidError: as `read_plan`, or a field is missing, of another type or out of range.
    """
    values = read_plan(run)
    found = Fields(values, run / RUN_FILE)
    found.text("kind", max_length=40)
    found.text("dtype", max_length=40)
    found.integer("seed", minimum=-MAX_INTEGER)
    for name in ("batch", "total_steps", "threads"):
        found.integer(name, minimum=1, maximum=MAX_STEPS)
    GPTConfig.from_dict(found.object("config").values)
    Recipe.from_dict(found.object("recipe").values)
    found.object("source", None)
    return values


def log_spaced(total: int) -> tuple[int, ...]:
    """Steps 0, 1, 2, 4, 8, ... and the last: a model changes most in its first steps."""
    return tuple(sorted({0, total, *(2**i for i in range(total.bit_length()))}))


def interval(total: int, times: int) -> int:
    """The steps between events that are to happen about `times` times in `total` steps, and no more often."""
    return -(-total // times)
