"""What this process may use of its machine: CPUs and memory, by affinity and by the limits of its cgroups.

In a container, or under a job scheduler, that may be less than the machine has. Threads beyond the CPU quota are throttled; a
process that exceeds the memory limit is killed.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath


ROOT = Path("/")  # of /proc and /sys; tests give a folder of their own


def available_cpus(root: Path = ROOT) -> int:
    """CPUs that this process may use at once, 1 at least: those of its affinity (`taskset`), up to its cgroup's quota.

    A quota of 1.5 CPUs counts as 2: two threads use it up, one would not.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # neither macOS nor Windows has it
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    for directory, version in _cgroup_directories("cpu", root):
        if version == 2:
            quota, _, period = _read(directory / "cpu.max").partition(" ")
        else:
            quota, period = _read(directory / "cpu.cfs_quota_us"), _read(directory / "cpu.cfs_period_us")
        limit, each = _number(quota), _number(period)
        if limit and each:
            cpus = min(cpus, -(-limit // each))
    return max(1, cpus)


def memory_limit(root: Path = ROOT) -> int | None:
    """Bytes of memory that this process may use: the machine's, and no more than its cgroup's limit.

    None where neither is known.
    """
    limits = []
    with suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for directory, version in _cgroup_directories("memory", root):
        limit = _number(_read(directory / ("memory.max" if version == 2 else "memory.limit_in_bytes")))
        if limit:
            limits.append(limit)
    return min(limits, default=None)


def _cgroup_directories(controller: str, root: Path) -> Iterator[tuple[Path, int]]:
    """Directories with the limits of a controller ("cpu", "memory"), and their cgroup version: this process's and those above.

    A container may see its own cgroup as the root of the hierarchy, while /proc names the path on the host: `_read` takes
    directories that do not exist for empty.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        mounts = root / "sys/fs/cgroup"
        if number == "0" and not controllers:
            bases, version = [mounts, mounts / "unified"], 2
        elif controller in controllers.split(","):
            bases, version = list(dict.fromkeys((mounts / controllers, mounts / controller))), 1
        else:
            continue
        path = PurePosixPath(*(part for part in PurePosixPath(name).parts if part not in ("/", "..")))
        for base in bases:
            for below in (path, *path.parents):  # the last is "."
                yield base / below, version


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(text: str) -> int | None:
    """A limit; None for "max", -1, and what is no number."""
    return int(text) if text.isascii() and text.isdecimal() else None
