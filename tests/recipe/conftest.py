"""What tests of the default model's recipe share: a small corpus folder, and the data that `prepare` makes of it."""

from pathlib import Path

import pytest
from recipe_data import write_corpus

from recipes.default_model.prepare import prepare


@pytest.fixture(scope="session")
def recipe_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus folder."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def recipe_data(recipe_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its data folder."""
    out = tmp_path_factory.mktemp("data")
    prepare(recipe_corpus, out, vocabulary=600, task_groups=400, markup_groups=100)
    return out
