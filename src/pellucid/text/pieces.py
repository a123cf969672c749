"""Token labels in which every byte is visible, and incremental UTF-8 decoding."""

import codecs


_SIGNS = {" ": "·", "\n": "↵", "\t": "⇥", "\r": "\\r"}


def piece(token: bytes) -> str:
    r"""A token's bytes as a label in which every byte is visible.

    A space is `·`, a newline `↵`, a tab `⇥`. A byte that is no part of whole UTF-8 is written like `\xe9`, any other
    control character like `\x1b` and an invisible character beyond ASCII like `\u200b`. This is a label, not an
    encoding: text that itself holds `·` or `\xe9` looks the same.
    """
    return "".join(map(_visible, token.decode("utf-8", errors="surrogateescape")))


def _visible(character: str) -> str:
    code = ord(character)
    if character in _SIGNS:
        return _SIGNS[character]
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape's mark of a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable():
        return character
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class Utf8Stream:
    """Decodes bytes that come in parts cut anywhere, as tokens are, holding back an unfinished character.

    The parts of text joined are exactly `all_bytes.decode("utf-8", "replace")`.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, data: bytes) -> str:
        """The text that is certain after these bytes; "" while a character is unfinished."""
        return self._decoder.decode(data)

    def finish(self) -> str:
        """The rest: U+FFFD if the bytes ended inside a character, else "". Ready for a new text afterwards."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest
