"""GPT-3's own vocabulary: the file is OpenAI's, and so are the ids."""

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pellucid.generation.resolve import ASSETS, DEFAULT
from pellucid.text import Tokenizer, r50k
from pellucid.text.bytes_to_characters import BYTE_ORDER, to_bytes, to_characters
from pellucid.text.merges import CHECKED_MERGES, already_checked, check_merges, merges_from_ranks
from pellucid.text.r50k import VOCAB_BPE_SHA256, vocab_bpe


def test_the_packaged_file_is_openais() -> None:
    assert hashlib.sha256(vocab_bpe()).hexdigest() == VOCAB_BPE_SHA256


def test_the_table_is_tiktokens() -> None:
    tokenizer = r50k()
    assert tokenizer is r50k()
    assert (tokenizer.vocab_size, tokenizer.eot) == (50257, 50256)
    lines = (f"{base64.b64encode(tokenizer.token_bytes(i)).decode()} {i}\n" for i in range(tokenizer.eot))
    # what tiktoken_ext/openai_public.py expects of r50k_base.tiktoken
    expected = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
    assert hashlib.sha256("".join(lines).encode()).hexdigest() == expected


def test_the_merges_found_from_the_ranks_are_the_files() -> None:
    tokenizer = r50k()
    found = merges_from_ranks([tokenizer.token_bytes(i) for i in range(tokenizer.eot)])
    written = [tuple(line.split(" ")) for line in vocab_bpe().decode().splitlines()[1:]]
    assert len(found) == len(written) == 50000
    assert [tuple(map(to_characters, pair)) for pair in found] == written
    assert already_checked(written)
    written[7] = written[7][::-1]
    assert not already_checked(written)


def test_the_embedded_models_merges_have_passed_too() -> None:
    data = json.loads((ASSETS / DEFAULT / "tokenizer.json").read_text(encoding="utf-8"))
    written = [tuple(merge.split(" ")) for merge in data["model"]["merges"]]
    pairs = [(to_bytes(a), to_bytes(b)) for a, b in written]
    check_merges([*(bytes([byte]) for byte in BYTE_ORDER), *(a + b for a, b in pairs)], pairs)
    assert already_checked(written)
    assert len(CHECKED_MERGES) == 2, "a test for each"


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Hello world", [15496, 995]),
        ("hello world", [31373, 995]),
        ("<|endoftext|>", [27, 91, 437, 1659, 5239, 91, 29]),
        ("", []),
        ("!", [0]),
        ("\n\n", [628]),
        ("\n\na", [198, 198, 64]),
    ],
)
def test_known_encodings(text: str, ids: list[int]) -> None:
    assert r50k().encode(text) == ids
    assert r50k().decode(ids) == text


@pytest.mark.long
def test_saved_and_loaded(tmp_path: Path) -> None:
    r50k().save(tmp_path)
    assert Tokenizer.load(tmp_path) == r50k()


def test_cold_paths_stay_cold() -> None:
    code = (
        "import sys; from pellucid.text import r50k; r50k().encode('a robot');"
        "print([m for m in ('torch', 'numpy', 'tokenizers', 'requests') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8")
    assert done.stdout.strip() == "[]"
