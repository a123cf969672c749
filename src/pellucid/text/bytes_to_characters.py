"""GPT-2's mapping of bytes to printable characters, in which byte-level BPE files write tokens.

`vocab.bpe` and `tokenizer.json` are text, so GPT-2 gave each of the 256 bytes a printable character of its own: a byte
that is already a printable Latin-1 character stands for itself, the other 68 take the characters from U+0100 on, in
order. Token ids 0 to 255 are the bytes in the order of those characters.

Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2, and OpenAI's released
GPT-2 vocabulary, whose first 256 ids this reproduces.
"""

from pellucid.errors import PellucidError


_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]

BYTE_ORDER: tuple[int, ...] = (*_PRINTABLE, *_OTHERS)  # BYTE_ORDER[id] is the byte that token id stands for

_CHARACTER = {byte: chr(byte) for byte in _PRINTABLE} | {byte: chr(256 + i) for i, byte in enumerate(_OTHERS)}
_BYTE = {character: byte for byte, character in _CHARACTER.items()}


def to_characters(token: bytes) -> str:
    """A token's bytes as the files write them: b" the" is "Ġthe"."""
    return "".join(map(_CHARACTER.__getitem__, token))


def to_bytes(characters: str) -> bytes:
    """The inverse of `to_characters`; raises PellucidError at a character that stands for no byte."""
    try:
        return bytes(map(_BYTE.__getitem__, characters))
    except KeyError as error:
        raise PellucidError(f"{characters!r} is not byte-level text: {error.args[0]!r} stands for no byte") from None
