"""Files read block by block against files read whole, and builds that were killed against builds that were not."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cases import TIMES, cases
from hypothesis import given
from hypothesis import strategies as st
from stories import story

from pellucid import events
from pellucid.corpus import Document, build_corpus, documents, encoder, open_corpus, read_documents, utf8
from pellucid.corpus.build import ENCODING, partial_directory
from pellucid.corpus.documents import read_parts
from pellucid.errors import PellucidError
from pellucid.text import END_OF_TEXT, Tokenizer, train_tokenizer
from pellucid.text.split_pattern import chunks, chunks_of


pieces = st.sampled_from(["a", "B ", "é", "😀", "\n", "\r\n", "\r", " \t", "<|", "<|endof", END_OF_TEXT, "\ufeff", "text|>"])
files = st.lists(pieces, max_size=30).map("".join)


def plain_read(text: str, name: str) -> list[tuple[str, str]]:
    """The documents of a file that is read whole."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if END_OF_TEXT not in text:
        return [(name, text)] if text.strip() else []
    found = [part.strip("\n") for part in text.split(END_OF_TEXT)]
    return [(f"{name}#{i}", part) for i, part in enumerate((part for part in found if part.strip()), start=1)]


@cases(150)
@given(text=files, block=st.integers(1, 40), part=st.integers(1, 12))
def test_a_file_read_in_blocks_is_the_file_read_whole(text: str, block: int, part: int) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        file = Path(folder) / "f.txt"
        file.write_bytes(text.encode())
        patch.setattr(utf8, "BLOCK", block)
        patch.setattr(documents, "PART_CHARS", part)
        expected = plain_read(text, "f.txt")
        if not expected:
            with pytest.raises(PellucidError, match="no text in"):
                list(read_documents([file]))
            return
        assert [(d.name, d.text) for d in read_documents([file])] == expected
        parts = list(read_parts([file]))
    for name, whole in expected:
        own = [p for p in parts if p.name == name]
        assert [p.text for p in own] == list(chunks(whole, part))  # wherever the blocks end
        assert [(p.first, p.last) for p in own] == [(i == 0, i == len(own) - 1) for i in range(len(own))]


@cases(100)
@given(data=st.lists(pieces.map(str.encode) | st.binary(max_size=3), max_size=12).map(b"".join), block=st.integers(1, 9))
def test_what_is_not_utf8_is_located_wherever_blocks_end(data: bytes, block: int) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        file = Path(folder) / "f"
        file.write_bytes(data)
        patch.setattr(utf8, "BLOCK", block)
        try:
            data.decode()
        except UnicodeDecodeError as error:
            with pytest.raises(PellucidError, match=f"byte {error.start:,} is 0x{data[error.start]:02x} ") as caught:
                list(utf8.read_blocks(file))
            assert error.reason in str(caught.value)
        else:
            assert "".join(utf8.read_blocks(file)) == utf8.normalize_newlines(data.decode().removeprefix("\ufeff"))


@given(texts=st.lists(st.text("ab \n", max_size=30), max_size=12), size=st.integers(1, 20))
def test_texts_are_cut_as_one(texts: list[str], size: int) -> None:
    whole = "".join(texts)
    assert list(chunks_of(texts, size)) == (list(chunks(whole, size)) if whole else [])


# Builds that were killed

SMALL = train_tokenizer([story(300, 1)], 300)
TEXTS = [Document(f"{seed}", f"{story(60, seed)} {END_OF_TEXT} 😀\n\n" * (1 + seed % 3)) for seed in range(12)]


def small_steps(patch: pytest.MonkeyPatch) -> None:
    """A build that saves its state, and says how far it is, many times in a few kilobytes."""
    patch.setattr(documents, "PART_CHARS", 200)
    patch.setattr("pellucid.corpus.build.PART_CHARS", 200)
    patch.setattr("pellucid.corpus.build._PROGRESS_CHARS", 300)
    patch.setattr(encoder, "GROUP_CHARS", 300)
    patch.setattr(encoder, "SAVE_CHARS", 900)


class Interrupting:
    """An observer that interrupts at the n-th event. `encoded` counts the bytes that it saw encoded."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, event: events.Event) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.long
@cases(25)
@given(
    count=st.integers(1, 12), at=st.lists(st.integers(2, 60), max_size=4), tokenizer=st.sampled_from([SMALL, 300]),
    fraction=st.floats(0.05, 0.5), shard_tokens=st.sampled_from([97, 1 << 20]), damage=st.integers(0, 5),
)  # fmt: skip
def test_an_interrupted_build_ends_as_one_that_was_not(
    count: int, at: list[int], tokenizer: Tokenizer | int, fraction: float, shard_tokens: int, damage: int
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        small_steps(patch)

        def build(name: str, interrupting: Interrupting | None = None) -> None:
            build_corpus(
                TEXTS[:count], tokenizer, Path(folder) / name, fraction=fraction, shard_tokens=shard_tokens,
                observers=[interrupting] if interrupting else [],
            )  # fmt: skip

        build("whole")
        for number in at:
            try:
                build("cut", Interrupting(number))
            except KeyboardInterrupt:
                left = sorted(partial_directory(Path(folder) / "cut").glob("*"))
                if damage == 1 and left:
                    victim = left[number % len(left)]
                    victim.write_bytes(victim.read_bytes()[:-3])
            else:
                break
        if not (Path(folder) / "cut").exists():
            build("cut")
        assert contents(Path(folder) / "cut") == contents(Path(folder) / "whole")
        assert not partial_directory(Path(folder) / "cut").exists()
        open_corpus(Path(folder) / "cut")


KILLED = """
import sys
sys.path[:0] = {tests!r}
import pytest
from test_corpus_streams import TEXTS, build_small, small_steps
with pytest.MonkeyPatch.context() as patch:
    small_steps(patch)
    build_small(sys.argv[1], lambda event: print(event.stage, event.done, flush=True))
"""


def build_small(out: str, *observers: events.Observer) -> None:
    build_corpus(TEXTS, 300, Path(out), observers=observers)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
def test_a_killed_build_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = KILLED.format(tests=[str(Path(__file__).parent), str(Path(__file__).parents[1])])
    out = tmp_path / "cut"
    with subprocess.Popen([sys.executable, "-c", code, str(out)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(ENCODING) and int(line.split()[-1]) > 5000:
                break
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    state = json.loads((partial_directory(out) / "progress.json").read_text(encoding="utf-8"))
    assert state["encoding"]["reached"][0] > 1
    small_steps(monkeypatch)
    encoded: list[str] = []
    encode_batch = Tokenizer.encode_batch

    def counting(self: Tokenizer, texts: Iterator[str], continued: list[bool]) -> list[list[int]]:
        now = list(texts)
        encoded.extend(now)
        return encode_batch(self, now, continued)

    monkeypatch.setattr(Tokenizer, "encode_batch", counting)
    monkeypatch.setattr("pellucid.corpus.build.train_tokenizer", lambda *_: pytest.fail("it was trained before"))
    build_small(str(out))
    assert 0 < sum(map(len, encoded)) < sum(len(text.text) for text in TEXTS) - 4000
    monkeypatch.undo()
    small_steps(monkeypatch)
    build_small(str(tmp_path / "whole"))
    assert contents(out) == contents(tmp_path / "whole")


def test_another_corpus_does_not_go_on_with_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_steps(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        build_corpus(TEXTS, SMALL, tmp_path / "c", observers=[Interrupting(30)])
    assert (partial_directory(tmp_path / "c") / "progress.json").exists()
    others = [*TEXTS[:-1], Document(TEXTS[-1].name, TEXTS[-1].text + "!")]
    build_corpus(others, SMALL, tmp_path / "c")
    build_corpus(others, SMALL, tmp_path / "whole")
    assert contents(tmp_path / "c") == contents(tmp_path / "whole")


PEAK = """
import resource, sys
from pathlib import Path
from pellucid.corpus import build_corpus
from pellucid.text import r50k
build_corpus([sys.argv[1]], r50k(), Path(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is counted otherwise elsewhere")
@pytest.mark.parametrize("kind", ["one text", *(["many"] if TIMES > 1 else [])])  # PELLUCID_TEST_CASES=2: both
def test_memory_does_not_grow_with_the_text(tmp_path: Path, kind: str) -> None:
    """Ten times the text takes as much memory, but for 16 bytes a document, with emoji in it, too."""
    peaks = []
    for times in (8, 80):
        file = tmp_path / f"{times}.{'txt' if kind == 'one text' else 'jsonl'}"
        with file.open("w", encoding="utf-8") as out:
            for i in range(times * 20):
                text = story(2000, i % 40) + " 😀\n"  # some 8 kB
                if kind == "one text":
                    out.write(text)
                else:
                    out.writelines(json.dumps({"text": line}) + "\n" for line in text.split(". "))
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(file), str(tmp_path / f"c{times}")], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < peaks[0] + 24, peaks
