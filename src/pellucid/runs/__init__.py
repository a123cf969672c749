"""The run directory: the names of its files and folders, the plan in `run.json`, the recipe, the metrics. Torch-free.

In and out: values of a run, and the files that hold them. Training writes them; recording, planning, drawing and serving read
them through this room and nowhere else. Read `files`, then `plan`, `recipe`, `metrics` and `curves`.
"""
