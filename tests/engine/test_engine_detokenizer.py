"""From tokens to text: unfinished characters and stop strings across token borders."""

import pytest
from cases import cases
from hypothesis import example, given
from hypothesis import strategies as st

from pellucid.engine.detokenizer import StopScanner, TextAssembler
from pellucid.text.bytes_to_characters import BYTE_ORDER
from pellucid.text.tokenizer import Tokenizer


def cut(text: str, stops: list[str]) -> tuple[str, bool]:
    """The definition: at the first moment at which the text ends with a stop string, cut before the longest such."""
    for end in range(1, len(text) + 1):
        if ending := [s for s in stops if text[:end].endswith(s)]:
            return text[: end - max(map(len, ending))], True
    return text, False


def written(pushes, stops):
    scanner = StopScanner(stops)
    parts = []
    for text in pushes:
        parts.append(scanner.push(text))
        if scanner.stopped:
            break
    return "".join(parts) + scanner.finish(), scanner.stopped


@pytest.mark.parametrize(
    ("pushes", "stops", "expected"),
    [
        (["a", "a", "a", "b"], ["aab"], ("a", True)),
        (["aa", "ab"], ["aab"], ("a", True)),
        (["ab", "ab", "ac"], ["abac"], ("ab", True)),
        (["hello wo", "rld, and more"], ["world"], ("hello ", True)),
        (["xxSTO", "Pyy"], ["STOP", "y"], ("xx", True)),
        (["one\n", "\ntwo"], ["\n\n"], ("one", True)),
        (["one\n"], ["\n\n"], ("one\n", False)),
        (["xaby"], ["ab", "xaby"], ("x", True)),  # what ends first counts, wherever tokens are cut
        (["x", "a", "b", "y"], ["ab", "xaby"], ("x", True)),
        (["cab"], ["ab", "cab", "b"], ("", True)),  # of those that end together the longest
        (["abcabd"], ["abcabe", "zz"], ("abcabd", False)),
    ],
)
def test_known_cases(pushes, stops, expected):
    assert written(pushes, stops) == expected


SMALL = st.text("ab\n", max_size=4)


@cases(500)
@given(st.lists(SMALL, max_size=12), st.lists(SMALL.filter(bool), max_size=3))
@example(["aaab"], ["aab", "ab"])
def test_any_cut_of_any_text_gives_what_the_definition_gives(pushes, stops):
    assert written(pushes, stops) == cut("".join(pushes), stops)


@cases(200)
@given(st.lists(SMALL, max_size=8), st.lists(SMALL.filter(bool), min_size=1, max_size=3))
def test_no_more_is_held_back_than_may_start_a_stop_string(pushes, stops):
    scanner = StopScanner(stops)
    passed = seen = ""
    for text in pushes:
        passed += scanner.push(text)
        seen += text
        if scanner.stopped:
            break
        held = seen.removeprefix(passed)
        assert passed + held == seen
        assert not held or any(s.startswith(held) for s in stops)


# Bytes as tokens, and a few longer ones that cut characters in odd places.
TOKENIZER = Tokenizer([bytes([b]) for b in BYTE_ORDER] + [b"ab", b"\xc3\xa9", b"\xa9a", b"\xf0\x9f", b"\x98\x80b"])
BYTES = {bytes([b]): i for i, b in enumerate(BYTE_ORDER)}
IDS = st.sampled_from([BYTES[b"a"], BYTES[b"b"], BYTES[b"\xc3"], BYTES[b"\xa9"], BYTES[b"\x98"], *range(256, 261)])
STOPS = st.lists(st.text("abé😀\ufffd", min_size=1, max_size=3), max_size=3)


@cases(500)
@given(st.lists(IDS, max_size=12), STOPS)
def test_text_of_tokens_is_the_text_of_all_bytes_cut_at_the_stop(ids, stops):
    assembler = TextAssembler(TOKENIZER, stops)
    parts = []
    for token in ids:
        parts.append(assembler.push(token))
        if assembler.stopped:
            break
    parts.append(assembler.finish())
    assert ("".join(parts), assembler.stopped) == cut(TOKENIZER.decode(ids), stops)


def test_an_unfinished_character_waits_and_becomes_a_replacement_at_the_end():
    assembler = TextAssembler(TOKENIZER, [])
    assert [assembler.push(BYTES[b"\xc3"]), assembler.push(BYTES[b"\xa9"])] == ["", "é"]
    assert [assembler.push(BYTES[b"\xc3"]), assembler.finish()] == ["", "\ufffd"]


def test_without_a_tokenizer_there_is_no_text():
    assembler = TextAssembler(None, [])
    assert assembler.push(5) + assembler.finish() == ""
