"""A training run: text goes in, a run directory comes out.

In: documents and options (or a run to resume). Out: `run.json` (every choice, made once), `metrics.jsonl`, `checkpoints/`,
`corpus/`, `model/` (the newest). Read `run` (a run from start to end), `options` and `planner` (what was asked for becomes a
plan), `pretraining` (the job on text), `loop` and `step` (forward, loss, backward, update), then `optimizers`, `checkpoint` and
`placement` (devices).
"""
