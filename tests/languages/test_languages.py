"""Texts in the current language: placeholders, plurals, fallbacks, the choice by locale, and the tables' completeness."""

import asyncio
import json
import keyword
import re
import string
import threading
from pathlib import Path

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as some

from pellucid.errors import PellucidError
from pellucid.languages import LANGUAGES, choose, current, language, listed, plural, tr, translate
from tools import strings


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The table of zh, for the test to fill."""
    entries: dict[str, str] = {}
    monkeypatch.setattr(translate, "_table", lambda code: entries if code == "zh" else {})
    return entries


def test_a_text_is_in_the_current_language(table: dict[str, str]) -> None:
    table |= {"step {step:,} of {steps:,}": "共 {steps:,} 步，第 {step:,} 步"}
    table |= {"{count} step": "{count} 步", "{count} steps": "{count} 步", ", ": "、"}
    assert tr("step {step:,} of {steps:,}", step=3, steps=1000) == "step 3 of 1,000"
    with language("zh"):
        assert tr("step {step:,} of {steps:,}", step=3, steps=1000) == "共 1,000 步，第 3 步"
        assert [plural(n, "{count} step", "{count} steps") for n in (1, 2)] == ["1 步", "2 步"]
        assert listed(["a", "b", "c"]) == "a、b、c"
        assert tr("not translated {x}", x=1) == "not translated 1"
        with language(None):
            assert current() == "zh"
    assert current() == "en" and [plural(n, "{count} step", "{count} steps") for n in (0, 1)] == ["0 steps", "1 step"]


@cases(50)
@given(some.text())
def test_a_text_without_values_is_taken_as_it_is(text: str) -> None:
    assert tr(text) == text


def test_threads_and_tasks_have_their_own_language() -> None:
    async def task(code: str) -> str:
        with language(code):
            await asyncio.sleep(0)
            return current()

    async def both() -> list[str]:
        return list(await asyncio.gather(task("zh"), task("en")))

    seen: list[str] = []
    with language("zh"):
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
        assert asyncio.run(both()) == ["zh", "en"]
    assert seen == ["en"]


def test_a_language_that_is_not_there_is_refused() -> None:
    for wrong in ("xx", "", "../zh", "ZH"):
        with pytest.raises(PellucidError, match=r"there are en, zh"), language(wrong):
            pass
        with pytest.raises(PellucidError, match=r"there are en, zh"):
            choose(wrong)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "C", "LC_MESSAGES": "zh_TW", "LC_ALL": ""}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "../../etc"}, "en"),
        *(({"LANG": f"{name}{end}"}, "zh") for name in ("zh", "ZH", "zh-CN", "zh_cn", "zh-Hans", "zh_Hans_CN")
          for end in ("", ".utf8", ".UTF-8", ".GB18030", "@pinyin")),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "zhx-CN"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh-CN", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh-CN"}, "zh"),
    ],
)
def test_the_locale_chooses(environment: dict[str, str], expected: str) -> None:
    assert choose(None, environment) == expected
    assert choose("zh", environment) == "zh"


@pytest.mark.long
def test_every_text_of_the_code_is_translated_with_its_placeholders() -> None:
    found = strings.texts()
    for code in LANGUAGES[1:]:
        assert strings.problems(found, dict(translate._table(code))) == []


def test_the_check_finds_what_is_missing_wrong_or_gone() -> None:
    found = {"a {x}": "one.py", "b": "two.py", "c {x}": "three.py"}
    lines = strings.problems(found, {"a {x}": "A {y}", "b": "", "c {x}": "C {x:,}", "gone": "x"})
    assert [line.split(":")[0] for line in lines] == ["one.py", "two.py", "no longer in the code"]


NAMES = some.text(string.ascii_lowercase, min_size=1, max_size=3).filter(lambda name: not keyword.iskeyword(name))


@cases(50)
@given(some.text(), NAMES)
def test_python_and_typescript_texts_are_found(text: str, name: str) -> None:
    """Whatever a literal holds, the text found is its value."""
    source = f"x = tr({text!r}, {name}=1)\ny = plural(n, {text!r}, 'many') + tr(x[1])\nz = [mark({text!r})]\n"
    assert list(strings.python_texts(source, "x.py")) == [text, text, "many", text]
    quoted = strings.json.dumps(text)
    source = f"const x = tr({quoted}, {{ {name} }}); plural(n, {quoted}, \"many\"); other({quoted});"
    assert list(strings.typescript_texts(source, "x.ts")) == [text, text, "many"]


def test_a_text_that_is_no_literal_stops_the_tool() -> None:
    for source in ("tr(f'{x}')", "tr('a' + x)", "plural(n, a, 'c')", "mark(x)"):
        with pytest.raises(SystemExit, match="literal"):
            list(strings.python_texts(source, "x.py"))


GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "languages.json"  # read by studio/test/language.test.ts, too


def test_typescript_fills_placeholders_as_python_does() -> None:
    for case in json.loads(GOLDEN.read_text(encoding="utf-8")):
        assert case["text"].format(**case["values"]) == case["formatted"], case["text"]


def test_the_bundles_hold_the_translations_of_their_texts() -> None:
    """What `tools/studio.py` built from the table: every text of the page, and of the player only its own."""
    table = json.loads((strings.LANGUAGES / "zh.json").read_text(encoding="utf-8"))
    assets = strings.ROOT / "src/pellucid/assets/studio"
    studio, player = (unescaped((assets / f"{name}.js").read_text(encoding="utf-8")) for name in ("studio", "player"))
    for path in (strings.ROOT / "studio/src").rglob("*.*"):
        if path.suffix in (".ts", ".svelte") and path.parent.name in ("studio", "player"):
            for text in strings.typescript_texts(path.read_text(encoding="utf-8"), path.as_posix()):
                assert table[text] in studio, text
                assert path.parent.name == "studio" or table[text] in player, text
    assert table["Ask the model"] in studio and table["Ask the model"] not in player


def unescaped(script: str) -> str:
    return re.sub(r"\\u([0-9A-Fa-f]{4})", lambda code: chr(int(code[1], 16)), script).replace("\\\\", "\\")
