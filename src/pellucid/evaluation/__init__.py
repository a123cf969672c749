"""Evaluation: how well a model does tasks, by the metrics of the GPT-3 paper, with no, one and several examples in the prompt.

In: a model with a tokenizer; tasks by name, from files or from Python. Out: `Scores`, and a folder with every sample.

Read `task` (what a task is), `task_file` (your own), `arithmetic` and `words` (the paper's), `families` (the recipe's),
`catalog` (tasks by name), then `shots` (prompts with examples that fit), `measure` (what the model is asked for a sample),
`metrics` (from samples to numbers), `intervals` (bootstrap), `evaluate` (the whole), `samples` (the log by which an
evaluation resumes), `scores` (tables), `perplexity` (texts), `published` (GPT-3's scores) and `contamination` (queries that
the training text holds).
"""
