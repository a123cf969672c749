"""Looking inside: what a model does while it writes, as a record; and whether a record tells the truth.

In: a model and a prompt (`xray`), or a record and its model (`verify`). Out: a `Record`, or a `Report`.

Read `watch` (what is kept while the model runs: references, nothing is computed), `formulas` (what is computed of it, and how),
`capture` (both together, into a record), then `verify` (all of it computed again, another way, and compared) and `report`.
"""

from pellucid.rooms import make_callable
from pellucid.xray.capture import KEEP, xray
from pellucid.xray.finetuning import record_finetuning
from pellucid.xray.report import Report, Row
from pellucid.xray.training import TrainingRecorder
from pellucid.xray.verify import verify


__all__ = ["KEEP", "Report", "Row", "TrainingRecorder", "record_finetuning", "verify", "xray"]

make_callable(__name__, xray)
