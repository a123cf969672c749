"""The peak memory that a plan predicts, beside that of the same layout run by four processes of this machine."""

import ctypes
import gc
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cases import TIMES
from stories import story
from worlds import World

import pellucid
from pellucid.corpus import Document
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.pattern import Banded, Dense
from pellucid.planning.cluster.layout import Layout, Recompute, Schedule, Shard
from pellucid.planning.cluster.memory import RankMemory, rank_memory
from pellucid.planning.cluster.model import Model
from pellucid.runs.plan import Plan
from pellucid.training.mesh import Mesh


# Large enough for its tensors to be most of a process, small enough for two cores.
CONFIG = GPTConfig(
    vocab_size=512, n_ctx=320, n_layers=8, d_model=384, n_heads=8, pattern=(Banded(64), Dense()) * 4,
)  # fmt: skip
ROWS, MICRO_BATCH = 8, 2
WITHIN = 0.10
MESHES = [
    "dp=2", "dp=4", "tp=4", "dp=2,tp=2", "replicate=2,dp=2", "pp=4", "pp=2,dp=2", "pp=2,tp=2/interleaved",
    "dp=2,cp=2 recomputed",
]  # fmt: skip
# Parameters of malloc.h: trim threshold, top pad, map threshold, most maps. Each block from 64 kB on is a map of its own, which
# goes back to the system when it is freed.
MALLOC = {-1: 1 << 16, -2: 0, -3: 1 << 16, -4: 1 << 20}


def resident(name: str) -> int:
    """Bytes of VmRSS or VmHWM of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def give_back_freed_memory() -> None:
    """Undoes what a run asks of malloc, so that the resident size is what is in use."""
    gc.collect()
    libc = ctypes.CDLL(None)
    for parameter, value in MALLOC.items():
        libc.mallopt(parameter, value)
    libc.malloc_trim(0)


def train_and_measure(out: Path, config: GPTConfig, **options: Any) -> tuple[int, int]:
    """(place along pp, bytes of this rank at the peak of the second step).

    What lives between steps, parameters and moments, is counted by its tensors; what a step adds, by the process.
    """
    from pellucid.training.distributed.execution import MeshExecution
    from pellucid.training.distributed.fill import own_part

    found: dict[str, int] = {}
    whole, step = MeshExecution.__init__, MeshExecution.take_step

    def init(self: MeshExecution, run: Path, plan: Plan, *others: Any) -> None:
        give_back_freed_memory()
        whole(self, run, replace(plan, micro_batch=MICRO_BATCH), *others)  # less than this machine's memory would allow

    def take_step(self: MeshExecution, state: Any, watcher: Any) -> Any:
        moments = [value for state_of_one in self.optimizer.state.values() for value in state_of_one.values()]
        kept = sum(own_part(tensor)[0].nbytes for tensor in (*self.stages.parameters(), *moments))
        give_back_freed_memory()
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM begins anew
        result = step(self, state, watcher)
        found["peak"], found["place"] = kept + resident("VmHWM") - before, self.place["pp"]
        return result

    MeshExecution.__init__, MeshExecution.take_step = init, take_step  # type: ignore[assignment, method-assign]
    pellucid.train(
        [Document("a story", story(4000, 1))], out, config=config, steps=2, batch_tokens=ROWS * CONFIG.n_ctx, seed=1,
        dtype="float32", record=False, checkpoint_every=1000, **options,
    )  # fmt: skip
    return found["place"], found["peak"]


def planned(mesh: Mesh, schedule: Schedule, recompute: Recompute) -> list[RankMemory]:
    """The plan of what training does on a mesh, for each place along pp."""
    shard: Shard = "optimizer" if mesh.pp > 1 else "deferred"  # also over one rank: FSDP keeps its copies there too
    from pellucid.training.distributed.execution import pipeline_rows

    rows = ROWS // mesh.batch_ranks
    micro = MICRO_BATCH if mesh.pp == 1 else pipeline_rows(rows, MICRO_BATCH, mesh.pp)
    layout = Layout(
        mesh=mesh, shard=shard, schedule=schedule, chunks=2 if schedule == "interleaved" else 1, micro_batch=micro,
        micro_batches=rows // micro, recompute=recompute,
    )  # fmt: skip
    model = Model(CONFIG, CONFIG.n_ctx, 4)
    return [rank_memory(model, layout, place) for place in range(mesh.pp)]


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize("case", MESHES if TIMES > 1 else MESHES[:1])  # PELLUCID_TEST_CASES=2: all
def test_the_planned_peak_is_that_of_processes(case: str, tmp_path: Path) -> None:
    axes, _, more = case.removesuffix(" recomputed").partition("/")
    mesh, recompute = Mesh.parse(axes), case.endswith("recomputed")
    options: dict[str, Any] = {"mesh": axes, "recompute": recompute} | ({"schedule": more} if more else {})
    results = World(mesh.size, partial(train_and_measure, **options), tmp_path / "run", CONFIG).results(seconds=600)
    assert all(isinstance(one, tuple) for one in results), results
    plan = planned(mesh, "interleaved" if more else "1f1b", "full" if recompute else "none")
    peaks = [max(size for where, size in results if where == place) for place in range(mesh.pp)]
    assert max(one.total for one in plan) == pytest.approx(max(peaks), rel=WITHIN)
