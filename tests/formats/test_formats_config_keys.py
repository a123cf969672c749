"""Keys of config.json: their defaults, their other names and their fates, compared with the classes of `transformers`."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import cases
from hugging_face import library
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import PellucidError
from pellucid.file_signatures import HEAD, identify_text
from pellucid.formats.families import CLASSES, FAMILIES
from pellucid.formats.hf_config import read_config
from pellucid.gpt.config_json import MAX_LAYERS
from pellucid.gpt.config_values import ConfigValues
from pellucid.gpt.costs import parameter_shapes
from tools import config_keys


KINDS = ["gpt2", "gpt_neo", "opt"]
# What `transformers` keeps of itself, in its own process.
PRIVATE = {"_attn_implementation_internal", "_experts_implementation_internal", "_output_attentions", "_post_init_done"}


def usual(kind: str) -> Any:
    return library().AutoConfig.for_model(kind)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_missing_keys_mean_what_they_mean_to_transformers(kind: str) -> None:
    family, theirs = FAMILIES[kind], usual(kind)
    for key, value in family.defaults.items():
        if value is not None:
            assert getattr(theirs, key) == value, key
    assert family.aliases == theirs.attribute_map
    config = read_config(Path("model"), {"model_type": kind})
    with torch.device("meta"):
        model = library().AutoModelForCausalLM.from_config(theirs)
    numbers = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    sources = family.sources(name for name, _ in parameter_shapes(config))
    for name, shape in parameter_shapes(config):
        stored = [numbers[family.prefix + one] for one in sources[name].names]
        rows = sum(one[-1 if sources[name].transposed else 0] - sources[name].skip for one in stored)
        assert rows == shape[0] and (len(shape) == 1 or stored[0][0 if sources[name].transposed else 1] == shape[1]), name


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_the_tables_have_every_key_that_transformers_has(kind: str) -> None:
    theirs = usual(kind)
    names = {field.name for field in dataclasses.fields(theirs)} if dataclasses.is_dataclass(theirs) else set()
    names |= set(theirs.to_dict()) | set(vars(theirs)) | set(theirs.attribute_map)
    if hasattr(library().GenerationConfig, "_get_default_generation_params"):
        names |= set(library().GenerationConfig._get_default_generation_params())
    listed = set(config_keys.fates(FAMILIES[kind])) | {key for keys in config_keys.CHANGES_NOTHING.values() for key in keys}
    assert names - PRIVATE <= listed
    assert not set(config_keys.fates(FAMILIES[kind])) & {key for keys in config_keys.CHANGES_NOTHING.values() for key in keys}


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
QUIET = sorted(key for keys in config_keys.CHANGES_NOTHING.values() for key in keys)


@given(kind=st.sampled_from(KINDS), junk=st.dictionaries(st.sampled_from(QUIET) | st.text(max_size=9), JUNK, max_size=5))
@cases(60)
def test_a_key_that_changes_nothing_may_say_anything(kind: str, junk: dict[str, Any]) -> None:
    known = set(config_keys.fates(FAMILIES[kind]))
    values = {"model_type": kind} | {key: value for key, value in junk.items() if key not in known}
    assert read_config(Path("model"), values) == read_config(Path("model"), {"model_type": kind})


@given(kind=st.sampled_from(KINDS), values=st.dictionaries(st.integers(0, 40), JUNK, min_size=1, max_size=3))
@cases(150)
def test_a_key_that_is_read_gives_a_shape_or_an_error_that_names_it(kind: str, values: dict[int, Any]) -> None:
    keys = sorted(config_keys.fates(FAMILIES[kind]))
    given_values = {keys[number % len(keys)]: value for number, value in values.items()}
    try:
        config = read_config(Path("model"), {"model_type": kind} | given_values)
    except PellucidError as error:
        related = {"num_layers", "n_embd", "hidden_size"}  # the other half of what does not fit together
        assert str(error).startswith(f"{Path('model')}") and any(key in str(error) for key in {*given_values, *related})
    else:
        assert config.n_layers <= MAX_LAYERS


@given(st.integers(-(2**40), 2**40), st.floats(allow_nan=False, allow_infinity=False))
@cases(60)
def test_a_number_in_a_text_is_that_number(whole: int, real: float) -> None:
    found = ConfigValues({"a": str(whole), "b": repr(real), "c": float(whole), "d": f" {whole}\n"}, "config")
    assert all(found.integer(key, minimum=-(2**40)) == whole for key in "acd")
    assert found.number("b") == real


@pytest.mark.parametrize("text", ["", "1,5", "0x10", "1_000", "ten", "nan", "inf", "1e999", "٣", "1" * 50, "--1", "1 2", "e5"])
def test_what_is_not_plainly_a_number_is_refused(text: str) -> None:
    for read in (ConfigValues.integer, ConfigValues.number):
        with pytest.raises(PellucidError, match="config: a must be a"):
            read(ConfigValues({"a": text}, "config"), "a")


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_of_transformers_says_the_family(kind: str) -> None:
    modelling = getattr(library().models, kind)
    names = [name for name in dir(modelling) if "Model" in name or "For" in name]
    names = [name for name in names if name.startswith(("GPT", "OPT")) and not name.endswith("PreTrainedModel")]
    assert len(names) >= 4
    for name in names:
        assert read_config(Path("model"), {"architectures": [name]}) == read_config(Path("model"), {"model_type": kind})
    for other in ("GPTNeoXForCausalLM", "BertModel", "", 5):
        with pytest.raises(PellucidError, match="no model_type"):
            read_config(Path("model"), {"architectures": [other]})
    assert set(CLASSES) == set(KINDS)


def test_a_file_in_the_place_of_config_json_is_named(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    for data, words in (
        (b"<!DOCTYPE html>\n<html>", "web page"), (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (json.dumps({"model_type": "gpt2"}).encode("utf-16"), "UTF-16"), (b"\0" * 50, "zeros"), (b"", "not JSON"),
    ):  # fmt: skip
        file.write_bytes(data)
        with pytest.raises(PellucidError, match=words) as caught:
            read_config(tmp_path)
        assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    file.write_bytes(b"\xef\xbb\xbf" + b'{"model_type": "gpt2"}')
    assert read_config(tmp_path).n_layers == 12


@given(st.binary(max_size=HEAD))
@cases(100)
def test_any_bytes_are_described_in_one_line(head: bytes) -> None:
    assert "\n" not in identify_text(head)
