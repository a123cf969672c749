"""The run directory: what its files are called, the plan in `run.json`, the training recipe, the metrics. No torch here.

In and out: values of a run, and the files that hold them. Training writes them; recording, planning, drawing and serving read
them here and nowhere else.
"""
