"""The embedded model under a megabyte: its size, its name, and that it writes."""

from pathlib import Path

import pytest

import pellucid
from pellucid.generation.resolve import ASSETS, SMALL, resolve


def test_it_is_under_a_megabyte_and_writes() -> None:
    files = list((ASSETS / SMALL).iterdir())
    assert sum(file.stat().st_size for file in files if file.suffix != ".md") < 1_000_000
    assert sum(file.stat().st_size for file in files) < 1 << 20
    model = pellucid.load(SMALL)
    assert model.config.parameters() < 1_500_000 and model.config.n_ctx == 512
    first, again = (model.generate("Once upon a time", max_tokens=5, seed=1).ids for _ in range(2))
    assert first == again


def test_a_folder_of_that_name_goes_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve(SMALL) == ASSETS / SMALL
    (tmp_path / SMALL).mkdir()
    with pytest.raises(pellucid.PellucidError, match="holds no model"):
        resolve(SMALL)
    pellucid.GPT(pellucid.GPTConfig(vocab_size=7, n_ctx=4, n_layers=1, d_model=4, n_heads=1)).save(tmp_path / SMALL)
    assert resolve(SMALL) == Path(SMALL)
