"""The README says what is so: its marked commands are run, every other `pellucid` line is at least understood.

A block of code under `<!-- test -->` is run, bash or Python, the blocks one after the other in one empty folder. The two
commands that install are under `<!-- command: demo -->` and `<!-- command: test -->`; `.ci/run` takes the second from there.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pellucid.cli import parser


README = Path(__file__).resolve().parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8") if README.exists() else ""  # an installed copy has none
MARKED = [(m[1], m[2]) for m in re.finditer(r"^<!-- test -->\n+```(\w+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)]
SECONDS = 280  # for one block, on a slow and busy machine

pytestmark = pytest.mark.skipif(not TEXT.strip(), reason="there is no README yet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all blocks run: a later one may use what an earlier one made."""
    return tmp_path_factory.mktemp("readme")


def test_there_is_something_to_run() -> None:
    assert MARKED
    assert len(MARKED) == len(re.findall(r"^<!-- test -->", TEXT, re.MULTILINE))
    assert {language for language, _ in MARKED} <= {"bash", "python"}


def test_the_two_commands_are_one_line_each() -> None:
    found = dict(re.findall(r"^<!-- command: (\w+) -->\n+```bash\n(.*)\n```$", TEXT, re.MULTILINE))
    assert set(found) == {"demo", "test"}
    assert all(command.startswith("pip install -c constraints.txt ") for command in found.values())
    assert found["demo"].endswith("&& pellucid demo")
    assert found["test"].endswith("&& pytest")


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert links
    missing = [link for link in links if "://" not in link and not (README.parent / link.split("#")[0]).exists()]
    assert missing == []


@pytest.mark.long
@pytest.mark.parametrize(("language", "code"), MARKED, ids=[f"{number}-{kind}" for number, (kind, _) in enumerate(MARKED, 1)])
def test_block(language: str, code: str, folder: Path) -> None:
    if language == "bash" and sys.platform == "win32":
        pytest.skip("needs bash")
    command = ["bash", "-euo", "pipefail", "-c", code] if language == "bash" else [sys.executable, "-c", code]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        encoding="utf-8", timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of every `pellucid` command in bash blocks: pipes, redirections, comments and prompts taken off."""
    for block in re.findall(r"^```(?:bash|console|sh)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
            words.whitespace_split = True
            command: list[str] = []
            for word in [*words, "|"]:
                if not set(word) <= set("|&;<>()"):
                    command.append(word)
                    continue
                if command[:1] == ["pellucid"]:
                    yield command[1:]
                command = [] if set(word) <= set("|&;()") else ["a file's name"]


def test_commands_are_found() -> None:
    text = "```bash\nmake x && pellucid generate 'a | b' --n 2 > file  # and\necho hi | pellucid generate - \\\n  --json\n```\n"
    assert list(commands(text)) == [["generate", "a | b", "--n", "2"], ["generate", "-", "--json"]]


def test_every_command_is_understood() -> None:
    for arguments in commands(TEXT):
        try:
            parser().parse_args(arguments)
        except SystemExit as left:
            assert left.code == 0, f"pellucid {shlex.join(arguments)}"
