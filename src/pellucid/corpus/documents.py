"""Reading text files as documents.

A document is one whole text: a book, a page, a letter. A file holds several where the literal `<|endoftext|>` separates
them, or as `.jsonl`, with one document a line.
"""

import codecs
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.arguments import path_of, shown
from pellucid.errors import PellucidError
from pellucid.text.tokenizer import END_OF_TEXT


_PROBE = 8 * 1024  # bytes searched for a NUL byte, which means that a file is binary


@dataclass(frozen=True, slots=True)
class Document:
    """One text.

    Attributes:
        name: its origin, for messages: `folder/file.txt`, with `#2` for the second document of a file.
    """

    name: str
    text: str


def _warn(path: Path, reason: str) -> None:
    warnings.warn(f"not read: {path}: {reason}", stacklevel=2)


def read_documents(sources: Sequence[str | Path], *, on_skip: Callable[[Path, str], None] = _warn) -> Iterator[Document]:
    """Reads files and folders, in the order given, one file at a time.

    UTF-8 only; a byte order mark is dropped and newlines become \\n. A `.jsonl` line is an object whose "text" is the
    document. Elsewhere `<|endoftext|>` separates documents, and the newlines next to it belong to neither.

    Args:
        sources: files, or folders that are read recursively: a folder's files by name, then its subfolders. Names that begin
            with a dot are skipped. The same sources give the same documents; to iterate twice, call this twice.
        on_skip: called with each file of a folder that is not read, and the reason. Default: a warning.

    Raises:
        PellucidError: at the call, for a source that does not exist; while reading, for a file that cannot be read or is not
            UTF-8 (the message names file and byte), and at the end if there was no text at all.
    """
    paths = [path_of("a source of text", source) for source in sources]
    if not paths:
        raise PellucidError("no text is given: name a file or a folder")
    for path in paths:
        if not path.exists():
            raise PellucidError(f"there is no file or folder {shown(str(path))}; a text itself is a pellucid.corpus.Document")
    return _documents(paths, on_skip)


def _documents(paths: list[Path], on_skip: Callable[[Path, str], None]) -> Iterator[Document]:
    found = False
    for path in paths:
        if path.is_dir():
            for file in _files(path):
                if reason := _reason_to_skip(file):
                    on_skip(file, reason)
                    continue
                count = 0
                for document in _read(file, (path.resolve().name / file.relative_to(path)).as_posix()):
                    count += 1
                    yield document
                found |= count > 0
                if count == 0:
                    on_skip(file, "it is empty")
        else:
            if reason := _reason_to_skip(path):
                raise PellucidError(f"{path} cannot be read as text: {reason}")
            for document in _read(path, path.name):
                found = True
                yield document
    if not found:
        raise PellucidError(f"there is no text in {', '.join(map(str, paths))}")


def _files(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise PellucidError(f"cannot read the folder {error.filename}: {error.strerror}")

    for directory, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(directory, name) for name in sorted(files) if not name.startswith("."))
        # os.walk does not enter linked folders, which could be circular; they are yielded to be reported.
        yield from (path for name in folders if (path := Path(directory, name)).is_symlink())


def _reason_to_skip(file: Path) -> str | None:
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


def _read(file: Path, name: str) -> Iterator[Document]:
    try:
        if file.suffix.lower() == ".jsonl":
            yield from _read_lines(file, name)
        else:
            yield from _read_whole(file, name)
    except OSError as error:
        raise PellucidError(f"cannot read {file}: {error.strerror}") from error


def _read_whole(file: Path, name: str) -> Iterator[Document]:
    text = _newlines(_decode(file.read_bytes(), file, 0))
    if END_OF_TEXT not in text:
        if text.strip():
            yield Document(name, text)
        return
    texts = (part.strip("\n") for part in text.split(END_OF_TEXT))
    for i, part in enumerate((part for part in texts if part.strip()), start=1):
        yield Document(f"{name}#{i}", part)


def _read_lines(file: Path, name: str) -> Iterator[Document]:
    offset = 0
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            text = _decode(line, file, offset)
            offset += len(line)
            if not text.strip():
                continue
            try:
                value = json.loads(text)
            except ValueError as error:
                raise PellucidError(f"{file}, line {number} is not JSON: {error}") from None
            if not isinstance(value, dict) or not isinstance(value.get("text"), str):
                raise PellucidError(f'{file}, line {number}: each line must be an object with a "text" that is a string')
            document = _newlines(value["text"])
            try:
                document.encode("utf-8")
            except UnicodeEncodeError as error:
                raise PellucidError(f"{file}, line {number}: half a surrogate pair in the text ({error})") from None
            if document.strip():
                yield Document(f"{name}#{number}", document)


def _decode(data: bytes, file: Path, offset: int) -> str:
    """Decodes UTF-8.

    Args:
        offset: of `data` in the file, for messages.
    """
    try:
        # The byte order mark is removed here: the codec "utf-8-sig" would count error positions from after it.
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = offset + error.start
        raise PellucidError(
            f"{file} is not UTF-8: byte {at:,} is 0x{data[error.start]:02x} ({error.reason}); save it as UTF-8"
        ) from None
    return text.removeprefix("\ufeff") if offset == 0 else text


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
