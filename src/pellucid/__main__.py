"""`pellucid` and `python -m pellucid`: one command in a process of its own."""

import gc
import sys

from pellucid.cli import main


def run() -> int:
    """Runs the command of `sys.argv`; returns its exit status."""
    status = main()
    # At its end the interpreter looks for garbage several times, through all of torch's objects: half a second of CPU time. It
    # skips what is frozen. All memory goes back to the system anyway.
    gc.freeze()
    return status


if __name__ == "__main__":
    sys.exit(run())
