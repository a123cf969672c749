"""Files to documents: what is read, what is reported, what is refused."""

import json
import os
import sys
from pathlib import Path

import pytest

from pellucid.corpus import Document, read_documents, story_books
from pellucid.errors import PellucidError


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


def read(*sources: Path) -> list[tuple[str, str]]:
    return [(document.name, document.text) for document in read_documents(sources)]


def test_a_folder_is_read_in_order_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    books = tmp_path / "books"
    write(books / "b.txt", "B")
    write(books / "a.md", "A")
    write(books / "sub" / "c.txt", "C")
    write(books / "another" / "d", "D")
    write(books / ".hidden.txt", "no")
    write(books / ".git" / "e.txt", "no")
    names = [("books/a.md", "A"), ("books/b.txt", "B"), ("books/another/d", "D"), ("books/sub/c.txt", "C")]
    assert read(books) == names == read(books)
    assert read(books / "b.txt", books / "sub") == [("b.txt", "B"), ("sub/c.txt", "C")]


def test_the_working_directory_has_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "here" / "a.txt", "A")
    monkeypatch.chdir(tmp_path / "here")
    assert read(Path(".")) == [("here/a.txt", "A")]


def test_separators_newlines_and_byte_order_marks(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.txt", "\ufeffone\r\n\r\nline\rold\r\n<|endoftext|>\r\ntwo  \n<|endoftext|>\n \n<|endoftext|>three"
    )
    assert read(file) == [("a.txt#1", "one\n\nline\nold"), ("a.txt#2", "two  "), ("a.txt#3", "three")]
    whole = write(tmp_path / "b.txt", "\n  kept as it is \n\n")
    assert read(whole) == [("b.txt", "\n  kept as it is \n\n")]


def test_jsonl_has_a_document_a_line(tmp_path: Path) -> None:
    lines = [{"text": "one\r\ntwo <|endoftext|>", "other": 1}, {"text": " "}, {"text": "é"}]
    file = write(tmp_path / "a.jsonl", "\ufeff" + "\n\n".join(map(json.dumps, lines)))
    assert read(file) == [("a.jsonl#1", "one\ntwo <|endoftext|>"), ("a.jsonl#5", "é")]
    for content, words in (
        ('{"text": "a"}\n{"text": 3}\n', "line 2.*must be an object"),
        ('{"no": "a"}', "line 1.*must be an object"),
        ("[]", "must be an object"),
        ('{"text": "a"}\n{', "line 2 is not JSON"),
        ('{"text": "\\ud800"}', "line 1.*surrogate"),
        ('{"text": ' + "[" * 100_000 + "]" * 100_000 + "}", "line 1: its JSON is nested too deeply"),
    ):
        with pytest.raises(PellucidError, match=words):
            read(write(tmp_path / "bad.jsonl", content))


def test_what_is_no_text_in_a_folder_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "A")
    binary = write(tmp_path / "b.png", b"\x89PNG\x00\x01")
    wide = write(tmp_path / "c.txt", "wide".encode("utf-16"))
    empty = write(tmp_path / "d.txt", " \n")
    skipped: dict[Path, str] = {}
    documents = list(read_documents([tmp_path], on_skip=skipped.__setitem__))
    assert documents == [Document(f"{tmp_path.name}/a.txt", "A")]
    assert list(skipped) == [binary, wide, empty]
    assert "NUL" in skipped[binary] and "UTF-16" in skipped[wide] and "empty" in skipped[empty]
    with pytest.warns(UserWarning, match="not read") as caught:  # never in silence
        list(read_documents([tmp_path]))
    assert ["b.png" in str(caught[0].message), len(caught)] == [True, 3]
    for file in (binary, wide):  # named by the user: an error
        with pytest.raises(PellucidError, match=file.name):
            read(file)


def test_a_nul_byte_far_inside_is_text(tmp_path: Path) -> None:
    assert len(read(write(tmp_path / "a.txt", "a" * 9000 + "\0"))[0][1]) == 9001


@pytest.mark.parametrize(
    ("name", "before"), [("a.txt", b"abc\n"), ("a.txt", b"\xef\xbb\xbfab"), ("a.jsonl", b'{"text": "a"}\n"')]
)
def test_bytes_that_are_not_utf8_are_located(tmp_path: Path, name: str, before: bytes) -> None:
    file = write(tmp_path / name, before + b"\xe9t\xe9")
    with pytest.raises(PellucidError, match=rf"{name} is not UTF-8: byte {len(before)} is 0xe9"):
        read(file)
    with pytest.raises(PellucidError, match=f"byte {len(before)} "):
        read(tmp_path)


def test_no_text_at_all(tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match="no text is given"):
        read_documents([])
    with pytest.raises(PellucidError, match=r"no file or folder .*missing"):
        read_documents([tmp_path / "missing"])  # at the call, before anything is read
    with pytest.raises(PellucidError, match="no text in"):
        read(write(tmp_path / "blank" / "a.txt", " \n\t"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(PellucidError, match="no text in"):
        read(tmp_path / "empty")


@pytest.mark.skipif(not hasattr(os, "symlink") or sys.platform == "win32", reason="links need rights on Windows")
def test_links_that_lead_nowhere_or_in_circles(tmp_path: Path) -> None:
    write(tmp_path / "a" / "a.txt", "A")
    (tmp_path / "a" / "circle").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "a" / "nowhere").symlink_to(tmp_path / "missing")
    skipped: list[str] = []
    documents = list(read_documents([tmp_path / "a"], on_skip=lambda path, _: skipped.append(path.name)))
    assert [document.name for document in documents] == ["a/a.txt"]
    assert skipped == ["nowhere", "circle"]


# The story books of the package


def test_the_story_books_are_plain_text() -> None:
    books = list(story_books())
    named = (Path(__file__).parents[2] / "THIRD_PARTY.md").read_text(encoding="utf-8")
    assert len(books) == 6
    for book in books:
        assert f"{book.name} by " in named
        assert len(book.text) > 100_000 and book.text == book.text.strip()
        assert not set(book.text) & set("\r\t\ufeff\u2018\u2019\u201c\u201d\u2014") and "\n\n\n" not in book.text


def test_a_python_without_bz2_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bz2", None)
    with pytest.raises(PellucidError, match=r"no bz2.*name a text"):
        next(story_books())
