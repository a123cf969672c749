"""Evaluation: a model's scores on tasks, by the metrics of the GPT-3 paper, with no, one and several examples in the prompt.

In: a model with a tokenizer; tasks by name, from files or from Python. Out: `Scores`, and a folder with every sample.

Read `task` (what a task is), `task_file` (your own), `arithmetic` and `words` (the paper's), `families` (those of the default
model's recipe), `react` (the article's example), `catalog` (tasks by name); then `shots` (prompts with as many examples as
fit), `measure` (log-probabilities and answers), `metrics` (scores of a sample; `html_tree` compares code), `intervals`
(bootstrap), `evaluate` (the whole), `samples` (the log from which an evaluation resumes), `scores` (tables), `perplexity`
(texts), `published` (GPT-3's scores), `contamination` (queries that the training text contains) and `overlap` (what a model's
samples repeat of it).
"""
