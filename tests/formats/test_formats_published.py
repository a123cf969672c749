"""Directories as they are published, generated: the logits of `transformers`, or one line that names what is wrong."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import cases
from hugging_face import library
from hypothesis import HealthCheck, given
from published_directories import Directory, directories

import pellucid
from pellucid.errors import PellucidError
from pellucid.formats.hf_config import read_config
from pellucid.formats.weights import WeightArrays, open_weights
from pellucid.gpt.safetensors_file import widened


CLOSE = {"rtol": 1e-4, "atol": 1e-4}  # as in test_formats_read; some of these models have logits beyond 100


def theirs(path: Path) -> Any:
    """The model as `transformers` opens it; None where it does not, or only with tensors that it makes up."""
    try:
        model, report = library().AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, output_loading_info=True)
    except Exception:  # its own, those of safetensors, of Python ...
        return None
    return None if report["missing_keys"] else model.eval()


@given(one=directories())
@cases(12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_published_directory_has_their_logits_or_is_refused_by_name(one: Directory) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        path.mkdir()
        one.write_config(path)
        one.write(one, path)
        try:
            mine = pellucid.load(path)
        except PellucidError as error:
            assert any(word in str(error) for word in one.blame), (str(error), one.blame)
            assert str(path) in str(error) and "\n" not in str(error)
            return
        assert not one.blame, f"should name {one.blame}"
        ids = torch.randint(5, 60, (2, 20), generator=torch.Generator().manual_seed(1))
        logits = mine(ids)
        torch.testing.assert_close(logits, one.truth(ids).logits, **CLOSE)
        if (model := theirs(path)) is not None:
            torch.testing.assert_close(logits, model(ids).logits, **CLOSE)
        with open_weights(path, mine.config) as (tensors, sources):  # as the kernel reads them
            arrays = WeightArrays(mine.config, tensors, sources)
            for name, parameter in mine.named_parameters():
                array = widened(arrays[name], "BF16" if arrays[name].dtype == np.uint16 else "")
                assert torch.equal(torch.from_numpy(np.ascontiguousarray(array)), parameter), name
        assert read_config(path) == mine.config
        mine.save(Path(folder) / "again")
        again = pellucid.load(Path(folder) / "again")
        assert again.config == mine.config and all(map(torch.equal, again.parameters(), mine.parameters()))
