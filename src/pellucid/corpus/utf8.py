"""UTF-8: reading text files block by block, errors with the position of the wrong byte, and telling which files are no text."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from pellucid.errors import PellucidError


BLOCK = 1 << 17  # bytes read at once; larger blocks of text leave holes in the heap, which then grows with the file
_PROBE = 8 * 1024  # bytes searched for a NUL byte, which means that a file is binary
_MARK = "\ufeff"  # the byte order mark


def reason_to_skip(file: Path) -> str | None:
    """Why a file is no text; None if it may be.

    Raises:
        PellucidError: it cannot be read.
    """
    if file.is_dir():
        return "it is a link to a folder; name that folder to have it read"
    if not file.is_file():
        return "it is not a file" if file.exists() else "it is a link to nothing"
    try:
        with file.open("rb") as stream:
            probe = stream.read(_PROBE)
    except OSError as error:
        raise PellucidError(f"cannot read {file}: {error.strerror}") from error
    if probe.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "it is UTF-16; save it as UTF-8"
    return "it is binary (it holds a NUL byte)" if b"\0" in probe else None


def file_contains(file: Path, wanted: bytes) -> bool:
    """Whether a file holds these bytes anywhere."""
    with file.open("rb") as stream:
        before = b""
        while block := stream.read(BLOCK):
            block = before + block
            if wanted in block:
                return True
            before = block[1 - len(wanted) :]
    return False


def read_blocks(file: Path) -> Iterator[str]:
    """The text of a file, block by block, without a byte order mark and with \\n for every newline.

    Raises:
        PellucidError: it is not UTF-8; the message says where.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, began, ending = 0, False, ""  # ending: a \r whose \n may follow in the next block
    with file.open("rb") as stream:
        while True:
            block = stream.read(BLOCK)
            before = len(decoder.getstate()[0])  # bytes of a character that the last block began
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise _not_utf8(file, error, offset - before) from None
            offset += len(block)
            if text and not began:
                text, began = text.removeprefix(_MARK), True
            text = ending + text
            ending = "\r" if block and text.endswith("\r") else ""
            yield normalize_newlines(text[: len(text) - len(ending)])
            if not block:
                return


def decode(data: bytes, file: Path, offset: int) -> str:
    """Decodes UTF-8.

    Args:
        offset: of `data` in the file, for messages; a byte order mark is dropped at 0.
    """
    try:
        # The byte order mark is removed here: the codec "utf-8-sig" would count error positions from after it.
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(file, error, offset) from None
    return text.removeprefix(_MARK) if offset == 0 else text


def encode(text: str) -> bytes:
    """The bytes of a text, or of a file's name, in which a byte that is not UTF-8 is a lone surrogate (`os.fsdecode`)."""
    return text.encode("utf-8", "surrogatepass")


def normalize_newlines(text: str) -> str:
    """The text with \\n for every newline."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _not_utf8(file: Path, error: UnicodeDecodeError, offset: int) -> PellucidError:
    at, byte = offset + error.start, error.object[error.start]
    return PellucidError(f"{file} is not UTF-8: byte {at:,} is 0x{byte:02x} ({error.reason}); save it as UTF-8")
