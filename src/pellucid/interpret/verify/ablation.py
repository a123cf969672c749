"""Verifying the ablation that a generation record states: each part of it, and zeros or means, must have moved the logits.

All numbers of the record are recomputed with the stated ablation. A part without which the logits are the same, within what
they may be off by, could be left out or added by anyone: then the ablation is reported as unverified.
"""

from collections.abc import Iterator
from dataclasses import replace

from pellucid.errors import PellucidError
from pellucid.generation.model import GPT
from pellucid.gpt.ablation import Ablation, Replacements, replacements
from pellucid.interpret.verify.report import WordResult
from pellucid.record import Record
from pellucid.runtime.runner_selection import mean_outputs


def recorded_ablation(record: Record, model: GPT) -> Ablation | None:
    """The ablation that the provenance states; None: it states none.

    Raises:
        PellucidError: it cannot be one of this model.
    """
    stated = record.provenance.ablation
    if stated is None:
        return None
    try:
        ablation = Ablation.from_dict(stated)
        ablation.check(model.config)
    except PellucidError as error:
        raise PellucidError(f"the record's ablation is not valid: {error}") from None
    return ablation


def replacements_of(ablation: Ablation | None, model: GPT, prompt: list[int]) -> Replacements | None:
    """What is replaced in a pass over a text that begins with `prompt`; None: nothing."""
    if ablation is None:
        return None
    return replacements(ablation, model.config, mean_outputs(model, prompt) if ablation.by == "mean" else None)


def neighbours(ablation: Ablation) -> Iterator[Ablation | None]:
    """Other ablations: one part less, and the other replacement."""
    for part in ablation.parts:
        left = tuple(other for other in ablation.parts if other != part)
        yield replace(ablation, parts=left) if left else None
    yield replace(ablation, by="mean" if ablation.by == "zero" else "zero")


def ablation_word(*, determined: bool) -> WordResult:
    """The result for the ablation."""
    note = "" if determined else "the recorded numbers do not depend on all of it"
    return WordResult(word="provenance/ablation", status="equal" if determined else "unverified", note=note)
