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
from pellucid.cli.output import shown_path
from pellucid.cli.streams import HANGUP, STDERR, GuardedStream, UnreadPipe, handle_signals, is_writable, print_error
from pellucid.planning.final_loss import predict_final_loss


BARS = "▁▂▃▄▅▆▇█"
STOPPING = "stopping after this step, and saving (Ctrl-C again to stop at once)"
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
                    self.console.print(Text(f"not read: {shown_path(event.path)}: {event.reason}", style="yellow"))
            case events.Progress(unit="bytes"):
                self.preparation.update(event)
            case events.Progress():
                self.preparation.close()
                if self.skipped > SKIPPED_SHOWN:
                    self.console.print(f"[yellow]and {self.skipped - SKIPPED_SHOWN:,} more not read[/]")
                self.skipped = 0
                count = f": {event.done:,} {event.unit}" if event.done else " ..."
                self.console.print(f"[dim]{event.stage}{count}[/]")
            case events.RunStarted():
                self._start(event)
            case events.StepDone():
                self._step(event)
            case events.StepSkipped():
                self.console.print(
                    f"[yellow]step {event.step:,} skipped[/]: its loss is {event.loss_score:.1f}, its gradient "
                    f"{event.grad_norm_score:.1f} standard deviations above those before it ({event.allowed:g} allowed)"
                )
            case events.HeldOut():
                self.held_out = event
                if self.view and self.last:
                    self.view.update(self._panel())
            case events.Sampled():
                self._sample(event)
            case events.RunFinished():
                if not self.view and self.last and self.last.step == event.step:
                    self.console.print(self._line())  # with the last held-out loss, which is measured after the last step
                self._close()
            case events.CheckpointSaved():
                pass

    def _start(self, event: events.RunStarted) -> None:
        self.preparation.close()
        self.plan = event.plan
        shape = event.plan["config"]
        from pellucid.gpt.config import GPTConfig

        count = GPTConfig.from_dict(shape).parameters()
        patterns = list(dict.fromkeys(shape["pattern"]))
        self.console.print(
            f"[bold]{count:,}[/] parameters: {shape['n_layers']} blocks ({' and '.join(patterns)}"
            f"{' in turn' if len(patterns) == 2 else ''}), width {shape['d_model']}, {shape['n_heads']} heads, "
            f"{shape['n_ctx']} positions, {shape['vocab_size']:,} tokens in the vocabulary"
        )
        recipe = event.plan["recipe"]
        self.console.print(
            f"{event.plan['total_steps']:,} steps, {recipe['total_tokens']:,} tokens, "
            + (f"batches growing over {recipe['ramp_tokens']:,} of them, " if "ramp_tokens" in recipe else "")
            + "learning rate "
            f"{recipe['learning_rate']:.2g}, products in {event.plan['dtype']}"
            f"{', compiled operators' * event.plan['compiled']}, on {event.plan.get('device', 'cpu')} with "
            f"{event.plan['threads']} thread{'s' * (event.plan['threads'] != 1)}"
            + (f"; going on from step {event.step:,}" if event.step else "")
        )
        text = event.plan["source"].get("train_tokens")  # not for fine-tuning, whose final loss depends on its examples
        if text and (end := predict_final_loss(count, recipe["total_tokens"], text)) and end.in_range:
            self.console.print(f"expected at the end: ~{end.bits_per_byte:.2f} bits/byte held out, by {end.as_sentence()}")
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
            self.console.print(self._line())

    def _sample(self, event: events.Sampled) -> None:
        shown = " ".join(event.text.split())
        gap = " " if event.text[:1].isspace() else ""  # a sample may continue the prompt's last word
        self.console.print(
            Text.assemble(
                (f"step {event.step:>6,}  ", "dim"), (event.prompt + gap, "green"), (shown, "magenta")
            ),
            overflow="ellipsis", no_wrap=True, crop=True,
        )  # fmt: skip

    def _remaining(self) -> float:
        assert self.last
        total: int = self.plan["recipe"]["total_tokens"]
        return (total - self.last.tokens) / self.rate

    def _line(self) -> str:
        assert self.last
        held = f"  held-out {self.held_out.bits_per_byte:.3f} bits/byte" if self.held_out else ""
        return (
            f"step {self.last.step:>6,}/{self.plan['total_steps']:,}  loss {self.loss:.3f} (smoothed){held}  "
            f"{self.rate:,.0f} tokens/s  {format_duration(self._remaining())} left"
        )

    def _machine(self) -> str:
        """Throughput of the last step: FLOP/s, and the share of time waiting for data."""
        assert self.last
        return (
            f"{self.last.flops_per_s / 1e9:,.1f} GFLOP/s ({self.last.matmul_share:.0%} of the rate of matrix products alone), "
            f"{self.last.waiting:.1%} of the time waiting for data"
        )

    def _panel(self) -> Group:
        assert self.last
        ln_v = math.log(self.plan["config"]["vocab_size"])
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        table.add_column()
        table.add_row("step", f"{self.last.step:,} of {self.plan['total_steps']:,}")
        total = self.plan["recipe"]["total_tokens"]
        table.add_row("tokens", f"{self.last.tokens:,} of {total:,} ({self.last.epoch:.2f} times through the data)")
        table.add_row("speed", f"{self.rate:,.0f} tokens/s, {format_duration(self._remaining())} left")
        table.add_row("machine", self._machine())
        uniform = f"ln V = {ln_v:.2f} if all tokens are equally likely"
        table.add_row("loss", f"[bold]{self.loss:.3f}[/] nats a token, smoothed ({uniform})  {sparkline(self.curve)}")
        if self.stopping:
            table.add_row("[yellow]stop", f"[yellow]{STOPPING}")
        if self.held_out:
            table.add_row(
                "held out",
                f"{self.held_out.held_out_loss:.3f} nats a token, {self.held_out.bits_per_byte:.3f} bits a byte "
                f"(step {self.held_out.step:,})",
            )
        done = ProgressBar(total=total, completed=min(self.last.tokens, total), width=60)
        return Group(table, done)


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
        words = f"{event.stage}: {event.done / 1e6:,.1f} of {event.total / 1e6:,.1f} MB"
        _, done, began = self.first
        if event.done > done and now > began:
            rate = (event.done - done) / (now - began)
            words += f", {rate / 1e6:,.1f} MB/s, {format_duration((event.total - event.done) / rate)} left"
        self.live.update(Text(words, style="dim"))

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
def stop_on_signals(live: RunDisplay) -> Iterator[Callable[[], bool]]:
    """Makes Ctrl-C, SIGTERM, SIGHUP and a closed pipe request that a run saves and stops; a second signal stops it at once.

    Signals that the process ignores stay ignored (`nohup`). Yields `stop` for `train`.
    """
    requested = False

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        if requested or not live.plan:  # before the first step there is nothing to save
            raise KeyboardInterrupt
        requested = True
        live.stopping = True
        if not live.view and (sys.stderr is None or is_writable(sys.stderr)):
            with suppress(OSError):  # a signal handler must not call print
                os.write(STDERR, STOPPING.encode() + b"\n")
        live.stop_waiting()

    with handle_signals((signal.SIGINT, signal.SIGTERM, *HANGUP), request):
        yield lambda: requested or live.reader_is_gone
