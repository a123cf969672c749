"""`write_summary`: writes the results of a demo as `summary.md`."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pellucid.draw.views.model_parts import pattern_name
from pellucid.files import write_whole
from pellucid.finetuning.answers import AnsweredExample
from pellucid.languages import counted, listed, tr
from pellucid.training.run import Run


SHOWN = 10  # examples in the unfolded table


def write_summary(out: Path, trained: Run, tuned: Run, rows: Sequence[AnsweredExample], lesson: Sequence[str] = ()) -> Path:
    """Writes `out/summary.md` from the two runs' own files; returns its path.

    Args:
        rows: the held-out examples with both models' answers. lesson: sentences about the training.
    """
    right = tuned.answers or (0, 0, 0)
    metrics = trained.metrics()
    lines = [
        f"# {tr('What happened here')}",
        "",
        f"## {tr('Training')}",
        "",
        *_training(trained, metrics),
        "",
        *(line for sentence in lesson for line in (sentence, "")),
        tr("Samples during training, of the same prompt with the same seed:"),
        "",
        f"| {tr('step')} | {tr('text')} |",
        "|---:|---|",
        *(
            f"| {line['step']:,} | {_cell(line['prompt'])} *{_cell(line['sample'])}* |"
            for line in metrics
            if "sample" in line
        ),
        "",
        f"## {tr('Fine-tuning the embedded model: numbers into words')}",
        "",
        tr(
            "{steps:,} steps, {tokens:,} tokens. Of {count} numbers that it was not trained on it got {before} right before "
            "and {after} after.", steps=tuned.step, tokens=tuned.tokens, count=right[2], before=right[0], after=right[1],
        ),
        "",
        *_table(rows[:: max(1, -(-len(rows) // SHOWN))]),
        "",
        f"<details><summary>{tr('All of them')}</summary>",
        "",
        *_table(rows),
        "",
        "</details>",
        "",
        f"## {tr('Files')}",
        "",
        tr("- `index.html`: all of it as one page that needs no server; `figures/`: its figures as SVG, HTML and PNG."),
        tr(
            "- `tale.pellucid`: the activations of the embedded model while it generated; `priming.pellucid`: one question "
            "after 0, 1 and 8 examples; `run/training.pellucid`: statistics of the training run. `pellucid verify` recomputes "
            "their numbers."
        ),
        tr(
            "- `run/`: the training run. `run.json` is its plan, `metrics.jsonl` has a line a step, `model/` is the model, "
            "`checkpoints/` what it can be resumed from."
        ),
        tr("- `tuned/`: the fine-tuning run. `base/` is the model before, `model/` the best one on held-out examples."),
    ]  # fmt: skip
    path = out / "summary.md"
    write_whole(path, "\n".join(lines) + "\n")
    return path


def _table(rows: Sequence[AnsweredExample]) -> list[str]:
    headings = (tr("prompt"), tr("before"), tr("after"), tr("right"))
    yes, no = tr("yes"), tr("no")
    return [
        f"| {' | '.join(headings)} |",
        "|---|---|---|---|",
        *(
            f"| {_cell(row.prompt)} | {_cell(row.before)} | {_cell(row.after)} | {yes if row.is_right else no} |"
            for row in rows
        ),
    ]


def _training(trained: Run, metrics: Sequence[dict[str, Any]]) -> list[str]:
    config, plan = trained.plan.config, trained.plan
    losses = [line["loss"] for line in metrics if "loss" in line]
    speeds = sorted(line["tokens_per_s"] for line in metrics if "tokens_per_s" in line)
    held_out = [line for line in metrics if "held_out_loss" in line]
    last = losses[-max(1, len(losses) // 20) :]
    return [
        tr(
            "- {count:,} parameters: {blocks} ({patterns}), width {width}, {heads}, {positions} positions, "
            "{tokens:,} tokens in the vocabulary", count=config.parameters(), blocks=counted(config.n_layers, "block"),
            patterns=listed(map(pattern_name, config.pattern)), width=config.d_model, heads=counted(config.n_heads, "head"),
            positions=config.n_ctx, tokens=config.vocab_size,
        ),
        tr(
            "- {step:,} of {steps:,} steps, {tokens:,} tokens ({epochs:.1f} times through the text), {speed:,.0f} tokens a "
            "second (median), products in {dtype}, threads: {threads}", step=trained.step, steps=plan.total_steps,
            tokens=trained.tokens, epochs=trained.tokens / plan.source["train_tokens"], speed=speeds[len(speeds) // 2],
            dtype=plan.dtype, threads=plan.threads,
        ),
        tr(
            "- loss: from {first:.3f} (ln V = {uniform:.3f} if all tokens are equally likely) to {last:.3f} nats a token (mean "
            "of the last {count})", first=losses[0], uniform=math.log(config.vocab_size), last=sum(last) / len(last),
            count=counted(len(last), "step"),
        ),
        tr(
            "- held-out text: from {first:.3f} to {last:.3f} bits a byte", first=held_out[0]["bits_per_byte"],
            last=held_out[-1]["bits_per_byte"],
        ),
    ]  # fmt: skip


def _cell(text: str) -> str:
    """Text as one table cell."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
