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
from pellucid.runs.files import MOMENTS, step_name
from pellucid.runs.metrics import read_metrics
from pellucid.runs.plan import SAMPLE_TEMPERATURE, SAMPLE_TOKENS, SAMPLE_TOP_P, Plan
from pellucid.runtime.inference_mode import inference_mode
from pellucid.training.batches import WindowBatches
from pellucid.training.watch import recorded_steps
from pellucid.version import __version__


Array = Any


def stats_file(run: Path, step: int) -> Path:
    """The file of the statistics kept when `step` steps were done."""
    return run / MOMENTS / f"{step_name(step)}.safetensors"


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
    provenance = Provenance(
        pellucid=__version__,
        model=fingerprint(model),
        config=plan.config.to_dict(),
        parameters=plan.config.parameters(),
        dtype=plan.dtype,
        tokenizer=model.require_tokenizer().fingerprint,
        checkpoint=step_name(step),
        step=step,
        seed=plan.seed,
        sampling={
            "max_tokens": SAMPLE_TOKENS, "temperature": SAMPLE_TEMPERATURE, "top_p": SAMPLE_TOP_P, "prompt": plan.sample_prompt,
        },
        machine=plan.machine | {"threads": plan.threads},
    )  # fmt: skip
    recorded = [each for each in recorded_steps(plan.total_steps) if each < step or each == step == plan.total_steps]
    with RecordWriter(target, "training", provenance) as writer:
        _TrainingChunks(writer, plan, model, batches).write(run, step, recorded, stretch_loss)


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
        matrices = [name for name, _ in self.plan.config.matrices()]
        self.add("plan", self.plan.to_dict() | {"seed": str(self.plan.seed)})  # 64 bits, more than JSON's readers hold
        self._steps(lines)
        self.add("moments/steps", np.array(recorded))
        self.add("matrices", matrices)
        for name in ("gradients", "updates", "weights"):
            self.add(f"moments/{name}", np.stack([one[name] for one in stats]))
        for name in matrices:
            stacked = as_uint8(np.stack([one[f"thumbnail.{name}"] for one in stats]))
            self.add("thumbnails/{matrix}", stacked, {"tensor": f"{name}.weight"}, matrix=name)
        self.add_ids("window/ids", held_out_window(self.batches))
        self.add("window/loss", np.stack([one["window"] for one in stats]))
        self._example(recorded, stats)
        self._stretch(stretch_loss)
        self._held_out(lines)
        self._samples(lines)
        tokenizer = self.model.require_tokenizer()
        for name, value in zip(PIECES, piece_table(tokenizer, self.tokens), strict=True):
            self.writer.add(name, value, **describe("training", name))

    def _steps(self, lines: list[dict[str, Any]]) -> None:
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

    def _held_out(self, lines: list[dict[str, Any]]) -> None:
        measured = [line for line in lines if "held_out_loss" in line]
        self.add("held_out/steps", np.array([line["step"] for line in measured], np.int64))
        self.add("held_out/loss", np.array([line["held_out_loss"] for line in measured], np.float64))
        self.add("held_out/bits_per_byte", np.array([line["bits_per_byte"] for line in measured], np.float64))

    def _samples(self, lines: list[dict[str, Any]]) -> None:
        samples = [line for line in lines if "sample" in line]
        encode = self.model.require_tokenizer().encode
        for line in samples:
            self.tokens.update([*encode(line["prompt"]), *line["ids"]])
        kept = ("step", "tokens", "prompt", "ids")
        self.add("samples", [{name: line[name] for name in kept} | {"text": line["sample"]} for line in samples])
