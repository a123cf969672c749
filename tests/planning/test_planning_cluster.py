"""Plans of clusters: the search against brute force, the pipeline's order against PyTorch's, and what must grow or shrink."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from math import prod

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as some

from pellucid.cli import main
from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.costs import parameter_shapes
from pellucid.planning import DEVICES, device_spec, planned_model
from pellucid.planning.cluster.advice import advise
from pellucid.planning.cluster.flags import megatron_flags, torchtitan_flags
from pellucid.planning.cluster.goodput import goodput
from pellucid.planning.cluster.layout import RECOMPUTE, SHARDS, Layout, check_mesh, layouts, meshes
from pellucid.planning.cluster.memory import in_flight, peak_memory, rank_memory
from pellucid.planning.cluster.published_runs import PUBLISHED_RUNS, repeat
from pellucid.planning.cluster.schedule import order, timetable
from pellucid.planning.cluster.search import (
    PlannedTraining,
    RankedLayout,
    batch_sequences,
    candidates,
    device_rates,
    plan_cluster,
    rank_key,
)
from pellucid.planning.cluster.shards import chunk, held, rank_parameters, tensor_parallel_shape
from pellucid.planning.cluster.timing import Pass, stage_message, stage_passes, step_time
from pellucid.planning.source import PlannedModel
from pellucid.training.mesh import Mesh
from pellucid.training.mesh_check import divisors


@some.composite
def shapes(draw: some.DrawFn) -> GPTConfig:
    heads = draw(some.sampled_from([2, 4, 6, 12]))
    return GPTConfig(
        vocab_size=draw(some.integers(50, 700)), n_ctx=draw(some.sampled_from([64, 96, 512])),
        n_layers=draw(some.sampled_from([2, 4, 6, 12])), d_model=heads * draw(some.sampled_from([4, 8])), n_heads=heads,
        pattern=draw(some.sampled_from(["dense", "banded(16)", ""])) or (),
    )  # fmt: skip


@some.composite
def workloads(draw: some.DrawFn) -> PlannedTraining:
    device = replace(DEVICES[draw(some.sampled_from(["v100", "h100"]))], per_node=draw(some.sampled_from([1, 4, 8])))
    return PlannedTraining(
        config=draw(shapes()), tokens=10**6, context=draw(some.sampled_from([32, 64])),
        sequences=draw(some.sampled_from([4, 6, 12, 16])), device=device, devices=draw(some.sampled_from([1, 2, 4, 6, 8])),
        dtype=draw(some.sampled_from(["bfloat16", "float32"])),
    )  # fmt: skip


@cases(6)
@given(workloads(), some.floats(0.0, 1.0), some.sampled_from([1, 3, 10]))
def test_the_search_is_brute_force_in_less_time(workload: PlannedTraining, place: float, keep: int) -> None:
    listed = list(candidates(workload, {}))
    if not listed:
        return
    rates = device_rates(workload)
    brute = [
        RankedLayout(layout=one, memory=peak_memory(workload.model, one), time=step_time(workload.model, one, rates))
        for one in listed
    ]
    sizes = sorted(one.memory.total for one in brute)
    memory = sizes[round(place * (len(sizes) - 1))] / 0.92 + 1  # so that some fit and some do not
    tight = replace(workload, device=replace(workload.device, memory=memory))
    planned = PlannedModel(name="x", config=workload.config, tokens=10**6, tokens_reason="")
    plan = plan_cluster(
        planned, tight.device, workload.devices, sequences=workload.sequences, context=workload.context, dtype=workload.dtype,
        keep=keep,
    )  # fmt: skip
    fitting = sorted((one for one in brute if one.memory.total <= tight.budget), key=rank_key)
    assert (plan.tried, plan.fitting) == (len(brute), len(fitting))
    assert [(one.layout, one.memory) for one in plan.ranked] == [(one.layout, one.memory) for one in fitting[:keep]]
    assert [one.time.total for one in plan.ranked] == pytest.approx([one.time.total for one in fitting[:keep]])
    assert plan.smallest.memory.total == sizes[0]


@cases(6)
@given(workloads())
def test_more_recomputation_takes_less_memory_and_more_time_and_finer_parts_take_less_memory(workload: PlannedTraining) -> None:
    model, rates = workload.model, device_rates(workload)
    for layout in list(candidates(workload, {}))[::7]:
        ways = [replace(layout, recompute=recompute) for recompute in RECOMPUTE]
        for less, more in pairwise(ways):
            assert peak_memory(model, more).total <= peak_memory(model, less).total
            slow, fast = step_time(model, more, rates), step_time(model, less, rates)
            added = slow.compute - fast.compute
            assert added >= 0
            # Gathered parameters hide behind what is added, and gradients that are exchanged once a step do so again.
            assert slow.total >= fast.total - added - 1e-9 * fast.total
        if layout.shard != "none":
            states = [
                (lambda memory: memory.parameters + memory.gradients + memory.optimizer)(
                    rank_memory(model, replace(layout, shard=shard, micro_batches=64), 0)
                )
                for shard in SHARDS[1:]
            ]
            optimizer, gradients, deferred, parameters = states  # of several micro-batches
            assert optimizer >= max(gradients, deferred) >= min(gradients, deferred) >= parameters


@cases(6)
@given(workloads(), some.sampled_from([2, 3]))
def test_more_devices_never_take_more_memory_a_rank(workload: PlannedTraining, times: int) -> None:
    """At the same micro-batch: as many times the data parallel ranks, and so of the batch."""
    model = workload.model
    for layout in list(candidates(workload, {}))[::7]:
        axis = "replicate" if layout.shard == "none" else "dp"
        wider = replace(layout, mesh=replace(layout.mesh, **{axis: getattr(layout.mesh, axis) * times}))
        assert peak_memory(model, wider).total <= peak_memory(model, layout).total


@cases(25)
@given(shapes(), some.sampled_from([1, 2, 3, 4, 6]), some.integers(1, 9))
def test_what_all_ranks_hold_is_the_model(config: GPTConfig, tp: int, ranks: int) -> None:
    listed = list(parameter_shapes(config))
    for one in listed:
        name, shape = one
        parts = [tensor_parallel_shape(name, shape, tp, rank) for rank in range(tp)]
        assert sum(map(prod, parts)) == prod(shape) * (tp if parts[0] == shape else 1)
        for rank in range(tp):
            own = [held([one], tp, ranks, tp_rank=rank, rank=place) for place in range(ranks)]
            assert sum(each.shard for each in own) == own[0].whole == prod(parts[rank])
            assert own[0].shard == max(each.shard for each in own)
    assert sum(chunk(7, 3, rank) for rank in range(3)) == 7


@cases(20)
@given(some.integers(1, 4), some.integers(1, 4), some.integers(1, 6), some.booleans())
def test_the_order_is_pytorch_s_and_the_timetable_s_length_the_formula_s(pp: int, chunks: int, times: int, even: bool) -> None:
    schedules = pytest.importorskip("torch.distributed.pipelining.schedules")
    layout = Layout(
        mesh=Mesh(pp=pp), shard="none", schedule="interleaved" if chunks > 1 else "1f1b",
        chunks=chunks, micro_batch=1, micro_batches=pp * times, recompute="none",
    )  # fmt: skip
    theirs = object.__new__(schedules.ScheduleInterleaved1F1B)
    theirs.n_local_stages, theirs.pp_group_size, theirs._n_microbatches = chunks, pp, pp * times
    theirs.microbatches_per_round = pp
    for rank in range(pp):
        ours = order(layout, rank)
        assert len(ours) == len(set(ours)) == 2 * chunks * pp * times
        if chunks > 1:
            listed = [one for one in theirs._calculate_single_rank_operations(rank) if one is not None]
            forward = schedules._ComputationType.FORWARD
            assert ours == [(one.computation_type == forward, one.stage_index, one.microbatch_index) for one in listed]
        begun = [sum(1 if one[0] else -1 for one in ours[: i + 1]) for i in range(len(ours))]
        assert max(begun) == in_flight(pp, chunks, pp * times, rank)
    one = Pass(1.0, 2.0, 0.25, 0.5) if even else Pass(1.0, 1.0)
    slots = timetable(layout, [one] * layout.stages, 0.0)
    # Each rank is busy m v passes; the first begins at once and ends last, pp - 1 stages' passes later than it must.
    length = max(slot.end for slot in slots)
    assert length == pytest.approx(one.whole * (layout.micro_batches * chunks + pp - 1))


@cases(6)
@given(workloads())
def test_the_timetable_is_close_to_the_formula_where_stages_differ(workload: PlannedTraining) -> None:
    rates = device_rates(workload)
    for layout in list(candidates(workload, {}))[::11]:
        time = step_time(workload.model, layout, rates)
        passes = stage_passes(workload.model, layout, rates)
        slots = timetable(layout, passes, 0.0)
        length = max(slot.end for slot in slots)
        formula = time.compute + time.wait + time.bubble
        if layout.chunks == 1:
            assert 0.8 * formula <= length <= formula * (1 + 1e-9)
        else:
            assert formula * 0.99 <= length <= 1.5 * formula
        by_rank: dict[int, float] = {}
        for slot in slots:  # one at a time, after what it needs
            assert slot.start >= by_rank.get(slot.rank, 0.0) - 1e-12
            by_rank[slot.rank] = slot.end
        assert stage_message(workload.model, layout, rates) >= 0


@cases(25)
@given(shapes(), some.integers(1, 12), some.integers(1, 12), some.integers(1, 6), some.integers(1, 6), some.integers(1, 40))
def test_a_mesh_that_cannot_be_is_refused_with_what_would(
    config: GPTConfig, dp: int, tp: int, pp: int, cp: int, sequences: int
) -> None:
    mesh = Mesh(dp=dp, tp=tp, pp=pp, cp=cp)
    listed = meshes(config, 64, sequences, mesh.size, {"dp": dp}, 8)
    try:
        check_mesh(config, 64, sequences, mesh)
    except PellucidError as error:
        assert mesh not in listed
        assert "use " in str(error)
    else:
        assert mesh in listed
        assert layouts(config, sequences, mesh)


def test_refusals_name_the_degrees_that_divide() -> None:
    config = GPTConfig.preset("gpt3-175b")
    for mesh, words in (
        (Mesh(dp=1, tp=5, pp=1, cp=1), "tp=5 does not divide the 96 heads.*use one of 1, 2, 3, 4, 6, 8, 12, 16"),
        (Mesh(dp=1, tp=1, pp=7, cp=1), "pp=7 does not divide the 96 blocks: use one of 1, 2, 3"),
        (Mesh(dp=1, tp=1, pp=1, cp=3), "cp=3 does not cut 2,048 positions.*use one of 1, 2, 4"),
        (Mesh(dp=7, tp=1, pp=1, cp=1), "dp x replicate = 7 does not divide the batch of 1,536 sequences: use one of 1, 2, 3"),
        (Mesh(dp=96, tp=1, pp=32, cp=1), "pp=32 needs as many micro-batches.*at most 16"),
    ):
        with pytest.raises(PellucidError, match=words):
            check_mesh(config, 2048, 1536, mesh)


def test_gpt3_on_1024_fits_and_its_parts_add_up() -> None:
    plan = plan_cluster(planned_model("gpt3-175b"), DEVICES["h100"], 1024, mesh={"tp": 8, "cp": 1})
    best = plan.best
    assert best is not None and best.layout.mesh.size == 1024 and best.layout.sequences == 1536
    assert best.memory.total <= 0.92 * 80e9
    # All ranks' parameters together are the model, and the token matrix again in the last stage.
    mesh, model = best.layout.mesh, plan.workload.model
    whole = sum(rank_parameters(model, 1, 1, mesh.pp, best.layout.chunks, rank).whole for rank in range(mesh.pp))
    assert whole == 174_604_259_328 + (617_558_016 if mesh.pp > 1 else 0)
    low, expected, high = plan.outcomes(best)
    assert low.mfu < expected.mfu < high.mfu < 1
    assert expected.step == pytest.approx(best.time.total)
    assert plan.failures(best).share < 1
    assert rank_memory(model, best.layout, 0).in_flight >= rank_memory(model, best.layout, mesh.pp - 1).in_flight


@pytest.mark.parametrize("run", PUBLISHED_RUNS, ids=lambda run: run.name)
def test_published_runs_are_within_the_range(run: object) -> None:
    slow, _, fast = repeat(run)  # type: ignore[arg-type]
    assert fast <= run.published <= slow  # type: ignore[attr-defined]


@cases(25)
@given(some.floats(1e8, 1e12), some.integers(1, 20000), some.floats(0.1, 60))
def test_no_other_interval_of_checkpoints_wastes_less(parameters: float, devices: int, step: float) -> None:
    """The oracle is a scan: the interval of the formula wastes at most a hundredth more than the best one found."""
    found = goodput(round(parameters), devices, step, storage=1e9)

    def wasted(interval: float) -> float:
        return found.checkpoint / interval + interval / 2 / found.between_failures

    if found.checkpoint > found.between_failures / 20:
        return  # the formula is for checkpoints that take much less time than passes between failures
    scanned = min(wasted(step * k) for k in {1, *(math.ceil(1.07**i) for i in range(250))})
    assert wasted(found.interval) <= scanned * 1.01


def test_batches_are_round_in_sequences() -> None:
    assert [batch_sequences(tokens, 2048) for tokens in (500_000, 1_000_000, 2_000_000, 3_200_000)] == [256, 512, 1024, 1536]
    assert [batch_sequences(tokens, 64) for tokens in (1, 64, 200, 4096)] == [1, 1, 3, 64]
    assert divisors(36) == [1, 2, 3, 4, 6, 9, 12, 18, 36]


def test_what_would_have_to_change_does() -> None:
    planned, device = planned_model("gpt3-13b"), DEVICES["v100"]
    plan = plan_cluster(planned, device, 4)
    advice = advise(plan)
    assert plan.best is None and advice is not None and advice.devices is not None and advice.mesh is None
    assert plan_cluster(planned, device, advice.devices).best is not None
    assert plan_cluster(planned, replace(device, memory=advice.device_memory), 4).best is not None
    # Degrees that do not fit, where others do.
    given = {"tp": 1, "pp": 1, "cp": 1}
    fixed, free = (plan_cluster(planned, device, 8, mesh=mesh).smallest.memory.total for mesh in (given, {}))
    between = replace(device, memory=(fixed + free) / 2 / 0.92)
    other = advise(plan_cluster(planned, between, 8, mesh=given))
    assert other is not None and other.mesh is not None
    degrees = {name: getattr(other.mesh, name) for name in Mesh().sizes}
    assert plan_cluster(planned, between, 8, mesh=degrees).best is not None
    assert advise(plan_cluster(planned_model("tiny"), DEVICES["h100"], 1)) is None


def test_flags_name_the_layout() -> None:
    plan = plan_cluster(planned_model("gpt3-175b"), DEVICES["a100"], 1024, mesh={"tp": 8, "pp": 16})
    layout = plan.ranked[0].layout
    titan, megatron = torchtitan_flags(plan.workload, layout), megatron_flags(plan.workload, layout)
    assert "--parallelism.tensor_parallel_degree 8" in titan and "--tensor-model-parallel-size 8" in megatron
    degrees = dict(flag.split(" ", 1) for flag in titan)
    product = prod(int(value) for name, value in degrees.items() if name.endswith("_parallel_degree"))
    shards = [int(degrees[f"--parallelism.data_parallel_{name}_degree"]) for name in ("replicate", "shard")]
    assert product * prod(shards) == 1024
    half = megatron_flags(plan.workload, replace(layout, recompute="half", schedule="1f1b", chunks=1))
    assert "--recompute-num-layers 3" in half


def test_the_command_prints_json_and_tables_of_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    asked = ["plan", "gpt3-13b", "--gpus", "32", "--gpu", "h100", "--mesh", "dp=4,tp=4,pp=2", "--price", "2"]
    for language in ("en", "zh"):
        assert main([*asked, "--lang", language]) == 0
        shown = capsys.readouterr().out
        assert "MFU" in shown and "--tensor-model-parallel-size 4" in shown
        assert max(map(len, shown.splitlines())) <= 80
    assert main([*asked, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["layouts"][0]["layout"]["mesh"]["tp"] == 4 and plan["flags"]["megatron"]
    assert plan["layouts"][0]["low"]["dollars"] > plan["layouts"][0]["high"]["dollars"]
    assert main(["plan", "gpt3-13b", "--gpus", "2", "--gpu", "v100"]) == 1
    assert "Nothing fits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--gpus", "8"], 2, "both --gpus N and --gpu NAME"),
        (["--mesh", "tp=2"], 2, "--mesh is for a cluster"),
        (["--gpus", "8", "--gpu", "h100", "--utilisation", "0.4"], 2, "--utilisation is not for a cluster"),
        (["--gpus", "2", "--gpu", "mine", "--flops", "1T"], 1, "lack its memory and bandwidth and network: give --memory"),
        (["--gpus", "2", "--gpu", "epyc-9965"], 1, "lack its memory and network"),
        (["--gpus", "8", "--gpu", "h100", "--mesh", "tp=3"], 1, "tp=3 is 3 devices, which does not divide"),
        (["--gpus", "5", "--gpu", "h100", "--mesh", "tp=5"], 1, "tp=5 does not divide the 4 heads"),
        (["--gpus", "0", "--gpu", "h100"], 1, "from 1 to 1,048,576"),
        (["--gpus", "1", "--gpu", "h100", "--sequences", "0"], 1, "at least one sequence"),
        (["--gpus", "1", "--gpu", "h100", "--context", "4096"], 1, "from 1 to the model's 128"),
    ],
)
def test_bad_clusters_are_said_in_one_line(
    arguments: list[str], status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "tiny", *arguments]) == status
    shown = capsys.readouterr()
    assert shown.out == "" and words in shown.err and shown.err.count("\n") == 1


def test_devices_have_sources_and_rates_that_agree() -> None:
    for name, spec in DEVICES.items():
        assert spec.name == name and spec.source and spec.flops and spec.flops_float32 and spec.flops > spec.flops_float32
        assert spec.bandwidth and spec.power
    changed = device_spec("h100", memory=40e9, per_node=4)
    assert changed is not None and (changed.memory, changed.per_node, changed.flops) == (40e9, 4, 989.4e12)
    assert "memory and per_node given; the rest NVIDIA" in changed.source
