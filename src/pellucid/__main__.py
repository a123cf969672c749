"""`pellucid` and `python -m pellucid`: one command in a process of its own."""

import gc
import signal
import sys


def run() -> int:
    """Runs the command of `sys.argv`; returns its exit status.

    Ctrl-C ends the process without a traceback also before the command begins, and after it.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from pellucid.cli import main
    from pellucid.languages import choose, language

    signal.signal(signal.SIGINT, handler)
    with language(choose(None)):
        status = main()
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # At its end the interpreter looks for garbage several times, through all of torch's objects: half a second of CPU time. It
    # skips what is frozen. All memory goes back to the system anyway.
    gc.freeze()
    return status


if __name__ == "__main__":
    sys.exit(run())
