"""Which model a record is of, in words."""

from pathlib import Path

import pytest

import pellucid
from pellucid.command_lines import path_here
from pellucid.generation.resolve import DEFAULT_FINGERPRINT
from pellucid.gpt.fingerprint import fingerprint
from pellucid.languages import language
from pellucid.serve.studio.model_words import Learned, model_words, read_learned
from pellucid.serve.studio.sources import SourceCatalog


def test_the_embedded_model_is_recognised_by_its_weights() -> None:
    assert fingerprint(pellucid.load()) == DEFAULT_FINGERPRINT


def test_records_say_what_their_model_was_trained_on(tiny_run: Path, tmp_path: Path) -> None:
    pellucid.xray(pellucid.load(tiny_run), "the fox", max_tokens=2, seed=1).save(tmp_path / "own.pellucid")
    pellucid.xray(pellucid.load(), "the fox", max_tokens=2, seed=1).save(tmp_path / "embedded.pellucid")
    both = SourceCatalog([tmp_path, tiny_run]).listing()["records"]
    told = {one["title"]: one["about_model"] for one in both}
    own, base = told["own.pellucid"], told["embedded.pellucid"]
    assert told["tiny/training.pellucid"] == own and 'the model of the run "tiny"' in own
    plan = pellucid.open_run(tiny_run).plan
    assert f"{plan.config.parameters():,} parameters" in own and f"a text of {plan.source['train_tokens']:,} tokens" in own
    assert base.startswith("the embedded model (5,918,720 parameters, 6 blocks of width 256: the shape cpu-6m)")
    (alone,) = SourceCatalog([tmp_path / "own.pellucid"]).listing()["records"]
    assert "does not say what it was trained on" in alone["about_model"]
    with language("zh"):
        assert "内置模型" in SourceCatalog([tmp_path / "embedded.pellucid"]).listing()["records"][0]["about_model"]
    with pellucid.open(tiny_run / "training.pellucid") as record:
        found = read_learned(record, None)
        assert found is not None and found.run is None and found.documents == ()
    tuned = Learned(run="tuned", base="", tokens=0, examples=1)
    words = model_words(alone, {alone["model"]: tuned})
    assert words.endswith("which began as a trained one (unknown) and was trained further on 1 example")


def test_a_command_names_a_path_from_where_it_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "my runs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a")
    assert path_here(tmp_path / "a" / "my runs") == Path("my runs")
    assert path_here(tmp_path / "other") == tmp_path / "other"
    assert path_here(Path("my runs")) == Path("my runs")
