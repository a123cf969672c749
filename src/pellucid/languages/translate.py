"""Translating texts: the current language, and its table of texts."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, reduce
from pathlib import Path

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.files import reading


ENGLISH = "en"
FOLDER = Path(__file__).parent
LANGUAGES = (ENGLISH, *sorted(path.stem for path in FOLDER.glob("*.json")))
_current: ContextVar[str] = ContextVar("language", default=ENGLISH)


def tr(text: str, /, **values: object) -> str:
    """A text in the current language; in English where the language has no translation of it.

    Args:
        text: in English, as a literal in the code, so that `tools/strings.py` finds it.
        values: of its placeholders, as `str.format` takes them: "{steps:,} steps". Without any the text is taken as it is.
    """
    found = _table(_current.get()).get(text) or text
    return found.format(**values) if values else found


def plural(count: int, one: str, many: str, /, **values: object) -> str:
    """A text about a count, in the form of the current language. Languages without plural forms translate both alike.

    Args:
        count: the value of the placeholder {count}. one: the text for 1. many: for other counts.
    """
    return tr(one if count == 1 else many, count=count, **values)


def counted(count: int, noun: str) -> str:
    """A count with its noun: "1 step", "1,200 steps". In other languages the translation of "{count:,} step" or "... steps".

    Args:
        noun: a literal that takes an s in the plural; for others see `plural`.
    """
    return tr("{count:,} " + noun + ("" if count == 1 else "s"), count=count)


def listed(items: Iterable[str]) -> str:
    """Some texts side by side, each translated already: "one, two, three"."""
    return tr(", ").join(items)


def joined(sentences: Iterable[str]) -> str:
    """Some sentences one after the other, each translated already."""
    return reduce(lambda text, sentence: tr("{text} {sentence}", text=text, sentence=sentence), sentences)


def mark(text: str) -> str:
    """The text itself: marks an English literal that is translated where it is shown, such as a row of a table."""
    return text


@contextmanager
def language(code: str | None) -> Iterator[None]:
    """Makes a language the current one, in this thread or task. None: leaves it as it is.

    Raises:
        PellucidError: there is no such language.
    """
    if code is None:
        yield
        return
    if code not in LANGUAGES:
        raise PellucidError(f"no language {shown(code)}: there are {', '.join(LANGUAGES)}")
    token = _current.set(code)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> str:
    """The code of the current language."""
    return _current.get()


def choose(wanted: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The language to show: `wanted`, else that of the locale if there is a file of it, else English.

    Args:
        environment: its LC_ALL, LC_MESSAGES and LANG say the locale, the first that is not empty, such as zh_CN.UTF-8 or zh-CN.

    Raises:
        PellucidError: there is no language `wanted`.
    """
    if wanted is not None:
        with language(wanted):
            return wanted
    locale = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := environment.get(name))), "")
    code = re.split(r"[-_.@]", locale)[0].lower()  # of zh_CN.UTF-8, zh-Hans, ZH_cn@pinyin: zh
    return code if code in LANGUAGES else ENGLISH


@cache
def _table(code: str) -> dict[str, str]:
    if code == ENGLISH:
        return {}
    with reading(FOLDER / f"{code}.json") as file:
        table: dict[str, str] = json.load(file)
    return table
