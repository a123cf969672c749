"""ctypes bindings of the compiled kernel: the structures and functions of `kernel.h`."""

import ctypes
from functools import cache
from pathlib import Path

from pellucid.native.errors import Unavailable
from pellucid.native.shared_library import Library


# Each operation rounds as it is written: no fused multiply-add but those that say so, nothing reordered.
KERNEL = Library(
    "kernel", Path(__file__).parent, ("-pthread", "-ffp-contract=off"),
    symbols=tuple(
        f"pellucid_{name}"
        for name in (
            "forward", "matmul", "pack", "pack_groups", "to_float16", "fingerprint", "variant", "exp", "log", "sum", "weights",
            "inverse_cdf",
        )
    ),
)  # fmt: skip
FLOAT32, BFLOAT16, INT8, INT4 = range(4)  # enum dtype
PANEL = 16


class KernelMatrix(ctypes.Structure):
    """`struct matrix`."""

    _fields_ = (
        ("dtype", ctypes.c_int32), ("k", ctypes.c_int32), ("n", ctypes.c_int32),
        ("data", ctypes.c_void_p), ("bias", ctypes.c_void_p),
    )  # fmt: skip


class KernelNorm(ctypes.Structure):
    """`struct layer_norm`."""

    _fields_ = (("gain", ctypes.c_void_p), ("bias", ctypes.c_void_p))


class KernelBlock(ctypes.Structure):
    """`struct block`."""

    _fields_ = (
        ("ln_1", KernelNorm), ("ln_2", KernelNorm), ("qkv", KernelMatrix), ("out", KernelMatrix), ("up", KernelMatrix),
        ("down", KernelMatrix), ("band", ctypes.c_int64),
    )  # fmt: skip


class KernelModel(ctypes.Structure):
    """`struct model`."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("d_model", "n_heads", "n_layers", "vocab_size", "activation", "n_threads")),
        ("norm_eps", ctypes.c_float), ("attention_scale", ctypes.c_float), ("wte", KernelMatrix), ("wpe", ctypes.c_void_p),
        ("ln_f", KernelNorm), ("blocks", ctypes.POINTER(KernelBlock)),
    )  # fmt: skip


class SequenceBuffers(ctypes.Structure):
    """`struct sequence_buffers`."""

    _fields_ = (
        ("keys", ctypes.c_void_p), ("values", ctypes.c_void_p), ("capacity", ctypes.c_int64), ("is_float16", ctypes.c_int64),
    )  # fmt: skip


class KernelAblation(ctypes.Structure):
    """`struct ablation`."""

    _fields_ = tuple(
        (name, ctypes.c_void_p) for name in ("heads", "attention", "mlp", "head_values", "attention_values", "mlp_values")
    )


class KernelTokenSpan(ctypes.Structure):
    """`struct token_span`."""

    _fields_ = (
        ("sequence", ctypes.POINTER(SequenceBuffers)), ("ablation", ctypes.POINTER(KernelAblation)), ("start", ctypes.c_int64),
        ("count", ctypes.c_int64),
    )  # fmt: skip


class KernelTaps(ctypes.Structure):
    """`struct taps`."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("stream", "qkv", "attended", "writes"))


@cache
def kernel(*, plain: bool = False) -> ctypes.CDLL:
    """The library, built if necessary.

    Raises:
        Unavailable: it cannot be built or loaded, or is switched off.
    """
    library = KERNEL.load(plain=plain)
    pointer, whole = ctypes.c_void_p, ctypes.c_int64
    library.pellucid_forward.argtypes = (
        ctypes.POINTER(KernelModel), ctypes.POINTER(KernelTokenSpan), whole, pointer, pointer, whole, pointer,
        ctypes.POINTER(KernelTaps),
    )  # fmt: skip
    library.pellucid_matmul.argtypes = (ctypes.POINTER(KernelMatrix), pointer, whole, pointer, ctypes.c_int)
    library.pellucid_pack.argtypes = (
        pointer, ctypes.c_int, whole, whole, whole, whole, pointer, pointer, ctypes.c_int,
    )  # fmt: skip
    library.pellucid_pack.restype = None
    library.pellucid_pack_groups.argtypes = (pointer, pointer, whole, whole, pointer, ctypes.c_int)
    library.pellucid_pack_groups.restype = None
    library.pellucid_fingerprint.argtypes = (pointer, pointer, whole, pointer, ctypes.c_int)
    library.pellucid_variant.restype = ctypes.c_char_p
    number = ctypes.c_double
    library.pellucid_exp.argtypes, library.pellucid_exp.restype = (pointer, whole), None
    library.pellucid_log.argtypes, library.pellucid_log.restype = (number,), number
    library.pellucid_sum.argtypes, library.pellucid_sum.restype = (pointer, whole), number
    library.pellucid_weights.argtypes, library.pellucid_weights.restype = (pointer, whole, pointer), number
    library.pellucid_inverse_cdf.argtypes, library.pellucid_inverse_cdf.restype = (pointer, whole, number), whole
    return library


def unavailable_reason() -> str | None:
    """The reason why the kernel is unavailable, in one line; None if it is available (built now if necessary)."""
    try:
        kernel()
    except Unavailable as reason:
        return str(reason)
    return None
