"""An estimate as text tables that fit in 80 columns."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pellucid.gpt.published import DECAY_TOKENS, RAMP_FROM_TOKENS, RAMP_OVER_TOKENS, WARMUP_TOKENS
from pellucid.planning.devices import HOUR, YEAR, DeviceSpec, duration, published_claim
from pellucid.planning.estimate import Estimate
from pellucid.planning.measure import Measured
from pellucid.planning.memory import STATES


UNITS = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
COUNTS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
SPANS = ((YEAR, "years"), (24 * HOUR, "days"), (HOUR, "hours"), (60.0, "minutes"))


def size(value: float) -> str:
    """Bytes: `4.72 MB`."""
    return next((f"{value / unit:,.3g} {name}" if value < 999.5 * unit else f"{value / unit:,.0f} {name}"
                 for unit, name in UNITS if value >= unit), f"{value:,.0f} bytes")  # fmt: skip


def count(value: float) -> str:
    """A count: `300B`."""
    return next((f"{value / unit:,.4g}{name}" for unit, name in COUNTS if value >= unit), f"{value:,.0f}")


def span(seconds: float) -> str:
    """A time: `355.6 years`."""
    return next((f"{seconds / unit:,.1f} {name}" for unit, name in SPANS if seconds >= unit), f"{seconds:,.1f} seconds")


def money(dollars: float) -> str:
    """Dollars: `$4.63M`."""
    return f"${dollars / 1e6:,.3f}M" if dollars >= 1e6 else f"${dollars:,.0f}" if dollars >= 100 else f"${dollars:,.2f}"


def print_estimate(planned: Estimate, measured: Measured | None, *, utilisation_given: bool) -> None:
    """Prints the estimate of one model."""
    console = Console(highlight=False)
    config = planned.config
    patterns = list(dict.fromkeys(map(str, config.pattern)))
    console.print(
        f"[bold]{planned.planned.name}[/]: [bold]{config.parameters():,}[/] parameters, {config.n_layers} blocks of "
        f"{config.block_parameters():,} ({' and '.join(patterns)}{' in turn' * (len(patterns) == 2)}), width "
        f"{config.d_model:,}, {config.n_heads} heads of {config.d_head}, {config.n_ctx:,} positions, {config.vocab_size:,} "
        "tokens in the vocabulary"
    )
    console.print()
    _matrices(console, planned)
    _training(console, planned)
    _memory(console, planned)
    _time(console, planned, utilisation_given)
    if measured:
        _here(console, planned, measured)
    if planned.planned.name == "gpt3-175b":
        _claim(console)
    if planned.planned.published:
        for note in planned.planned.published.notes:
            console.print(f"[yellow]The paper and this model:[/] {note}")


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=f"[bold]{title}[/]", title_justify="left", title_style="", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for i, heading in enumerate(columns):
        table.add_column(heading, justify="left" if i == 0 else "right", header_style="dim", overflow="fold")
    return table


def _matrices(console: Console, planned: Estimate) -> None:
    config, total = planned.config, planned.config.parameters()
    table = _table("Parameters", "matrix", "in", "out", "count", "numbers", "share")
    for matrix in planned.matrices():
        rows, columns = matrix.shape
        times = f"{matrix.count} x" if matrix.count > 1 else ""
        table.add_row(
            matrix.name, f"{rows:,}", f"{columns:,}", times, f"{matrix.parameters:,}", f"{matrix.parameters / total:.2%}"
        )
    table.add_row("biases, LayerNorms", "", "", "", f"{planned.vectors:,}", f"{planned.vectors / total:.2%}")
    console.print(table)
    console.print(
        f"[dim]{len(config.matrices())} matrices ({planned.matrices_qkv_apart} with queries, keys and values apart); the "
        f"embeddings are {planned.embeddings / total:.2%} of all; wte is the output matrix too.[/]"
    )
    console.print()


def _training(console: Console, planned: Estimate) -> None:
    batch, rate = planned.planned.batch_tokens, planned.planned.learning_rate
    published = planned.planned.published if planned.tokens == planned.planned.tokens else None  # else it is another run
    table = _table("Training", "", "")
    table.show_header = False
    table.columns[1].justify = "left"
    table.add_row("tokens", f"{planned.tokens:,} ({planned.tokens_reason})")
    table.add_row("operations, 6 N D", f"{planned.flops_training:.3e}, {planned.pf_days:,.4g} petaflop/s-days")
    if published:
        table.add_row(
            "  Table D.1 prints", f"{published.flops:.2e}, {published.pf_days:,.4g} petaflop/s-days "
            f"(of {published.parameters / 1e6:,.0f}M parameters)",
        )  # fmt: skip
    table.add_row(
        "operations, exact", f"{planned.flops_exact:.3e} in sequences of {planned.context:,}; attention "
        f"{planned.attention_share:.1%} of it",
    )  # fmt: skip
    if batch and rate:
        table.add_row(
            "batch, learning rate",
            f"{batch:,} tokens, {rate:.2g} at the peak; {-(-planned.tokens // batch):,} steps of a full batch",
        )
    if published:
        table.add_row(
            "schedule (appendix B)", f"warm-up over {count(WARMUP_TOKENS)} tokens, cosine to a tenth over "
            f"{count(DECAY_TOKENS)}; batch from {count(RAMP_FROM_TOKENS)} to full over {count(RAMP_OVER_TOKENS[0])} to "
            f"{count(RAMP_OVER_TOKENS[1])}",
        )  # fmt: skip
    console.print(table)
    console.print(
        "[dim]6 N D: six operations a parameter (N) and token (D), attention left out, as the paper counts. Exact: every "
        "matrix product, attention by each block's pattern, backward twice forward.[/]"
    )
    console.print()


def _memory(console: Console, planned: Estimate) -> None:
    by_memory = planned.device is not None and planned.device.memory is not None
    sequences = "1 sequence" if planned.batch == 1 else f"{planned.batch} sequences"
    console.print(f"[bold]Memory[/] [dim]({sequences} of {planned.context:,} tokens at once)[/]")
    extra = (f"{planned.device.name}s" if planned.device else "",) if by_memory else ()
    table = _table("", "to train, in", "state", "+ activations", "or recomputed", *extra)
    for row in planned.train_memory():
        devices = f"{row.devices:,}, {row.devices_recomputed:,}" if row.devices and row.devices_recomputed else ""
        table.add_row(
            row.recipe, size(row.state), size(row.activations), size(row.activations_recomputed), *((devices,) * by_memory)
        )
    table.title = None
    console.print(table)
    parts = " and ".join(
        f"{r.weights} weights + {r.gradients} gradients + {r.moments} Adam" + f" + {r.master} master" * (r.master > 0)
        for r in STATES
    )
    console.print(f"[dim]State: {STATES[0].per_parameter} bytes a parameter ({parts}).[/]")
    table = _table("", "to run, weights in", "weights", "+ cache", "in all", *extra)
    table.title = None
    for run in planned.run_memory():
        devices = f"{run.devices:,}" if run.devices else ""
        table.add_row(
            run.dtype, size(run.weights), size(run.cache), size(run.weights + run.cache), *((devices,) * by_memory)
        )
    console.print()
    console.print(table)
    console.print(
        f"[dim]Cache: keys and values in 16 bits, {size(planned.kv_bytes_per_token)} a token if every block is counted as "
        f"dense. A sequence of {planned.context:,}: {size(planned.kv_bytes_dense)} with every position kept, as Pellucid's "
        f"runners do; {size(planned.kv_bytes)} in an evicting cache (counted above), which drops "
        "what no later query can read.[/]"
    )
    console.print()


def _time(console: Console, planned: Estimate, utilisation_given: bool) -> None:
    device = planned.device
    if device is None:
        return
    if device.flops is None:
        console.print("[dim]Time: give the device's rate with --flops.[/]\n")
        return
    many = f"{planned.count:,} x {device.name}"
    table = _table(f"Time on {many}", "operations", "time", "device-hours", "cost")
    for name, took in planned.durations().items():
        label = {"flops_training": "6 N D", "flops_exact": "exact"}[name]
        cost = "give --price" if took.dollars is None else money(took.dollars)
        table.add_row(label, span(took.seconds), f"{took.device_hours:,.4g}", cost)
    console.print(table)
    reached = f"{planned.utilisation:.0%} of {device.flops / 1e12:,.4g} TFLOPS"
    reached += "" if utilisation_given else ", the whole rate, which no training reaches; give yours with --utilisation"
    price = "" if device.price is None else f"; ${device.price:g} an hour"
    memory = "; give --memory for how many hold it" if device.memory is None else ""
    console.print(Text(f"{reached}{price}{memory}. Figures: {device.source}.", style="dim"))
    console.print()


def _here(console: Console, planned: Estimate, measured: Measured) -> None:
    took = duration(planned.flops_exact, DeviceSpec(name="this machine", flops=measured.flops))
    table = _table("This machine (measured)", "", "")
    table.show_header = False
    table.columns[1].justify = "left"
    threads = f"{measured.threads} thread{'s' * (measured.threads != 1)}"
    table.add_row("matrix products", f"{measured.flops / 1e9:,.1f} GFLOPS in {measured.dtype} on {threads}")
    table.add_row("training takes", f"{span(took.seconds)} or more: the exact operations at that rate, nothing else counted")
    if measured.memory is not None:
        need = planned.train_memory()[0].state
        fits = "fits, before activations" if need <= measured.memory else "does not fit"
        table.add_row("memory", f"{size(measured.memory)}; the state to train in float32, {size(need)}, {fits}")
    console.print(table)
    console.print()


def _claim(console: Console) -> None:
    table = _table('"355 GPU-years, $4.6M"', "operations", "on one V100", "cost", "counted by")
    table.columns[3].justify = "left"
    for claim in published_claim():
        table.add_row(f"{claim.flops:.4g}", f"{claim.years:,.1f} years", money(claim.dollars), claim.flops_source)
    console.print(table)
    console.print(
        "[dim]28 TFLOPS, all of it reached, $1.5 an hour. 355 comes from the first count and 4.6 from the second; no one "
        "chain gives both.[/]"
    )
    console.print()


def print_sizes(sizes: list[Estimate]) -> None:
    """Prints the eight published sizes, ours beside Table D.1."""
    console = Console(highlight=False)
    table = _table(
        "The eight sizes of GPT-3, trained on 300 billion tokens", "preset", "N (M)", "D.1", "6 N D", "D.1", "PF-days", "D.1",
        "exact",
    )  # fmt: skip
    for each in sizes:
        published = each.planned.published
        assert published
        table.add_row(
            each.planned.name, f"{each.config.parameters() / 1e6:,.1f}", f"{published.parameters / 1e6:,.0f}",
            f"{each.flops_training:.2e}", f"{published.flops:.2e}", f"{each.pf_days:.2e}", f"{published.pf_days:.2e}",
            f"{each.flops_exact:.2e}",
        )  # fmt: skip
    console.print(table)
    console.print(
        "[dim]D.1: the paper's Table D.1. It takes 6 operations a parameter (N) and token (D), of N as it rounds it; ours "
        "takes the exact N. Exact: every matrix product, attention by each block's pattern.[/]\n"
    )
    for each in sizes:
        assert each.planned.published
        for note in each.planned.published.notes:
            console.print(f"[yellow]{each.planned.name}:[/] {note}")
