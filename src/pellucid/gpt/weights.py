"""Weights out of safetensors files: where each of a model's tensors lies, checked and read once.

A `Source` says how a file keeps a tensor. Several files may hold one model (Hugging Face's shards). Nothing is read before it
is asked for. What can be used as it lies in the file is not copied: the parameter is a view of the mapped file, whose pages the
system shares between processes and may drop. Of what must be converted, one tensor at a time is held beside the model.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.sources import SCALE, Source


_PASSING_BYTES = 32 << 20
_STORED = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float64: "F64"}
# Nobody can replace or delete a mapped file there, so a model that is open would keep its run from saving.
_MAPPED = sys.platform != "win32"


class Tensors:
    """The tensors of one safetensors file, or of several; a context manager that closes them.

    Args:
        files: the files.
        plain: from a name in the file to the name without its prefix; None for what is no weight (masks kept as buffers).

    Attributes:
        skipped: names in the files that are no weights.

    Raises:
        PellucidError: a file is missing, damaged or truncated, or two hold the same tensor.
    """

    def __init__(self, files: list[Path], plain: Callable[[str], str | None]) -> None:
        self._found: dict[str, tuple[Path, str]] = {}
        # A file is mapped for as long as it is open here or a tensor of that mapping is left; and once more, with the bytes
        # read so far, for what need not stay.
        self._lasting: dict[Path, Any] = {}
        self._passing: tuple[Path, Any, int] | None = None
        self.skipped: list[str] = []
        self.files = files
        for path in files:
            opened = self._lasting[path] = _open(path)
            for stored in opened.keys():  # noqa: SIM118 (not a dict)
                name = plain(stored)
                if name is None:
                    self.skipped.append(stored)
                elif name in self._found:
                    raise PellucidError(f"{path} holds the tensor {name!r} that {self._found[name][0]} holds too")
                else:
                    self._found[name] = (path, stored)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lasting, self._passing = {}, None

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def names(self) -> set[str]:
        """Names of all weights, without prefix."""
        return set(self._found)

    def take(self, name: str) -> Tensor:
        """Reads a tensor and forgets it: it is none of the model's own."""
        tensor = self.get(name, passing=True)
        del self._found[name]
        return tensor

    def where(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._found[name][0]

    def dtype(self, name: str) -> str:
        """What a tensor's numbers are stored as, in safetensors' words: "F32", "BF16" ..."""
        path, stored = self._found[name]
        return str(self._lasting[path].get_slice(stored).get_dtype())

    def get(self, name: str, *, passing: bool = False) -> Tensor:
        """Reads a tensor (a view of the mapped file).

        Args:
            passing: it will be let go again soon. A page of a mapping that was read counts as memory of this process until the
                mapping is gone, so such tensors share one that is made anew every so often.

        Raises:
            PellucidError: the file is damaged.
        """
        path, stored = self._found[name]
        opened, many = self._lasting[path], 0
        if passing:
            if self._passing is not None and self._passing[0] == path and self._passing[2] < _PASSING_BYTES:
                _, opened, many = self._passing
            else:
                opened = _open(path)
        try:
            tensor: Tensor = opened.get_tensor(stored)
        except SafetensorError as error:
            raise PellucidError(f"{path} is damaged or truncated: {error}") from None
        if passing:
            self._passing = (path, opened, many + tensor.nbytes)
        return tensor


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except FileNotFoundError:
        raise PellucidError(f"no model in {path.parent}: it has no {path.name}") from None
    except (SafetensorError, OSError) as error:
        raise PellucidError(f"{path} is damaged or truncated: {error}") from None


def fill(
    model: Decoder,
    tensors: Tensors,
    sources: Mapping[str, Source],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> None:
    """Fills `model` (on the meta device or not).

    Args:
        sources: for each of the model's parameters.
        dtype: of the parameters; None is float32. Parameters on the meta device become views of the mapped file where
            no conversion is needed (not on Windows): replace that file, do not overwrite it in place. Writing to such a
            parameter changes this process's own copy of its pages, never the file.

    Raises:
        PellucidError: a missing, extra, wrong-shaped or non-finite tensor; the message names file and tensor.
    """
    dtype = dtype or torch.float32
    wanted = dict(model.named_parameters())
    assert set(wanted) == set(sources)
    needed = {name for source in sources.values() for name in source.names}
    file = tensors.files[0] if len(tensors.files) == 1 else tensors.files[0].parent
    if missing := sorted(needed - tensors.names()):
        raise PellucidError(f"{file} lacks the tensor {missing[0]!r} ({len(missing)} missing in all)")
    if extra := sorted(n for n in tensors.names() - needed if not n.endswith(SCALE)):
        raise PellucidError(
            f"{tensors.where(extra[0])} holds a tensor that does not belong: {extra[0]!r} ({len(extra)} in all)"
        )
    state, assigned = {}, model.wte.weight.is_meta
    here = assigned and torch.device(device).type == "cpu"
    for name, parameter in wanted.items():
        source = sources[name]
        # A matrix that lies there transposed is multiplied as quickly so in float32, but ten times slower in 16 bits
        # (docs/log.md), and float64 is for looking closely, not for speed: those are copied.
        turned = source.transposed and dtype != torch.float32
        stays = here and len(source.names) == 1 and not turned and tensors.dtype(source.names[0]) == _STORED.get(dtype)
        parts = [_part(tensors, stored, source, parameter, passing=not stays) for stored in source.names]
        tensor = (parts[0] if len(parts) == 1 else torch.cat(parts)).to(device=device, dtype=dtype)
        tensor = tensor.contiguous() if turned else tensor
        state[name] = tensor if _MAPPED or not stays else tensor.clone()
    # Parameters in place keep their identity (an optimizer holds them); those on the meta device have no place yet.
    model.load_state_dict(state, assign=assigned)


def _part(tensors: Tensors, name: str, source: Source, parameter: Tensor, *, passing: bool) -> Tensor:
    tensor, path, parts = tensors.get(name, passing=passing), tensors.where(name), len(source.names)
    shape = (parameter.shape[0] // parts + source.skip, *parameter.shape[1:])
    stored = shape[::-1] if source.transposed else shape
    if tensor.shape != stored:
        raise PellucidError(f"{path}: {name!r} has shape {tuple(tensor.shape)}, but the config asks for {tuple(stored)}")
    tensor = tensor.T if source.transposed else tensor
    if tensor.dtype == torch.int8:
        if name + SCALE not in tensors:
            raise PellucidError(f"{path} lacks the tensor {name + SCALE!r}")
        tensor = tensor.float() * tensors.get(name + SCALE)
    if not tensor.is_floating_point():
        raise PellucidError(f"{path}: {name!r} holds {str(tensor.dtype).removeprefix('torch.')}, not floating-point numbers")
    if not _finite(tensor.T if source.transposed else tensor):
        raise PellucidError(f"{path}: {name!r} holds NaN or infinite values")
    return tensor[source.skip :] if source.skip else tensor


def _finite(tensor: Tensor) -> bool:
    """Whether all numbers are finite; 25 times as quick as `isfinite`, which makes three tensors of this size."""
    if not tensor.numel():
        return True
    return all(bool(torch.isfinite(edge)) for edge in torch.aminmax(tensor))  # of NaN and anything, both are NaN
