"""A model's config.json is read once, whatever opens the model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pellucid
from pellucid import strict_json
from pellucid.files import reading
from pellucid.generation.text_generator import open_text_generator


def by_torch(source: Path) -> object:
    return open_text_generator(source, kernel="off")


@pytest.mark.parametrize("opened", [pellucid.load, open_text_generator, by_torch])
def test_config_json_is_read_once(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, opened: Callable[[Path], object]
) -> None:
    reads = []

    def counted(path: Path) -> Any:
        reads.append(path.name)
        return reading(path)

    monkeypatch.setattr(strict_json, "reading", counted)
    opened(tiny_run / "model")
    assert reads.count("config.json") == 1
