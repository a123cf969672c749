"""pellucid plan PRESET --gpus N --gpu NAME: layouts over a cluster, as text tables that fit in 80 columns."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pellucid.cli.plan_tables import count, money, size
from pellucid.languages import tr
from pellucid.planning.cluster.advice import advise
from pellucid.planning.cluster.flags import megatron_flags, torchtitan_flags
from pellucid.planning.cluster.goodput import FAILURES_SOURCE
from pellucid.planning.cluster.memory import KINDS
from pellucid.planning.cluster.search import DAY, RESERVED, ClusterPlan, RankedLayout
from pellucid.planning.cluster.timing import PARTS
from pellucid.planning.devices import HOUR, YEAR


SHOWN = 8  # layouts of the table


def span(seconds: float) -> str:
    """A time in words: `9.5 days`."""
    if seconds >= YEAR:
        return tr("{value:,.1f} years", value=seconds / YEAR)
    if seconds >= DAY:
        return tr("{value:,.1f} days", value=seconds / DAY)
    if seconds >= HOUR:
        return tr("{value:,.1f} hours", value=seconds / HOUR)
    if seconds >= 60:
        return tr("{value:,.1f} minutes", value=seconds / 60)
    return tr("{value:,.1f} seconds", value=seconds)


def print_cluster_plan(plan: ClusterPlan) -> None:
    """Prints a plan: the ranking, then the best layout's memory, step, run and flags; or what would have to change."""
    console = Console(highlight=False)
    workload = plan.workload
    console.print(Text(tr(
        "{model}: {parameters:,} parameters on {devices:,} x {device}, {sequences:,} sequences of {context:,} a step, {dtype}",
        model=plan.name, parameters=workload.config.parameters(), devices=workload.devices, device=workload.device.name,
        sequences=workload.sequences, context=workload.context, dtype=workload.dtype,
    ), style="bold"))  # fmt: skip
    console.print(Text(tr(
        "{tried:,} layouts looked at, {fitting:,} fit in {budget} a device ({reserved:.0%} of {memory} kept free).",
        tried=plan.tried, fitting=plan.fitting, budget=size(workload.budget), reserved=RESERVED,
        memory=size(workload.device.memory or 0),
    ), style="dim"))  # fmt: skip
    console.print()
    if plan.best is None:
        _advice(console, plan)
        return
    _ranking(console, plan)
    _memory(console, plan, plan.best)
    _step(console, plan, plan.best)
    _run(console, plan, plan.best)
    _flags(console, plan, plan.best)
    console.print(Text(tr(
        "Every number here is estimated: from shapes, from the device's published figures ({source}) and from the shares of "
        "them that work reaches, which are choices. Nothing was run.", source=workload.device.source,
    ), style="dim"))  # fmt: skip


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=f"[bold]{title}[/]", title_justify="left", title_style="", box=None, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for i, heading in enumerate(columns):
        bar = i and not heading  # the column of bars has no heading
        table.add_column(heading, justify="left" if i == 0 or bar else "right", header_style="dim", no_wrap=True)
    return table


def names() -> dict[str, str]:
    """What the values of a layout, the kinds of memory and the parts of a step are called."""
    return {
        "none": tr("nothing"), "optimizer": tr("optimizer"), "gradients": tr("gradients"), "parameters": tr("parameters"),
        "deferred": tr("weights"),
        "half": tr("half"), "full": tr("all"), "1f1b": "1F1B", "interleaved": tr("interleaved"),
        "activations": tr("activations"), "communication": tr("communication buffers"),
        "compute": tr("compute"), "wait": tr("tensor and context groups"), "data": tr("data groups"),
        "messages": tr("between stages"), "bubble": tr("bubble"),
    }  # fmt: skip


def _ranking(console: Console, plan: ClusterPlan) -> None:
    words = names()
    table = _table(
        tr("The fastest layouts"), "dp", tr("copies"), "tp", "cp", "pp", tr("batch"), tr("recompute"), tr("in parts"),
        tr("memory"), tr("step"), "MFU",
    )  # fmt: skip
    for one in plan.ranked[:SHOWN]:
        layout, mesh = one.layout, one.layout.mesh
        stages = f"{mesh.pp}x{layout.chunks}" if layout.chunks > 1 else str(mesh.pp)
        table.add_row(
            str(mesh.dp), str(mesh.replicate), str(mesh.tp), str(mesh.cp), stages,
            f"{layout.micro_batch}x{layout.micro_batches}", words[layout.recompute],
            words[layout.shard], size(one.memory.total), f"{one.time.total:.3g} s",
            f"{plan.outcomes(one)[1].mfu:.1%}",
        )  # fmt: skip
    console.print(table)
    console.print(Text(tr(
        "copies: groups that hold the same (replicate). pp: ranks x chunks of an interleaved schedule. batch: sequences x "
        "micro-batches on each rank. recompute: blocks that are computed again. in parts: what dp and cp share out, up to the "
        "optimizer's state, gradients or parameters; weights: parameters, with gradients whole until the last micro-batch. "
        "MFU: the model's own operations."
    ), style="dim"))  # fmt: skip
    console.print()


def _memory(console: Console, plan: ClusterPlan, best: RankedLayout) -> None:
    memory, words = best.memory, names()
    table = _table(tr("Memory of the rank that needs the most"), "", tr("bytes"), tr("share"), "")
    for kind in KINDS:
        value = getattr(memory, kind)
        table.add_row(words[kind], size(value), f"{value / memory.total:.1%}", _bar(value / plan.workload.budget))
    table.add_row(tr("in all"), size(memory.total), "", _bar(memory.total / plan.workload.budget))
    console.print(table)
    console.print(Text(tr(
        "Rank {rank} of the pipeline, with {count} micro-batches or chunks of them in flight. A full bar is {budget}.",
        rank=memory.pipeline_rank, count=memory.in_flight, budget=size(plan.workload.budget),
    ), style="dim"))  # fmt: skip
    console.print()


def _bar(share: float) -> str:
    """A share as hatching, 24 characters for 1: estimated numbers are never drawn solid."""
    return "/" * min(24, round(24 * share))


def _step(console: Console, plan: ClusterPlan, best: RankedLayout) -> None:
    time, words = best.time, names()
    table = _table(tr("A step of the slowest rank"), "", tr("time"), tr("share"), "")
    for part in PARTS:
        value = getattr(time, part)
        if value:
            table.add_row(words[part], _seconds(value), f"{value / time.total:.1%}", _bar(value / time.total))
        if part == "compute" and time.recompute:
            table.add_row("  " + tr("of it recomputed"), _seconds(time.recompute), f"{time.recompute / time.total:.1%}", "")
    low, _, high = plan.outcomes(best)
    table.add_row(
        tr("in all"), _seconds(time.total), "", tr("{high} to {low}", high=_seconds(high.step), low=_seconds(low.step))
    )
    console.print(table)
    console.print()


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 0.1 else f"{1000 * value:.3g} ms"


def _run(console: Console, plan: ClusterPlan, best: RankedLayout) -> None:
    low, expected, high = plan.outcomes(best)
    failures = plan.failures(best)
    table = _table(tr("The run: {tokens} tokens", tokens=count(plan.workload.tokens)), "", tr("expected"), tr("range"))
    table.add_row("MFU", f"{expected.mfu:.1%}", f"{low.mfu:.1%} - {high.mfu:.1%}")
    table.add_row(
        tr("tokens a day"), count(expected.tokens_per_day), f"{count(low.tokens_per_day)} - {count(high.tokens_per_day)}"
    )
    table.add_row(tr("time"), span(expected.days * DAY), f"{span(high.days * DAY)} - {span(low.days * DAY)}")
    if expected.dollars is not None and low.dollars is not None and high.dollars is not None:
        table.add_row(tr("cost"), money(expected.dollars), f"{money(high.dollars)} - {money(low.dollars)}")
    else:
        table.add_row(tr("cost"), tr("give --price"), "")
    if expected.megawatt_hours is not None and low.megawatt_hours is not None and high.megawatt_hours is not None:
        table.add_row(
            tr("energy of the devices at full power"), f"{expected.megawatt_hours:,.3g} MWh",
            f"{high.megawatt_hours:,.3g} - {low.megawatt_hours:,.3g}",
        )  # fmt: skip
    table.add_row(tr("goodput"), f"{failures.share:.2%}", "")
    console.print(table)
    console.print(Text(tr(
        "Goodput: a failure every {between}, a checkpoint of {checkpoint} every {interval}; {saving:.2%} of the time goes into "
        "saving, {lost:.2%} is lost work, {restarting:.2%} restarts. Failures as in {source}.",
        between=span(failures.between_failures), checkpoint=span(failures.checkpoint), interval=span(failures.interval),
        saving=failures.saving, lost=failures.lost, restarting=failures.restarting, source=FAILURES_SOURCE,
    ), style="dim"))  # fmt: skip
    console.print()


def _flags(console: Console, plan: ClusterPlan, best: RankedLayout) -> None:
    trainers = {"torchtitan": torchtitan_flags, "Megatron-LM": megatron_flags}
    for name, flags in ((name, flags_of(plan.workload, best.layout)) for name, flags_of in trainers.items()):
        console.print(Text(tr("The same with {trainer}", trainer=name), style="bold"))
        for flag in flags:
            console.print(Text(f"  {flag}"))
    console.print()


def _advice(console: Console, plan: ClusterPlan) -> None:
    advice = advise(plan)
    assert advice is not None
    layout, words = plan.smallest.layout, names()
    console.print(Text(tr(
        "Nothing fits. The least is {need} a device, {over} more than there is: {mesh}; sequences at once: {batch}; "
        "recomputed: {recompute}; in parts: {parts}.",
        need=size(advice.need), over=size(advice.need - advice.budget), mesh=str(layout.mesh), batch=layout.micro_batch,
        recompute=words[layout.recompute], parts=words[layout.shard],
    ), style="bold"))  # fmt: skip
    console.print(tr("What would do, each on its own:"))
    if advice.mesh is not None:
        console.print(Text("  " + tr("another mesh of these devices: --mesh {mesh}", mesh=str(advice.mesh))))
    if advice.devices is not None:
        console.print(Text("  " + tr("more devices: --gpus {devices}", devices=advice.devices)))
    console.print(Text("  " + tr("devices with {memory} of memory", memory=size(advice.device_memory))))
