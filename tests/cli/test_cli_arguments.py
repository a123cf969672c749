"""Arguments as shells give them: any bytes, any path, a dash first; printed commands as shells read them."""

import argparse
import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

import pellucid
from pellucid.cli import COMMANDS, main, parser
from pellucid.cli.output import print_json
from pellucid.cli.parsing import whole_number
from pellucid.command_lines import command, prompt_words, quoted, shown_path


posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has another shell, and other names")
WORDS = {
    "generate": ("the",), "train": ("text", "--out", "new"), "finetune": ("text", "--out", "new"),
    "xray": ("a", "--out", "new"), "prime": ("a",), "figures": ("a", "--out", "new"), "verify": ("a",),
    "evaluate": ("--tasks", "words"),
    "convert": ("a", "new", "--to", "gguf"), "reproduce": ("default",),
    "export-page": ("default", "--out", "new.html"),
}  # fmt: skip


def actions(name: str) -> list[argparse.Action]:
    top = parser(name)
    (commands,) = (action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    return [action for action in commands.choices[name]._actions if action.nargs != 0]


OPTIONS = [(name, action) for name in COMMANDS for action in actions(name) if action.option_strings]


def run(*words: str) -> tuple[int, str, str]:
    """(exit status, standard output, standard error) of a command in this process; every warning is an error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            status = main(words)
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else 0
    return status, out.getvalue(), err.getvalue()


def parse(*words: str) -> str:
    """What the parser says of a command's words; nothing is run."""
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(err), contextlib.suppress(SystemExit):
        parser(words[0]).parse_args(words)
    return err.getvalue()


@cases(60)
@given(option=st.sampled_from(OPTIONS), value=st.text("-ab 1e=.'\n", min_size=1).map(lambda text: f"-{text}"))
def test_a_value_that_begins_with_a_dash_is_taken_or_the_hint_works(option: tuple[str, argparse.Action], value: str) -> None:
    name, action = option
    flag = action.option_strings[-1]
    required = WORDS.get(name, ())
    err = parse(name, *required, flag, value)
    if "expected one argument" not in err and "expected at least one argument" not in err:
        return  # it was taken: a number, or text with a space
    hint = re.search(r"a value that begins with a dash is given as (.*)\n\Z", err, re.DOTALL)
    assert hint, err
    (word,) = shlex.split(hint[1]) if "$'" not in hint[1] else subprocess_words(hint[1])
    assert word == f"{flag}={value}"
    assert "expected" not in parse(name, *required, word)


def subprocess_words(line: str) -> list[str]:
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True)
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]


@cases(30)
@given(prompt=st.text("-helomv ", min_size=1).map(lambda text: f"-{text}"))
def test_a_prompt_that_begins_with_a_dash_is_one_after_two_dashes(prompt: str) -> None:
    assert parser("generate").parse_args(["generate", "--", prompt]).prompt == prompt
    line = command("generate", *prompt_words(prompt))
    assert parser("generate").parse_args(shlex.split(line)[1:]).prompt == prompt
    err = parse("generate", prompt)
    assert "error: " not in err or f"pellucid generate -- {quoted(prompt)}" in err or prompt == "-m"


@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_not_abbreviated(name: str) -> None:
    options = [option for action in actions(name) for option in action.option_strings]
    for option in options:
        if option.startswith("--") and len(option) > 5 and option[:-1] not in options:
            assert "unrecognized arguments" in parse(name, *WORDS.get(name, ()), f"{option[:-1]}=1")


@cases(60)
@given(text=st.lists(st.sampled_from(["\\n", "\\t", "\\\\", "\\", "n", "a", "é", "\n", "\\d"])).map("".join))
def test_escapes_of_stop(text: str) -> None:
    meant, rest = "", text
    while rest:
        found = next((escape for escape in ("\\n", "\\t", "\\\\") if rest.startswith(escape)), None)
        meant += {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}[found] if found else rest[0]
        rest = rest[len(found or rest[0]) :]
    assert parser("generate").parse_args(["generate", f"--stop={text}"]).stop == [meant]


names = st.binary(min_size=1, max_size=20).filter(lambda data: b"\0" not in data and b"/" not in data).map(os.fsdecode)


@pytest.mark.long
@posix
def test_quoted_words_are_what_the_shell_reads() -> None:
    words: list[str] = []

    @cases(200)
    @given(word=st.one_of(names, st.text().filter(lambda text: "\0" not in text)))
    def collect(word: str) -> None:
        words.append(word)
        assert quoted(word).isprintable()
        assert shown_path(word) == word or shown_path(word) == quoted(word)

    collect()
    lines = [" ".join(map(quoted, words[i : i + 100])) for i in range(0, len(words), 100)]
    assert [word for line in lines for word in subprocess_words(line)] == words


@posix
def test_commands_name_paths_as_paths() -> None:
    line = command("verify", Path("-x"), "-m", Path("default"), Path(os.fsdecode(b"caf\xe9")), Path("a b"))
    assert line == "pellucid verify ./-x -m ./default $'caf\\351' 'a b'"


@cases(50)
@given(name=names)
def test_json_is_json_and_names_the_same_bytes(name: str) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print_json({"run": name})
    assert os.fsencode(json.loads(out.getvalue().encode("utf-8"))["run"]) == os.fsencode(name)


TEXTS = [
    ("generate", ("{}",)), ("generate", ("a", "--stop={}")), ("generate", ("a", "--task={}")),
    ("generate", ("a", "--example={} => b")), ("xray", ("{}", "--out", "new")), ("xray", ("a", "--stop={}", "--out", "new")),
    ("train", ("a", "--out", "new", "--prompt={}")), ("finetune", ("a", "--out", "new", "--prompt={}")),
]  # fmt: skip


@cases(40)
@given(data=st.binary(min_size=1).filter(lambda data: b"\0" not in data and data[:1] != b"-"), text=st.sampled_from(TEXTS))
def test_text_that_is_not_utf8_is_refused(data: bytes, text: tuple[str, tuple[str, ...]]) -> None:
    name, words = text
    given_words = [word.replace("{}", os.fsdecode(data)) for word in words]
    try:
        meant: str | None = data.decode("utf-8")
    except UnicodeDecodeError:
        meant = None
    if meant is None:
        err = parse(name, *given_words)
        assert "not UTF-8 text: byte 0x" in err
    elif words[0] == "{}":
        assert parser(name).parse_args([name, *given_words]).prompt == meant


def test_half_a_character_is_refused() -> None:
    for name, words in TEXTS:
        assert "half a character" in parse(name, *(word.replace("{}", "a\ud83d") for word in words))


BAD = {
    "empty": "", "NUL": "a\0b", "long": "x" * 5000, "long name": "y" * 300, "half": "a\ud83d", "line break": "no\nsuch",
    "bytes": "caf\udce9/none", "below a file": "text.txt/x", "blank": " /none",
}  # fmt: skip
FOLDERS = {"current": ".", "root": "/", "above": ".."}  # there, and neither models nor records nor new
PATHS = {  # a command that works, by name; and the arguments that are paths
    "generate": (["the", "-m", "run", "--max-tokens", "1"], ("model", "draft")),
    "train": (["text.txt", "--out", "new", "--preset", "tiny", "--steps", "1"], ("text", "out", "held_out", "tokenizer")),
    "finetune": (["pairs.jsonl", "--out", "new", "-m", "run", "--steps", "1"], ("examples", "out", "model")),
    "xray": (["the", "-m", "run", "--out", "new", "--max-tokens", "1"], ("out", "model")),
    "prime": (["pairs.jsonl", "-m", "run", "--out", "new"], ("file", "out", "model")),
    "evaluate": (
        ["--tasks", "pairs.jsonl", "-m", "run", "--out", "new", "--shots", "0", "--queries", "1"],
        ("tasks", "model", "out", "contamination"),
    ),
    "figures": (["a.pellucid", "--out", "new", "--only", "xray", "--format", "svg"], ("records", "out")),
    "verify": (["a.pellucid", "-m", "run"], ("file", "model")),
    "convert": (["run", "new", "--to", "pellucid"], ("source", "destination", "measure")),
    "studio": (["run", "--port", "0", "--no-browser"], ("sources", "host")),
    "serve": (["-m", "run", "--port", "0"], ("models", "host", "keys")),
    "plan": (["gpt3-125m"], ("what",)),
    "demo": (["--text", "text.txt", "--out", "new"], ("text", "out")),
    "bench": (["none"], ("subject",)),
    "reproduce": (["default"], ("model", "corpus")),
    "export-page": (["run", "--out", "new.html"], ("model", "shown", "out")),
}  # fmt: skip
MAY_BE_FOLDERS = (
    "text", "held_out", "examples", "records", "measure", "sources", "what", "subject", "host", "tokenizer", "contamination",
    "corpus",
)  # fmt: skip


def test_every_command_has_its_paths_named_here() -> None:
    assert set(PATHS) == set(COMMANDS)
    for name, (_, paths) in PATHS.items():
        assert set(paths) <= {action.dest for action in actions(name)}


@pytest.fixture
def folder(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "a" / "b"
    place.mkdir(parents=True)
    (place / "run").symlink_to(tiny_run)
    (place / "text.txt").write_text("the fox ran\n" * 400, encoding="utf-8")
    (place / "pairs.jsonl").write_text('{"prompt": "a", "completion": " b"}\n' * 12, encoding="utf-8")
    pellucid.xray(pellucid.load(tiny_run), "the", max_tokens=1, seed=1).save(place / "a.pellucid")
    monkeypatch.chdir(place)
    return place


def with_path(name: str, dest: str, value: str) -> list[str]:
    """The command's words with another value for one of its paths."""
    words = list(PATHS[name][0])
    positional = [action.dest for action in actions(name) if not action.option_strings]
    if dest in positional:
        words[positional.index(dest)] = value
        return words
    (action,) = (action for action in actions(name) if action.dest == dest)
    for option in action.option_strings:
        if option in words:
            words[words.index(option) + 1] = value
            return words
    return [*words, action.option_strings[-1], value]


@posix
@pytest.mark.parametrize("name", [name for name in PATHS if name != "demo"])
def test_a_path_that_cannot_be_is_refused_in_one_line(name: str, folder: Path) -> None:
    before = sorted(os.listdir(folder)), sorted(os.listdir(folder.parent))
    for dest in PATHS[name][1]:
        kinds = BAD | (FOLDERS if dest not in MAY_BE_FOLDERS and name != "figures" else {})
        for kind, value in kinds.items():
            if dest in ("out", "destination") and kind in ("line break", "bytes", "blank"):
                continue  # a new folder of that name is made
            status, out, err = run(name, *with_path(name, dest, value))
            told = f"{name} {dest} {kind}: {status} {out} {err}"
            assert status in (1, 2), told
            assert "inside pellucid" not in err and "Traceback" not in err, told
            assert status == 2 or err.count("\n") == 1, told
            assert len(err) < 2000, told
            assert (sorted(os.listdir(folder)), sorted(os.listdir(folder.parent))) == before, told


@posix
def test_a_file_to_write_does_not_end_in_a_slash(folder: Path) -> None:
    for words in (["xray", "a", "-m", "run", "--out", "new/"], ["convert", "run", "new/", "--to", "gguf"]):
        status, _, err = run(*words)
        assert status == 1 and "name a file" in err and not Path("new").exists()


@posix
def test_runs_and_records_of_any_name(folder: Path) -> None:
    """What is printed at the end is run by the shell's own reading of it."""
    name = os.fsdecode(b"-caf\xe9\n")
    status, out, err = run("xray", "the", "-m", "run", "--max-tokens", "1", f"--out={name}.pellucid")
    assert (status, err) == (0, "")
    line = out.splitlines()[-1].partition("check it with: ")[2]
    words = subprocess_words(line)
    assert words == ["pellucid", "verify", f"./{name}.pellucid", "-m", "run"]
    assert run(*words[1:])[0] == 0
    status, out, err = run("xray", "the", "-m", "run", "--max-tokens", "1", f"--out={name}.pellucid", "--json")
    assert os.fsencode(json.loads(out.encode("utf-8"))["record"]) == os.fsencode(f"{name}.pellucid")
    assert run("figures", f"./{name}.pellucid", "--out", name.strip("-"), "--format", "svg", "--only", "xray")[0] == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", 12), ("-3", -3), ("1e6", 10**6), ("2.5E3", 2500), ("1e12", 10**12), ("1_000", 1000), ("1.5", None),
     ("1.25e1", None), ("1e99", None), ("1e999999999", None), ("inf", None),
     ("nan", None), ("", None), ("0x10", None), ("1e-2", None)],
)  # fmt: skip
def test_a_whole_number_is_also_read_as_1e6(text: str, value: int | None) -> None:
    if value is not None:
        assert whole_number(text) == value
        return
    with pytest.raises(argparse.ArgumentTypeError, match="is no whole number"):
        whole_number(text)


def test_a_number_out_of_range_is_told_the_range(capsys: pytest.CaptureFixture[str]) -> None:
    for words, limit in (("generate hi --max-tokens 1e12", "2**31"), ("studio --port 1e12", "0 to 65535")):
        assert main(words.split()) == 1
        assert limit in capsys.readouterr().err
