"""A training run: text goes in, a run directory comes out.

In: documents (or a run to go on with). Out: `run.json` (every choice, made once), `metrics.jsonl`, `checkpoints/`, `corpus/`,
`model/` (the newest). Read `run` (what a run is), then `prepare`, `loop` (its life), `step` (forward, loss, backward, update),
`optimizers` and `checkpoint`.
"""
