"""Recording a training run: what is kept at which steps, where it waits, and how it becomes a record.

M moments, Q weight matrices, W tracks of the fixed window, X tracks of the example, K candidates.

Nothing is kept in memory between moments. What a moment saw goes into `RUN/moments/step-....safetensors` at once, and numbers
by step are in `RUN/metrics.jsonl` anyway; the record is put together from those files at checkpoints and at the end. So
a run that was killed has lost nothing that it will not do again, and a resumed run gives the record of an uninterrupted one.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from pellucid import __version__, events
from pellucid.errors import PellucidError
from pellucid.generation.model import GPT
from pellucid.gpt.fingerprint import fingerprint
from pellucid.interpret.capture import pieces
from pellucid.interpret.training_stats import (
    WINDOW,
    chosen_track,
    losses,
    losses_and_tops,
    norms,
    stretch,
    thumbnail,
    weights_of,
)
from pellucid.record import Provenance, RecordWriter, as_uint8, describe, open_record
from pellucid.runs.files import MOMENTS, RECORDS, step_name
from pellucid.runs.metrics import read_metrics
from pellucid.runs.plan import SAMPLE_TEMPERATURE, SAMPLE_TOKENS, SAMPLE_TOP_P, Plan
from pellucid.runtime.inference_mode import inference_mode
from pellucid.training import checkpoint
from pellucid.training.batches import WindowBatches
from pellucid.training.checkpoint import State
from pellucid.training.watch import example_moment, moments


Array = Any
RECORD = RECORDS["train"]
_STRETCH = "training/stretch/loss"


class MomentWatch:
    """Sees a moment (`training.watch.Watcher`): the weights, and the gradients and the update of the step that follows.

    Attributes:
        seen: its numbers by name, complete after `after`: (Q,) gradients, updates, weights; (W,) window; thumbnail.MATRIX;
            example.* at the moment that takes the example.
    """

    def __init__(self, plan: Plan, window: Array) -> None:
        self.plan, self.window = plan, window
        self.dtype: torch.dtype = getattr(torch, plan.dtype)
        self.names = [name for name, _ in plan.config.matrices()]
        self.seen: dict[str, Array] = {}
        self._before: list[Tensor] = []
        self._example: tuple[Array, Array, Array, Array] | None = None

    def watches(self, step: int) -> bool:
        """Whether a moment is due when `step` steps are done."""
        return step in moments(self.plan.total_steps)

    def before(self, model: GPT, optimizer: torch.optim.Optimizer, state: State, ids: Tensor, targets: Tensor) -> None:
        """The moment's weights, and the gradients of the step that follows."""
        named = dict(model.named_parameters())
        gradients = [named[f"{name}.weight"].grad for name in self.names]
        assert all(gradient is not None for gradient in gradients)
        self.seen = self.of_weights(model) | {"gradients": norms([g for g in gradients if g is not None]).numpy()}
        self._before = [weight.clone() for weight in weights_of(model)]
        if state.step == example_moment(self.plan.total_steps):
            window = np.concatenate((ids[0].numpy(), targets[0, -1:].numpy()))
            self._example = (window, *self._look_at(model, window))

    def after(self, model: GPT) -> None:
        """What the update changed."""
        pairs = zip(weights_of(model), self._before, strict=True)
        self.seen["updates"] = norms(now - then for now, then in pairs).numpy()
        self._before = []
        if self._example is not None:
            window, *before = self._example
            self.seen |= example(window, before, self._look_at(model, window))
            self._example = None

    def of_weights(self, model: GPT) -> dict[str, Array]:
        """What a moment sees of the weights alone."""
        weights = weights_of(model)
        with inference_mode(model):
            seen = {"weights": norms(weights).numpy(), "window": losses(model, self.window[None], self.dtype)[0]}
        return seen | {f"thumbnail.{name}": thumbnail(name, w) for name, w in zip(self.names, weights, strict=True)}

    def _look_at(self, model: GPT, window: Array) -> tuple[Array, Array, Array]:
        with inference_mode(model):
            return losses_and_tops(model, window, self.dtype)


class TrainingRecorder(MomentWatch):
    """Watches a run, hears its events, and writes `RUN/training.pellucid`.

    Watching costs a copy of the matrices during the watched step, one pass over a window of text, and one over the weights;
    steps between moments cost nothing.

    Args:
        run: its directory. plan: what it does.
        model: the model that is trained. batches: where its windows come from.
    """

    def __init__(self, run: Path, plan: Plan, model: GPT, batches: WindowBatches) -> None:
        super().__init__(plan, held_out_window(batches))
        self.run, self.model, self.batches = run, model, batches
        self.moments = moments(plan.total_steps)
        self._step = -1
        self._fresh = True  # whether a moment has been kept since the record was written

    def watches(self, step: int) -> bool:
        """Whether a moment is due when `step` steps are done."""
        return step in self.moments

    def before(self, model: GPT, optimizer: torch.optim.Optimizer, state: State, ids: Tensor, targets: Tensor) -> None:
        """As a moment does; at the example's it also keeps a checkpoint. The weights before the first step the seed gives."""
        self._step = state.step
        super().before(model, optimizer, state, ids, targets)
        if 0 < state.step == example_moment(self.plan.total_steps):
            checkpoint.keep_example(self.run, model, optimizer, state)

    def after(self, model: GPT) -> None:
        """As a moment does; and keeps it."""
        super().after(model)
        self._keep()

    def _keep(self) -> None:
        """Puts what this moment saw into its file, whole or not at all."""
        final = moment_file(self.run, self._step)
        part = final.with_suffix(".part")
        try:
            final.parent.mkdir(exist_ok=True)
            save_file(self.seen, part)
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, final)
        except (OSError, SafetensorError) as error:
            part.unlink(missing_ok=True)
            raise PellucidError(f"could not write {final}: {error}; mend that, or go on without a record") from error
        self.seen = {}
        self._fresh = True

    # What is heard.

    def observe(self, event: events.Event) -> None:
        """Forgets, when a run goes on from a checkpoint, what is about to happen again; writes the record.

        At a checkpoint it is written if there is a new moment in it: between moments it would cost more than it tells.
        """
        match event:
            case events.RunStarted():
                self._go_on_from(event.step)
            case events.CheckpointSaved():
                if self._fresh and event.step < self.plan.total_steps:  # the end follows at once
                    self.put_together(self.run / RECORD, event.step, stretch_loss=False)
                    self._fresh = False
            case events.RunFinished():
                if not self._written(event.step):
                    self._write(event.step)
            case _:
                pass

    def _go_on_from(self, step: int) -> None:
        """Drops moments that will come again.

        Raises:
            PellucidError: an earlier one is not there, so that no whole record can come of this run.
        """
        for path in (self.run / MOMENTS).glob("*"):
            if not path.name.startswith("step-") or path.suffix == ".part" or path >= moment_file(self.run, step):
                path.unlink()
        for moment in self.moments:
            if moment < step and not moment_file(self.run, moment).is_file():
                raise PellucidError(
                    f"{moment_file(self.run, moment)} is missing, so this run can no longer be recorded: put it back, or go "
                    "on without a record (--no-record)"
                )

    def _written(self, step: int) -> bool:
        try:
            with open_record(self.run / RECORD) as record:
                whole = _STRETCH in record or "training/stretch/ids" not in record
                return record.kind == "training" and record.provenance.step == step and whole
        except PellucidError:
            return False

    def _write(self, step: int) -> None:
        """The record of all that was seen and heard until now."""
        if step == self.plan.total_steps:  # the last moment, which no step follows
            nothing = np.full(len(self.names), np.nan, np.float32)
            self._step, self.seen = step, self.of_weights(self.model) | {"gradients": nothing, "updates": nothing}
            self._keep()
        self.put_together(self.run / RECORD, step)

    def put_together(self, target: Path | BinaryIO, step: int, *, stretch_loss: bool = True) -> None:
        """Writes the record of the first `step` steps from the run's files.

        Args:
            stretch_loss: reads the stretch with the model as it is now: for the end of a run, to save the time before.

        Raises:
            PellucidError: one is missing or damaged, or `target` cannot be written.
        """
        kept = [moment for moment in self.moments if moment < step or moment == step == self.plan.total_steps]
        with RecordWriter(target, "training", self._provenance(step)) as writer:
            _Chunks(writer, self).write(step, kept, stretch_loss)

    def _provenance(self, step: int) -> Provenance:
        plan, model = self.plan, self.model
        return Provenance(
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
                "max_tokens": SAMPLE_TOKENS, "temperature": SAMPLE_TEMPERATURE, "top_p": SAMPLE_TOP_P,
                "prompt": plan.sample_prompt,
            },
            machine=plan.machine | {"threads": plan.threads},
        )  # fmt: skip


def moment_file(run: Path, step: int) -> Path:
    """What the moment saw at which `step` steps were done."""
    return run / MOMENTS / f"{step_name(step)}.safetensors"


def held_out_window(batches: WindowBatches) -> Array:
    """(W + 1,): the first held-out tokens, at most `WINDOW` + 1 of them."""
    return batches.held_out_windows[0][: WINDOW + 1]


def example(window: Array, before: Sequence[Array], after: Sequence[Array]) -> dict[str, Array]:
    """The example's numbers, from (losses, likeliest ids, their log-probabilities) by track before and after the update."""
    track = chosen_track(before[0], after[0])
    return {
        "example.ids": window.astype(np.int32),
        "example.track": np.array([track]),
        "example.loss": np.stack([before[0], after[0]]),
        "example.topk_ids": np.stack([before[1][track], after[1][track]]),
        "example.topk_logprobs": np.stack([before[2][track], after[2][track]]),
    }


class _Chunks:
    """Puts a record together from the run's files, with the words that the schema has for them."""

    def __init__(self, writer: RecordWriter, recorder: TrainingRecorder) -> None:
        self.writer, self.recorder = writer, recorder
        self.tokens: set[int] = set()

    def add(self, name: str, value: Any, source: dict[str, Any] | None = None, **parts: str) -> None:
        words = describe("training", f"training/{name}")
        self.writer.add(f"training/{name}".format(**parts), value, source=source, **words)

    def add_ids(self, name: str, ids: Array) -> None:
        """Token ids, whose pieces the record will hold."""
        self.tokens.update(ids.ravel().tolist())
        self.add(name, ids.astype(np.int32))

    def write(self, step: int, kept: list[int], stretch_loss: bool) -> None:
        """Everything up to `step`, with the moments `kept`."""
        of = self.recorder
        lines = read_metrics(of.run, until=step)
        seen = [load_moment(of.run, moment) for moment in kept]
        self.add("plan", of.plan.to_dict() | {"seed": str(of.plan.seed)})  # 64 bits, which JSON's readers do not hold
        self._steps(lines)
        self.add("moments/steps", np.array(kept))
        self.add("matrices", of.names)
        for name in ("gradients", "updates", "weights"):
            self.add(f"moments/{name}", np.stack([one[name] for one in seen]))
        for name in of.names:
            stacked = as_uint8(np.stack([one[f"thumbnail.{name}"] for one in seen]))
            self.add("thumbnails/{matrix}", stacked, {"tensor": f"{name}.weight"}, matrix=name)
        self.add_ids("window/ids", of.window)
        self.add("window/loss", np.stack([one["window"] for one in seen]))
        self._example(kept, seen)
        self._stretch(stretch_loss)
        self._held_out(lines)
        self._samples(lines)
        tokenizer = of.model.require_tokenizer()
        for name, value in zip(("ids", "starts", "bytes"), pieces(tokenizer, self.tokens), strict=True):
            self.writer.add(f"pieces/{name}", value, **describe("training", f"pieces/{name}"))

    def _steps(self, lines: list[dict[str, Any]]) -> None:
        steps = [line for line in lines if "loss" in line]
        self.add("steps/tokens", np.array([line["tokens"] for line in steps], np.int64))
        for name in ("lr", "loss", "grad_norm", "tokens_per_s"):
            self.add(f"steps/{name}", np.array([line[name] for line in steps], np.float64))

    def _example(self, kept: list[int], seen: list[dict[str, Array]]) -> None:
        for moment, one in zip(kept, seen, strict=True):
            if "example.ids" in one:
                self.add("example/step", np.int64(moment + 1))
                self.add_ids("example/ids", one["example.ids"])
                self.add("example/loss", one["example.loss"])
                self.add("example/track", np.int64(one["example.track"][0]))
                self.add_ids("example/topk_ids", one["example.topk_ids"])
                self.add("example/topk_logprobs", one["example.topk_logprobs"])

    def _stretch(self, with_loss: bool) -> None:
        of = self.recorder
        found = stretch(of.batches.windows, of.model.end_of_text)
        if found is not None:
            self.add_ids("stretch/ids", found.ids)
            self.add("stretch/starts", found.starts)
            if with_loss:
                with inference_mode(of.model):
                    found_losses = losses(of.model, found.windows(of.plan.config.n_ctx), of.dtype)
                self.add("stretch/loss", found_losses)

    def _held_out(self, lines: list[dict[str, Any]]) -> None:
        looks = [line for line in lines if "held_out_loss" in line]
        self.add("held_out/steps", np.array([line["step"] for line in looks], np.int64))
        self.add("held_out/loss", np.array([line["held_out_loss"] for line in looks], np.float64))
        self.add("held_out/bits_per_byte", np.array([line["bits_per_byte"] for line in looks], np.float64))

    def _samples(self, lines: list[dict[str, Any]]) -> None:
        samples = [line for line in lines if "sample" in line]
        encode = self.recorder.model.require_tokenizer().encode
        for line in samples:
            self.tokens.update([*encode(line["prompt"]), *line["ids"]])
        kept = ("step", "tokens", "prompt", "ids")
        self.add("samples", [{name: line[name] for name in kept} | {"text": line["sample"]} for line in samples])


def load_moment(run: Path, step: int) -> dict[str, Array]:
    """What the moment saw.

    Raises:
        PellucidError: its file is missing or damaged.
    """
    path = moment_file(run, step)
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise PellucidError(f"cannot read {path}: {error}; the record cannot be put together without it") from error
