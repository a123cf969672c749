"""Opening the weights of a model directory of any family: as stored, and as NumPy arrays by our names.

No torch here.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.errors import PellucidError
from pellucid.formats.families import LM_HEAD
from pellucid.formats.hf_config import INDEX, family_of, listed_shards, weight_files
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.config_json import CONFIG, read_json
from pellucid.gpt.costs import parameter_shapes
from pellucid.gpt.safetensors_file import Array, SafetensorsFiles
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
    listed = listed_shards(directory)
    with SafetensorsFiles(weight_files(directory, listed), family.plain_name) as tensors:
        _check_size(directory, config, tensors)
        sources = family.sources(name for name, _ in parameter_shapes(config))
        for stored, shard in listed.items():
            name = family.plain_name(stored)
            if name is not None and (name not in tensors or tensors.file_of(name).name != shard):
                raise PellucidError(f"{directory / INDEX} says that {stored!r} lies in {shard}, which lacks it")
        embedding = sources["wte.weight"].names[0]
        if LM_HEAD in tensors:
            if embedding in tensors and not _equal_tensors(tensors, LM_HEAD, embedding):
                raise PellucidError(
                    f"{directory}: {LM_HEAD!r} is not {embedding!r} again; in GPT-3's family the output matrix is tied to the "
                    "tokens'"
                )
            tensors.discard(LM_HEAD)
        elif values.get("tie_word_embeddings", True) is False:
            raise PellucidError(f"{directory / CONFIG} says that the output matrix is not tied, but {LM_HEAD!r} is missing")
        tensors.check_shapes(sources, parameter_shapes(config))
        yield tensors, sources


def _check_size(directory: Path, config: GPTConfig, tensors: SafetensorsFiles) -> None:
    """Refuses a config of another size than the files', before names are made for each of its blocks."""
    stored, blocks = tensors.numbers(), len(tensors.names())
    if config.n_layers > blocks or config.parameters() > _OTHER_SIZE * stored:
        raise PellucidError(
            f"{directory / CONFIG} asks for {config.parameters():,} parameters in {config.n_layers:,} blocks, and the weights "
            f"are {stored:,} numbers in {blocks:,} tensors"
        )


def _equal_tensors(tensors: SafetensorsFiles, one: str, other: str) -> bool:
    a, b = tensors.get(one), tensors.get(other)
    return a.shape == b.shape and tensors.dtype(one) == tensors.dtype(other) and np.array_equal(a, b)


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
        parts = self._tensors.parts(self._sources[name], self._shapes[name])
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if name == "wpe.weight" and whole.dtype == np.int8:  # older int8 directories of ours; no product reads positions
            return whole * self._tensors.scale(self._sources[name].names[0])
        return whole.astype(np.float32) if whole.dtype == np.float64 else whole

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)
