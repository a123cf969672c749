"""Looking inside: what a model does while it writes or learns, as a record; and whether a record tells the truth.

In: a model and a prompt (`xray`), a run that goes on (`TrainingRecorder`), a record and its model or run (`verify`).
Out: a `Record`, a file in the run, a `Report`.

A generation: read `watch` (what is kept while the model runs: references, nothing is computed), `formulas` (what is computed of
it, and how), `capture` (both together, into a record), then `generation_again` (all of it computed another way, and compared).
A run: `moment` (the formulas), `training` (watched and recorded), `replay` (steps taken again), `training_again`; the same for
`finetuning`. `verify` chooses, `difference` and `report` say what was found.
"""

from pellucid.interpret.capture import KEEP, xray
from pellucid.interpret.finetuning_recorder import record_finetuning
from pellucid.interpret.training_recorder import TrainingRecorder
from pellucid.interpret.verify.report import Report, Row
from pellucid.interpret.verify.verify import verify


__all__ = ["KEEP", "Report", "Row", "TrainingRecorder", "record_finetuning", "verify", "xray"]
