"""Joining torchrun's processes into one group, and knowing which of them is lost.

Every rank tells a key-value store that it has arrived, and then each second that it lives. When a collective fails (a process
died, or one did not answer in time) the survivors look there, and one of them says in one line which rank it was.
"""

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, Store

from pellucid.errors import PellucidError
from pellucid.training.mesh import Mesh, OtherRankFailed, RankError, rank, world_size


OLDEST_PYTORCH = (2, 13)  # the oldest that this was run with
ARRIVAL_SECONDS = 120  # for all ranks to arrive, however long collectives may take: hosts start at different times
BEAT_SECONDS = 1.0
SILENT_SECONDS = 3.5  # without a beat: a process that is dead or stopped
LINGER_SECONDS = 1.0
HEAD_START_SECONDS = 0.5  # of the main rank, where all fail for the same reason
GRACE_SECONDS = 1.5  # until a rank that failed of its own has said so


@dataclass(kw_only=True)
class Ranks:
    """The processes of a run, seen from one of them.

    Attributes:
        mesh: their arrangement. rank: this one. device: where its tensors are.
        store: shared by all. cpu_group: of all ranks, for tensors and objects on the CPU.
        step: the step that this rank takes, for the others to read.
    """

    mesh: Mesh
    rank: int
    device: torch.device
    store: Store
    timeout: timedelta
    step: int = 0
    _beats: dict[int, tuple[bytes, float]] = field(default_factory=dict)  # what was last read of others, and when it changed
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def is_main(self) -> bool:
        """Whether this rank writes the run's files and speaks for all."""
        return self.rank == 0

    def beat(self, store: Store) -> None:
        """Tells the others that this process lives, until it ends."""
        beats = 0
        while not self._ended.wait(BEAT_SECONDS):
            beats += 1
            with suppress(RuntimeError):  # the store's host is gone: there is nobody to tell
                store.set(f"alive/{self.rank}", str(beats))

    def publish(self, key: str, text: str) -> None:
        """Gives a text to all ranks."""
        self.store.set(key, text)

    def receive(self, key: str) -> str:
        """Waits for a text that the main rank publishes, for as long as that lives.

        Raises:
            OtherRankFailed: it failed instead, or ended.
        """
        while not self.store.check([key]):
            if self.store.check(["cause"]):
                raise OtherRankFailed("another rank failed")
            if 0 in self.silent():
                raise RankError(f"rank 0 ended before the run began{self._restart()}")
            time.sleep(0.05)
        return self.store.get(key).decode()

    def silent(self) -> list[int]:
        """The ranks whose signs of life have not changed for a while of looking: hosts may have different clocks."""
        now = time.monotonic()
        others = [other for other in range(self.mesh.size) if other != self.rank]
        for other, beat in zip(others, self.store.multi_get([f"alive/{other}" for other in others]), strict=True):
            if self._beats.get(other, (None, 0.0))[0] != beat:
                self._beats[other] = beat, now
        return [other for other in others if now - self._beats[other][1] > SILENT_SECONDS]

    def explain(self, error: Exception) -> PellucidError:
        """What a failed collective means: which rank is lost, in one line, said by one of the survivors."""
        with suppress(RuntimeError):
            for _ in range(int((SILENT_SECONDS + GRACE_SECONDS) / 0.25)):
                if self.store.check(["cause"]):
                    return OtherRankFailed("another rank failed, and says why")
                if self.silent():
                    break
                time.sleep(0.25)
            if self.store.add("reports", 1) > 1:
                return OtherRankFailed("another rank has said so")
            if lost := self.silent():
                names = f"rank{'s' * (len(lost) > 1)} {', '.join(map(str, lost))}"
                what = f"{names} of {self.mesh.size} died or hang{'s' * (len(lost) == 1)} in step {self.step + 1}"
            elif "imed out" in str(error):
                seconds = int(self.timeout.total_seconds())
                what = f"step {self.step + 1} hangs: all ranks live, and a collective took more than {seconds} s"
            else:
                what = f"a collective failed in step {self.step + 1}: {' '.join(str(error).split())[:200]}"
            return RankError(what + self._restart())
        return RankError(f"the store of the process group is gone: rank 0's host or torchrun ended{self._restart()}")

    @staticmethod
    def _restart() -> str:
        return "; checkpoints are intact: start the same command with --resume"

    def failed_here(self) -> None:
        """Tells the others that this rank fails of its own and says why."""
        with suppress(RuntimeError):
            self.store.set("cause", str(self.rank))
        self.linger()

    def linger(self) -> None:
        """Lets the others read why, where the store ends with this process."""
        if self.is_main and not _has_agent_store():
            time.sleep(LINGER_SECONDS)


@contextmanager
def joined(mesh: Mesh, device: torch.device, timeout_seconds: int) -> Iterator[Ranks]:
    """The process group of all ranks; left at the end.

    Args:
        mesh: of as many ranks as torchrun started. timeout_seconds: of collectives.

    Raises:
        PellucidError: a rank is missing, no torchrun, or whatever ends the run; only one rank says so.
    """
    if tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2]) < OLDEST_PYTORCH:
        needed = ".".join(map(str, OLDEST_PYTORCH))
        raise PellucidError(f"training on several processes needs PyTorch {needed} or newer, and this is {torch.__version__}")
    timeout = timedelta(seconds=timeout_seconds)
    # torchrun may keep one store when it starts the ranks again: what the last ones left there is not for these.
    attempt = f"pellucid-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    store = PrefixStore(attempt, _store(min(timeout, timedelta(seconds=ARRIVAL_SECONDS))))
    arrivals = PrefixStore("ranks", store)
    ranks = Ranks(mesh=mesh, rank=rank(), device=device, store=arrivals, timeout=timeout)
    try:
        _await_all(ranks, min(timeout_seconds, ARRIVAL_SECONDS))
    except PellucidError:
        ranks.linger()
        raise
    except (RuntimeError, dist.DistError):
        raise RankError("the store of the process group is gone: rank 0's host or torchrun ended") from None
    backend = "gloo" if device.type == "cpu" else f"cpu:gloo,{device.type}:nccl"
    own: Any = arrivals  # PrefixStore.clone is not in the stubs: a connection of the thread's own
    threading.Thread(target=ranks.beat, args=(own.clone(),), daemon=True).start()
    try:
        dist.init_process_group(
            backend, store=PrefixStore("collectives", store), rank=ranks.rank, world_size=mesh.size, timeout=timeout,
            device_id=device if device.type == "cuda" else None,
        )  # fmt: skip
        yield ranks
        dist.destroy_process_group()  # after an error it could wait for ranks that are gone
    except (OtherRankFailed, RankError):
        raise
    except PellucidError as error:
        ranks.failed_here()
        if not ranks.is_main:
            time.sleep(HEAD_START_SECONDS)
        if ranks.store.add("reports", 1) > 1:
            raise OtherRankFailed("another rank has said so") from error
        if ranks.is_main:
            raise
        raise RankError(f"rank {ranks.rank}: {error}") from error
    except (RuntimeError, dist.DistError) as error:
        if not is_collective_failure(error):
            ranks.failed_here()
            raise
        raise ranks.explain(error) from error
    except BaseException:
        ranks.failed_here()
        raise
    finally:
        ranks._ended.set()


def is_collective_failure(error: Exception) -> bool:
    """Whether an error came from exchanging tensors with other ranks, and not from this rank's own work."""
    seen: BaseException | None = error
    while seen is not None:
        text = str(seen)
        if isinstance(seen, dist.DistError) or any(word in text for word in ("gloo", "NCCL", "onnection", "imed out")):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _store(timeout: timedelta) -> Store:
    """The key-value store that torchrun's environment names.

    Raises:
        PellucidError: there is none, or nobody answers there.
    """
    host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT", "")
    if host is None or not port.isdecimal():
        raise PellucidError("several processes are started by torchrun --nproc-per-node N -m pellucid train ...")
    is_host = rank() == 0 and not _has_agent_store()
    try:
        return dist.TCPStore(host, int(port), is_master=is_host, timeout=timeout, wait_for_workers=False)
    except (RuntimeError, dist.DistError):
        raise PellucidError(f"rank 0 does not answer at {host}:{port}: is it started, and can this host reach it?") from None


def _has_agent_store() -> bool:
    """Whether torchrun's own process holds the store, and not the main rank."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _await_all(ranks: Ranks, seconds: float) -> None:
    """Waits until all ranks have arrived.

    Raises:
        PellucidError: some have not, or were started with another mesh; the message names them.
    """
    store, world = ranks.store, world_size()
    store.set(f"alive/{ranks.rank}", "0")
    store.set(f"mesh/{ranks.rank}", str(ranks.mesh))
    keys = [f"mesh/{other}" for other in range(world)]
    ends = time.monotonic() + seconds
    while missing := [int(key.removeprefix("mesh/")) for key in keys if not store.check([key])]:
        if time.monotonic() > ends:
            if store.add("reports", 1) > 1:
                raise OtherRankFailed("another rank has said so")
            names = f"rank{'s' * (len(missing) > 1)} {', '.join(map(str, missing[:8]))}{' and more' * (len(missing) > 8)}"
            raise RankError(
                f"{names} of {world} did not arrive within {seconds:.0f} s: start torchrun on every host, with one --nnodes"
            )
        time.sleep(0.05)
    others = {key: store.get(key).decode() for key in keys}
    differs = next((key for key, mesh in others.items() if mesh != others["mesh/0"]), None)
    if differs is not None:
        if ranks.rank:
            raise OtherRankFailed("rank 0 says so")
        which = differs.removeprefix("mesh/")
        here, there = others["mesh/0"], others[differs]
        raise PellucidError(f"rank {which} was started with the mesh {there}, rank 0 with {here}: give one")
