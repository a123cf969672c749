"""Loading the parameters of a model from safetensors files, each tensor checked and read once.

A `TensorSource` says how a file stores a parameter, `safetensors_file` maps it into memory. A tensor that needs no conversion
is not copied: the parameter is a view of the mapped file, whose pages the system shares between processes and may evict. Of
those that need conversion, one at a time is held beside the model.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from pellucid.gpt.decoder import Decoder
from pellucid.gpt.quantize import quantized_from_file
from pellucid.gpt.safetensors_file import Array, SafetensorsFiles
from pellucid.gpt.tensor_names import TensorSource


def fill_parameters(
    model: Decoder,
    tensors: SafetensorsFiles,
    sources: Mapping[str, TensorSource],
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
        tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
        if source.query_scale != 1:
            tensor = torch.cat((tensor[: len(tensor) // 3].float() * source.query_scale, tensor[len(tensor) // 3 :].float()))
        tensor = tensor.to(device=device, dtype=dtype)
        # A transposed view is as fast in a float32 product, but ten times slower in 16 bits and a little slower in float64
        # (docs/log.md): those are made contiguous.
        state[name] = tensor if dtype == torch.float32 else tensor.contiguous()
    # Existing parameters keep their identity (an optimizer refers to them); those on the meta device have no storage yet.
    model.load_state_dict(state, assign=model.wte.weight.is_meta)


def _tensor(tensors: SafetensorsFiles, name: str, array: Array, shape: tuple[int, ...]) -> Tensor:
    """A stored array as a tensor; quantized ones dequantized to float32."""
    if array.dtype == np.uint16:
        return torch.from_numpy(array).view(torch.bfloat16)
    if array.dtype in (np.int8, np.uint8):
        scale = tensors.scale(name)
        if scale.dtype == np.float16:
            return torch.from_numpy(quantized_from_file(array, scale, shape).dequantize())
        return torch.from_numpy(array).float() * torch.from_numpy(scale)
    return torch.from_numpy(array)
