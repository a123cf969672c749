"""Files written to every kind of target by every output: whole, nothing else touched, nothing left over."""

import os
import socket
import stat
import sys
import threading
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import pellucid
from pellucid import Example, files
from pellucid.draw import Caption, Film, FilmSegment, Rect
from pellucid.draw.backends.save import content
from pellucid.errors import PellucidError
from pellucid.files import appending, copy_whole, replacing, write_whole
from pellucid.finetuning.examples import write_examples
from pellucid.folders import new_folder, remove_folder, remove_unfinished
from pellucid.formats import gguf_write
from pellucid.formats.convert import convert
from pellucid.gpt.safetensors_write import write_tensors
from pellucid.record import Provenance, RecordWriter
from pellucid.serve.studio.static_page import write_page
from pellucid.text import train_tokenizer
from pellucid.text.tokenizer import Tokenizer
from pellucid.training.prepare import new_run


POSIX = pytest.mark.skipif(sys.platform == "win32", reason="FIFOs, sockets and names of bytes are POSIX's")
TOKENIZER: Tokenizer = train_tokenizer(["the fox ran over the hill"] * 3, 262)
MODEL = pellucid.GPT(pellucid.GPTConfig(vocab_size=262, n_ctx=8, n_layers=1, d_model=8, n_heads=2), tokenizer=TOKENIZER)
PROVENANCE = Provenance(pellucid="1", model="m", config={}, parameters=1, dtype="float32")
FILM = Film(
    title="A box", alt="a box", width=40, height=20, nodes=(Rect(1, 1, 9, 9),),
    segments=(FilmSegment("rests", 0, 5, ((0, 5),)),), captions=(Caption(0, 5, "A box."),),
)


def write_record(path: Path) -> None:
    with RecordWriter(path, "generation", PROVENANCE) as writer:
        writer.add("x", np.arange(40_000, dtype=np.float32), truth="measured", meaning="numbers")


def in_memory() -> pellucid.Record:
    buffer = BytesIO()
    with RecordWriter(buffer, "generation", PROVENANCE) as writer:
        writer.add("x", 1, truth="measured", meaning="a number")
    return pellucid.open(buffer)


# Each writes the file that it is given.
OUTPUTS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: write_whole(path, "some text\n"),
    "durable": lambda path: write_whole(path, b"bytes" * 10_000, durable=True),
    "copy": lambda path: copy_whole(Path(__file__), path),
    "record": write_record,
    "copy of a record": lambda path: in_memory().save(path),
    "tensors": lambda path: write_tensors(path, {"a": torch.ones(70_000), "b": torch.zeros((), dtype=torch.bfloat16)}),
    "gguf": lambda path: gguf_write.write(MODEL, TOKENIZER, path),
    "tokenizer": lambda path: TOKENIZER.save(path),
    "examples": lambda path: write_examples([Example("a", "b")], path),
    "page": lambda path: write_page(path, [], figures=[("a box", FILM, FILM)]),
    "svg": lambda path: FILM.save(path) if path.suffix == ".svg" else write_whole(path, content(FILM, "svg")),
    "html": lambda path: write_whole(path, content(FILM, "html")),
}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def content_of(output: str, folder: Path) -> bytes:
    folder.mkdir()
    OUTPUTS[output](folder / "plain.svg")
    return (folder / "plain.svg").read_bytes()


@pytest.fixture(params=OUTPUTS)
def output(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_missing_and_regular(output: str, tmp_path: Path) -> None:
    expected = content_of(output, tmp_path / "a")
    assert expected
    path = tmp_path / "b.svg"
    OUTPUTS[output](path)
    assert path.read_bytes() == expected
    path.write_bytes(b"old")
    with path.open("rb") as old:
        OUTPUTS[output](path)
        assert sys.platform == "win32" or old.read() == b"old"  # replaced, not overwritten
    assert path.read_bytes() == expected
    umask = os.umask(0)
    os.umask(umask)
    assert sys.platform == "win32" or stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    assert names(tmp_path) == {"a", "b.svg"}


@POSIX
@pytest.mark.parametrize("chain", [1, 3])
@pytest.mark.parametrize("dangling", [False, True])
def test_links_stay_and_their_targets_are_written(output: str, tmp_path: Path, chain: int, dangling: bool) -> None:
    expected = content_of(output, tmp_path / "a")
    (tmp_path / "far").mkdir()
    target = tmp_path / "far" / "target.svg"
    if not dangling:
        target.write_bytes(b"old")
    (tmp_path / "link0.svg").symlink_to("far/target.svg")
    for i in range(1, chain):
        (tmp_path / f"link{i}.svg").symlink_to(tmp_path / f"link{i - 1}.svg")
    before = names(tmp_path)
    OUTPUTS[output](tmp_path / f"link{chain - 1}.svg")
    assert all((tmp_path / f"link{i}.svg").is_symlink() for i in range(chain))
    assert target.read_bytes() == expected
    assert names(tmp_path) == before
    assert names(target.parent) == {"target.svg"}


@POSIX
def test_another_user_s_link_is_refused(output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    link = tmp_path / "x.svg"
    link.symlink_to(victim)
    os.chown(link, 12345, -1, follow_symlinks=False) if os.geteuid() == 0 else monkeypatch.setattr(os, "geteuid", lambda: -1)
    with pytest.raises(PellucidError, match=r"cannot write .*a link of another user"):
        OUTPUTS[output](link)
    assert victim.read_bytes() == b"mine"
    assert names(tmp_path) == {"victim", "x.svg"}


@POSIX
@pytest.mark.parametrize("kind", ["folder", "link to a folder", "socket", "a loop of links", "no folder", "a file as folder"])
def test_what_cannot_be_a_file_is_refused(output: str, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path may not be long
    path = Path("x.svg")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        match kind:
            case "folder":
                path.mkdir()
            case "link to a folder":
                path.symlink_to("folder")
            case "socket":
                server.bind("x.svg")
            case "a loop of links":
                path.symlink_to("x.svg")
            case "no folder":
                path = Path("none/x.svg")
            case "a file as folder":
                Path("file").touch()
                path = Path("file/x.svg")
        before = names(tmp_path)
        if output == "tokenizer" and "folder" in kind and path.is_dir():
            return  # written into a folder, it goes into a file there
        with pytest.raises(PellucidError, match="cannot write"):
            OUTPUTS[output](path)
        assert names(tmp_path) == before
        assert names(tmp_path / "folder") == set()
        assert kind != "socket" or stat.S_ISSOCK(path.stat().st_mode)


@POSIX
@pytest.mark.parametrize("by_link", [False, True])
def test_a_fifo_is_written_into(output: str, tmp_path: Path, by_link: bool) -> None:
    expected = content_of(output, tmp_path / "a")
    path = fifo = tmp_path / "x.svg"
    os.mkfifo(fifo)
    if by_link:
        path = tmp_path / "link.svg"
        path.symlink_to(fifo)
    read = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    OUTPUTS[output](path)
    reader.join()
    assert read == [expected]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert names(tmp_path) - {"link.svg"} == {"a", "x.svg"}


@POSIX
def test_a_fifo_that_nothing_reads_is_said_so(output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.files.READER_WAIT", 0)
    os.mkfifo(tmp_path / "x.svg")
    with pytest.raises(PellucidError, match=r"x\.svg: no process read from this FIFO.*start its reader first"):
        OUTPUTS[output](tmp_path / "x.svg")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="a file system of this process's open files")
def test_an_open_file_is_written_into(output: str, tmp_path: Path) -> None:
    """As `--out /dev/stdout` where standard output is a file: after what is there, and nothing is replaced."""
    expected = content_of(output, tmp_path / "a")
    path = tmp_path / "x.svg"
    with path.open("wb", buffering=0) as file:
        file.write(b"before ")
        OUTPUTS[output](Path(f"/proc/self/fd/{file.fileno()}"))
        file.write(b" after")
    assert path.read_bytes() == b"before " + expected + b" after"
    assert names(tmp_path) == {"a", "x.svg"}


@POSIX
def test_a_terminal_is_written_into(tmp_path: Path) -> None:
    import tty

    leader, follower = os.openpty()
    tty.setraw(follower)
    path = Path(os.ttyname(follower))
    write_whole(path, "some text\n")
    assert os.read(leader, 100) == b"some text\n"
    assert stat.S_ISCHR(path.stat().st_mode)
    os.close(leader)
    os.close(follower)


@pytest.mark.parametrize("planted", ["file", "link", "dangling link", "folder"])
def test_a_planted_temporary_name_is_not_followed(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    """Nobody can guess it; if somebody did, the file is refused."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    monkeypatch.setattr(files, "temporary_name", lambda: "guessed")
    guessed = tmp_path / "guessed"
    match planted:
        case "file":
            guessed.write_bytes(b"another's")
        case "folder":
            guessed.mkdir()
        case _:
            guessed.symlink_to(victim if planted == "link" else tmp_path / "made")
    with pytest.raises(PellucidError, match="cannot write"):
        OUTPUTS[output](tmp_path / "x.svg")
    assert victim.read_bytes() == b"mine"
    assert names(tmp_path) == {"victim", "guessed"}
    assert planted != "file" or guessed.read_bytes() == b"another's"


@POSIX
@pytest.mark.parametrize("name", [b"x" * 251 + b".svg", b"\xff\xfe.svg", b"a\nb.svg", "größer.svg".encode()])
def test_any_name_will_do(output: str, tmp_path: Path, name: bytes) -> None:
    if sys.platform == "darwin" and b"\xff" in name:
        pytest.skip("macOS has no such names")
    expected = content_of(output, tmp_path / "a")
    path = tmp_path / os.fsdecode(name)
    OUTPUTS[output](path)
    assert path.read_bytes() == expected
    assert names(tmp_path) == {"a", path.name}


@pytest.mark.parametrize("where", ["create", "write", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError(13, "denied"), KeyboardInterrupt()])
def test_what_fails_leaves_the_old_file_and_nothing_else(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    path = tmp_path / "x.svg"
    path.write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        if where == "write":
            patch.setattr(files, "create", lambda path: _Failing(path, error))
        else:
            patch.setattr(files, where, fail) if where == "create" else patch.setattr(os, where, fail)
        with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else PellucidError) as caught:
            OUTPUTS[output](path)
    assert not isinstance(error, OSError) or str(error.strerror) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"x.svg"}


class _Failing:
    """A new file that takes one write."""

    def __init__(self, path: Path, error: BaseException) -> None:
        self.file, self.error = path.open("xb"), error

    def __enter__(self) -> "_Failing":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> int:
        self.file.write(data[:1])
        raise self.error


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path)
    with pytest.raises(PellucidError, match=r"cannot write the record .*Permission denied"):
        RecordWriter(tmp_path / "x.pellucid", "generation", PROVENANCE)
    drawn = False

    def draw(*_: object, **__: object) -> bytes:
        nonlocal drawn
        drawn = True
        return b""

    monkeypatch.setattr("pellucid.draw.backends.save.content", draw)
    with pytest.raises(PellucidError, match="Permission denied"):
        FILM.save(tmp_path / "x.gif")
    assert not drawn


def test_folders_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    with new_folder(tmp_path / "deep" / "a", durable=True) as part:
        (part / "x").write_text("x", encoding="utf-8")
        assert not (tmp_path / "deep" / "a").exists()
    assert names(tmp_path / "deep" / "a") == {"x"}
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    for taken in ("deep/a", "link", "file"):
        with pytest.raises(OSError, match=r"exists|empty"), new_folder(tmp_path / taken):
            pass
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "b") as part:
        (part / "x").touch()
        raise KeyboardInterrupt
    remove_folder(tmp_path / "deep" / "a")
    assert names(tmp_path / "deep") == set()
    assert names(tmp_path) == {"deep", "link", "file"}


def test_what_kills_left_is_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "x").touch()
    folder = tmp_path / "folder"
    (folder / files.temporary_name()).mkdir(parents=True)
    (folder / files.temporary_name()).touch()
    (folder / files.temporary_name()).symlink_to(victim)
    (folder / "kept").touch()
    remove_unfinished(folder)
    assert names(folder) == {"kept"}
    assert names(victim) == {"x"}
    remove_unfinished(tmp_path / "none")


@POSIX
def test_appending_takes_regular_files_only(tmp_path: Path) -> None:
    with appending(tmp_path / "x") as file:
        file.write(b"a")
    with appending(tmp_path / "x") as file:
        file.write(b"b")
    assert (tmp_path / "x").read_bytes() == b"ab"
    with (tmp_path / "x").open("rb") as open_file, pytest.raises(PellucidError, match="not a regular file"):
        appending(Path(f"/dev/fd/{open_file.fileno()}"))


def test_a_conversion_to_a_dangling_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with pytest.raises(PellucidError, match="exists already"):
        convert(MODEL, TOKENIZER, tmp_path / "out", to="pellucid")
    with pytest.raises(PellucidError, match=r"exists"), new_run(tmp_path / "out"):
        pass
    assert names(tmp_path) == {"out"}


DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from((*DTYPES, torch.uint8, torch.bool)), st.lists(st.integers(0, 3), max_size=3)),
        max_size=6,
    ),
    st.sampled_from([None, {"format": "pt"}]),
)
@cases(60)
def test_tensors_are_written_as_the_library_writes_them(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, tuple[torch.dtype, list[int]]], metadata: dict[str, str] | None
) -> None:
    folder = tmp_path_factory.getbasetemp() / "tensors"
    folder.mkdir(exist_ok=True)
    tensors = {name: (torch.randn(shape) * 9).to(dtype) for name, (dtype, shape) in shapes.items()}
    write_tensors(folder / "ours", tensors, metadata=metadata)
    save_file(tensors, folder / "theirs", metadata=metadata)
    assert (folder / "ours").read_bytes() == (folder / "theirs").read_bytes()


@given(st.text(st.characters(), max_size=20))
@cases(60)
def test_any_text_can_be_written(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "text"
    write_whole(path, text)
    expected = "".join(f"\\u{ord(c):04x}" if 0xD800 <= ord(c) < 0xE000 else c for c in text)
    assert path.read_bytes().decode("utf-8") == expected


def test_a_system_without_nofollow_or_folders_to_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_NOFOLLOW", raising=False)
    monkeypatch.delattr(os, "O_DIRECTORY", raising=False)
    monkeypatch.delattr(os, "geteuid", raising=False)
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with replacing(tmp_path / "x", durable=True) as file:
        file.write(b"x")
    with new_folder(tmp_path / "y", durable=True) as part:
        (part / "z").touch()
    assert names(tmp_path) == {"x", "y"}
