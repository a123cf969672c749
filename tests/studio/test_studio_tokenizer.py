"""The page's tokenizer gives Python's ids, bytes and text, whatever the text holds.

Run as a script with `tests` on the path, this file writes tests/golden/page_tokenizer.json anew.
"""

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from node import node_process
from tokenizer_directories import ADDED, PIECES, STORY

from pellucid.engine.detokenizer import TextAssembler
from pellucid.errors import PellucidError
from pellucid.serve.model_page.tokenizer import page_tokenizer, unsupported
from pellucid.serve.studio.long_prompt import fitting_end
from pellucid.text import Tokenizer, r50k, train_tokenizer
from pellucid.text.token_table import END_OF_TEXT, AddedToken, Numbering


GOLDEN = Path(__file__).parents[1] / "golden" / "page_tokenizer.json"
DEFAULT = Path(__file__).parents[2] / "src" / "pellucid" / "assets" / "default"
EDGES = [
    "", " ", "  ", "\n\n a", "a \n", "it's 'S they'll've", "l'a'd 'm's't 're", "x²3½ ٣٤ Ⅻ", "über straße Ελληνικά",
    "中文，標點。３", "नमस्ते ก็", "👩\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈 é e\u0301", "\ufeffbom",
    "tab\tsep\x1c\x1f\x85\xa0\u2028\u2029\u3000end", "\u200b\u200d\u2060", "\x00\x7f\x80", "a" * 40, " " * 17 + "x",
    "\t\t\r\n ", "<|endoftext|>", "<|endoftext|>\n", "ꟛ\U00010d4a\U0001fae9", "\U000e0041\U0010ffff\ufffe",
    "the fox ran over a hill", "1234567890", "!!!...???", "ſ's 'ſ", "ǅǈ ʰᵃ ªº", "｀ａＢ１", " \u00a0 \u00a0x",
]  # fmt: skip


@cache
def small() -> Tokenizer:
    return train_tokenizer([STORY, "it's über 中文 12 中文 über it's"], 300)


def numbered() -> Tokenizer:
    """Ids in another order, special tokens first, one that begins prompts, and tokens that are found whole."""
    ranked = small().ranked_tokens()
    ids = tuple(4 + (i * 7) % len(ranked) if len(ranked) % 7 else 4 + i for i in range(len(ranked)))
    numbering = Numbering(ids=ids, special={1: "<pad>", 2: "</s>"}, vocab_size=len(ranked) + 8, eot=2, begin=2)
    added = [
        AddedToken(id=2, text="</s>"),
        *(AddedToken(id=len(ranked) + 4 + i, text=text, special=False, lstrip=i % 2 == 1, rstrip=i > 1, normalized=i == 3)
          for i, text in enumerate(ADDED[:4])),
    ]  # fmt: skip
    return Tokenizer(ranked, numbering, added, prefix_space=True)


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "small": small, "numbered": numbered, "default": lambda: Tokenizer.load(DEFAULT), "r50k": r50k,
}  # fmt: skip


def told(tokenizer: Tokenizer, text: str) -> dict[str, Any]:
    try:
        ids = tokenizer.encode(text)
    except PellucidError:
        return {"ids": None}
    found = {"ids": ids, "prompt": tokenizer.encode_prompt(text), "text": tokenizer.decode(ids)}
    return found | {"bytes": tokenizer.decode_bytes(ids).hex()}


def golden() -> dict[str, Any]:
    found = {}
    for name in ("small", "numbered"):
        tokenizer = TOKENIZERS[name]()
        found[name] = {
            "tokenizer": page_tokenizer(tokenizer),
            "texts": [{"given": text, **told(tokenizer, text)} for text in EDGES + PIECES],
        }
    return found


def test_the_golden_texts_are_what_python_gives() -> None:
    assert json.loads(GOLDEN.read_text(encoding="utf-8")) == golden()


def test_a_tokenizer_that_depends_on_the_browser_is_refused() -> None:
    tokens = small().ranked_tokens()
    word = Tokenizer(tokens, added=[AddedToken(id=300, text="fox", single_word=True)])
    assert unsupported(small()) is None
    with pytest.raises(PellucidError, match="single words"):
        page_tokenizer(word)


ANSWER = """({ Tokenizer, TextAssembler, fittingEnd }) => {
  const known = new Map();
  return ({ name, page, text, ids, stops, room }) => {
    if (page) return known.set(name, new Tokenizer(page)) && null;
    const tokenizer = known.get(name);
    if (ids) {
      const assembler = new TextAssembler(tokenizer, stops);
      return [...ids.map((id) => assembler.stopped ? "" : assembler.push(id)), assembler.stopped, assembler.finish()];
    }
    if (room !== undefined) return fittingEnd(text, room, tokenizer);
    let found;
    try { found = tokenizer.encode(text); } catch { return { ids: null }; }
    const bytes = Buffer.from(tokenizer.decodeBytes(found)).toString("hex");
    return { ids: found, prompt: tokenizer.encodePrompt(text), text: tokenizer.decode(found), bytes };
  };
}"""


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Any], Any]]:
    modules = ("text/tokenizer", "text/detokenizer", "engine/long_prompt")
    entry = "".join(f'export * from "./src/{module}.ts";' for module in modules)
    with node_process(tmp_path_factory.mktemp("tokenizer"), entry, ANSWER) as asked:
        for name, make in TOKENIZERS.items():
            asked({"name": name, "page": page_tokenizer(make())})
        yield asked


characters = st.one_of(
    st.sampled_from([*EDGES, *PIECES]), st.text(max_size=5), st.characters(max_codepoint=0x10FFFF),
    st.sampled_from([" ", "\n", "'", "\u00a0", "\u3000", END_OF_TEXT[:5], "\ud800", "ab" * 30]),
)  # fmt: skip
texts = st.lists(characters, max_size=12).map("".join)


@pytest.mark.long
@cases(30)
@given(st.sampled_from([*TOKENIZERS]), texts)
def test_the_page_encodes_as_python_does(ask: Callable[[Any], Any], name: str, text: str) -> None:
    assert ask({"name": name, "text": text}) == told(TOKENIZERS[name](), text)


@pytest.mark.long
@cases(60)
@given(st.sampled_from([*TOKENIZERS]), st.lists(st.integers(0, 299), max_size=40), st.lists(st.text("the fox\u4e2d", min_size=1,
       max_size=4), max_size=3))  # fmt: skip
def test_the_page_decodes_token_by_token_as_python_does(
    ask: Callable[[Any], Any], name: str, ids: list[int], stops: list[str]
) -> None:
    tokenizer = TOKENIZERS[name]()
    ids = [token % tokenizer.vocab_size for token in ids]
    assembler = TextAssembler(tokenizer, stops)
    pushed = ["" if assembler.stopped else assembler.push(token) for token in ids]
    expected = [*pushed, assembler.stopped, assembler.finish()]
    assert ask({"name": name, "ids": ids, "stops": stops}) == expected


@pytest.mark.long
def test_a_word_of_a_hundred_thousand_letters_is_encoded_as_python_does(ask: Callable[[Any], Any]) -> None:
    text = "abcdefgh" * 12_500
    assert ask({"name": "r50k", "text": text}) == told(r50k(), text)


@pytest.mark.long
@cases(60)
@given(st.sampled_from([*TOKENIZERS]), texts.filter(lambda text: text.isprintable() or "\n" in text), st.integers(-1, 20))
def test_the_page_finds_the_same_end_of_a_long_prompt_that_fits(
    ask: Callable[[Any], Any], name: str, text: str, room: int
) -> None:
    text = text.encode("utf-8", "ignore").decode("utf-8")
    tokenizer = TOKENIZERS[name]()
    try:
        expected = fitting_end(text, room, tokenizer)
    except PellucidError:
        return  # an added token that the model has no row for
    assert ask({"name": name, "text": text, "room": room}) == expected


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden()) + "\n", encoding="utf-8")
