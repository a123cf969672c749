"""A model's config.json is read once, whatever opens the model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pellucid
from pellucid.generation.text_generator import open_text_generator


def by_torch(source: Path) -> object:
    return open_text_generator(source, kernel="off")


@pytest.mark.parametrize("opened", [pellucid.load, open_text_generator, by_torch])
def test_config_json_is_read_once(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, opened: Callable[[Path], object]
) -> None:
    open_path, reads = Path.open, []

    def counted(path: Path, *args: Any, **kwargs: Any) -> Any:
        reads.append(path.name)
        return open_path(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", counted)
    opened(tiny_run / "model")
    assert reads.count("config.json") == 1
