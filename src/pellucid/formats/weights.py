"""Opening the weights of a model directory of any family: as stored, and as NumPy arrays by our names.

No torch here.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.errors import PellucidError
from pellucid.formats.families import LM_HEAD, Family
from pellucid.formats.hf_config import CONVERT_COMMAND, INDEX, family_of, listed_shards, refuse_adapter, weight_files
from pellucid.formats.tensor_prefixes import plain_names
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.config_json import CONFIG, errors_with_file, read_json
from pellucid.gpt.config_values import ConfigValues
from pellucid.gpt.costs import parameter_shapes
from pellucid.gpt.safetensors_file import Array, SafetensorsFiles, widened
from pellucid.gpt.tensor_names import SCALE, TensorSource


_OTHER_SIZE = 16  # times the stored numbers: what only lacks a tensor is refused by that tensor's name


@contextmanager
def open_weights(
    directory: Path, config: GPTConfig, values: dict[str, Any] | None = None
) -> Iterator[tuple[SafetensorsFiles, dict[str, TensorSource]]]:
    """A context manager with a directory's tensors and the source of each parameter, their shapes compared with the config.

    Call it before anything of the config's size is allocated: the headers of the files bound it.

    Args:
        config: the model's shape. values: the directory's config.json, if it has been read.

    Raises:
        PellucidError: there are only pickles; a file is missing or truncated, or contradicts the index; the output matrix is
            not the token matrix; a tensor is missing, extra or of another shape.
    """
    values = read_json(directory) if values is None else values
    family = family_of(directory, values)
    found = ConfigValues(values, directory / CONFIG, defaults=family.defaults, aliases=family.aliases)
    refuse_adapter(directory)
    listed = listed_shards(directory)
    with SafetensorsFiles(weight_files(directory, listed), str) as tensors:
        with errors_with_file(tensors.files[0] if len(tensors.files) == 1 else directory):
            names = plain_names({*tensors.names(), *listed}, family)
        tensors.rename_tensors(names)
        _check_size(found, config, tensors)
        sources = family.sources(name for name, _ in parameter_shapes(config))
        if found.flag("scale_attn_by_inverse_layer_idx", False):
            for block in range(config.n_layers):
                for kind in ("weight", "bias"):
                    name = f"h.{block}.attn.c_attn.{kind}"
                    sources[name] = replace(sources[name], query_scale=1 / (block + 1))
        _tie(found, tensors, sources)
        missing = {name for source in sources.values() for name in source.names} - tensors.names()
        for stored, shard in listed.items():
            if names[stored] in missing:
                raise PellucidError(f"{directory / INDEX} says that {stored!r} lies in {shard}, which lacks it")
        try:
            tensors.check_shapes(sources, parameter_shapes(config))
        except PellucidError as error:
            raise PellucidError(f"{error}{_advice(found, family, config, tensors, sources)}") from None
        yield tensors, sources


def _tie(found: ConfigValues, tensors: SafetensorsFiles, sources: dict[str, TensorSource]) -> None:
    """Reads the one matrix of tokens and logits under either of its names. Raises PellucidError: there are two, or none."""
    embedding, tied = sources["wte.weight"].names[0], found.flag("tie_word_embeddings", True)
    if LM_HEAD not in tensors:
        if not tied:
            raise PellucidError(f"{found.where} says that the output matrix is not tied, but {LM_HEAD!r} is missing")
        return
    if embedding in tensors:
        if not tensors.equal(embedding, LM_HEAD):
            raise PellucidError(
                f"{tensors.file_of(LM_HEAD)}: {LM_HEAD!r} is not {embedding!r} again; in GPT-3's family the output matrix is "
                "tied to the tokens', and another one is not read"
            )
        tensors.discard(LM_HEAD)
    elif tied:
        sources["wte.weight"] = TensorSource((LM_HEAD,))


def _advice(
    found: ConfigValues, family: Family, config: GPTConfig, tensors: SafetensorsFiles, sources: Mapping[str, TensorSource]
) -> str:
    """What may be wrong where config and files do not agree, and what to do."""
    blocks = {match[1] for name in tensors.names() if (match := re.match(rf"{re.escape(family.blocks)}(\d+)\.", name))}
    if len(blocks) != config.n_layers:
        return f"; {CONFIG} says {config.n_layers} blocks, and the file has {len(blocks)}"
    for name, size, keys in (
        ("wte.weight", config.vocab_size, ("vocab_size",)),
        ("wpe.weight", config.n_ctx, ("n_positions", "max_position_embeddings")),
    ):
        source = sources[name]
        shape = tensors.shape(source.names[0]) if source.names[0] in tensors else ()
        if shape and shape[0] - source.skip != size and shape[1:] == dict(parameter_shapes(config))[name][1:]:
            key = next(key for key in keys if key in found)
            return f"; if the file is right, {found.name_of(key)} in {CONFIG} is {shape[0] - source.skip}"
    if tensors.names() - {name for source in sources.values() for name in source.names}:
        directory = str(tensors.files[0].parent)
        again = CONVERT_COMMAND.format(source=shlex.quote(directory), target=shlex.quote(f"{directory}-again"))
        return f"; to save the model without what transformers does not read either: {again}"
    return _missing(found)


def _missing(found: ConfigValues) -> str:
    """The keys that the shape was not read from, for a message."""
    sizes = [key for key in found.missing if type(found.values[key]) is int and not key.endswith("_token_id")]
    missing = [f"{key} ({found.values[key]})" for key in sizes]
    return f"; {CONFIG} lacks keys, which then have their usual values: {', '.join(missing)}" if missing else ""


def _check_size(found: ConfigValues, config: GPTConfig, tensors: SafetensorsFiles) -> None:
    """Refuses a config of another size than the files', before names are made for each of its blocks."""
    stored, blocks = tensors.count_numbers(), len(tensors.names())
    if config.n_layers > blocks or config.parameters() > _OTHER_SIZE * stored:
        raise PellucidError(
            f"{found.where} asks for {config.parameters():,} parameters in {config.n_layers:,} blocks, and the weights "
            f"are {stored:,} numbers in {blocks:,} tensors{_missing(found)}"
        )


class WeightArrays(Mapping[str, Array]):
    """A model's weights by our names, (out, in), each mapped on request and unmapped with the array.

    float32, float16, bfloat16 as its bits (uint16), or, for matrices but not for positions, whole numbers with the name +
    `.scale` beside them.

    Args:
        config: the model's shape. tensors, sources: from `open_weights`; they must stay open.

    Raises:
        PellucidError: on request, a wrong-shaped or non-finite tensor.
    """

    def __init__(self, config: GPTConfig, tensors: SafetensorsFiles, sources: Mapping[str, TensorSource]) -> None:
        self._tensors = tensors
        self._sources = sources
        self._shapes = dict(parameter_shapes(config))

    def __getitem__(self, name: str) -> Array:
        if name.endswith(SCALE):
            (stored,) = self._sources[name.removesuffix(SCALE)].names
            return self._tensors.scale(stored)
        source = self._sources[name]
        parts = self._tensors.parts(source, self._shapes[name])
        kinds = [self._tensors.dtype(stored) for stored in source.names]
        if len(set(kinds)) > 1 or source.query_scale != 1:
            parts = [widened(part, kind) for part, kind in zip(parts, kinds, strict=True)]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if source.query_scale != 1:
            whole = whole.astype(np.float32)  # a copy
            whole[: len(whole) // 3] *= np.float32(source.query_scale)
        if name == "wpe.weight" and whole.dtype == np.int8:  # older int8 directories of ours; no product reads positions
            return whole * self._tensors.scale(source.names[0])
        return whole.astype(np.float32) if whole.dtype == np.float64 else whole

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)
