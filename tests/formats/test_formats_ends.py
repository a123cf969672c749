"""Several ids that end a text, and generation_config.json: generation stops where that of `transformers` does."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import cases
from hugging_face import GPT2, VOCAB, ids_of, library, published
from hypothesis import given
from hypothesis import strategies as st
from models import lively

import pellucid
from pellucid.errors import PellucidError
from pellucid.formats import gguf
from pellucid.formats.hf_config import read_config
from pellucid.formats.hf_write import WRITTEN, write
from pellucid.gpt.arrangements import all_dense
from pellucid.gpt.config_json import GENERATION


PROMPT, NEW = ids_of(6), 12
Place = tuple[Path, Any, list[int]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A directory, the model in it as transformers has it, and the tokens that it writes after PROMPT if nothing ends them."""
    path = tmp_path_factory.mktemp("published")
    theirs = published("gpt2", path)
    return path, theirs, continued(theirs, None)


def continued(theirs: Any, eos: Any) -> list[int]:
    ids, mask = torch.tensor([PROMPT]), torch.ones(1, len(PROMPT), dtype=torch.long)
    theirs.generation_config.eos_token_id = eos
    found = theirs.generate(ids, attention_mask=mask, max_new_tokens=NEW, do_sample=False, pad_token_id=0)
    return list(found[0, len(PROMPT) :].tolist())


def state(path: Path, config: Any, generation: Any) -> None:
    """Writes `eos_token_id` into both files; "gone" leaves the key out, and None of `generation` the file."""
    said = GPT2 | {"model_type": "gpt2", "eos_token_id": config}
    (path / "config.json").write_text(json.dumps({key: value for key, value in said.items() if value != "gone"}))
    (path / GENERATION).unlink(missing_ok=True)
    if generation is not None:
        (path / GENERATION).write_text(json.dumps({} if generation == "gone" else {"eos_token_id": generation}))


@pytest.mark.long
@cases(12)
@given(data=st.data())
def test_generation_stops_at_any_end_as_in_transformers(place: Place, data: st.DataObject) -> None:
    path, theirs, free = place
    ids = st.sampled_from(free) | st.integers(0, VOCAB + 5)
    ends = ids | st.lists(ids, min_size=1, max_size=4)
    config = data.draw(ends | st.just("gone"))
    generation = data.draw(st.none() | ends | st.just("gone") | st.just([-1, free[3]]))
    state(path, config, generation)
    model = pellucid.load(path)
    counts = [one for one in (generation, config) if one not in (None, "gone")]
    eos = counts[0] if counts else 50256
    answer = model.generate(PROMPT, max_tokens=NEW, temperature=0)
    assert answer.ids == continued(theirs, eos)
    inside = {i for i in ([eos] if isinstance(eos, int) else eos) if 0 <= i < VOCAB}
    assert answer.finish_reason == ("stop" if answer.ids[-1] in inside else "length")
    assert set(model.end_ids) & set(range(VOCAB)) == inside and model.end_of_text == model.end_ids[0]
    assert [token.id for token in model.stream(PROMPT, max_tokens=NEW, temperature=0)] == answer.ids
    assert model.generate(PROMPT, max_tokens=NEW, temperature=0, draft="lookup").ids == answer.ids
    record = pellucid.xray(model, PROMPT, max_tokens=NEW, temperature=0)
    assert record.verify(model).ok


@cases(8)
@given(ends=st.lists(st.integers(0, 29), min_size=1, max_size=5), target=st.sampled_from([*WRITTEN, "gguf", "pellucid"]))
def test_what_is_written_keeps_all_ends(tmp_path_factory: pytest.TempPathFactory, ends: list[int], target: str) -> None:
    path = tmp_path_factory.mktemp("written")
    config = pellucid.GPTConfig(
        vocab_size=30, n_ctx=8, n_layers=1, d_model=8, n_heads=2, pattern=all_dense(1), end_of_text=tuple(ends),
        activation="relu" if target == "hf-opt" else "gelu_tanh",
    )  # fmt: skip
    model, several = lively(pellucid.GPT(config)), tuple(dict.fromkeys(ends))
    assert config.end_ids == several and pellucid.GPTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    if target == "gguf":
        if len(several) > 3:
            with pytest.raises(PellucidError, match=f"3 ids that end a text, and the model has {len(several)}: leave 3"):
                gguf.write(model, None, path / "m.gguf")
            return
        gguf.write(model, None, path / "m.gguf")
        back = pellucid.load(path / "m.gguf")
    elif target == "pellucid":
        (path / GENERATION).write_text('{"eos_token_id": 3}')  # of another model that was there before
        model.save(path)
        back = pellucid.load(path)
    else:
        write(model, None, path, WRITTEN[target])
        theirs = library().AutoModelForCausalLM.from_pretrained(path).generation_config.eos_token_id
        assert theirs == (list(several) if len(several) > 1 else several[0])
        back = pellucid.load(path)
    assert back.end_ids == several


def test_beams_end_at_any(place: Place) -> None:
    path, _, free = place
    for eos in ([free[0], free[4]], [free[5], VOCAB - 1]):
        state(path, eos, None)
        model = pellucid.load(path)
        found = model.beam(PROMPT, width=2, length_penalty=0.0, max_tokens=NEW)
        assert not set(found.ids[:-1]) & set(eos)
        assert found.finish_reason == ("stop" if found.ids[-1] in eos else "length")


@pytest.mark.parametrize("name", ["config.json", GENERATION])
@pytest.mark.parametrize("value", [[], ["x"], [1, None, 1.5], [[1], 2], "many", {"a": 1}, [1] * 2000])
def test_what_is_no_list_of_ids_is_refused_by_its_file_and_key(place: Place, name: str, value: Any) -> None:
    path = place[0]
    state(path, *((value, None) if name == "config.json" else (1, value)))
    with pytest.raises(PellucidError, match="eos_token_id must be a") as caught:
        read_config(path)
    assert str(path / name) in str(caught.value)


@pytest.mark.parametrize("text", ["not JSON", "[]", "version https://git-lfs.github.com/spec/v1\noid sha256:a\nsize 1\n"])
def test_a_damaged_generation_config_is_named(place: Place, text: str) -> None:
    state(place[0], 1, None)
    (place[0] / GENERATION).write_text(text)
    with pytest.raises(PellucidError, match=r"generation_config\.json"):
        read_config(place[0])
