"""Verifying a training record: inputs are compared with the run's files, derived and replayed numbers are recomputed.

N steps, M recorded steps, Q weight matrices, W positions of the fixed window, X positions of the example, Z windows of the
stretch.

A run keeps few checkpoints: the newest two, the one before the example's step, and the first weights, which follow from the
seed. From each of these the recorded statistics are recomputed and the next step is run again (`replay`). Besides, every number
must equal what the run logged at the time (`metrics.jsonl`, `moments/`), where those files exist: that finds a record that was
changed, but proves nothing about the run, and the report says which numbers were compared with nothing else.

Tolerances, by the dtype of the run's matrix products, which is run.json's. Each covers sums taken in another order (other
threads, another machine); replayed on the machine that recorded, the numbers are equal to the bit. Choices, with LOSS for
LOSS_TOLERANCE[dtype]:

    losses     LOSS x (1 + nats)            weights      2^-16 of the norm
    gradients  4 x LOSS of the norm         thumbnails   with moments/ none; else half a step, and 2^-18 of the largest
    updates    16 x LOSS of the norm: Adam divides by the root of a mean of squares, which is uncertain where it is small
    samples    none: a draw at the edge of its token's share may fall to the other side on another machine
    given      none; 2^-40 of the learning rate, whose cosine is the system's
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.corpus.shards import open_corpus
from pellucid.errors import PellucidError
from pellucid.generation.model import GPT
from pellucid.interpret.capture import PIECES, piece_table
from pellucid.interpret.training_chunks import steps_until, thumbnail_source, training_provenance, write_logged_chunks
from pellucid.interpret.training_stats import held_out_window, stretch
from pellucid.interpret.verify.difference import (
    Array,
    Difference,
    absolute_difference,
    compare_rows,
    compare_top_tokens,
    equal,
    equality,
    partial_result,
    range_of,
    row_ranges,
    same_json,
)
from pellucid.interpret.verify.identity import check_same_run
from pellucid.interpret.verify.replay import ReplayedStep, replay
from pellucid.interpret.verify.report import ChunkResult, WordResult, unknown_chunk
from pellucid.interpret.verify.words import chunk_words, compared, provenance_words
from pellucid.record import Record, open_record
from pellucid.record.check import named_specs
from pellucid.runs.files import CORPUS, RUN_FILE
from pellucid.runs.plan import Plan
from pellucid.strict_json import is_text
from pellucid.text import Tokenizer
from pellucid.training.batches import WindowBatches
from pellucid.training.watch import steps_before_example


LOSS_TOLERANCE = {"float32": 2.0**-12, "bfloat16": 2.0**-5}
_T = "training/"
_SAMPLE = {"step": int, "tokens": int, "prompt": str, "ids": list, "text": str}


class TrainingVerifier:
    """Compares a training record with its run directory.

    Raises:
        PellucidError: it is not a training run or another one, its corpus or a checkpoint is damaged, or the record's
            provenance contradicts its plan.
    """

    def __init__(self, record: Record, run: Path, on_progress: Callable[[str], None] = lambda line: None) -> None:
        if not (run / RUN_FILE).is_file():
            raise PellucidError(
                f"a training record is verified with its run's directory (run.json, corpus/, checkpoints/), and {run} is none: "
                "give the run (on the command line -m RUN)"
            )
        self.record, self.run = record, run
        self.plan = Plan.load(run, kind="train")
        check_same_run(record, record[_T + "plan"], self.plan, run)
        self.tokenizer = Tokenizer.load(run / CORPUS)
        corpus = open_corpus(run / CORPUS)
        self.batches = WindowBatches.of(self.plan, corpus, self.tokenizer)
        self.steps = len(record[_T + "steps/loss"])
        if record.provenance.step != self.steps:
            raise PellucidError(f"the record states {record.provenance.step} steps and holds {self.steps}: it was changed")
        total = self.plan.total_steps
        self.recorded_steps = steps_until(self.plan, self.steps)
        measured = {*range(0, self.steps + 1, self.plan.held_out_every)} | ({total} if self.steps == total else set())
        self.held_out_steps = sorted(measured)
        self.stretch = stretch(self.batches.windows, self.plan.config.end_id)
        self.tolerance = LOSS_TOLERANCE[self.plan.dtype]
        position = int(record[_T + "example/track"]) if _T + "example/track" in record else None
        within = position is not None and 0 <= position < self.plan.config.n_ctx
        example = position if within else None
        replayed = replay(run, self.plan, self.batches, self.tokenizer, self.steps, self.stretch, example, on_progress)
        self.replayed: dict[int, ReplayedStep] = dict(replayed)
        if self.steps in self.replayed and self.replayed[self.steps].model != record.provenance.model:
            raise PellucidError(
                f"the record was made of another run: it names the model {record.provenance.model[:12]}, and after "
                f"{self.steps} steps {run} has {self.replayed[self.steps].model[:12]}"
            )
        self.logged = self._read_log()

    def _read_log(self) -> Record | None:
        """The chunks that the run's own log gives; None where a file of it is damaged."""
        model = GPT(self.plan.config, tokenizer=self.tokenizer)
        buffer = BytesIO()
        try:
            write_logged_chunks(buffer, self.run, self.plan, model, self.batches, step=self.steps)
        except (OSError, ValueError, KeyError):
            return None
        return open_record(buffer.getvalue())

    def _logged(self, name: str) -> Any:
        """The chunk that the run's own log gives; None if it gives none."""
        return self.logged[name] if self.logged is not None and name in self.logged else None

    def words(self) -> tuple[WordResult, ...]:
        """The result for each word of the header."""
        model = self.replayed[self.steps].model if self.steps in self.replayed else ""
        expected = training_provenance(self.plan, model=model, tokenizer=self.tokenizer, step=self.steps)
        names = ("config", "parameters", "dtype", "tokenizer", "checkpoint", "step", "seed", "sampling", "machine")
        sources = {name: getattr(expected, name) for name in (*names, *(["model"] if model else []))}
        thumbnails = {f"{_T}thumbnails/{name}": name for name in self._matrices()}
        scales = []
        for name in thumbnails:
            if name in self.record:
                log = self.logged if self.logged is not None and name in self.logged else None
                scale, otherwise = (None, "unverified") if log is None else (log.entry(name).scale, "differs")
                scales.append(compared(f"{name}: scale", self.record.entry(name).scale, scale, otherwise=otherwise))
        return (
            *provenance_words(self.record, sources, self.plan.config),
            *chunk_words(self.record, {name: thumbnail_source(matrix) for name, matrix in thumbnails.items()}),
            *scales,
        )

    def results(self) -> tuple[ChunkResult, ...]:
        """The result for each chunk."""
        by_name: dict[str, Callable[[str], ChunkResult]] = {
            _T + "plan": lambda name: self._same(name, True),  # checked by `check_same_run`
            _T + "matrices": lambda name: self._same(name, same_json(self.record[name], self._matrices())),
            _T + "steps/tokens": lambda name: self._given(name, [self._tokens(step + 1) for step in range(self.steps)]),
            _T + "steps/lr": self._lr,
            _T + "steps/loss": lambda name: self._of_steps(name, 0, self._loss_tolerance),
            _T + "steps/grad_norm": lambda name: self._of_steps(name, 1, self._relative(4)),
            _T + "steps/tokens_per_s": self._measured,
            _T + "moments/steps": lambda name: self._given(name, self.recorded_steps),
            _T + "moments/gradients": lambda name: self._of_recorded_steps(name, "gradients", self._relative(4)),
            _T + "moments/updates": lambda name: self._of_recorded_steps(name, "updates", self._relative(16)),
            _T + "moments/weights": lambda name: self._of_recorded_steps(name, "weights", lambda expected: 2.0**-16 * expected),
            _T + "window/ids": lambda name: self._given(name, held_out_window(self.batches)),
            _T + "window/loss": lambda name: self._of_recorded_steps(name, "window", self._loss_tolerance),
            _T + "samples": self._samples,
            _T + "example/step": lambda name: self._given(name, steps_before_example(self.plan.total_steps) + 1),
            _T + "example/ids": lambda name: self._given(name, self._example_ids()),
            _T + "example/loss": self._example,
            _T + "example/track": self._example,
            _T + "example/corrected": self._example,
            _T + "example/topk_ids": self._example,
            _T + "example/topk_logprobs": self._example,
            _T + "stretch/ids": lambda name: self._given(name, self.stretch.ids if self.stretch else []),
            _T + "stretch/starts": lambda name: self._given(name, self.stretch.starts if self.stretch else []),
            _T + "stretch/loss": self._stretch_loss,
            _T + "held_out/steps": lambda name: self._given(name, self.held_out_steps),
            _T + "held_out/loss": lambda name: self._of_held_out(name, 0),
            _T + "held_out/bits_per_byte": lambda name: self._of_held_out(name, 1),
        }
        specs = named_specs(self.record)
        return tuple(self._result(name, by_name if name in specs else {}) for name in self.record)

    def _result(self, name: str, by_name: Mapping[str, Callable[[str], ChunkResult]]) -> ChunkResult:
        if by_name and name.startswith("pieces/"):
            return self._pieces(name)
        if by_name and name.startswith(_T + "thumbnails/"):
            key = "thumbnail." + name.removeprefix(_T + "thumbnails/")
            return self._of_recorded_steps(name, key, lambda expected: code_tolerance(self.record, name))
        if name not in by_name:
            return unknown_chunk(name, self.record.entry(name).truth)
        return by_name[name](name)

    # Given.

    def _matrices(self) -> list[str]:
        return [name for name, _ in self.plan.config.matrices()]

    def _tokens(self, step: int) -> int:
        return self.batches.tokens_before(step)

    def _example_ids(self) -> Array:
        return self.batches.windows.window(self.batches.windows_before(steps_before_example(self.plan.total_steps)))

    def _same(self, name: str, same: bool) -> ChunkResult:
        return equality(same).result(self.record, name)

    def _given(self, name: str, expected: Sequence[int] | int | Array) -> ChunkResult:
        return equal(self.record[name], np.asarray(expected)).result(self.record, name)

    def _lr(self, name: str) -> ChunkResult:
        expected = np.array([self.plan.recipe.learning_rate_at(self._tokens(step)) for step in range(self.steps)])
        found = self._compare_with_log(name)
        if found is not None and not found.ok:
            return found
        difference = absolute_difference(self.record[name].astype(np.float64), expected)
        return Difference(difference, 2.0**-40 * expected, value_range=range_of(expected)).result(self.record, name)

    def _compare_with_log(self, name: str) -> ChunkResult | None:
        """The result for a chunk that must equal the run's log in full; None where that does not give it."""
        if self.logged is None or name not in self.logged:
            return None
        stored, log = self.record[name].astype(np.float64), self.logged[name].astype(np.float64)
        if log.shape != stored.shape:
            return self._same(name, False)
        return Difference(absolute_difference(stored, log), 0.0).result(self.record, name)

    def _pieces(self, name: str) -> ChunkResult:
        ids = ("window/ids", "example/ids", "example/topk_ids", "stretch/ids")
        named = {int(token) for chunk in ids if _T + chunk in self.record for token in self.record[_T + chunk].ravel()}
        for line in self._sample_lines() or []:
            named |= {int(token) for token in line["ids"]} | set(self.tokenizer.encode(line["prompt"]))
        named = {token for token in named if 0 <= token < self.plan.config.vocab_size}
        table = piece_table(self.tokenizer, named)
        return equal(self.record[name], table[PIECES.index(name)]).result(self.record, name)

    def _measured(self, name: str) -> ChunkResult:
        sound = bool(np.all(np.isfinite(self.record[name])) and np.all(self.record[name] >= 0))
        note = "measured: cannot be recomputed" if sound else "measured, but not a possible speed"
        found = self._compare_with_log(name) if sound else None
        if found is not None:
            return replace(found, note=f"{note}; {'as' if found.ok else 'not what'} the run's own log says")
        return ChunkResult(chunk=name, truth=self.record.entry(name).truth, ok=sound, note=note)

    # Derived and replayed.

    def _loss_tolerance(self, expected: Array) -> Array:
        return self.tolerance * (1 + np.abs(expected))

    def _relative(self, factor: int) -> Callable[[Array], Array]:
        return lambda expected: factor * self.tolerance * expected

    def _of_steps(self, name: str, place: int, allowed: Callable[[Array], Array]) -> ChunkResult:
        recomputed = {step: np.array(one.step[place]) for step, one in self.replayed.items() if one.step is not None}
        return compare_rows(self.record, name, self._logged(name), recomputed, allowed, range(1, self.steps + 1))

    def _of_recorded_steps(self, name: str, key: str, allowed: Callable[[Array], Array | float]) -> ChunkResult:
        recomputed = {}
        for place, step in enumerate(self.recorded_steps):
            stats = self.replayed[step].stats if step in self.replayed else {}
            if key in stats:
                recomputed[place] = stats[key].astype(np.float64)
            elif key in ("gradients", "updates") and step == self.plan.total_steps:
                recomputed[place] = np.full(len(self._matrices()), np.nan)  # no step follows
        return compare_rows(self.record, name, self._logged(name), recomputed, allowed, self.recorded_steps)

    def _of_held_out(self, name: str, place: int) -> ChunkResult:
        recomputed = {
            index: np.array(held_out[place])
            for index, step in enumerate(self.held_out_steps)
            if step in self.replayed and (held_out := self.replayed[step].held_out) is not None
        }
        return compare_rows(self.record, name, self._logged(name), recomputed, self._loss_tolerance, self.held_out_steps)

    def _stretch_loss(self, name: str) -> ChunkResult:
        found = self.replayed.get(self.steps)
        if found is None or found.stretch is None or self.stretch is None:
            note = "not checked: the checkpoint it was computed from is gone"
            truth = self.record.entry(name).truth
            return ChunkResult(chunk=name, truth=truth, ok=self.stretch is not None, note=note, unchecked=1)
        expected = found.stretch.astype(np.float64)
        if expected.shape != self.record[name].shape:
            return self._same(name, False)
        difference = absolute_difference(self.record[name], expected)
        return Difference(difference, self._loss_tolerance(expected), "nats", row_ranges(expected)).result(self.record, name)

    def _samples(self, name: str) -> ChunkResult:
        due = [step for step in self.plan.sample_at if step <= self.steps] if self.plan.sample_prompt else []
        stored, log = self._sample_lines(), self._logged(name)
        if stored is None:
            return self._same(name, False)
        if not same_json([line["step"] for line in stored], due) or (log is not None and not same_json(stored, log)):
            return self._same(name, False)
        ok, recomputed = True, []
        for line in stored:
            sample = self.replayed[line["step"]].sample if line["step"] in self.replayed else None
            ok = ok and line["prompt"] == self.plan.sample_prompt and same_json(line["tokens"], self._tokens(line["step"]))
            if sample is not None:
                recomputed.append(line["step"])
                ok = ok and same_json([line["text"], line["ids"]], sample)
        return partial_result(self.record, equality(ok), name, recomputed, len(due) - len(recomputed), log is not None)

    def _sample_lines(self) -> list[dict[str, Any]] | None:
        """The record's samples; None where there are none, or one is not of the form that runs write."""
        stored = self.record.get(_T + "samples")
        well_formed = isinstance(stored, list) and all(
            isinstance(line, dict)
            and line.keys() == _SAMPLE.keys()
            and all(type(line[key]) is kind for key, kind in _SAMPLE.items())
            and all(type(token) is int for token in line["ids"])
            and is_text(line["prompt"])
            for line in stored
        )
        return stored if well_formed else None

    def _example(self, name: str) -> ChunkResult:
        found = self.replayed.get(steps_before_example(self.plan.total_steps))
        stored, log = self.record[name].astype(np.float64), self._compare_with_log(name)
        if log is not None and not log.ok:
            return log
        if found is None or "example.loss" not in found.stats:
            return partial_result(self.record, equality(True), name, [], 1, log is not None)
        losses = found.stats["example.loss"].astype(np.float64)
        position = int(self.record[_T + "example/track"])
        if name.endswith("/loss"):
            if stored.shape != losses.shape:
                return self._same(name, False)
            difference = absolute_difference(stored, losses)
            return Difference(difference, self._loss_tolerance(losses), "nats", row_ranges(losses)).result(self.record, name)
        if not 0 <= position < losses.shape[1] or found.example is None or found.margins is None:
            return self._same(name, False)
        if name.endswith(("/track", "/corrected")):
            return self._chosen(name, position, losses, found.margins)
        ids, logprobs = self.record[_T + "example/topk_ids"], self.record[_T + "example/topk_logprobs"]
        nats = self.tolerance * (1 + found.example.topk(ids.shape[1]).values.abs().numpy())
        differences = compare_top_tokens(found.example, ids, logprobs, nats)
        return differences[0 if name.endswith("_ids") else 1].result(self.record, name)


    def _chosen(self, name: str, position: int, losses: Array, margins: Array) -> ChunkResult:
        """Whether the followed position is one that the rule of `chosen_position` allows; a record of an earlier version has no
        `corrected`, and its position is the one that gained most of all.

        Of two that gained equally up to rounding, either may be chosen; so a margin within rounding may have either sign.

        Args:
            losses: (2, X) recomputed. margins: `ReplayedStep.margins`.
        """
        uncertain = 2 * self.tolerance * (1 + losses)
        surely = (margins[0] > uncertain[0]) & (margins[1] < -uncertain[1])
        perhaps = (margins[0] > -uncertain[0]) & (margins[1] < uncertain[1])
        stated = int(self.record.get(_T + "example/corrected", -1))
        if name.endswith("/corrected"):
            return self._same(name, bool(perhaps[position]) if stated == 1 else stated == 0 and not surely.any())
        gains = np.exp(-losses[1]) - np.exp(-losses[0])
        among = gains[surely] if stated == 1 else gains
        below = max(0.0, among.max(initial=gains[position]) - gains[position])
        uncertainty = self.tolerance * (1 + losses).sum(0)
        return Difference(below, uncertainty.max(), "of probability", range_of(gains)).result(self.record, name)


def code_tolerance(record: Record, name: str) -> float:
    """The tolerance of a number stored as one of 256 steps of a range: half a step, and float32's rounding of its ends.

    The range is the file's. What it allows is compared with the range of the recomputed numbers (`Difference.value_range`).
    """
    lo, hi = record.entry(name).scale or (0.0, 0.0)
    return (hi - lo) / 510 * (1 + 2.0**-10) + 2.0**-18 * max(abs(lo), abs(hi))
