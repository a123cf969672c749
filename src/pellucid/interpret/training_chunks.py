"""The chunks of a training record, from the files of its run: `run.json`, `metrics.jsonl` and `moments/`."""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file

from pellucid.errors import PellucidError
from pellucid.generation.model import GPT
from pellucid.gpt.fingerprint import fingerprint
from pellucid.interpret.capture import PIECES, piece_table
from pellucid.interpret.training_stats import held_out_window, losses, stretch
from pellucid.record import Provenance, RecordWriter, as_uint8, describe
from pellucid.runs.files import METRICS, stats_file, step_name
from pellucid.runs.metrics import missing_line, read_metrics
from pellucid.runs.plan import SAMPLE_TEMPERATURE, SAMPLE_TOKENS, SAMPLE_TOP_P, Plan
from pellucid.runtime.inference_mode import inference_mode
from pellucid.text import Tokenizer
from pellucid.training.batches import WindowBatches
from pellucid.training.watch import recorded_steps
from pellucid.version import __version__


Array = Any


def load_stats(run: Path, step: int) -> dict[str, Array]:
    """The statistics kept when `step` steps were done, as `TrainingStatsWatcher.stats`.

    Raises:
        PellucidError: their file is missing or damaged.
    """
    path = stats_file(run, step)
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise PellucidError(f"cannot read {path}: {error}; the record cannot be written without it") from error


def write_training_record(
    target: Path | BinaryIO, run: Path, plan: Plan, model: GPT, batches: WindowBatches, *, step: int, stretch_loss: bool
) -> None:
    """Writes the record of a run's first `step` steps from the run's files.

    Args:
        model: with the weights after `step` steps; their fingerprint goes into the provenance.
        stretch_loss: also compute the model's losses on the stretch. At the end of a run only, to save time before.

    Raises:
        PellucidError: a file is missing or damaged, or `target` cannot be written.
    """
    provenance = training_provenance(plan, model=fingerprint(model), tokenizer=model.require_tokenizer(), step=step)
    with RecordWriter(target, "training", provenance) as writer:
        _TrainingChunks(writer, plan, model, batches).write(run, step, steps_until(plan, step), stretch_loss)


def write_logged_chunks(target: BinaryIO, run: Path, plan: Plan, model: GPT, batches: WindowBatches, *, step: int) -> None:
    """Writes those chunks of a training record that the run's own log still gives: from `metrics.jsonl`, from `moments/`.

    Args:
        model: of the run's shape; its weights are not used.

    Raises:
        PellucidError, OSError, ValueError or KeyError: a file is damaged.
    """
    recorded = steps_until(plan, step)
    provenance = training_provenance(plan, model="", tokenizer=model.require_tokenizer(), step=step)
    with RecordWriter(target, "training", provenance) as writer:
        chunks = _TrainingChunks(writer, plan, model, batches)
        if (run / METRICS).is_file():
            lines = read_metrics(run, until=step)
            if missing := missing_line(lines, plan, step):
                raise PellucidError(f"{run / METRICS} has no line for {missing}")
            chunks.write_steps(lines)
            chunks.write_held_out(lines)
            chunks.write_samples(lines)
        if all(stats_file(run, each).is_file() for each in recorded):
            chunks.write_recorded_steps(recorded, [load_stats(run, each) for each in recorded])


def training_provenance(plan: Plan, *, model: str, tokenizer: Tokenizer, step: int) -> Provenance:
    """The provenance of the record of a run's first `step` steps.

    Args:
        model: the fingerprint of the weights after them.
    """
    return Provenance(
        pellucid=__version__,
        model=model,
        config=plan.config.to_dict(),
        parameters=plan.config.parameters(),
        dtype=plan.dtype,
        tokenizer=tokenizer.fingerprint,
        checkpoint=step_name(step),
        step=step,
        seed=plan.seed,
        sampling={
            "max_tokens": SAMPLE_TOKENS, "temperature": SAMPLE_TEMPERATURE, "top_p": SAMPLE_TOP_P, "prompt": plan.sample_prompt,
        },
        machine=plan.machine | {"threads": plan.threads},
    )  # fmt: skip


def steps_until(plan: Plan, step: int) -> list[int]:
    """The recorded steps of a record of the first `step` steps."""
    return [each for each in recorded_steps(plan.total_steps) if each < step or each == step == plan.total_steps]


def thumbnail_source(matrix: str) -> dict[str, str]:
    """The `source` of a thumbnail's chunk."""
    return {"tensor": f"{matrix}.weight"}


class _TrainingChunks:
    """Adds training chunks with the schema's descriptions, and collects the token ids that need pieces."""

    def __init__(self, writer: RecordWriter, plan: Plan, model: GPT, batches: WindowBatches) -> None:
        self.writer, self.plan, self.model, self.batches = writer, plan, model, batches
        self.tokens: set[int] = set()

    def add(self, name: str, value: Any, source: dict[str, Any] | None = None, **parts: str) -> None:
        description = describe("training", f"training/{name}")
        self.writer.add(f"training/{name}".format(**parts), value, source=source, **description)

    def add_ids(self, name: str, ids: Array) -> None:
        """Adds token ids, whose pieces the record will hold too."""
        self.tokens.update(ids.ravel().tolist())
        self.add(name, ids.astype(np.int32))

    def write(self, run: Path, step: int, recorded: list[int], stretch_loss: bool) -> None:
        """Everything up to `step`, with the statistics of the `recorded` steps."""
        lines = read_metrics(run, until=step)
        stats = [load_stats(run, each) for each in recorded]
        self.add("plan", self.plan.to_dict() | {"seed": str(self.plan.seed)})  # 64 bits, more than JSON's readers hold
        self.write_steps(lines)
        self.write_recorded_steps(recorded, stats)
        self._stretch(stretch_loss)
        self.write_held_out(lines)
        self.write_samples(lines)
        tokenizer = self.model.require_tokenizer()
        for name, value in zip(PIECES, piece_table(tokenizer, self.tokens), strict=True):
            self.writer.add(name, value, **describe("training", name))

    def write_recorded_steps(self, recorded: list[int], stats: list[dict[str, Array]]) -> None:
        """What comes from `moments/`."""
        matrices = [name for name, _ in self.plan.config.matrices()]
        self.add("moments/steps", np.array(recorded))
        self.add("matrices", matrices)
        for name in ("gradients", "updates", "weights"):
            self.add(f"moments/{name}", np.stack([one[name] for one in stats]))
        for name in matrices:
            stacked = as_uint8(np.stack([one[f"thumbnail.{name}"] for one in stats]))
            self.add("thumbnails/{matrix}", stacked, thumbnail_source(name), matrix=name)
        self.add_ids("window/ids", held_out_window(self.batches))
        self.add("window/loss", np.stack([one["window"] for one in stats]))
        self._example(recorded, stats)

    def write_steps(self, lines: list[dict[str, Any]]) -> None:
        """What comes from the lines of steps."""
        steps = [line for line in lines if "loss" in line]
        self.add("steps/tokens", np.array([line["tokens"] for line in steps], np.int64))
        for name in ("lr", "loss", "grad_norm", "tokens_per_s"):
            self.add(f"steps/{name}", np.array([line[name] for line in steps], np.float64))

    def _example(self, recorded: list[int], stats: list[dict[str, Array]]) -> None:
        for step, one in zip(recorded, stats, strict=True):
            if "example.ids" in one:
                self.add("example/step", np.int64(step + 1))
                self.add_ids("example/ids", one["example.ids"])
                self.add("example/loss", one["example.loss"])
                self.add("example/track", np.int64(one["example.track"][0]))
                self.add_ids("example/topk_ids", one["example.topk_ids"])
                self.add("example/topk_logprobs", one["example.topk_logprobs"])

    def _stretch(self, with_loss: bool) -> None:
        found = stretch(self.batches.windows, self.model.end_of_text)
        if found is not None:
            self.add_ids("stretch/ids", found.ids)
            self.add("stretch/starts", found.starts)
            if with_loss:
                dtype: torch.dtype = getattr(torch, self.plan.dtype)
                with inference_mode(self.model):
                    found_losses = losses(self.model, found.windows(self.plan.config.n_ctx), dtype)
                self.add("stretch/loss", found_losses)

    def write_held_out(self, lines: list[dict[str, Any]]) -> None:
        """What comes from the lines of held-out measurements."""
        measured = [line for line in lines if "held_out_loss" in line]
        self.add("held_out/steps", np.array([line["step"] for line in measured], np.int64))
        self.add("held_out/loss", np.array([line["held_out_loss"] for line in measured], np.float64))
        self.add("held_out/bits_per_byte", np.array([line["bits_per_byte"] for line in measured], np.float64))

    def write_samples(self, lines: list[dict[str, Any]]) -> None:
        """What comes from the lines of samples."""
        samples = [line for line in lines if "sample" in line]
        encode = self.model.require_tokenizer().encode
        for line in samples:
            self.tokens.update([*encode(line["prompt"]), *line["ids"]])
        kept = ("step", "tokens", "prompt", "ids")
        self.add("samples", [{name: line[name] for name in kept} | {"text": line["sample"]} for line in samples])
