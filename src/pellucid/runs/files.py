"""The names of a run directory's files."""

RUN_FILE = "run.json"
METRICS = "metrics.jsonl"
RECORDS = {"train": "training.pellucid", "finetune": "finetuning.pellucid"}  # by the plan's kind
