"""What needs a model and a record together: recorders, views computed from activations, verifying.

In: a model and a prompt (`xray`, `prime`); a run that trains (`TrainingRecorder`) or has ended (`record_finetuning`); a record
with its model or run (`verify`). Out: a `Record`; a record file in the run directory; a `Report`.

Generations: read `tap` (activations kept while the model runs), `formulas` (views computed from them), `capture` (`xray`: both,
written as a record), `priming` (`prime`: one question after different numbers of examples). Runs: `training_stats` (formulas),
`training_recorder` (what is kept at which steps), `training_chunks` (the run's files as a record), `finetuning_recorder`. Then
`verify/`.
"""

from pellucid.interpret.capture import KEEP, xray
from pellucid.interpret.finetuning_recorder import record_finetuning
from pellucid.interpret.training_recorder import TrainingRecorder
from pellucid.interpret.verify.report import ChunkResult, Report
from pellucid.interpret.verify.verify import verify


__all__ = ["KEEP", "ChunkResult", "Report", "TrainingRecorder", "record_finetuning", "verify", "xray"]
