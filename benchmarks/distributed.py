"""Training on two gloo processes of one thread each against one, on this machine, with what the second process is lost to.

    python benchmarks/distributed.py [--preset cpu-12m] [--mesh dp=2] [--rounds 5]

Three sides take turns, so that a busy machine slows all of them: a step of the whole batch in one process; steps of half the
batch in two processes at once that exchange nothing; and a step of the whole batch on the mesh. The difference between the
first two is what two processes take from each other (caches, memory bandwidth, turbo), that between the last two what they
wait for each other and copy. Prints one JSON object in the form of `pellucid bench --json`; the peer of a value is one
process's, and for a mesh twice that would be no loss at all.

`planned` is what `pellucid plan` would say of the step on the mesh, at its three efficiencies, with rates measured between the
steps, both processes at once, in place of a data sheet's: a product of 1,024 x 1,024 matrices, a copy in memory, an all-reduce
of 32 MB.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


PORT = 29517
SIDE, COPIED, REDUCED = 1024, 1 << 25, 1 << 23  # of the product's matrices; numbers that are copied, and reduced


def worker(rank: int, folder: str, preset: str, mesh_text: str, pipe: Connection) -> None:
    """A rank: takes steps of each kind when it is told to, and answers with their seconds."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(PORT), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    import torch

    from pellucid.corpus.shards import open_corpus
    from pellucid.generation.model import GPT
    from pellucid.runs.files import CORPUS
    from pellucid.runs.plan import Plan
    from pellucid.text import Tokenizer
    from pellucid.training.batches import WindowBatches
    from pellucid.training.checkpoint import State
    from pellucid.training.distributed.execution import MeshExecution
    from pellucid.training.distributed.process_group import joined
    from pellucid.training.execution import OneProcess
    from pellucid.training.memory_limit import retain_freed_memory
    from pellucid.training.mesh import Mesh

    torch.set_num_threads(1)
    retain_freed_memory()
    run = Path(folder) / "run"
    with joined(Mesh.parse(mesh_text), torch.device("cpu"), 300) as ranks:
        plan = Plan.load(run, kind="train")
        tokenizer = Tokenizer.load(run / CORPUS)
        corpus = open_corpus(run / CORPUS, verify=False)

        def alone(batch: int) -> OneProcess:
            planned = replace(plan, batch=batch, micro_batch=min(plan.micro_batch, batch))
            return OneProcess(run, planned, GPT(plan.config, seed=1), WindowBatches.of(planned, corpus, tokenizer))

        batches = WindowBatches.of(plan, corpus, tokenizer)
        sides = {
            "one": alone(plan.batch), "apart": alone(plan.batch // 2),
            "mesh": MeshExecution(run, plan, ranks, batches, tokenizer, "1f1b"),
        }  # fmt: skip
        sides["mesh"].resume()
        state = State(step=0, tokens=0)
        pipe.send(plan.batch * plan.config.n_ctx)
        while (side := pipe.recv()) is not None:
            began = time.perf_counter()
            if side == "rates":
                pipe.send(measured_rates(getattr(torch, plan.dtype)))
                continue
            sides[side].take_step(state, None)
            pipe.send(time.perf_counter() - began)


def measured_rates(dtype: Any) -> dict[str, float]:
    """Operations a second of a product, bytes a second of memory, and of an all-reduce between the processes."""
    import torch
    import torch.distributed as dist

    from pellucid.training.matmul_rate import time_products

    whole, gradients = torch.ones(COPIED), torch.ones(REDUCED)
    dist.barrier()
    (products,) = time_products(dtype, [(SIDE, SIDE, SIDE)], seconds=0.3, minimum=8)
    copy = fastest(whole.clone)
    dist.barrier()
    reduce = fastest(lambda: dist.all_reduce(gradients))
    # Each of two processes sends half of the numbers twice: 2 (n - 1) / n of them.
    return {"flops": 2 * SIDE**3 / min(products), "bandwidth": 8 * COPIED / copy, "network": 4 * REDUCED / reduce}


def fastest(work: Callable[[], Any], times: int = 8) -> float:
    """Seconds of the fastest of some repetitions."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def measure(pipes: list[Connection], rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The seconds of each side's steps, the slower rank's, sides in turn, the first of each not kept; the rates reached."""
    times: dict[str, list[float]] = {"one": [], "apart": [], "mesh": []}
    rates: dict[str, float] = {}
    for _ in range(rounds + 1):
        for side, seconds in times.items():
            used = pipes[:1] if side == "one" else pipes
            for pipe in used:
                pipe.send(side)
            seconds.append(max(pipe.recv() for pipe in used))
        for pipe in pipes:
            pipe.send("rates")
        for name, value in [pair for pipe in pipes for pair in pipe.recv().items()]:
            rates[name] = max(value, rates.get(name, 0.0))
    return {side: seconds[1:] for side, seconds in times.items()}, rates


def planned_step(run: Path, mesh_text: str, rates: dict[str, float]) -> dict[str, float]:
    """Seconds of a step on the mesh by the plan's formulas, at its three efficiencies."""
    from pellucid.planning.cluster.efficiency import RANGE
    from pellucid.planning.cluster.layout import Layout
    from pellucid.planning.cluster.search import PlannedTraining, device_rates, outcome
    from pellucid.planning.devices import DeviceSpec
    from pellucid.runs.plan import Plan
    from pellucid.training.distributed.pipeline import pipeline_rows
    from pellucid.training.mesh import Mesh

    plan, mesh = Plan.load(run, kind="train"), Mesh.parse(mesh_text)
    rows = plan.batch // mesh.batch_ranks
    micro_batch = min(plan.micro_batch, rows) if mesh.pp == 1 else pipeline_rows(rows, plan.micro_batch, mesh.pp)
    layout = Layout(
        mesh=mesh, shard="none" if mesh.dp * mesh.cp == 1 else "deferred" if mesh.pp == 1 else "optimizer", schedule="1f1b",
        chunks=1, micro_batch=micro_batch, micro_batches=rows // micro_batch, recompute="none",
    )  # fmt: skip
    device = DeviceSpec(
        name="a process of this machine", flops=rates["flops"], flops_float32=rates["flops"], memory=1e12,
        bandwidth=rates["bandwidth"], network=rates["network"], per_node=1,
    )  # fmt: skip
    workload = PlannedTraining(
        config=plan.config, tokens=1, context=plan.config.n_ctx, sequences=plan.batch, device=device, devices=mesh.size,
        dtype=plan.dtype,
    )  # fmt: skip
    return {
        name: outcome(workload, layout, device_rates(workload, efficiency)).step
        for name, efficiency in zip(("low", "expected", "high"), RANGE, strict=True)
    }


def main() -> None:
    """Plans a run of the preset, starts both ranks, and times the three sides in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="cpu-12m")
    parser.add_argument("--mesh", default="dp=2")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    from pellucid.corpus import story_books
    from pellucid.training.machine import describe
    from pellucid.training.options import TrainingOptions
    from pellucid.training.pretraining import TrainingJob
    from pellucid.training.run import prepare_run

    with tempfile.TemporaryDirectory() as folder:
        job = TrainingJob(list(story_books()), TrainingOptions(preset=args.preset, steps=4))
        prepare_run(job, Path(folder) / "run", seed=1, record=False, resume=False, observers=[])
        context = multiprocessing.get_context("spawn")
        pipes, processes = [], []
        for rank in range(2):
            here, there = context.Pipe()
            process = context.Process(target=worker, args=(rank, folder, args.preset, args.mesh, there), daemon=True)
            process.start()
            pipes.append(here)
            processes.append(process)
        tokens = max([pipe.recv() for pipe in pipes])
        times, reached = measure(pipes, args.rounds)
        planned = planned_step(Path(folder) / "run", args.mesh, reached)
        for pipe in pipes:
            pipe.send(None)
        for process in processes:
            process.join(30)
    rates = {side: tokens / statistics.median(seconds) for side, seconds in times.items()}
    machine: dict[str, Any] = dict(describe())
    names = {"apart": "two processes apart", "mesh": f"two processes, {args.mesh}"}
    rows = [
        {
            "name": f"train/{args.preset}/{names[side]}/tokens_per_s", "value": rates[side], "unit": "tokens/s",
            "peer": "one process", "peer_value": rates["one"], "ratio": rates[side] / rates["one"],
        }
        for side in names
    ]  # fmt: skip
    lost = {
        "lost_of_two": 1 - rates["mesh"] / (2 * rates["one"]), "lost_to_sharing": 1 - rates["apart"] / (2 * rates["one"]),
        "lost_to_waiting": 1 - rates["mesh"] / rates["apart"],
    }  # fmt: skip
    took = statistics.median(times["mesh"])
    off = {name: seconds / took - 1 for name, seconds in planned.items()}
    plan = {"rates": reached, "seconds": planned, "measured": took, "off": off}
    print(json.dumps({"comparisons": rows, "lost": lost, "planned": plan, "seconds": times, "machine": machine}, indent=1))


if __name__ == "__main__":
    main()
