"""An answer that fails raises from whatever reads it, once; the others of its batch are finished."""

import pytest
import torch
from models import lively

import pellucid
from pellucid.cli import generate, main
from pellucid.errors import PellucidError
from pellucid.generation.text_generator import TextGenerator
from pellucid.runtime.torch_runner import TorchRunner
from pellucid.text.bytes_to_characters import BYTE_ORDER
from pellucid.text.tokenizer import Tokenizer


BREAKS = 12  # from this position on nothing is a number


@pytest.fixture(scope="module")
def model() -> pellucid.GPT:
    tokenizer = Tokenizer([bytes([b]) for b in BYTE_ORDER] + [b"ab", b"cd"])
    config = pellucid.GPTConfig(vocab_size=tokenizer.vocab_size, n_ctx=32, n_layers=1, d_model=24, n_heads=3)
    made = lively(pellucid.GPT(config, tokenizer=tokenizer, seed=3)).eval()
    with torch.no_grad():
        made.wpe.weight[BREAKS:] = torch.nan
    return made


NEVER_ENDS = {257 + 1: -100.0}  # end-of-text


def test_generate_stream_batch_and_score_raise(model: pellucid.GPT) -> None:
    options = {"max_tokens": 20, "seed": 1, "logit_bias": NEVER_ENDS}
    with pytest.raises(PellucidError, match="not a number"):
        model.generate([1, 2], **options)
    with pytest.raises(PellucidError, match="not a number"):
        model.generate([[1, 2], [3]], n=2, **options)
    with pytest.raises(PellucidError, match="not a number"):
        model.score([[1] * 5, [1] * 20])
    stream = model.stream([1, 2], **options)
    tokens = [next(stream) for _ in range(BREAKS - 1)]  # of which the last is drawn after position 11
    assert all(token.finish_reason is None for token in tokens)
    with pytest.raises(PellucidError, match="not a number"):
        next(stream)
    assert list(stream) == []
    short = model.generate([1, 2], max_tokens=BREAKS - 1, seed=1, logit_bias=NEVER_ENDS)
    assert short.ids == [token.id for token in tokens]


@pytest.mark.parametrize(
    "how", [(), ("--tokens",), ("--json",), ("--n", "2"), ("--draft", "lookup"), ("--slide", "--max-tokens", "40"), ("-v",)]
)
def test_every_mode_of_the_command_says_it_once(
    model: pellucid.GPT, how: tuple[str, ...], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # No file holds such weights: reading it refuses them.
    monkeypatch.setattr(generate, "_open_model", lambda chosen: TextGenerator(TorchRunner(model), model.tokenizer))
    command = ["generate", "abab", "--max-tokens", "25", "--seed", "1", "--logit-bias", "258=-100"]
    assert main([*command, *how]) == 1
    _, err = capfd.readouterr()
    assert err.count("not a number") == 1 and err.startswith("pellucid: the model's output is not a number")
