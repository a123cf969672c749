"""Reading text files as documents, a part of a text at a time.

A document is one whole text: a book, a page, a letter. A file holds several where the literal `<|endoftext|>` separates
them, or as `.jsonl`, with one document a line. A file of any size is read in blocks: memory holds a part of a document, and a
line of a `.jsonl` file.
"""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any, NamedTuple

from pellucid.arguments import path_of, shown
from pellucid.corpus.folder_files import folder_files
from pellucid.corpus.utf8 import decode, file_contains, normalize_newlines, read_blocks, reason_to_skip
from pellucid.errors import PellucidError
from pellucid.strict_json import is_text
from pellucid.text.split_pattern import chunks_of
from pellucid.text.tokenizer import END_OF_TEXT


PART_CHARS = 1 << 16


@dataclass(frozen=True, slots=True)
class Document:
    """One text.

    Attributes:
        name: its origin, for messages: `folder/file.txt`, with `#2` for the second document of a file.
    """

    name: str
    text: str


Source = str | Path | Document
OnSkip = Callable[[Path, str], None]  # called with each file or subfolder of a folder that is not read, and the reason


class Part(NamedTuple):
    """About `PART_CHARS` characters of a document; the parts of a document follow each other, and their texts joined are its.

    The encodings of the parts, joined, are the encoding of the whole (`split_pattern.chunks`).

    Attributes:
        name: of the document. first, last: whether it is the document's first or last part.
    """

    name: str
    text: str
    first: bool
    last: bool


def warn(path: Path, reason: str) -> None:
    """The default `on_skip`: warns that a file or folder was not read."""
    warnings.warn(f"not read: {path}: {reason}", stacklevel=2)


def sources_of(given: Source | Iterable[Source], name: str = "corpus") -> list[Source]:
    """One source or several, as a list.

    Raises:
        PellucidError: neither a path nor a document, or "", which would mean the current folder.
    """
    if isinstance(given, str | Path | Document):
        listed: list[Any] = [given]
    elif isinstance(given, Iterable) and not isinstance(given, bytes | Mapping):
        listed = list(given)
    else:
        listed = []
    if not listed:
        raise PellucidError(f"{name} must be a file or folder, a corpus.Document, or a list of these, not {shown(given)}")
    for one in listed:
        if isinstance(one, Document) and not is_text(one.text):
            raise PellucidError(f"{name}: the document {shown(one.name)} holds half a character (a lone surrogate)")
    return [one if isinstance(one, Document) else path_of(f"{name} (a file or folder of text)", one) for one in listed]


def read_documents(sources: Sequence[Source], *, on_skip: OnSkip = warn) -> Iterator[Document]:
    """Reads files and folders, in the order given, a document at a time. `read_parts` reads the same with less memory.

    UTF-8 only; a byte order mark is dropped and newlines become \\n. A `.jsonl` line is an object whose "text" is the
    document. Elsewhere `<|endoftext|>` separates documents, and the newlines next to it belong to neither.

    Args:
        sources: files, or folders that are read recursively: a folder's files by name, then its subfolders. Names that begin
            with a dot are skipped, and so are runs, models and caches (`folder_files`). Documents are taken as they are, before
            all files. The same sources give the same documents; to iterate twice, call this twice.
        on_skip: called with each file of a folder that is not read, and the reason. Default: a warning.

    Raises:
        PellucidError: at the call, for a source that does not exist; while reading, for a file that cannot be read or is not
            UTF-8 (the message names file and byte), and at the end if there was no text at all.
    """
    if not sources:
        raise PellucidError("no text is given: name a file or a folder")
    return _join_parts(read_parts(sources, on_skip=on_skip))


_WORDS = 4  # spaces in a path that looks like a text


def read_parts(
    sources: Sequence[Source], *, on_skip: OnSkip = warn, on_read: Callable[[Path], object] = lambda path: None
) -> Iterator[Part]:
    """The documents of `read_documents`, in parts. Errors as there, but an empty list of sources gives no parts.

    Args:
        on_read: called with each file that is read.
    """
    paths = [path_of("a source of text", source) for source in sources if not isinstance(source, Document)]
    for path in paths:
        if not path.exists():
            raise PellucidError(f"there is no file or folder {shown(str(path))}{_hint_if_text(str(path))}")
    return _parts([source for source in sources if isinstance(source, Document)], paths, on_skip, on_read)


def _hint_if_text(path: str) -> str:
    """A hint for a path that looks like a text."""
    if "\n" not in path and path.count(" ") < _WORDS:
        return ""
    return ": a text is given as a file of it, or in Python as pellucid.corpus.Document"


def size_in_bytes(sources: Sequence[Source]) -> int:
    """About how many bytes of text there are: files by their size, documents by their length. Nothing is read."""
    total = 0
    for source in sources:
        if isinstance(source, Document):
            total += len(source.text)
        elif (path := Path(source)).is_dir():
            total += sum(_size(file) for file, _ in folder_files(path))
        else:
            total += _size(path)
    return total


def _size(path: Path) -> int:
    """Bytes of a file; 0 for what is none, or may not be looked at."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _join_parts(parts: Iterator[Part]) -> Iterator[Document]:
    texts: list[str] = []
    for part in parts:
        texts.append(part.text)
        if part.last:
            yield Document(part.name, "".join(texts))
            texts.clear()


def _parts(
    documents: list[Document], paths: list[Path], on_skip: OnSkip, on_read: Callable[[Path], object]
) -> Iterator[Part]:
    for document in documents:
        yield from _parts_of(document.name, [document.text])
    found = not paths
    for path in paths:
        if path.is_dir():
            for file, reason in folder_files(path):
                if reason := reason or reason_to_skip(file):
                    on_skip(file, reason)
                    continue
                empty = True
                on_read(file)
                for part in _read(file, (path.resolve().name / file.relative_to(path)).as_posix()):
                    empty = False
                    yield part
                found |= not empty
                if empty:
                    on_skip(file, "it is empty")
        else:
            if reason := reason_to_skip(path):
                raise PellucidError(f"{path} cannot be read as text: {reason}")
            on_read(path)
            for part in _read(path, path.name):
                found = True
                yield part
    if not found:
        raise PellucidError(f"there is no text in {', '.join(map(str, paths))}")


def _parts_of(name: str, texts: Iterable[str]) -> Iterator[Part]:
    """A document's parts, from its text in pieces of any length."""
    before: str | None = None  # a part is given when the next is known, since it says whether it is the last
    first = True
    for text in chunks_of(texts, PART_CHARS):
        if before is not None:
            yield Part(name, before, first, False)
            first = False
        before = text
    yield Part(name, before or "", first, True)


def _read(file: Path, name: str) -> Iterator[Part]:
    try:
        if file.suffix.lower() == ".jsonl":
            yield from _read_lines(file, name)
        elif file_contains(file, END_OF_TEXT.encode()):
            number = 0
            for _, pieces in groupby(_split_at_end_of_text(read_blocks(file)), key=lambda piece: piece[0]):
                texts = _not_blank(_without_outer_newlines(text for _, text in pieces))
                if (beginning := next(texts, None)) is not None:
                    number += 1
                    yield from _parts_of(f"{name}#{number}", chain([beginning], texts))
        else:
            texts = _not_blank(read_blocks(file))
            if (beginning := next(texts, None)) is not None:
                yield from _parts_of(name, chain([beginning], texts))
    except OSError as error:
        raise PellucidError(f"cannot read {file}: {error.strerror}") from error


def _not_blank(texts: Iterable[str]) -> Iterator[str]:
    """The texts; nothing if all of them are white space."""
    blank: list[str] | None = []
    for text in texts:
        if blank is None:
            yield text
        elif text.strip():
            yield "".join([*blank, text])
            blank = None
        else:
            blank.append(text)


def _without_outer_newlines(texts: Iterable[str]) -> Iterator[str]:
    """The texts without the newlines at the beginning of the first and the end of the last."""
    began, ending = False, ""  # ending: newlines that belong to the text if more of it follows
    for text in texts:
        text = text if began else text.lstrip("\n")
        began |= bool(text)
        kept = text.rstrip("\n")
        if kept:
            yield ending + kept
            ending = ""
        ending += text[len(kept) :]


def _split_at_end_of_text(texts: Iterable[str]) -> Iterator[tuple[int, str]]:
    """(document number, piece): the texts cut at each `<|endoftext|>`, which may begin in one text and end in the next."""
    number, held = 0, ""
    for text in texts:
        *whole, held = (held + text).split(END_OF_TEXT)
        for piece in whole:
            yield number, piece
            number += 1
        begun = next(n for n in range(len(END_OF_TEXT) - 1, -1, -1) if held.endswith(END_OF_TEXT[:n]))
        yield number, held[: len(held) - begun]
        held = held[len(held) - begun :]
    yield number, held


def _read_lines(file: Path, name: str) -> Iterator[Part]:
    offset = 0
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            text = decode(line, file, offset)
            offset += len(line)
            if not text.strip():
                continue
            try:
                value = json.loads(text)
            except RecursionError:
                raise PellucidError(f"{file}, line {number}: its JSON is nested too deeply") from None
            except ValueError as error:  # a line holds a whole document, of any length
                raise PellucidError(f"{file}, line {number} is not JSON: {error}") from None
            if not isinstance(value, dict) or not isinstance(value.get("text"), str):
                raise PellucidError(f'{file}, line {number}: each line must be an object with a "text" that is a string')
            document = normalize_newlines(value["text"])
            if not is_text(document):
                raise PellucidError(f"{file}, line {number}: the text holds half a character (a lone surrogate)")
            if document.strip():
                yield from _parts_of(f"{name}#{number}", [document])
