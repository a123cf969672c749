"""Tokens on display, and text that comes in parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.text import Utf8Stream, piece


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (b" the", "·the"),
        (b"\n", "↵"),
        (b"\t\t", "⇥⇥"),
        (b"\r\n", "\\r↵"),
        (b"\x00\x1b\x7f", "\\x00\\x1b\\x7f"),
        (b"\xe9", "\\xe9"),
        (b" \xe2\x80", "·\\xe2\\x80"),
        ("é你🙂".encode(), "é你🙂"),
        ("\u00a0\u200b\ufeff\x85".encode(), "\\u00a0\\u200b\\ufeff\\u0085"),
        ("\U000e0001".encode(), "\\U000e0001"),
        (b"", ""),
    ],
)
def test_piece(token: bytes, shown: str) -> None:
    assert piece(token) == shown


@given(st.binary())
def test_nothing_in_a_piece_is_invisible(token: bytes) -> None:
    shown = piece(token)
    assert shown.isprintable() and " " not in shown
    assert bool(shown) == bool(token)


some_bytes = st.one_of(st.binary(), st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))


@given(st.lists(st.one_of(st.binary(max_size=3), some_bytes)))
def test_a_stream_joins_to_the_decoded_whole(parts: list[bytes]) -> None:
    stream = Utf8Stream()
    whole = b"".join(parts).decode("utf-8", "replace")
    for _ in range(2):  # a finished stream starts anew
        assert "".join(map(stream.push, parts)) + stream.finish() == whole


def test_a_stream_waits_for_the_rest_of_a_character() -> None:
    stream = Utf8Stream()
    one, *rest = "🙂".encode()
    assert stream.push(bytes([one])) == ""
    assert stream.push(bytes(rest)) == "🙂"
    assert stream.push(b"a\xe2\x82") == "a"
    assert stream.finish() == "\ufffd"
    assert stream.finish() == ""
