"""Our model directory: `config.json` and `model.safetensors` (`text` reads and writes the `tokenizer.json` beside them).

An all-dense model of GPT-2's make is written exactly as `transformers` writes GPT-2 (`model_type: gpt2`, its tensor names,
matrices as (in, out)), so it opens there, and GPT-2 directories open here. Any other has the same tensor names under
`model_type: pellucid`, with its pattern and whatever else is not GPT-2's in keys of our own: stock loaders refuse it rather
than run it as something else.

A compressed block has six tensors more, `attn.compressor.*`, (out, in) as everywhere in PyTorch (`compressor`).

Storages "int8" and "int4" keep matrices in groups of 32 numbers with a float16 scale (`quantize`): `NAME` holds int8 codes,
(N, G * 32), or for int4 two in a byte, (N, G * 16) uint8; `NAME.scale` is (N, G). They all lie as (out, in), rows filled up to
whole groups. Positions, LayerNorms and biases stay float32. config.json says so under "quantization". They are read back into
floating point. Once, int8 was one float32 scale for each output row, of the positions, too: that is read as well.
"""

import json
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor, nn

from pellucid.errors import PellucidError
from pellucid.files import check_regular, make_folder, write_whole
from pellucid.gpt.config_json import CONFIG, GENERATION, WEIGHTS, to_json
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.quantize import BITS, is_quantized, pack_nibbles, quantize
from pellucid.gpt.safetensors_file import SafetensorsFiles
from pellucid.gpt.safetensors_write import write_tensors
from pellucid.gpt.tensor_names import PREFIX, SCALE, TRANSPOSED, gpt2_tensor_sources
from pellucid.gpt.torch_defaults import torch_defaults
from pellucid.gpt.weights import fill_parameters


STORAGES = ("float32", "bfloat16", "float16", *BITS)


@torch_defaults()
def save_model(model: Decoder, directory: Path, *, storage: str = "float32") -> None:
    """Writes config and weights; each file is complete or as it was.

    Args:
        storage: "float32", "bfloat16", "float16", "int8" or "int4" (these two make it `model_type: pellucid`).

    Raises:
        PellucidError: an unknown storage, a weight that it cannot hold, a disk that would not take it, or a model with other
            parameters than its config says: what is written could not be loaded.
    """
    if storage not in STORAGES:
        raise PellucidError(f"unknown storage {storage!r}: use one of {', '.join(STORAGES)}")
    check_parameters(model)
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        tensor = parameter.detach().cpu()
        if storage in BITS and is_quantized(name, tuple(tensor.shape)):
            groups = quantize(tensor.float().numpy(), storage)
            tensors[PREFIX + name + SCALE] = torch.from_numpy(groups.scale)
            tensors[PREFIX + name] = torch.from_numpy(groups.codes if storage == "int8" else pack_nibbles(groups.codes))
            continue
        tensor = tensor.to(torch.float32 if storage in BITS else getattr(torch, storage))
        tensors[PREFIX + name] = tensor.T.contiguous() if name.endswith(TRANSPOSED) else tensor.contiguous()
    make_folder(directory)
    for name in (CONFIG, WEIGHTS, "tokenizer.json"):
        check_regular(directory / name)
    (directory / GENERATION).unlink(missing_ok=True)  # of another model that was saved here before
    write_whole(directory / CONFIG, json.dumps(to_json(model.config, storage), indent=2) + "\n")
    write_tensors(directory / WEIGHTS, tensors, metadata={"format": "pt"})


def check_parameters(model: Decoder) -> None:
    """Refuses a model whose modules were replaced so that its parameters are not those of a decoder of its config.

    Raises:
        PellucidError: it names the first module that differs, and how to bring it back.
    """
    with torch.device("meta"):
        expected = {name: like.shape for name, like in Decoder(model.config).named_parameters()}
    found = {name: parameter.shape for name, parameter in model.named_parameters(remove_duplicate=False)}
    for name in [*found, *expected]:
        if found.get(name) == expected.get(name):
            continue
        if name in found and name in expected:
            raise PellucidError(
                f"{name} has the shape {tuple(found[name])}, where the config says {tuple(expected[name])}: it could not "
                "be loaded; give the model a config of its shapes"
            )
        raise PellucidError(f"{_changed_module(model, name, expected)}; the directory could not be loaded otherwise")


def _changed_module(model: Decoder, name: str, expected: Collection[str]) -> str:
    """The module that a parameter is of which should not be there, or should be; and what to do before saving."""
    if ".parametrizations." in name:
        module, _, rest = name.partition(".parametrizations.")
        tensor = rest.partition(".")[0]
        way = f"torch.nn.utils.parametrize.remove_parametrizations(module, {tensor!r})"
        return f"{module} is parametrized: call {way} before saving"
    module, _, tensor = name.rpartition(".")
    if tensor.endswith("_orig"):
        return f"{module} is pruned: call torch.nn.utils.prune.remove(module, {tensor.removesuffix('_orig')!r}) before saving"
    if tensor.endswith(("_g", "_v")):
        return f"{module} has weight norm: call torch.nn.utils.remove_weight_norm(module) before saving"
    reached: nn.Module = model
    path: list[str] = []
    for part in module.split(".") if module else []:
        child = reached._modules.get(part)
        if child is None:
            return f"{'.'.join([*path, part])} is missing, which the config states: give the model a config of its shape"
        reached, path = child, [*path, part]
        if type(child).__module__.partition(".")[0] != "pellucid" and type(child) is not nn.ModuleList:
            where = ".".join(path)
            if not any(one.startswith(f"{where}.") for one in expected):
                return f"{where} is a module that a decoder does not have: take it out before saving"
            kind = type(child).__name__
            return f"{where} was replaced by a {kind}: merge its weights into the module that was there before saving"
    return f"{name} is {'missing' if name in expected else 'no parameter of a decoder: take it out before saving'}"


def load_weights(
    model: Decoder, directory: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> None:
    """Fills `model` (on the meta device or not) from `directory`.

    Args:
        dtype: of the parameters; None is float32. Parameters on the meta device become views of the mapped file where
            no conversion is needed: replace that file, do not overwrite it in place.

    Raises:
        PellucidError: the file is missing, truncated or holds a missing, extra, wrong-shaped or non-finite tensor; the
            message names file and tensor.
    """
    with SafetensorsFiles([directory / WEIGHTS], _plain_name) as tensors:
        sources = gpt2_tensor_sources(name for name, _ in model.named_parameters())
        fill_parameters(model, tensors, sources, device=device, dtype=dtype)


def _plain_name(name: str) -> str | None:
    # GPT-2's files may also hold the causal mask as a buffer, and the tied head a second time.
    name = name.removeprefix(PREFIX)
    return None if name.endswith((".attn.bias", ".attn.masked_bias")) or name == "lm_head.weight" else name
