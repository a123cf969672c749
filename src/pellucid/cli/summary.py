"""`write_summary`: writes the results of a demo as `summary.md`."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pellucid.files import write_whole
from pellucid.finetuning.answers import AnsweredExample
from pellucid.training.run import Run


SHOWN = 10  # examples in the unfolded table


def write_summary(out: Path, trained: Run, tuned: Run, rows: Sequence[AnsweredExample]) -> Path:
    """Writes `out/summary.md` from the two runs' own files; returns its path.

    Args:
        rows: the held-out examples with both models' answers.
    """
    right = tuned.answers or (0, 0, 0)
    metrics = trained.metrics()
    lines = [
        "# What happened here",
        "",
        "## Training",
        "",
        *_training(trained, metrics),
        "",
        "Samples during training, of the same prompt with the same seed:",
        "",
        "| step | text |",
        "|---:|---|",
        *(
            f"| {line['step']:,} | {_cell(line['prompt'])} *{_cell(line['sample'])}* |"
            for line in metrics
            if "sample" in line
        ),
        "",
        "## Fine-tuning the embedded model: numbers into words",
        "",
        f"{tuned.step:,} steps, {tuned.tokens:,} tokens. Of {right[2]} numbers that it was not trained on it got "
        f"{right[0]} right before and {right[1]} after.",
        "",
        *_table(rows[:: max(1, -(-len(rows) // SHOWN))]),
        "",
        "<details><summary>All of them</summary>",
        "",
        *_table(rows),
        "",
        "</details>",
        "",
        "## Files",
        "",
        "- `index.html`: all of it as one page that needs no server; `figures/`: its figures as SVG and HTML.",
        "- `tale.pellucid`: the activations of the embedded model while it generated; `run/training.pellucid`: statistics of",
        "  the training run. `pellucid verify` recomputes their numbers.",
        "- `run/`: the training run. `run.json` is its plan, `metrics.jsonl` has a line a step, `model/` is the model,",
        "  `checkpoints/` what it can be resumed from.",
        "- `tuned/`: the fine-tuning run. `base/` is the model before, `model/` (and `best/`) the best one on held-out",
        "  examples.",
    ]
    path = out / "summary.md"
    write_whole(path, "\n".join(lines) + "\n")
    return path


def _table(rows: Sequence[AnsweredExample]) -> list[str]:
    return [
        "| prompt | before | after | right |",
        "|---|---|---|---|",
        *(
            f"| {_cell(row.prompt)} | {_cell(row.before)} | {_cell(row.after)} | {'yes' if row.is_right else 'no'} |"
            for row in rows
        ),
    ]


def _training(trained: Run, metrics: Sequence[dict[str, Any]]) -> list[str]:
    config, plan = trained.plan.config, trained.plan
    losses = [line["loss"] for line in metrics if "loss" in line]
    speeds = sorted(line["tokens_per_s"] for line in metrics if "tokens_per_s" in line)
    held_out = [line for line in metrics if "held_out_loss" in line]
    last = losses[-max(1, len(losses) // 20) :]
    over = f"mean of the last {len(last)} steps" if len(last) > 1 else "the last step"
    return [
        f"- {config.parameters():,} parameters: {config.n_layers} blocks ({', '.join(map(str, config.pattern))}), width "
        f"{config.d_model}, {config.n_heads} heads, {config.n_ctx} positions, {config.vocab_size:,} tokens in the vocabulary",
        f"- {trained.step:,} of {plan.total_steps:,} steps, {trained.tokens:,} tokens "
        f"({trained.tokens / plan.source['train_tokens']:.1f} times through the text), "
        f"{speeds[len(speeds) // 2]:,.0f} tokens a second (median), products in {plan.dtype} on {plan.threads} thread(s)",
        f"- loss: from {losses[0]:.3f} (ln V = {math.log(config.vocab_size):.3f} if all tokens are equally likely) to "
        f"{sum(last) / len(last):.3f} nats a token ({over})",
        f"- held-out text: from {held_out[0]['bits_per_byte']:.3f} to {held_out[-1]['bits_per_byte']:.3f} bits a byte",
    ]


def _cell(text: str) -> str:
    """Text as one table cell."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
