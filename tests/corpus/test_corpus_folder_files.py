"""A folder as text, such as `train .`: what people wrote is read, what programs keep there is reported and left out."""

import random
from pathlib import Path
from typing import Any

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from stories import story

import pellucid
from pellucid import events
from pellucid.corpus import read_documents


CONFIG = pellucid.GPTConfig(vocab_size=258, n_ctx=8, n_layers=1, d_model=4, n_heads=1)
# What programs keep: by a name, the files that make it what it is, and whether it is reported.
KEPT: dict[str, tuple[list[str], bool]] = {
    "a run": (["run.json", "corpus/corpus.json", "metrics.jsonl", "model/config.json"], True),
    "a run that has begun": (["run.json", "checkpoints/step-00000001/config.json"], True),
    "a corpus": (["corpus.json", "train-00000.bin", "documents.jsonl"], True),
    "a model": (["config.json", "model.safetensors", "tokenizer.json"], True),
    "its shards": (["config.json", "model-00001-of-00002.safetensors", "merges.txt"], True),
    "__pycache__": (["a.txt"], True),
    "node_modules": (["package/readme.txt"], True),
    "a cache": (["CACHEDIR.TAG", "text.txt"], True),
    "venv": (["pyvenv.cfg", "lib/text.txt"], True),
    ".git": (["description", "hooks/text.txt"], False),
    ".hidden.txt": ([], False),
}
TEXT = {"config.json": "{}", "run.json": "{}", "corpus.json": "{}", "notes.txt": "words", "run.json.txt": "words"}


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


@given(st.randoms(use_true_random=False), st.lists(st.sampled_from(sorted(KEPT)), unique=True))
@cases(30)
def test_what_programs_keep_in_a_folder_is_left_out(
    tmp_path_factory: pytest.TempPathFactory, draw: random.Random, kept: list[str]
) -> None:
    """Text beside it is read, with names like those of a run's files too."""
    root = tmp_path_factory.mktemp("text")
    places = [root, root / "one", root / "one" / "two"]
    expected = set()
    for place in places:
        name = draw.choice(sorted(TEXT))
        write(place / name, TEXT[name])
        expected.add((place / name).relative_to(root.parent).as_posix())
    reported = set()
    for name in kept:
        place = draw.choice(places) / name
        files, told = KEPT[name]
        for file in files or [""]:
            write(place / file if file else place, "not to be read")
        if told:
            reported.add(place)
    skipped: dict[Path, str] = {}
    found = {document.name for document in read_documents([root], on_skip=skipped.__setitem__)}
    assert found == expected
    assert set(skipped) == reported


def train(out: Path, seen: list[events.Event]) -> pellucid.Run:
    options: dict[str, Any] = {"config": CONFIG, "steps": 1, "batch_tokens": 16, "record": False}
    return pellucid.train(".", out, observers=[seen.append], **options)


def test_a_run_inside_the_folder_that_it_is_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the run that is being written nor one from before is read, and how many files are is said."""
    for number in range(3):
        write(tmp_path / f"{number}.txt", story(60, number))
    monkeypatch.chdir(tmp_path)
    first: list[events.Event] = []
    one = train(Path("one"), first)
    second: list[events.Event] = []
    other = train(Path("deep") / "other", second)
    assert [event for event in first if isinstance(event, events.Skipped)] == []
    assert [event for event in second if isinstance(event, events.Skipped)] == [events.Skipped("one", "it is a run")]
    for seen in (first, second):
        files = [event.done for event in seen if isinstance(event, events.Progress) and event.unit == "files"]
        assert files == [3]
    assert one.plan.source == other.plan.source
