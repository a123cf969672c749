"""Printing before and after a run: completions, tables, the plan of a dry run, the state of a run."""

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pellucid.cli.output import command, print_json, prompt_words, shown_path
from pellucid.cli.streams import INTERRUPTED, ending_promptly
from pellucid.cli.token_lines import print_tokens
from pellucid.generation.model import GPT
from pellucid.gpt.scaling import shape_for
from pellucid.planning.preview import Preview
from pellucid.training.run import Run


TEMPERATURE, TOP_P = 0.8, 0.95  # sampling of the demo's models


def print_completion(console: Console, model: GPT, prompt: str, name: str, *, seed: int, max_tokens: int = 16) -> None:
    """Generates and shows every token with its probability, then the whole text."""
    console.print(Text.assemble((f"{name}, after ", "dim"), (prompt, "green")))
    tokens = model.stream(prompt, max_tokens=max_tokens, temperature=TEMPERATURE, top_p=TOP_P, seed=seed, logprobs=4)
    text = print_tokens(model, tokens, console)
    console.print(Text.assemble((prompt, "green"), (text, "bold magenta")))
    console.print()


def print_table(console: Console, rows: Iterable[tuple[str, str, str, bool]]) -> None:
    """(prompt, before, after, right?) as a table."""
    table = Table(box=None, pad_edge=False)
    for heading, style in (("prompt", "green"), ("before", "dim"), ("after", "magenta"), ("", "")):
        table.add_column(heading, style=style, no_wrap=True, overflow="ellipsis")
    for prompt, before, after, right in rows:
        table.add_row(*(Text(" ".join(t.split())) for t in (prompt, before, after)), Text("right" if right else "wrong"))
    console.print(table)


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
    if not run.finished:
        with ending_promptly():
            if json:
                print_json(run_json(run))
            go_on = command(run.plan.kind, "--resume", "--out", run.path)
            print(f"saved at step {run.step:,}; go on with: {go_on}", file=out, flush=True)
        return INTERRUPTED
    if json:
        print_json(run_json(run))
    if run.stopped_learning:
        count = run.plan.patience
        print(f"stopped early: held-out loss has not fallen in {count} evaluation{'s' * (count != 1)} in a row", file=out)
    if run.kept:
        step, loss = run.kept
        last = [line["held_out_loss"] for line in run.metrics() if "held_out_loss" in line][-1]
        what = "the model before training: no step lowered the held-out loss" if step == 0 else f"step {step:,}"
        print(
            f"kept {what} (held out {loss:.3f}; {last:.3f} at the last step, {run.step:,}, which is in "
            f"{shown_path(run.path / 'checkpoints')})",
            file=out,
        )
    prompt = prompt_words(run.plan.sample_prompt) if run.plan.sample_prompt else []
    next_words = command("generate", "-m", run.path, *prompt)
    print(f"done, {run.step:,} steps: {shown_path(run.path / 'model')}; try it with: {next_words}", file=out)
    if run.record is not None:
        print(f"recorded: {shown_path(run.record)}; check it with: {command('verify', run.record)}", file=out)
    return 0


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
        "first_loss": losses[0] if losses else None,
        "loss": losses[-1] if losses else None,
        "held_out_loss": held_out[-1]["held_out_loss"] if held_out else None,
        "bits_per_byte": held_out[-1]["bits_per_byte"] if held_out else None,
        "kept_step": run.kept[0] if run.kept else run.step,
        "kept_held_out_loss": run.kept[1] if run.kept else None,
    }
