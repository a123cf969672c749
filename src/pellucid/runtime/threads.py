"""PyTorch's number of threads, kept within the CPUs that this process may use."""

import os
from functools import cache

import torch

from pellucid.resources import available_cpus


VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # by which a user chooses the number


@cache  # once: the user may set another number afterwards
def limit_threads() -> None:
    """Lowers PyTorch's threads to `available_cpus`, once in a process, unless the user chose their number by a variable.

    PyTorch counts the CPUs of the affinity but ignores a container's quota, beyond which threads slow each other down.
    """
    if any(os.environ.get(name) for name in VARIABLES):
        return
    cpus = available_cpus()
    if torch.get_num_threads() > cpus:
        torch.set_num_threads(cpus)
