"""`RunDisplay`: the live display of a run on the terminal; on stderr where stdout must hold one JSON object."""

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from types import FrameType, TracebackType
from typing import IO, Any, Self, cast

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pellucid import events
from pellucid.cli.streams import HANGUP, STDERR, GuardedStream, UnreadPipe, handle_signals, is_writable, print_error
from pellucid.command_lines import shown_path
from pellucid.draw.views.model_parts import pattern_name
from pellucid.languages import counted, listed, mark, plural, tr
from pellucid.planning.final_loss import predict_final_loss
from pellucid.runs.recipe import DEFAULT_OPTIMIZER
from pellucid.text.graphemes import columns, last_columns


BARS = "▁▂▃▄▅▆▇█"
STOPPING = mark("stopping after this step, and saving (Ctrl-C again to stop at once)")
SKIPPED_SHOWN = 20  # of the files that are not read
SMOOTHING = 0.9  # of the displayed loss; the files hold every step's own


class RunDisplay:
    """An observer that shows a run's progress: step, tokens, rate, loss against ln V, expected final loss, samples.

    On a terminal a panel is updated in place; elsewhere a line is printed every few seconds. `with RunDisplay() as live:`.
    Reading text, training a tokenizer and encoding have a line of their own while they last, if stderr is a terminal.
    """

    def __init__(self, *, json: bool = False, console: Console | None = None, errors: Console | None = None) -> None:
        self.console = console or run_console(json=json)
        self.preparation = PreparationLine(errors or run_console(json=True))
        self.view: Live | None = None
        self.plan: dict[str, Any] = {}
        self.loss = math.nan
        self.held_out: events.HeldOut | None = None
        self.last: events.StepDone | None = None
        self.rate = math.nan  # tokens a second, smoothed
        self.curve: list[float] = []
        self.printed = 0.0
        self.stopping = False
        self.skipped = 0  # files of the stage that were not read

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._close()
        error = self._output_error
        if error is not None and not isinstance(error, BrokenPipeError | UnreadPipe):  # it would not be read either
            print_error(f"pellucid: the display ended early: {error.strerror or error}")

    @property
    def _output_error(self) -> OSError | None:
        return getattr(self.console.file, "error", None)

    @property
    def reader_is_gone(self) -> bool:
        """Whether the display's output is a pipe that its reader has closed (`| head`)."""
        return isinstance(self._output_error, BrokenPipeError)

    def stop_waiting(self) -> None:
        """From now on, does not wait for somebody to read a full pipe."""
        if isinstance(self.console.file, GuardedStream):
            self.console.file.stop_waiting()

    def _close(self) -> None:
        self.preparation.close()
        if self.view:
            self.view.stop()
            self.view = None

    def __call__(self, event: events.Event) -> None:
        self._show(event)
        if self.reader_is_gone and not self.plan:  # before the first step there is nothing to save
            raise KeyboardInterrupt

    def _show(self, event: events.Event) -> None:
        match event:
            case events.Skipped():
                self.skipped += 1
                if self.skipped <= SKIPPED_SHOWN:
                    line = tr("not read: {path}: {reason}", path=shown_path(event.path), reason=event.reason)
                    self.console.print(Text(line, style="yellow"))
            case events.Notice():
                self.preparation.close()
                self.console.print(Text(event.text, style="yellow"))
            case events.Progress(unit="bytes"):
                self.preparation.update(event)
            case events.Progress():
                self.preparation.close()
                if self.skipped > SKIPPED_SHOWN:
                    line = tr("and {count:,} more not read", count=self.skipped - SKIPPED_SHOWN)
                    self.console.print(Text(line, style="yellow"))
                self.skipped = 0
                self.console.print(Text(_stage_line(event), style="dim"))
            case events.RunStarted():
                self._start(event)
            case events.StepDone():
                self._step(event)
            case events.StepSkipped():
                self.console.print(tr(
                    "[yellow]step {step:,} skipped[/]: its loss is {loss:.1f}, its gradient {gradient:.1f} standard deviations "
                    "above those before it ({allowed:g} allowed)",
                    step=event.step, loss=event.loss_score, gradient=event.grad_norm_score, allowed=event.allowed,
                ))  # fmt: skip
            case events.HeldOut():
                self.held_out = event
                if self.view and self.last:
                    self.view.update(self._panel())
            case events.Sampled():
                self._sample(event)
            case events.RunFinished():
                if not self.view and self.last and self.last.step == event.step:
                    # with the last held-out loss, which is measured after the last step
                    self.console.print(self._line(), soft_wrap=True)
                self._close()
            case events.CheckpointSaved():
                pass

    def _start(self, event: events.RunStarted) -> None:
        self.preparation.close()
        self.plan = event.plan
        shape = event.plan["config"]
        from pellucid.gpt.config import GPTConfig

        count = GPTConfig.from_dict(shape).parameters()
        patterns = [pattern_name(pattern) for pattern in dict.fromkeys(shape["pattern"])]
        self.console.print(tr(
            "[bold]{count:,}[/] parameters: {blocks} ({patterns}), width {width}, {heads}, {positions} positions, "
            "{vocabulary:,} tokens in the vocabulary",
            count=count, blocks=counted(shape["n_layers"], "block"), width=shape["d_model"],
            heads=counted(shape["n_heads"], "head"), positions=shape["n_ctx"], vocabulary=shape["vocab_size"],
            patterns=tr("{one} and {other} in turn", one=patterns[0], other=patterns[1]) if len(patterns) == 2
            else tr(" and ").join(patterns),
        ))  # fmt: skip
        plan, recipe = event.plan, event.plan["recipe"]
        choices = [counted(plan["total_steps"], "step"), counted(recipe["total_tokens"], "token")]
        if "ramp_tokens" in recipe:
            choices.append(tr("batches growing over {tokens:,} of them", tokens=recipe["ramp_tokens"]))
        choices.append(tr("learning rate {rate:.2g}", rate=recipe["learning_rate"]))
        choices.append(tr("products in {dtype}", dtype=plan["dtype"]))
        choices += [tr("compiled operators")] if plan["compiled"] else []
        device = plan.get("device", "cpu")
        choices.append(
            plural(plan["threads"], "on {device} with {count} thread", "on {device} with {count} threads", device=device)
        )
        resumed = tr("; going on from step {step:,}", step=event.step) if event.step else ""
        self.console.print(listed(choices) + resumed)
        text = plan["source"].get("train_tokens")  # not for fine-tuning, whose final loss depends on its examples
        optimizer = plan.get("optimizer", DEFAULT_OPTIMIZER)
        if text and (end := predict_final_loss(count, recipe["total_tokens"], text, optimizer)) and end.in_range:
            self.console.print(tr(
                "expected at the end: ~{loss:.2f} bits/byte held out, by {law}", loss=end.bits_per_byte, law=end.as_sentence()
            ))  # fmt: skip
        if self.console.is_terminal:
            self.view = Live(console=self.console, refresh_per_second=4, transient=False)
            self.view.start()

    def _step(self, event: events.StepDone) -> None:
        self.last = event
        if math.isnan(self.loss):
            self.loss = event.loss
            self.rate = event.tokens_per_s
        self.loss = SMOOTHING * self.loss + (1 - SMOOTHING) * event.loss
        self.rate = SMOOTHING * self.rate + (1 - SMOOTHING) * event.tokens_per_s
        self.curve.append(event.loss)
        if self.view:
            self.view.update(self._panel())
        elif time.monotonic() - self.printed >= 5 and event.step < self.plan["total_steps"]:
            self.printed = time.monotonic()
            self.console.print(self._line(), soft_wrap=True)

    def _sample(self, event: events.Sampled) -> None:
        shown = " ".join(event.text.split())
        prompt = end_of_prompt(event.prompt, self.console.width // 3)
        gap = " " if event.text[:1].isspace() else ""  # a sample may continue the prompt's last word
        self.console.print(
            Text.assemble(
                (tr("step {step:>6,}", step=event.step) + "  ", "dim"), (prompt + gap, "green"), (shown, "magenta")
            ),
            overflow="ellipsis", no_wrap=True, crop=True,
        )  # fmt: skip

    def _remaining(self) -> float:
        assert self.last
        total: int = self.plan["recipe"]["total_tokens"]
        return (total - self.last.tokens) / self.rate

    def _line(self) -> str:
        assert self.last
        parts = [tr("step {step:>6,}/{steps:,}", step=self.last.step, steps=self.plan["total_steps"])]
        parts.append(tr("loss {loss:.3f} (smoothed)", loss=self.loss))
        held = self.held_out
        if held and held.right is not None:
            words = {"loss": held.held_out_loss, "right": held.right, "examples": held.examples}
            parts.append(tr("held-out {loss:.3f}, {right:,} of {examples:,} right", **words))
        elif held:
            parts.append(tr("held-out {bits:.3f} bits/byte", bits=held.bits_per_byte))
        parts.append(tr("{rate:,.0f} tokens/s", rate=self.rate))
        parts.append(tr("{duration} left", duration=format_duration(self._remaining())))
        return "  ".join(parts)

    def _machine(self) -> str:
        """Throughput of the last step: FLOP/s, and the share of time waiting for data."""
        assert self.last
        return tr(
            "{rate:,.1f} GFLOP/s ({share:.0%} of the rate of matrix products alone), "
            "{waiting:.1%} of the time waiting for data",
            rate=self.last.flops_per_s / 1e9, share=self.last.matmul_share, waiting=self.last.waiting,
        )  # fmt: skip

    def _panel(self) -> Group:
        assert self.last
        ln_v = math.log(self.plan["config"]["vocab_size"])
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        table.add_column()
        steps, total = self.plan["total_steps"], self.plan["recipe"]["total_tokens"]
        table.add_row(tr("step"), tr("{step:,} of {steps:,}", step=self.last.step, steps=steps))
        table.add_row(tr("tokens"), tr(
            "{done:,} of {total:,} ({epochs:.2f} times through the data)",
            done=self.last.tokens, total=total, epochs=self.last.epoch,
        ))  # fmt: skip
        left = format_duration(self._remaining())
        table.add_row(tr("speed"), tr("{rate:,.0f} tokens/s, {duration} left", rate=self.rate, duration=left))
        table.add_row(tr("machine"), self._machine())
        loss = tr(
            "[bold]{loss:.3f}[/] nats a token, smoothed (ln V = {uniform:.2f} if all tokens are equally likely)",
            loss=self.loss, uniform=ln_v,
        )  # fmt: skip
        table.add_row(tr("loss"), f"{loss}  {sparkline(self.curve)}")
        if self.stopping:
            table.add_row(Text(tr("stop"), "yellow"), Text(tr(STOPPING), "yellow"))
        held = self.held_out
        if held:
            table.add_row(tr("held out"), tr(
                "{loss:.3f} nats a token, {bits:.3f} bits a byte (step {step:,})",
                loss=held.held_out_loss, bits=held.bits_per_byte, step=held.step,
            ))  # fmt: skip
        if held and held.right is not None:
            table.add_row(tr("right"), tr(
                "{right:,} of {examples:,} held-out examples answered exactly", right=held.right, examples=held.examples
            ))  # fmt: skip
        done = ProgressBar(total=total, completed=min(self.last.tokens, total), width=60)
        return Group(table, done)


def _stage_line(event: events.Progress) -> str:
    """What a preparation is doing, or what it came to."""
    if not event.done:
        return f"{tr(event.stage)} ..."
    nouns = {"tokens": counted(event.done, "token"), "files": counted(event.done, "file")}
    return tr("{stage}: {amount}", stage=tr(event.stage), amount=nouns[event.unit])


def end_of_prompt(prompt: str, most: int) -> str:
    """A prompt in at most so many columns: its end, from a word's start on where there is one."""
    prompt = " ".join(prompt.split())
    if columns(prompt) <= most:
        return prompt
    end = last_columns(prompt, most - 2)
    return f"… {end.partition(' ')[2].lstrip() or end}"


class PreparationLine:
    """How far a preparation is, in one line that is updated in place and goes when it is over; nothing without a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live: Live | None = None
        self.first: tuple[str, int, float] = ("", 0, 0.0)  # of the stage: name, and bytes and time at its first event

    def update(self, event: events.Progress) -> None:
        """Shows `event.done` of `event.total` bytes, and from the second event of a stage on the rate and the time left."""
        if not self.console.is_terminal:
            return
        now = time.monotonic()
        if self.live is None:
            self.live = Live(console=self.console, refresh_per_second=4, transient=True)
            self.live.start()
        if self.first[0] != event.stage:
            self.first = (event.stage, event.done, now)
        values = {"stage": tr(event.stage), "done": event.done / 1e6, "total": event.total / 1e6}
        line = tr("{stage}: {done:,.1f} of {total:,.1f} MB", **values)
        _, done, began = self.first
        if event.done > done and now > began:
            rate = (event.done - done) / (now - began)
            left = format_duration((event.total - event.done) / rate)
            line += tr(", {rate:,.1f} MB/s, {duration} left", rate=rate / 1e6, duration=left)
        self.live.update(Text(line, style="dim"))

    def close(self) -> None:
        """Removes the line."""
        if self.live:
            self.live.stop()
            self.live = None


def sparkline(values: list[float], width: int = 24) -> str:
    """`values` as a bar chart of `width` characters, each the mean of an equal part."""
    if len(values) < 2:
        return ""
    width = min(width, len(values))
    edges = [len(values) * i // width for i in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((m - low) * scale)] for m in means)


def format_duration(seconds: float) -> str:
    """Seconds as `2:05` or `1:02:05`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def run_console(*, json: bool) -> Console:
    """A console for the display of a run, on standard error with `json`: when it cannot be written the run goes on."""
    stream = sys.stderr if json else sys.stdout
    return Console(file=cast(IO[str], GuardedStream(stream)), highlight=False)


@contextmanager
def stop_on_signals(live: RunDisplay, *, as_one: float = 0.0) -> Iterator[Callable[[], bool]]:
    """Makes Ctrl-C, SIGTERM, SIGHUP and a closed pipe request that a run saves and stops; a second signal stops it at once.

    Signals that the process ignores stay ignored (`nohup`). Yields `stop` for `train`.

    Args:
        as_one: seconds in which several signals are one: of Ctrl-C, torchrun's processes get SIGINT, and SIGTERM from it.
    """
    requested = False
    first = 0.0

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal requested, first
        if requested and time.monotonic() - first < as_one:
            return
        if requested or not live.plan:  # before the first step there is nothing to save
            raise KeyboardInterrupt
        requested, first = True, time.monotonic()
        live.stopping = True
        if not live.view and not live.console.quiet and (sys.stderr is None or is_writable(sys.stderr)):
            with suppress(OSError):  # a signal handler must not call print
                os.write(STDERR, tr(STOPPING).encode() + b"\n")
        live.stop_waiting()

    with handle_signals((signal.SIGINT, signal.SIGTERM, *HANGUP), request):
        yield lambda: requested or live.reader_is_gone
