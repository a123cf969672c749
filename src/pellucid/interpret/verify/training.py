"""A training record against its run: what went in is looked up, what came out is computed again where weights are left.

N steps, M moments, Q weight matrices, W tracks of the fixed window, X tracks of the example, Z windows of the stretch.

A run keeps few checkpoints: the newest two, the one that the example's step was taken from, and the first weights, which the
seed gives. From each of these the numbers of its moment are computed again, and the step that followed is taken again. All
other numbers of the record are only compared with what the run noted when they came to be (`metrics.jsonl`, `moments/`):
that finds a record that was changed, but proves nothing about the run, and the report says so.

Tolerances, by the dtype of the run's products. Each covers sums taken in another order (other threads, another machine); taken
again on the machine that recorded, the numbers are equal to the bit. Choices:

    losses     LOOSE x (1 + nats)            weights      2^-16 of the norm
    gradients  4 x LOOSE of the norm         thumbnails   half a step of 1/255, and 2^-18 of the largest number
    updates    16 x LOOSE of the norm: Adam divides by the root of a mean of squares, which is uncertain where it is small
    samples    none: a draw that lies nearer to its edge than rounding goes may fall to the other side on another machine
    given      none; 2^-40 of the learning rate, whose cosine is the system's
"""

import json
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.corpus.shards import open_corpus
from pellucid.errors import PellucidError
from pellucid.generation.model import GPT
from pellucid.interpret.capture import pieces
from pellucid.interpret.training_recorder import TrainingRecorder, held_out_window
from pellucid.interpret.training_stats import stretch
from pellucid.interpret.verify.difference import Array, Difference, equal, listed, off, partly, said
from pellucid.interpret.verify.replay import Found, replay
from pellucid.interpret.verify.report import Row
from pellucid.record import Record, open_record
from pellucid.runs.files import CORPUS, RUN_FILE
from pellucid.runs.plan import Plan
from pellucid.text import Tokenizer
from pellucid.training.batches import WindowBatches
from pellucid.training.watch import example_moment, moments


LOOSE = {"float32": 2.0**-12, "bfloat16": 2.0**-5}
_T = "training/"


class TrainingAgain:
    """Everything that a training record holds, from the run's directory.

    Raises:
        PellucidError: that is no training run or another one, its corpus or a checkpoint is damaged, or the record names other
            things than its plan does.
    """

    def __init__(self, record: Record, run: Path) -> None:
        if not (run / RUN_FILE).is_file():
            raise PellucidError(
                f"a training record is verified with its run's directory (run.json, corpus/, checkpoints/), and {run} is none: "
                "name it (-m RUN)"
            )
        self.record, self.run = record, run
        self.plan = Plan.load(run, kind="train")
        refuse_other_run(record, record[_T + "plan"], self.plan, run)
        self.tokenizer = Tokenizer.load(run / CORPUS)
        corpus = open_corpus(run / CORPUS)
        self.batches = WindowBatches.of(self.plan, corpus, self.tokenizer)
        self.steps = len(record[_T + "steps/loss"])
        if record.provenance.step != self.steps:
            raise PellucidError(f"the record states {record.provenance.step} steps and holds {self.steps}: it was changed")
        self.moments = [m for m in moments(self.plan.total_steps) if m < self.steps or m == self.plan.total_steps == self.steps]
        self.looks = sorted({*range(0, self.steps + 1, self.plan.held_out_every)} | (
            {self.steps} if self.steps == self.plan.total_steps else set()
        ))  # fmt: skip
        self.stretch = stretch(self.batches.windows, self.plan.config.end_id)
        self.loose = LOOSE[self.plan.dtype]
        track = int(record[_T + "example/track"]) if _T + "example/track" in record else None
        within = track is not None and 0 <= track < self.plan.config.n_ctx
        parts = (run, self.plan, self.batches, self.tokenizer, self.steps, self.stretch, track if within else None)
        self.found: dict[int, Found] = dict(replay(*parts))
        if self.steps in self.found and self.found[self.steps].model != record.provenance.model:
            raise PellucidError(
                f"the record was made of another run: it names the model {record.provenance.model[:12]}, and after "
                f"{self.steps} steps {run} has {self.found[self.steps].model[:12]}"
            )
        self.noted = self._notes()

    def _notes(self) -> Record | None:
        """The record as the run's own notes give it, or None if they are gone."""
        recorder = TrainingRecorder(self.run, self.plan, GPT(self.plan.config, tokenizer=self.tokenizer), self.batches)
        buffer = BytesIO()
        try:
            recorder.put_together(buffer, self.steps, stretch_loss=False)
        except (PellucidError, OSError, KeyError):
            return None
        return open_record(buffer.getvalue())

    def rows(self) -> tuple[Row, ...]:
        """What there is to say of each chunk."""
        by_name: dict[str, Callable[[str], Row]] = {
            _T + "plan": lambda name: self._same(name, True),  # compared before anything else
            _T + "matrices": lambda name: self._same(name, self.record[name] == self._names()),
            _T + "steps/tokens": lambda name: self._given(name, [self._tokens(step + 1) for step in range(self.steps)]),
            _T + "steps/lr": self._lr,
            _T + "steps/loss": lambda name: self._of_steps(name, 0, lambda right: self.loose * (1 + np.abs(right))),
            _T + "steps/grad_norm": lambda name: self._of_steps(name, 1, lambda right: 4 * self.loose * right),
            _T + "steps/tokens_per_s": self._measured,
            _T + "moments/steps": lambda name: self._given(name, self.moments),
            _T + "moments/gradients": lambda name: self._of_moments(name, "gradients", lambda right: 4 * self.loose * right),
            _T + "moments/updates": lambda name: self._of_moments(name, "updates", lambda right: 16 * self.loose * right),
            _T + "moments/weights": lambda name: self._of_moments(name, "weights", lambda right: 2.0**-16 * right),
            _T + "window/ids": lambda name: self._given(name, held_out_window(self.batches)),
            _T + "window/loss": lambda name: self._of_moments(name, "window", lambda right: self.loose * (1 + right)),
            _T + "samples": self._samples,
            _T + "example/step": lambda name: self._given(name, example_moment(self.plan.total_steps) + 1),
            _T + "example/ids": lambda name: self._given(name, self._example_ids()),
            _T + "example/loss": self._example,
            _T + "example/track": self._example,
            _T + "example/topk_ids": self._example,
            _T + "example/topk_logprobs": self._example,
            _T + "stretch/ids": lambda name: self._given(name, self.stretch.ids if self.stretch else []),
            _T + "stretch/starts": lambda name: self._given(name, self.stretch.starts if self.stretch else []),
            _T + "stretch/loss": self._stretch_loss,
            _T + "held_out/steps": lambda name: self._given(name, self.looks),
            _T + "held_out/loss": lambda name: self._of_looks(name, 0),
            _T + "held_out/bits_per_byte": lambda name: self._of_looks(name, 1),
        }
        return tuple(self._row(name, by_name) for name in self.record)

    def _row(self, name: str, by_name: Mapping[str, Callable[[str], Row]]) -> Row:
        if name.startswith("pieces/"):
            return self._pieces(name)
        if name.startswith(_T + "thumbnails/"):
            lo, hi = self.record.entry(name).scale or (0.0, 0.0)
            allowed = (hi - lo) / 510 * (1 + 2.0**-10) + 2.0**-18 * max(abs(lo), abs(hi))
            return self._of_moments(name, "thumbnail." + name.removeprefix(_T + "thumbnails/"), lambda right: allowed)
        if name not in by_name:
            truth = self.record.entry(name).truth
            return Row(chunk=name, truth=truth, ok=False, note="this Pellucid cannot compute it again")
        return by_name[name](name)

    # What went in.

    def _names(self) -> list[str]:
        return [name for name, _ in self.plan.config.matrices()]

    def _tokens(self, step: int) -> int:
        return self.batches.tokens_before(step)

    def _example_ids(self) -> Array:
        return self.batches.windows.window(self.batches.windows_before(example_moment(self.plan.total_steps)))

    def _same(self, name: str, same: bool) -> Row:
        return Difference(0.0 if same else np.inf, 0.0).row(self.record, name)

    def _given(self, name: str, right: Sequence[int] | int | Array) -> Row:
        return equal(self.record[name], np.asarray(right)).row(self.record, name)

    def _lr(self, name: str) -> Row:
        right = np.array([self.plan.recipe.learning_rate_at(self._tokens(step)) for step in range(self.steps)])
        return Difference(np.abs(self.record[name] - right), 2.0**-40 * right).row(self.record, name)

    def _pieces(self, name: str) -> Row:
        ids = ("window/ids", "example/ids", "example/topk_ids", "stretch/ids")
        named = {int(token) for chunk in ids if _T + chunk in self.record for token in self.record[_T + chunk].ravel()}
        samples = self.record[_T + "samples"] if _T + "samples" in self.record else []  # noqa: SIM401 (a record has no get)
        for line in samples:
            named |= {int(token) for token in line["ids"]} | set(self.tokenizer.encode(line["prompt"]))
        named = {token for token in named if 0 <= token < self.plan.config.vocab_size}
        right = dict(zip(("pieces/ids", "pieces/starts", "pieces/bytes"), pieces(self.tokenizer, named), strict=True))
        return equal(self.record[name], right[name]).row(self.record, name)

    def _measured(self, name: str) -> Row:
        sound = bool(np.all(np.isfinite(self.record[name])) and np.all(self.record[name] >= 0))
        note = "measured: cannot be computed again" if sound else "measured, but no speed can be that"
        return Row(chunk=name, truth=self.record.entry(name).truth, ok=sound, note=note)

    # What came out.

    def _of_steps(self, name: str, place: int, allowed: Callable[[Array], Array]) -> Row:
        again = {step: np.array(found.step[place]) for step, found in self.found.items() if found.step is not None}
        return partly(self.record, self.noted, name, again, allowed, range(1, self.steps + 1))

    def _of_moments(self, name: str, key: str, allowed: Callable[[Array], Array | float]) -> Row:
        again = {}
        for place, moment in enumerate(self.moments):
            seen = self.found[moment].moment if moment in self.found else {}
            if key in seen:
                again[place] = seen[key].astype(np.float64)
            elif key in ("gradients", "updates") and moment == self.plan.total_steps:
                again[place] = np.full(len(self._names()), np.nan)  # no step follows
        return partly(self.record, self.noted, name, again, allowed, self.moments)

    def _of_looks(self, name: str, place: int) -> Row:
        again = {
            index: np.array(held_out[place])
            for index, step in enumerate(self.looks)
            if step in self.found and (held_out := self.found[step].held_out) is not None
        }
        return partly(self.record, self.noted, name, again, lambda right: self.loose * (1 + np.abs(right)), self.looks)

    def _stretch_loss(self, name: str) -> Row:
        found = self.found.get(self.steps)
        if found is None or found.stretch is None or self.stretch is None:
            note = "not checked: the checkpoint it was computed from is gone"
            return Row(chunk=name, truth=self.record.entry(name).truth, ok=self.stretch is not None, note=note, unchecked=1)
        right = found.stretch.astype(np.float64)
        if right.shape != self.record[name].shape:
            return self._same(name, False)
        return Difference(off(self.record[name], right), self.loose * (1 + right), "nats").row(self.record, name)

    def _samples(self, name: str) -> Row:
        due = [step for step in self.plan.sample_at if step <= self.steps] if self.plan.sample_prompt else []
        stored, notes = self.record[name], None if self.noted is None else self.noted[name]
        try:
            ok = [line["step"] for line in stored] == due and all(
                line["prompt"] == self.plan.sample_prompt and line["tokens"] == self._tokens(line["step"]) for line in stored
            )
            again: list[int] = []
            for place, line in enumerate(stored if ok else []):
                written = self.found[line["step"]].sample if line["step"] in self.found else None
                if written is not None:
                    again.append(line["step"])
                    ok = ok and (line["text"], line["ids"]) == written
                elif notes is not None:
                    ok = ok and line == notes[place]
        except (KeyError, TypeError):
            return self._same(name, False)
        found = Difference(0.0 if ok else np.inf, 0.0)
        return said(self.record, found, name, again, len(due) - len(again), notes is not None)

    def _example(self, name: str) -> Row:
        moment = example_moment(self.plan.total_steps)
        found = self.found.get(moment)
        stored = self.record[name].astype(np.float64)
        if found is None or "example.loss" not in found.moment:
            notes = self.noted[name] if self.noted is not None and name in self.noted else None
            if notes is None:
                return said(self.record, Difference(0.0, 0.0), name, [], 1, False)
            alike = off(stored, notes.astype(np.float64)) if notes.shape == stored.shape else np.inf
            return said(self.record, Difference(alike, 0.0), name, [], 1, True)
        losses = found.moment["example.loss"].astype(np.float64)
        track = int(self.record[_T + "example/track"])
        if name.endswith("/loss"):
            if stored.shape != losses.shape:
                return self._same(name, False)
            return Difference(off(stored, losses), self.loose * (1 + losses), "nats").row(self.record, name)
        if not 0 <= track < losses.shape[1] or found.example is None:
            return self._same(name, False)
        if name.endswith("/track"):  # of two that gained alike but for rounding, either may be chosen
            gains = np.exp(-losses[1]) - np.exp(-losses[0])
            spread = self.loose * (1 + losses).sum(0)
            return Difference(gains.max() - gains[track], spread.max(), "of probability").row(self.record, name)
        ids, logprobs = self.record[_T + "example/topk_ids"], self.record[_T + "example/topk_logprobs"]
        nats = self.loose * (1 + found.example.topk(ids.shape[1]).values.abs().numpy())
        parts = listed(found.example, ids, logprobs, nats)
        return parts[0 if name.endswith("_ids") else 1].row(self.record, name)


def refuse_other_run(record: Record, stated: Any, plan: Plan, run: Path) -> None:
    """Refuses a record whose provenance or plan is not that of `run`.

    Raises:
        PellucidError: it is another run's; the message names what differs.
    """
    named = record.provenance
    mine = json.loads(json.dumps(plan.to_dict() | {"seed": str(plan.seed)}))
    if not isinstance(stated, dict):
        raise PellucidError(f"the record's {record.kind}/plan is no plan: it was changed")
    for key in [*mine, *stated]:
        if stated.get(key) != mine.get(key):
            raise PellucidError(
                f"the record is of another run than {run}: its plan says {key} {str(stated.get(key))[:60]}, the run's says "
                f"{str(mine.get(key))[:60]}"
            )
    recorded = {
        "config": dict(named.config), "parameters": named.parameters, "dtype": named.dtype, "tokenizer": named.tokenizer,
        "seed": named.seed,
    }  # fmt: skip
    right = {
        "config": plan.config.to_dict(), "parameters": plan.config.parameters(), "dtype": plan.dtype,
        "tokenizer": plan.source.get("tokenizer"), "seed": plan.seed,
    }  # fmt: skip
    for key, value in right.items():
        if recorded[key] != value:
            raise PellucidError(f"the record names another {key} than its run's plan does: it was changed")
