"""A training run: text goes in, a run directory comes out.

In: documents and options (or a run to resume). Out: `run.json` (every choice, made once), `metrics.jsonl`, `checkpoints/`,
`corpus/`, `model/` (the newest). Read `run` (`train`), `options` and `planner` (options to a plan), `pretraining` (the job on
text), `loop` and `step` (forward, loss, backward, update), then `optimizers`, `checkpoint` and `placement` (devices).
"""
