"""The model that a record was made with, as every figure names it: `RecordedModel`, from the record's provenance (given)."""

from dataclasses import dataclass
from typing import Any

from pellucid.gpt.config import GPTConfig
from pellucid.languages import tr
from pellucid.record import Record


DIGITS = 8  # of a fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedModel:
    """The model of a record.

    Attributes:
        name: of its preset, else its shape in words. config: its shape. parameters: how many. dtype: of its weights.
        seed: of the run or the generation, None if none was given. checkpoint, step: which state of a run it is, if known.
        fingerprint: the first digits of its hash.
    """

    name: str
    config: GPTConfig
    parameters: int
    dtype: str
    seed: int | None
    checkpoint: str | None
    step: int | None
    fingerprint: str

    @property
    def footer(self) -> tuple[str, str]:
        """The model in two lines: name and size; seed, checkpoint or step, and fingerprint."""
        parts = [] if self.seed is None else [tr("seed {seed}", seed=self.seed)]
        if self.checkpoint is not None:
            unnumbered = self.step is None
            parts.append(tr("checkpoint {name}", name=self.checkpoint) if unnumbered else tr("step {step:,}", step=self.step))
        parts.append(tr("model {fingerprint}", fingerprint=self.fingerprint))
        return tr("{name}: {count:,} parameters", name=self.name, count=self.parameters), " · ".join(parts)


def read_model(record: Record) -> RecordedModel:
    """The model that the record's provenance names."""
    known = record.provenance
    config = GPTConfig.from_dict(known.config)
    return RecordedModel(
        name=config.name or tr("{blocks} blocks, {width} wide", blocks=config.n_layers, width=config.d_model),
        config=config, parameters=known.parameters,
        dtype=known.dtype, seed=known.seed, checkpoint=known.checkpoint, step=known.step, fingerprint=known.model[:DIGITS],
    )  # fmt: skip


def optional_chunk(record: Record, name: str, default: Any) -> Any:
    """A chunk's value, or the default where the record does not hold it."""
    if name not in record:
        return default
    return record[name]
