"""Several ranks of a run as processes of this machine, as torchrun starts them, by a server that has imported all."""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any


PRELOADED = ["pellucid", "pellucid.training.distributed.run", "worlds"]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(PRELOADED)


def free_port() -> int:
    """A port of this host that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun gives a process."""
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
    }  # fmt: skip


class World:
    """Ranks that all call one function with the same arguments, but those that are `missing`."""

    def __init__(self, size: int, function: Callable[..., Any], *arguments: Any, missing: tuple[int, ...] = ()) -> None:
        port = free_port()
        self.processes, self.pipes = [], []
        for rank in range(size):
            if rank in missing:
                continue
            here, there = CONTEXT.Pipe(duplex=False)
            call = there, environment(rank, size, port), function, arguments
            process = CONTEXT.Process(target=_call, args=call, daemon=True)
            process.start()
            there.close()
            self.processes.append(process)
            self.pipes.append(here)

    def results(self, seconds: float = 150, hanging: tuple[int, ...] = ()) -> list[Any]:
        """What each rank returned; the text of an exception where it raised one, None where it was killed.

        Args:
            hanging: ranks that never answer: they are killed when the others have.
        """
        found: list[Any] = [None] * len(self.processes)
        for rank in sorted(range(len(found)), key=lambda rank: rank in hanging):
            if rank in hanging:
                self.processes[rank].kill()
            with suppress(EOFError):
                found[rank] = self.pipes[rank].recv() if self.pipes[rank].poll(seconds) else "no answer"
            self.processes[rank].join(10)
            self.processes[rank].kill()
        return found


def run_world(size: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """What the main rank returns, where all succeed."""
    results = World(size, function, *arguments).results()
    assert not any(isinstance(result, str) for result in results), results
    return results[0]


def _call(pipe: Connection, variables: dict[str, str], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ.update(variables)
    import torch

    torch.set_num_threads(1)
    from pellucid.errors import PellucidError

    try:
        pipe.send(function(*arguments))
    except PellucidError as error:
        pipe.send(f"{type(error).__name__}: {error}")
    except BaseException:
        pipe.send(traceback.format_exc())
    pipe.close()
    os._exit(0)
