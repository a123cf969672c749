"""draw: the figures of training, priming, fine-tuning and points in Chinese: legible, and without words of another language."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from finetuning_records import SCRIPTS, finetuning_record
from parameter_records import trained
from pictures import assert_legible
from priming_records import priming
from training_records import training_record

import pellucid
from pellucid.__main__ import run
from pellucid.draw import Film, Keyframes, Text
from pellucid.draw.figure_files import MissingFigure
from pellucid.draw.film.film import walk
from pellucid.draw.film.glyphs import chinese_face, outlined
from pellucid.draw.views.pieces import read_pieces
from pellucid.draw.views.points import NEBULAE
from pellucid.languages import LANGUAGES, language, translate
from pellucid.record import Record


RECORDS: dict[str, tuple[Callable[..., Record], dict[str, Any], tuple[str, ...]]] = {
    "training": (training_record, {}, ("pretraining", "windows", "step")),
    "one step, one block": (training_record, {"steps": 1, "layers": 1, "tracks": 4}, ("pretraining", "windows", "step")),
    "little kept": (
        training_record,
        {"without": ("training/stretch", "training/samples", "training/plan", "training/steps/tokens_per_s", "pieces",
                     "training/example", "training/moments/updates")},
        ("pretraining", "windows", "step"),
    ),
    "nothing corrected": (training_record, {"corrected": 0, "layers": 12}, ("step",)),
    "matrices": (trained, {}, ("parameters",)),
    "one block, one moment": (trained, {"blocks": 1, "moments": 1}, ("parameters",)),
    "96 blocks": (trained, {"blocks": 96, "moments": 3, "vocab_size": 50257}, ("parameters",)),
    "finetuning": (finetuning_record, {}, ("finetuning",)),
    "14 blocks, other scripts": (finetuning_record, {"blocks": 14, "answers": SCRIPTS, "forgets": 0.0}, ("finetuning",)),
    "plain text": (finetuning_record, {"blocks": 1, "answers": [], "without": ("general", "thumbnails")}, ("finetuning",)),
    "nothing kept": (finetuning_record, {"unchanged": True, "forgets": -0.4, "steps": 5}, ("finetuning",)),
    "priming": (priming, {}, ("priming",)),
    "no task": (priming, {"shots": (0,), "task": (), "blocks": 1, "right": True}, ("priming",)),
    "many numbers": (priming, {"shots": (0, 1, 2, 4, 16), "heads": 1, "blocks": 30, "right": True}, ("priming",)),
}  # fmt: skip
CASES = [(name, figure) for name, (_, _, figures) in RECORDS.items() for figure in figures]
SAME = "ln log made GPT gpt3 wte wpe kB MB km arXiv "  # symbols, units, names
WORD = re.compile(r"[A-Za-z]{2,}")


@cache
def record_of(name: str) -> Record:
    make, options, _ = RECORDS[name]
    return make(**options)


def own_words(record: Record) -> str:
    """The texts that stand in a record: its pieces, samples, questions, matrices and model."""
    found = [json.dumps(record[name]) for name in record if record.entry(name).dtype == "json" and "plan" not in name]
    if "pieces/bytes" in record:
        found.append(record["pieces/bytes"].tobytes().decode("latin-1"))
    found += [str(record.entry(name).source or "") for name in record]
    pieces = read_pieces(record)
    model = record.provenance
    return " ".join([*found, *map(pieces.shown, pieces.ids), str(model.config.get("name")), model.model])


def words_of(film: Film) -> Iterator[str]:
    """Every text of a film: what is drawn, shown on hover, said and described."""
    yield from (film.title, film.alt, *film.notes, *(segment.name for segment in film.segments))
    yield from (caption.text for caption in film.captions)
    for node in walk(film.nodes):
        for value in (node.label, node.string) if isinstance(node, Text) else (node.label,):
            yield from (point[1] for point in value.points) if isinstance(value, Keyframes) else (value,)


def english(film: Film, known: str) -> list[str]:
    """The texts of a film in which there are words in Latin letters, or beginnings of words, that are not known ones."""
    return [text for text in words_of(film) if not all(word in SAME + known for word in WORD.findall(text))]


@pytest.mark.parametrize(("name", "figure"), CASES)
def test_every_figure_is_legible_in_chinese(name: str, figure: str) -> None:
    for width, least in ((360, 11), (960, 12)):
        assert_legible(record_of(name).figure(figure, width=width, language="zh"), least=least, moving=False)


def without_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes Chinese a language whose table has no Latin letter."""

    def texts() -> Iterator[tuple[str, str]]:
        for text in translate._table("zh"):
            parts = re.split(r"(\{[^{}]*\})", text)
            yield text, "".join(part if part[:1] == "{" else re.sub(r"[^\W\d_]+", "字", part) for part in parts)

    table = dict(texts())
    monkeypatch.setattr(translate, "_table", lambda code: table if code == "zh" else {})


@pytest.mark.parametrize(("name", "figure"), CASES)
def test_every_word_of_a_figure_comes_from_the_table_or_the_record(
    name: str, figure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_letters(monkeypatch)
    record = record_of(name)
    for width in (360, 960):
        assert english(record.figure(figure, width=width, language="zh"), own_words(record)) == []


def test_the_film_of_points_is_chinese_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tmp_path / "prices.csv"
    table.write_text("weight;price\n1;2,5\n2;4\n3;7\n", encoding="utf-8")
    for width, least in ((360, 11), (960, 12)):
        for points in (None, table, [(0, 1), (1, 0.01), (-1, 0.01)]):
            assert_legible(pellucid.one_parameter(points, width=width, language="zh"), least=least, moving=False)
    without_letters(monkeypatch)
    assert english(pellucid.one_parameter(table, language="zh"), "weight price prices.csv cpu-6m") == []
    assert english(pellucid.one_parameter(language="zh"), f"{' '.join(NEBULAE.names)} cpu-6m") == []


@pytest.mark.parametrize("code", LANGUAGES[1:])
def test_the_bundled_fonts_hold_every_character_of_the_table(code: str) -> None:
    """Else it is a byte box in PNG, GIF, WebP and MP4: `tools/fonts.py` takes such characters along."""
    held = outlined() | set(chinese_face().characters)
    needed = {character for text in translate._table(code).values() for character in text if not character.isspace()}
    assert sorted(needed - held) == []


def test_a_film_is_saved_in_its_own_language() -> None:
    record = record_of("finetuning")
    film = record.figure("finetuning", language="zh")
    assert film.language == "zh" and record.figure("finetuning").language == "en"
    with pytest.raises(pellucid.PellucidError, match="no language 'xx': there are en, zh"):
        record.figure("finetuning", language="xx")


def test_the_command_draws_in_the_language_of_the_option_or_the_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record_of("finetuning").save(tmp_path / "tuned.pellucid")
    for locale, option, title in (("zh_CN", [], "微调"), ("C", ["--lang", "zh"], "微调"), ("zh", ["--lang", "en"], "Fine")):
        monkeypatch.setenv("LC_ALL", locale)
        argv = ["pellucid", "figures", str(tmp_path / "tuned.pellucid"), "--out", str(tmp_path), "--format", "svg", *option]
        monkeypatch.setattr(sys, "argv", argv)
        assert run() == 0
        assert title in (tmp_path / "finetuning.svg").read_text(encoding="utf-8")
    assert "从" not in capsys.readouterr().err
    with language("zh"):
        assert str(MissingFigure(figure="step", why="x", command="y")) == "未画出：step：x；可以这样生成：y"
