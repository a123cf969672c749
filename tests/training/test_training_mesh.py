"""A run on several processes gives the numbers of one, whatever the mesh, killed or not; and what no mesh can be is refused."""

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from cases import TIMES, cases
from hypothesis import given
from hypothesis import strategies as st
from stories import story
from worlds import World, run_world

import pellucid
from pellucid import events
from pellucid.corpus import Document
from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.pattern import Banded, Compressed, Dense, Heads
from pellucid.hashing import mix
from pellucid.runs.files import checkpoints
from pellucid.training.batches import WindowBatches
from pellucid.training.by_head import from_plain, plain_rows, to_plain
from pellucid.training.distributed import process_group
from pellucid.training.distributed.process_group import Ranks
from pellucid.training.mesh import Mesh, RankError, requested_mesh
from pellucid.training.mesh_check import check_mesh
from pellucid.training.options import FinetuningOptions, TrainingOptions
from pellucid.training.sharded import SHARDS_FILE, Sharded, TensorPart, read_index, write_index


# Blocks of each kind; a vocabulary and heads that not every mesh divides.
CONFIG = GPTConfig(
    vocab_size=301, n_ctx=48, n_layers=4, d_model=32, n_heads=4,
    pattern=(Banded(8), Compressed(4, 3), Heads((Dense(), Banded(5), Banded(16))), Dense()),
)  # fmt: skip
NOT_COMPRESSED = CONFIG.replace(pattern=(Banded(8), Dense(), Banded(8), Dense()))
STEPS = 50
OPTIONS: dict[str, Any] = {
    "config": CONFIG, "steps": STEPS, "batch_tokens": 8 * 48, "seed": 3, "dtype": "float32", "learning_rate": 2e-3,
    "checkpoint_every": 4,
}  # fmt: skip
TOLERANCE = 1e-5  # of losses near 5: sums in another order round otherwise
Curve = list[float]


def documents() -> list[Document]:
    """Texts of 301 tokens and more."""
    return [Document(f"story {seed}", story(300, seed)) for seed in range(1, 9)]


def curve(run: pellucid.Run) -> Curve:
    """Each loss of a run, in training and on held-out text, in order."""
    return [line[name] for line in run.metrics() for name in ("loss", "held_out_loss") if name in line]


def train(out: Path, stop_at: int | None = None, **options: Any) -> Curve:
    """Trains in this rank, until a step at most."""
    step = 0

    def watch(event: events.Event) -> None:
        nonlocal step
        if isinstance(event, events.StepDone):
            step = event.step

    return curve(
        pellucid.train(
            documents(), out, resume=True, observers=[watch], stop=lambda: stop_at is not None and step >= stop_at,
            **({"record": False} | OPTIONS | options),
        )
    )  # fmt: skip


def train_on(mesh: str, out: Path, **options: Any) -> Curve:
    """Trains on a mesh, "one" or "pp=2/interleaved"."""
    if mesh == "one":
        return train(out, **options)
    axes, _, schedule = mesh.partition("/")
    more = {"schedule": schedule} if schedule else {}
    losses: Curve = run_world(Mesh.parse(axes).size, partial(train, **({"mesh": axes} | more | options)), out)
    return losses


def assert_close(found: Curve, expected: Curve) -> None:
    assert len(found) == len(expected)
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) < TOLERANCE


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Curve:
    """The losses of one process."""
    return train(tmp_path_factory.mktemp("one") / "run")


@pytest.mark.long
def test_recomputed_activations_change_no_bit(tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 3, "config": CONFIG.replace(dropout=0.1)}
    assert train(tmp_path / "again", recompute=True, **options) == train(tmp_path / "kept", **options)


MESHES = ["tp=2", "pp=2/interleaved"]  # the others of two ranks are in `test_a_run_goes_on_with_any_mesh`, too
MORE_MESHES = [
    "dp=2", "cp=2", "pp=2", "dp=2,tp=2", "replicate=2,dp=2", "replicate=2,pp=2",
    "dp=2,cp=2", "dp=4", "tp=4", "cp=4", "pp=4", "pp=2,tp=2", "pp=2,cp=2", "cp=2,tp=2",
    "dp=2,pp=2,tp=2", "dp=2,pp=2/interleaved",
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("mesh", MESHES + (MORE_MESHES if TIMES > 1 else []))
def test_a_mesh_s_losses_are_those_of_one_process(mesh: str, one: Curve, tmp_path: Path) -> None:
    assert_close(train_on(mesh, tmp_path / "run"), one)


@pytest.mark.long
def test_a_run_goes_on_with_any_mesh(one: Curve, tmp_path: Path) -> None:
    """From one process to several and back: its model is a directory that loads, and its losses are those of one process."""
    path = tmp_path / "run"
    meshes = ["one", "dp=2", "tp=2,cp=2", "pp=2", "one"]
    for mesh, stop_at in zip(meshes, [4, 9, 14, 19, None], strict=True):
        found = train_on(mesh, path, stop_at=stop_at)
        assert (checkpoints(path)[-1] / SHARDS_FILE).exists() == (mesh != "one")
        pellucid.load(path).generate("the fox", max_tokens=2)
    assert_close(found, one)


@pytest.mark.long
@pytest.mark.parametrize("options", [
    {"recompute": True, "optimizer": "muon", "batch_ramp": True}, {"mask_documents": True, "skip_spikes": 2.0},
    *([{"dtype": "bfloat16", "keep_best": True, "steps": 3, "batch_tokens": 8 * 48}] if TIMES > 1 else []),
], ids=lambda options: next(iter(options)))  # fmt: skip
def test_what_a_run_can_be_asked_for_is_the_same_on_a_mesh(options: dict[str, Any], tmp_path: Path) -> None:
    if options.get("mask_documents"):
        options = options | {"config": NOT_COMPRESSED}
    options = {"steps": 5, "batch_tokens": 172 * 48} | options  # two micro-batches on each rank
    expected = train(tmp_path / "one", **options)
    found = train_on("dp=2", tmp_path / "two", **options)
    tolerance = 2e-2 if "dtype" in options else TOLERANCE  # bfloat16 has 8 bits
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) < tolerance


@pytest.mark.long
def test_the_record_of_a_mesh_is_verified_in_one_process(tmp_path: Path) -> None:
    train_on("dp=2", tmp_path / "run", record=True, steps=12, config=NOT_COMPRESSED)
    run = pellucid.open_run(tmp_path / "run")
    assert run.record is not None
    report = pellucid.verify(run.record)
    assert report.ok, report


def dies(rank: int, step: int, number: int, out: Path, **options: Any) -> Curve:
    """A rank is sent a signal after a step."""

    def watch(event: events.Event) -> None:
        if isinstance(event, events.StepDone) and event.step == step and os.environ["RANK"] == str(rank):
            os.kill(os.getpid(), number)

    run = pellucid.train(documents(), out, resume=True, record=False, observers=[watch], **(OPTIONS | options))
    return curve(run)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(min(2, TIMES)))
def test_a_killed_rank_leaves_a_checkpoint_that_another_world_resumes(seed: int, one: Curve, tmp_path: Path) -> None:
    chance = random.Random(seed)
    rank, step, number = chance.randrange(1, 2), chance.randrange(5, 12), [signal.SIGKILL, signal.SIGSTOP][seed % 2]
    options: dict[str, Any] = {"mesh": ["dp=2", "pp=2"][seed], "collective_timeout": 20}
    world = World(2, partial(dies, rank, step, number, **options), tmp_path / "run")
    said = world.results(hanging=(rank,))[1 - rank]
    assert re.search(f"rank {rank} of 2 died or hangs in step {step}; checkpoints are intact", said), said
    assert_close(train_on("one", tmp_path / "run"), one)


@pytest.mark.long
def test_a_missing_rank_and_two_meshes_are_said_by_one_rank(tmp_path: Path) -> None:
    train_here = partial(train, collective_timeout=4)
    said = World(3, partial(train_here, mesh="dp=3"), tmp_path / "run", missing=(1,)).results()
    assert sorted(said)[1].startswith("RankError: rank 1 of 3 did not arrive within 4 s"), said
    assert sorted(said)[0].startswith("OtherRankFailed")

    said = World(2, train_own_mesh, tmp_path / "run").results()
    assert said[0] == "PellucidError: rank 1 was started with the mesh tp=2, rank 0 with dp=2: give one"
    assert said[1].startswith("OtherRankFailed")


@pytest.mark.long
@pytest.mark.parametrize("slow", [0, 1])
def test_a_wrong_argument_is_said_once_whichever_rank_is_slower(slow: int, tmp_path: Path) -> None:
    """The rank that fails first has torchrun end the others."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, time\nif os.environ.get('RANK') == '{slow}':\n    time.sleep(5)\n", encoding="utf-8"
    )
    (tmp_path / "book.txt").write_text(story(300, 1), encoding="utf-8")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [*torchrun, "-m", "pellucid", "train", "book.txt", "--out", "run", "--mesh", "dp=3"], cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if line.startswith("pellucid: ")]
    assert done.returncode and len(said) == 1 and "dp=3" in said[0] and "2 processes" in said[0], done.stderr


def train_own_mesh(out: Path) -> Curve:
    """Each rank with a mesh of its own."""
    return train(out, mesh=["dp=2", "tp=2"][int(os.environ["RANK"])])


@given(st.integers(1, 9), st.integers(1, 7), st.integers(0, 5), st.integers(0, 2**40))
def test_ranks_share_out_each_batch_without_repeating_or_skipping_a_window(
    batch: int, parts: int, step: int, seed: int
) -> None:
    """And the steps' batches follow each other in the order of the windows, whatever the number of ranks."""

    class Numbers:
        """Windows that hold their own number."""

        def batch(self, start: int, count: int) -> Any:
            return np.arange(start, start + count)[:, None].repeat(5, axis=1)

    batches = WindowBatches.__new__(WindowBatches)
    ramp = (0, *np.cumsum([1 + mix(seed, i) % batch for i in range(3)]).tolist())  # a batch that grows unevenly
    batches.windows, batches.n_ctx, batches.size, batches.ramp = Numbers(), 4, batch, ramp  # type: ignore[assignment]
    shares = [batches.share(step, part, parts) for part in range(parts)]
    whole = batches.batch(step)
    assert torch.equal(torch.cat([ids for ids, _ in shares]), whole[0])
    assert torch.equal(torch.cat([targets for _, targets in shares]), whole[1])
    sizes = [len(ids) for ids, _ in shares]
    assert max(sizes) - min(sizes) <= 1
    assert whole[0][:, 0].tolist() == [*range(batches.windows_before(step), batches.windows_before(step + 1))]


sizes = st.integers(1, 3)


@cases(50)
@given(st.fixed_dictionaries(dict.fromkeys(("pp", "replicate", "dp", "cp", "tp"), sizes)))
def test_every_rank_has_its_own_place_and_a_mesh_reads_as_it_is_written(values: dict[str, int]) -> None:
    mesh = Mesh(**values)
    places = [tuple(mesh.coordinates(rank).values()) for rank in range(mesh.size)]
    inverse = dict(zip(mesh.sizes, range(5), strict=True))
    assert sorted(places) == sorted({tuple(p[inverse[n]] for n in mesh.sizes) for p in places})
    assert len(set(places)) == mesh.size
    tp = mesh.coordinates(0)["tp"]
    assert tp == 0 and all(mesh.coordinates(r)["tp"] == r % mesh.tp for r in range(mesh.size))
    assert Mesh.parse(str(mesh)) == mesh


@pytest.mark.parametrize("text", ["", "dp", "dp=0", "dp=2,dp=2", "x=2", "dp=-1", "dp=2;tp=2", "dp=99999999", "tp=1048576,dp=2"])
def test_what_is_no_mesh_is_refused(text: str) -> None:
    with pytest.raises(PellucidError, match=r"mesh (must be a list|has at most)"):
        requested_mesh(TrainingOptions(mesh=text))


def test_a_mesh_has_as_many_ranks_as_torchrun_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for world, text, expected in (("1", None, None), ("4", None, Mesh(dp=4)), ("4", "tp=2,pp=2", Mesh(tp=2, pp=2))):
        monkeypatch.setenv("WORLD_SIZE", world)
        assert requested_mesh(TrainingOptions(mesh=text)) == expected
    with pytest.raises(PellucidError, match=r"mesh dp=3 has 3 ranks, and 4 processes were started: .* --nproc-per-node 3"):
        requested_mesh(TrainingOptions(mesh="dp=3"))
    with pytest.raises(PellucidError, match="fine-tuning runs in one process"):
        requested_mesh(FinetuningOptions())


class Planned:
    """What `check_mesh` reads of a plan."""

    def __init__(self, config: GPTConfig = CONFIG, **values: Any) -> None:
        self.config, self.batch, self.mask_documents, self.optimizer = config, 8, False, "adamw"
        vars(self).update(values)


@pytest.mark.parametrize(("mesh", "values", "schedule", "words"), [
    (Mesh(dp=3), {}, "1f1b", r"dp x replicate = 3 does not divide the batch of 8 .* 4, 8, or a batch of 9 \(432 tokens\)"),
    (Mesh(tp=3), {}, "1f1b", r"tp=3 does not divide the 4 heads .* use one of 1, 2, 4"),
    (Mesh(cp=5), {}, "1f1b", r"cp=5 does not cut 48 positions .* use one of 1, 2, 3, 4, 6, 8, 12, 24"),
    (Mesh(cp=8, tp=2), {}, "1f1b", r"tp=2 does not divide the 3 positions .* use one of 1, or a smaller cp"),
    (Mesh(pp=5), {}, "1f1b", r"4 blocks do not fill 5 stages .* take pp=4 or less"),
    (Mesh(pp=4), {}, "interleaved", r"4 blocks do not fill 8 stages .* take pp=2 or less"),
    (Mesh(dp=2), {}, "interleaved", r"several pipeline ranks: give pp"),
    (Mesh(cp=2), {"mask_documents": True}, "1f1b", r"leave out cp and pp"),
    (Mesh(tp=2), {"mask_documents": True}, "1f1b", r"patterns by head do not go with tp"),
    (Mesh(dp=2), {"optimizer": "adafactor"}, "1f1b", r"take adamw, or one process"),
])  # fmt: skip
def test_a_mesh_that_cannot_be_is_refused_with_what_would_do(
    mesh: Mesh, values: dict[str, Any], schedule: str, words: str
) -> None:
    with pytest.raises(PellucidError, match=words):
        check_mesh(Planned(**values), mesh, schedule=schedule)  # type: ignore[arg-type]


def test_a_rank_that_waits_for_the_plan_notices_that_rank_0_ended_together_with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_group, "SILENT_SECONDS", 0.1)
    store = dist.HashStore()
    for other in (0, 2):
        store.set(f"alive/{other}", "7")
    ranks = Ranks(mesh=Mesh(dp=3), rank=1, device=torch.device("cpu"), store=store, timeout=timedelta(seconds=1))
    with pytest.raises(RankError, match="rank 0 ended before the run began"):
        ranks.receive("planned")


@given(st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_rows_by_head_are_whole_heads(heads: int, width: int, bias: bool) -> None:
    name = f"h.0.attn.c_attn.{'bias' if bias else 'weight'}"
    rows = torch.arange(3 * heads * width).reshape(-1, *([] if bias else [1]))
    mixed = from_plain(name, rows, heads)
    assert torch.equal(to_plain(f"{name}.exp_avg", mixed, heads), rows)
    order = plain_rows(name, len(rows), heads)
    assert order is not None and mixed.flatten().tolist() == order.tolist()
    of_head = mixed.flatten().reshape(heads, 3, width)
    expected = [[[part * heads * width + h * width + d for d in range(width)] for part in range(3)] for h in range(heads)]
    assert of_head.tolist() == expected
    assert plain_rows("h.0.mlp.c_fc.weight", 8, heads) is None


@cases(40)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.data())
def test_an_index_of_parts_reads_as_it_is_written_and_holes_are_refused(
    tmp_path_factory: pytest.TempPathFactory, shape: list[int], data: st.DataObject
) -> None:
    cuts = [sorted({0, size, *data.draw(st.lists(st.integers(0, size), max_size=2))}) for size in shape]
    parts = [
        TensorPart(offset=tuple(b for b, _ in place), shape=tuple(e - b for b, e in place), file="shard-00000", key=str(i))
        for i, place in enumerate(product(*(list(pairwise(cut)) for cut in cuts)))
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("index")

    def read(kept: Sequence[TensorPart]) -> dict[str, Sharded]:
        write_index(folder, {"model.x": Sharded(dtype="float32", shape=tuple(shape), parts=tuple(kept))})
        return read_index(folder)

    assert read(parts)["model.x"].parts == tuple(parts)
    with pytest.raises(PellucidError, match="do not make up its shape"):
        read(parts[:-1])
