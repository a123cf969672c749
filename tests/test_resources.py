"""What this process may use: its affinity, and the limits of cgroups in made-up /proc and /sys folders."""

import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

import pellucid
from pellucid import resources
from pellucid.runtime import threads
from pellucid.runtime.kernel.packed import PackedWeights
from pellucid.runtime.kernel.runner import arrays_of, unavailable_reason
from pellucid.training import memory_limit


NUMBERS = count()
SHAPE = pellucid.GPTConfig(vocab_size=61, n_ctx=32, n_layers=1, d_model=24, n_heads=3)
MISSING = unavailable_reason(SHAPE)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")


limits = st.none() | st.integers(1, 10**6)  # of one cgroup, in hundredths of a CPU or in pages
names = st.lists(st.sampled_from(["user.slice", "docker", "0f3a:b", "a b"]), max_size=3)


@cases(60)
@given(data=st.data(), version=st.sampled_from([1, 2]), parts=names, depth=st.integers(0, 2))
def test_the_lowest_limit_of_all_cgroups_above_counts(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, version: int, parts: list[str], depth: int
) -> None:
    root = tmp_path_factory.getbasetemp() / f"root-{next(NUMBERS)}"
    mounts = root / "sys/fs/cgroup"
    mounted = data.draw(st.sampled_from(["", "unified"] if version == 2 else ["cpu,cpuacct", "cpu"]))
    # The first `depth` parts of the path may lie outside of the container, which sees its own cgroup as the root.
    inside = parts[depth:] if data.draw(st.booleans()) and not parts[depth:] else parts
    cpus, memory = [10**6], [resources.memory_limit(root / "nothing")]
    for end in range(len(inside) + 1):
        quota, pages = data.draw(limits), data.draw(limits)
        below = Path(*inside[:end])
        if version == 2:
            period = data.draw(st.sampled_from([100_000, 10_000]))
            write(mounts / mounted / below / "cpu.max", f"{'max' if quota is None else quota * period // 100} {period}")
            write(mounts / mounted / below / "memory.max", "max" if pages is None else str(pages * 4096))
        else:
            write(mounts / mounted / below / "cpu.cfs_quota_us", "-1" if quota is None else str(quota * 1000))
            write(mounts / mounted / below / "cpu.cfs_period_us", "100000")
            write(mounts / "memory" / below / "memory.limit_in_bytes", str(2**63 - 4096 if pages is None else pages * 4096))
        cpus += [] if quota is None else [-(-quota // 100)]
        memory += [] if pages is None else [pages * 4096]
    path = "/" + "/".join(parts)
    lines = {1: f"4:memory:{path}\n2:cpu,cpuacct:{path}\n1:name=systemd:/x\n0::/", 2: f"0::{path}"}
    write(root / "proc/self/cgroup", lines[version])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda process: range(10**6), raising=False)
        assert resources.available_cpus(root) == min(cpus)
    found, known = resources.memory_limit(root), [limit for limit in memory if limit is not None]
    assert found == (min(known) if known else None)


@cases(25)
@given(text=st.text(max_size=40), cgroup=st.text(max_size=40))
def test_files_of_nonsense_are_no_limits(tmp_path_factory: pytest.TempPathFactory, text: str, cgroup: str) -> None:
    root = tmp_path_factory.getbasetemp() / f"root-{next(NUMBERS)}"
    for name in ("cpu.max", "memory.max"):
        write(root / "sys/fs/cgroup" / name, text)
    write(root / "proc/self/cgroup", f"{cgroup}\n0::/../..\n::\n:")
    cpus, memory = resources.available_cpus(root), resources.memory_limit(root)
    assert cpus >= 1 and (memory is None or memory > 0)


def test_the_affinity_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5}, raising=False)
    assert resources.available_cpus(tmp_path) == 2
    write(tmp_path / "proc/self/cgroup", "0::/")
    write(tmp_path / "sys/fs/cgroup/cpu.max", "50000 100000")
    assert resources.available_cpus(tmp_path) == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert resources.available_cpus(tmp_path) == 1, "where the system does not say"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_a_process_on_one_cpu_uses_one_thread() -> None:
    """`taskset -c N`."""
    cpu = min(os.sched_getaffinity(0))
    code = "from pellucid.resources import available_cpus; print(available_cpus())"
    code = f"import os; os.sched_setaffinity(0, {{{cpu}}}); {code}"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "1\n"


@pytest.mark.skipif(MISSING is not None, reason=f"no kernel: {MISSING}")
def test_the_kernel_takes_as_many_threads_as_there_are_cpus_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.runtime.kernel import packed

    model = pellucid.GPT(SHAPE)
    monkeypatch.setattr(packed, "available_cpus", lambda: 3)
    assert PackedWeights(SHAPE, arrays_of(model)).model.n_threads == 1, "of a small model"
    monkeypatch.setattr(packed, "ONE_THREAD", 0)
    assert PackedWeights(SHAPE, arrays_of(model)).model.n_threads == 3


@pytest.mark.parametrize(("cpus", "chosen", "before", "after"), [(2, None, 7, 2), (9, None, 7, 7), (2, "7", 7, 7)])
def test_pytorch_s_threads_are_lowered_once(
    monkeypatch: pytest.MonkeyPatch, cpus: int, chosen: str | None, before: int, after: int
) -> None:
    numbers = [before]
    monkeypatch.setattr(torch, "get_num_threads", lambda: numbers[-1])
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)
    monkeypatch.setattr(threads, "available_cpus", lambda: cpus)
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    if chosen:
        monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    threads.limit_threads.cache_clear()
    pellucid.load()
    assert numbers[-1] == after
    numbers.append(before)
    pellucid.load()
    assert numbers[-1] == before, "what the user sets afterwards stays"


def test_the_memory_guard_obeys_the_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/job")
    write(tmp_path / "sys/fs/cgroup/job/memory.max", "1000000")
    monkeypatch.setattr(memory_limit, "memory_limit", lambda: resources.memory_limit(tmp_path))
    assert memory_limit.memory_bytes() == memory_limit.memory_bytes(torch.device("cpu")) == 1_000_000
