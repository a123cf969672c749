"""A training run: text goes in, a run directory comes out.

In: documents (or a run to go on with). Out: `run.json` (every choice, made once), `metrics.jsonl`, `checkpoints/`,
`corpus/`, `model/` (the newest). Read `run` (what a run is), then `prepare`, `loop` (its life), `step` (the article's "predict,
compute the error, update"), `recipe` (GPT-3's numbers) and `checkpoint`.
"""

from pellucid.rooms import make_callable
from pellucid.train.recipe import Recipe
from pellucid.train.run import Run, train


__all__ = ["Recipe", "Run", "train"]

make_callable(__name__, train)
