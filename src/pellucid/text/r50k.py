"""The r50k tokenizer of GPT-2 and GPT-3: 50,257 tokens, as OpenAI published it.

`data/vocab.bpe` is the file of OpenAI's GPT-2 release, byte for byte: a version line, then the 50,000 merges in order.
The 256 bytes stand before them and end-of-text (50256) after.
"""

from functools import cache

from pellucid.text.bytes_to_characters import BYTE_ORDER, to_bytes
from pellucid.text.tokenizer import Tokenizer


VOCAB_BPE_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"


def vocab_bpe() -> bytes:
    """The packaged file."""
    from importlib import resources  # slow to import, and not needed with another tokenizer

    return resources.files("pellucid.text").joinpath("data", "vocab.bpe").read_bytes()


@cache
def r50k() -> Tokenizer:
    """The tokenizer of GPT-2 and GPT-3."""
    lines = vocab_bpe().decode("utf-8").splitlines()
    assert lines[0].startswith("#version")
    merged = [to_bytes(line.replace(" ", "")) for line in lines[1:]]
    tokenizer = Tokenizer([*(bytes([byte]) for byte in BYTE_ORDER), *merged])
    assert tokenizer.vocab_size == 50257
    return tokenizer
