"""NumPy's handling of floating-point errors as it is when a process starts, whatever the caller's program set."""

import numpy as np


def numpy_defaults() -> np.errstate:
    """A context manager, or a decorator: `numpy.seterr` at NumPy's own defaults, and as it was before at the end.

    Results here round to 0 where they must (a probability of 1e-400), which a program that called `numpy.seterr(all="raise")`
    would see as an error. The state is the thread's own.
    """
    return np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")
