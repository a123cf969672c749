"""Printing before and after a run: completions, tables, the plan of a dry run, the state of a run."""

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pellucid.cli.output import print_json, printable
from pellucid.cli.streams import INTERRUPTED, ending_promptly
from pellucid.cli.token_lines import print_tokens
from pellucid.command_lines import command, prompt_words, shown_path
from pellucid.finetuning.answers import AnsweredExample, held_out_answers
from pellucid.finetuning.split import ENOUGH
from pellucid.generation.model import GPT
from pellucid.gpt.scaling import shape_for
from pellucid.languages import counted, plural, tr
from pellucid.planning.preview import Preview
from pellucid.runs.files import ADAPTER
from pellucid.training.checkpoint import KeptModel
from pellucid.training.run import Run


TEMPERATURE, TOP_P = 0.8, 0.95  # sampling of the demo's models
SHOWN = 8  # examples in the before-and-after table


def print_completion(console: Console, model: GPT, prompt: str, name: str, *, seed: int, max_tokens: int = 16) -> None:
    """Generates and shows every token with its probability, then the whole text."""
    console.print(Text.assemble((tr("{name}, after", name=name) + " ", "dim"), (prompt, "green")))
    tokens = model.stream(prompt, max_tokens=max_tokens, temperature=TEMPERATURE, top_p=TOP_P, seed=seed, logprobs=4)
    text = print_tokens(model, tokens, console)
    console.print(Text.assemble((prompt, "green"), (text, "bold magenta")))
    console.print()


def print_answers(console: Console, rows: Sequence[AnsweredExample], run: Run) -> None:
    """Held-out examples with the answers before and after fine-tuning as a table, and how many of all are right."""
    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    for heading, style in (
        (tr("prompt"), "green"), (tr("expected"), ""), (tr("before"), "dim"), (tr("after"), "magenta"),
    ):  # fmt: skip
        table.add_column(heading, style=style)
    table.add_column("", no_wrap=True)
    for row in rows:
        # Rich narrows columns whose texts may be wrapped, or all alike where none may: so it is the texts that may not.
        texts = (
            Text(printable(" ".join(text.split())), no_wrap=True, overflow="ellipsis")
            for text in (row.prompt, row.expected, row.before, row.after)
        )
        table.add_row(*texts, Text(tr("right") if row.is_right else tr("wrong")))
    console.print(table)
    if (answers := run.answers) is not None:
        before, after, count = answers
        console.print(Text(tr(
            "on {count:,} examples that it was not trained on: {before:,} right before, {after:,} after", count=count,
            before=before, after=after,
        )))  # fmt: skip
        if count < ENOUGH:
            few = tr("{count:,} are few: one answer more or less is {share:.0f} %", count=count, share=100 / count)
            console.print(Text(few, style="yellow"))


def print_scaling(parameters: int, console: Console) -> None:
    """Prints the config that follows from a number of parameters, with the reason of each number."""
    derived = shape_for(parameters)
    for name, why in derived.reasons.items():
        value = getattr(derived.config, name, None) or getattr(derived, name, None)
        console.print(Text(f"{name} {value:,.6g}: {why}", style="dim"))


def print_preview(preview: Preview, console: Console | None = None) -> None:
    """Prints the plan of a run as a table: a number a line, each with its origin."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(justify="right", style="bold")
    table.add_column(style="dim")
    for row in preview.rows():
        table.add_row(*map(Text, row))
    (console or Console(highlight=False)).print(table)


def finish_run(run: Run, *, json: bool) -> int:
    """Prints the state of a run and the next command; returns the exit status."""
    out = sys.stderr if json else sys.stdout
    if run.finished and run.plan.kind == "finetune":
        print_answers(Console(file=out, highlight=False), held_out_answers(run.path, most=SHOWN), run)
    if not run.finished:
        with ending_promptly():
            if json:
                print_json(run_json(run))
            go_on = command(run.plan.kind, "--resume", "--out", run.path)
            words = tr("saved at step {step:,}; go on with: {command}", step=run.step, command=go_on)
            print(words, file=out, flush=True)
        return INTERRUPTED
    if json:
        print_json(run_json(run))
    if run.stopped_learning:
        print(plural(
            run.plan.patience, "stopped early: held-out loss has not fallen in {count} evaluation in a row",
            "stopped early: held-out loss has not fallen in {count} evaluations in a row",
        ), file=out)  # fmt: skip
    if run.kept:
        print(_kept_model(run, run.kept), file=out)
    if run.plan.lora is not None:
        trained, whole = run.plan.lora.parameters(run.plan.config), run.plan.config.parameters()
        print(tr(
            "{count:,} numbers were trained, {share:.2g} % of the model's {whole:,}; for PEFT they are in {folder}",
            count=trained, share=100 * trained / whole, whole=whole, folder=shown_path(run.path / ADAPTER),
        ), file=out)  # fmt: skip
    prompt = prompt_words(run.plan.sample_prompt) if run.plan.sample_prompt else []
    print(tr(
        "done, {steps}: {model}; try it with: {command}", steps=counted(run.step, "step"),
        model=shown_path(run.path / "model"), command=command("generate", "-m", run.path, *prompt),
    ), file=out)  # fmt: skip
    if run.record is not None:
        checked = command("verify", run.record)
        print(tr("recorded: {record}; check it with: {command}", record=shown_path(run.record), command=checked), file=out)
    return 0


def _kept_model(run: Run, kept: KeptModel) -> str:
    """Which step's model was kept, in words."""
    last = [line["held_out_loss"] for line in run.metrics() if "held_out_loss" in line][-1]
    what = tr("kept step {step:,}", step=kept.step) if kept.step else tr("kept the model before training: no step was better")
    right = "" if run.answers is None else tr("{right:,} of {count:,} right, ", right=run.answers[1], count=run.answers[2])
    return tr(
        "{what} ({right}held out {loss:.3f}; {last:.3f} at the last step, {step:,}, which is in {folder})", what=what,
        right=right, loss=kept.held_out_loss, last=last, step=run.step, folder=shown_path(run.path / "checkpoints"),
    )  # fmt: skip


def run_json(run: Run) -> dict[str, Any]:
    """The run as plain values."""
    held_out = [line for line in run.metrics() if "held_out_loss" in line]
    losses = [line["loss"] for line in run.metrics() if "loss" in line]
    return {
        "run": str(run.path),
        "record": None if run.record is None else str(run.record),
        "finished": run.finished,
        "step": run.step,
        "tokens": run.tokens,
        "parameters": run.plan.config.parameters(),
        **({} if run.plan.lora is None else {"trained_parameters": run.plan.lora.parameters(run.plan.config)}),
        "first_loss": losses[0] if losses else None,
        "loss": losses[-1] if losses else None,
        "held_out_loss": held_out[-1]["held_out_loss"] if held_out else None,
        "bits_per_byte": held_out[-1]["bits_per_byte"] if held_out else None,
        "kept_step": run.kept.step if run.kept else run.step,
        "kept_held_out_loss": run.kept.held_out_loss if run.kept else None,
        **_answers_json(run),
    }


def _answers_json(run: Run) -> dict[str, int]:
    """How many held-out examples there are, and how many are answered exactly; nothing of a run on text."""
    if run.answers is None:
        return {}
    before, after, count = run.answers
    return {"examples": count, "right_before": before, "right_after": after}
