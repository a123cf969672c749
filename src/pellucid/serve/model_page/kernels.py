"""The kernel in WebAssembly, as the package ships it."""

from importlib import resources

from pellucid.errors import PellucidError


KERNELS = ("relaxed", "exact")  # with one rounding in a multiply-add by relaxed SIMD, and without


def kernel(name: str) -> bytes:
    """A WebAssembly module of the package: "relaxed" or "exact".

    Raises:
        PellucidError: this installation lacks it.
    """
    try:
        return resources.files("pellucid").joinpath("assets", "wasm", f"{name}.wasm").read_bytes()
    except OSError:
        lacking = f"this build of pellucid lacks {name}.wasm: install it again, or run python tools/wasm.py"
        raise PellucidError(lacking) from None
