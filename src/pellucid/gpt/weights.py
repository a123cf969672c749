"""Weights out of safetensors files into a model: where each of its tensors lies, checked and read once.

A `Source` says how a file keeps a tensor, `stored` maps it. What can be used as it lies in the file is not copied: the
parameter is a view of the mapped file, whose pages the system shares between processes and may drop. Of what must be
converted, one tensor at a time is held beside the model.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from pellucid.gpt.decoder import Decoder
from pellucid.gpt.quantize import stored_groups
from pellucid.gpt.safetensors_file import Array, Tensors
from pellucid.gpt.tensor_names import Source


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
    tensors.check_names({name for source in sources.values() for name in source.names})
    state = {}
    for name, parameter in wanted.items():
        source = sources[name]
        arrays = tensors.parts(source, tuple(parameter.shape))
        rows = (len(parameter) // len(arrays), *parameter.shape[1:])
        parts = [_tensor(tensors, stored, array, rows) for stored, array in zip(source.names, arrays, strict=True)]
        tensor = (parts[0] if len(parts) == 1 else torch.cat(parts)).to(device=device, dtype=dtype)
        # A matrix that lies there transposed is multiplied as quickly so in float32, but ten times slower in 16 bits, and a
        # little slower in float64 (docs/log.md): those are turned.
        state[name] = tensor if dtype == torch.float32 else tensor.contiguous()
    # Parameters in place keep their identity (an optimizer holds them); those on the meta device have no place yet.
    model.load_state_dict(state, assign=model.wte.weight.is_meta)


def _tensor(tensors: Tensors, name: str, array: Array, shape: tuple[int, ...]) -> Tensor:
    """A stored array as PyTorch has it; whole numbers with their scale in float32."""
    if array.dtype == np.uint16:
        return torch.from_numpy(array).view(torch.bfloat16)
    if array.dtype in (np.int8, np.uint8):
        scale = tensors.scale(name)
        if scale.dtype == np.float16:
            return torch.from_numpy(stored_groups(array, scale, shape).numbers())
        return torch.from_numpy(array).float() * torch.from_numpy(scale)
    return torch.from_numpy(array)
