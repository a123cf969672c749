"""The fingerprint of a model's parameters: whether weights that were packed are still the model's."""

import hashlib
from collections.abc import Mapping

import numpy as np

from pellucid.resources import available_cpus
from pellucid.runtime.kernel import library
from pellucid.runtime.kernel.packed import Array


CHUNK, LANES = 1 << 19, 64  # of fingerprint.c


def parameter_fingerprint(arrays: Mapping[str, Array]) -> bytes:
    """A digest of names, shapes, dtypes and all bytes: equal for equal parameters.

    All bytes are read: PyTorch's version counters miss changes through `.data`, through a NumPy view or in inference mode, and
    an address may have become another tensor's. This takes about as long as one token of one sequence (docs/generating.md).

    Args:
        arrays: by name; any strides.

    Raises:
        Unavailable: the kernel cannot be built or loaded.
    """
    dense = [_dense(array) for array in arrays.values()]
    described = [(name, array.shape, array.dtype.str, array.strides) for name, array in arrays.items()]
    sizes = np.array([array.nbytes for array in dense], np.int64)
    addresses = np.array([array.ctypes.data for array in dense], np.uintp)
    lanes = np.empty((int((-(-sizes // CHUNK)).sum()), LANES), np.uint32)
    failed = library.kernel().pellucid_fingerprint(
        addresses.ctypes.data, sizes.ctypes.data, len(sizes), lanes.ctypes.data, available_cpus()
    )
    if failed:
        raise MemoryError("no memory for a model's fingerprint")
    digest = hashlib.sha256(repr(described).encode())
    digest.update(lanes.data)
    return digest.digest()


def _dense(array: Array) -> Array:
    """The array, or a contiguous copy of it. Whether it is in C or Fortran order is in its strides."""
    return array if array.flags.c_contiguous or array.flags.f_contiguous else np.ascontiguousarray(array)
