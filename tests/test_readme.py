"""The README says what is so: its marked commands are run, every other `pellucid` line is at least understood. The Chinese
README and the Chinese lesson say the same as the English ones.

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


ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAIRS = [("README.md", "README.zh-CN.md"), ("docs/lesson.md", "docs/lesson.zh-CN.md")]  # in English, and in Chinese
TEXT = README.read_text(encoding="utf-8") if README.exists() else ""  # an installed copy has none
MARKED = [(m[1], m[2]) for m in re.finditer(r"^<!-- test -->\n+```(\w+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)]
SECONDS = 600  # for one block, on a slow and busy machine

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


def links(page: str) -> list[str]:
    """The targets of a page's links and pictures, in order."""
    return re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", [page for pair in PAIRS for page in pair])
def test_links_lead_somewhere(page: str) -> None:
    found = links(page)
    assert found
    missing = [link for link in found if "://" not in link and not ((ROOT / page).parent / link.split("#")[0]).exists()]
    assert missing == []


def test_the_first_line_says_for_whom() -> None:
    lines = [line for line in TEXT.splitlines() if line and not line.startswith("#")]
    assert all(word in lines[0] for word in ("learners", "teachers", "researchers", "teams", "GPT-3")) and lines[0][-1] == "."


# What both languages of a page have in common, in order: headings, rows, items, pictures, commands in the text.
FORMS = (
    r"^#+ (?:\d+\.)?", r"^\|(?!-)", r"^- |^\d+\. ", r"!\[[^]]*\]\((.*?)\)", r"`(?:pellucid|pytest) [^`\"]*"
)  # fmt: skip
BLOCK = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0])
def test_both_languages_say_the_same(pair: tuple[str, str]) -> None:
    english, chinese = texts = [(ROOT / page).read_text(encoding="utf-8") for page in pair]
    for form in FORMS:
        found, other = (re.findall(form, BLOCK.sub("", text), re.MULTILINE) for text in texts)
        assert found == other, form
    assert list(commands(english)) == list(commands(chinese))
    names = [Path(page).name for page in pair]
    # A Chinese page may link to the Chinese one of two.
    targets = [{link.replace(".zh-CN", "") for link in set(links(page)) - set(names)} for page in pair]
    assert targets[0] == targets[1]
    assert all(f"]({name})" in "".join(text.splitlines()[:6]) for text, name in zip(texts, reversed(names), strict=True))


def test_the_examples_of_both_readmes_are_the_same() -> None:
    """Line by line, whatever the comments say."""
    texts = [(ROOT / page).read_text(encoding="utf-8") for page in PAIRS[0]]
    english, chinese = ([re.sub(r"\s+# .*", "", block) for block in BLOCK.findall(text)] for text in texts)
    assert len(english) == 7 and english == chinese


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
