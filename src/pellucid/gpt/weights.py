"""Weights out of safetensors files: where each of a model's tensors lies, checked and read once.

A `Source` says how a file keeps a tensor. Several files may hold one model (Hugging Face's shards). Nothing is read before it
is asked for, and one tensor at a time is held beside the model that is filled.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.sources import SCALE, Source


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
        self._stack = ExitStack()
        self._found: dict[str, tuple[Path, Any, str]] = {}
        self.skipped: list[str] = []
        self.files = files
        try:
            for path in files:
                opened = self._stack.enter_context(_open(path))
                for stored in opened.keys():  # noqa: SIM118 (not a dict)
                    name = plain(stored)
                    if name is None:
                        self.skipped.append(stored)
                    elif name in self._found:
                        raise PellucidError(f"{path} holds the tensor {name!r} that {self._found[name][0]} holds too")
                    else:
                        self._found[name] = (path, opened, stored)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def names(self) -> set[str]:
        """Names of all weights, without prefix."""
        return set(self._found)

    def take(self, name: str) -> Tensor:
        """Reads a tensor and forgets it: it is none of the model's own."""
        tensor = self.get(name)
        del self._found[name]
        return tensor

    def where(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._found[name][0]

    def get(self, name: str) -> Tensor:
        """Reads a tensor (a view of the mapped file).

        Raises:
            PellucidError: the file is damaged.
        """
        path, opened, stored = self._found[name]
        try:
            tensor: Tensor = opened.get_tensor(stored)
        except SafetensorError as error:
            raise PellucidError(f"{path} is damaged or truncated: {error}") from None
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
            no conversion is needed: replace that file, do not overwrite it in place.

    Raises:
        PellucidError: a missing, extra, wrong-shaped or non-finite tensor; the message names file and tensor.
    """
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
    state = {}
    for name, parameter in wanted.items():
        source = sources[name]
        parts = [_part(tensors, stored, source, parameter, len(source.names)) for stored in source.names]
        tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
        state[name] = tensor.to(device=device, dtype=dtype or torch.float32).contiguous()
    # Parameters in place keep their identity (an optimizer holds them); those on the meta device have no place yet.
    model.load_state_dict(state, assign=model.wte.weight.is_meta)


def _part(tensors: Tensors, name: str, source: Source, parameter: Tensor, parts: int) -> Tensor:
    tensor, path = tensors.get(name), tensors.where(name)
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
    if not torch.isfinite(tensor).all():
        raise PellucidError(f"{path}: {name!r} holds NaN or infinite values")
    return tensor[source.skip :] if source.skip else tensor
