"""The names of a run directory's files and folders, and where its checkpoints are.

    RUN/run.json          the plan               RUN/corpus/        the text as tokens, and the tokenizer
    RUN/metrics.jsonl     a line a step          RUN/checkpoints/   step-00000012/, ...: what a run resumes from
    RUN/model/            the newest model       RUN/best/          the best model on held-out data, if it is kept
    RUN/training.pellucid the record, if there is one; made of moments/, with the checkpoint in example/
    RUN/arguments.json    the arguments that the run was started with: a command that resumes it may repeat them

A fine-tuning run has base/ (the model it started from), general.json (text that is not of its task) and finetuning.pellucid;
on examples it has examples.jsonl and held_out.jsonl instead of corpus/; with LoRA its checkpoints and best/ hold
adapters.safetensors, and adapter/ is the same in PEFT's format.
"""

from pathlib import Path


RUN_FILE = "run.json"
ARGUMENTS = "arguments.json"
METRICS = "metrics.jsonl"
CORPUS = "corpus"
CHECKPOINTS = "checkpoints"
MODEL = "model"
BEST = "best"
EXAMPLE = "example"  # the checkpoint before the step that a training record shows in full
MOMENTS = "moments"  # the statistics that a training recorder kept at some steps
BASE = "base"
EXAMPLES = "examples.jsonl"
HELD_OUT_EXAMPLES = "held_out.jsonl"
GENERAL = "general.json"
ADAPTER = "adapter"
RECORDS = {"train": "training.pellucid", "finetune": "finetuning.pellucid"}  # by the plan's kind

# Inside a checkpoint, beside the files of a model directory.
OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"
ADAPTERS = "adapters.safetensors"  # of a run with LoRA; in best/, too
BEST_FILE = "best.json"  # inside best/: the step and the measurements of that model

_STEP_FOLDERS = "step-????????"


def step_name(step: int) -> str:
    """The name of what belongs to the weights after `step` steps: "step-00000012"."""
    return f"step-{step:08d}"


def checkpoint_folder(run: Path, step: int) -> Path:
    """The checkpoint of a step."""
    return run / CHECKPOINTS / step_name(step)


def checkpoints(run: Path, *, inside: str = CHECKPOINTS) -> list[Path]:
    """The complete checkpoints of a run in the order of their steps; `inside=EXAMPLE`: the one that is kept for the record."""
    return sorted(path for path in (run / inside).glob(_STEP_FOLDERS) if path.is_dir())


def stats_file(run: Path, step: int) -> Path:
    """The file of the statistics that a training recorder kept when `step` steps were done."""
    return run / MOMENTS / f"{step_name(step)}.safetensors"


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint's folder."""
    return int(checkpoint.name.removeprefix("step-"))
