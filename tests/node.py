"""The page's code in node: a module of `studio/src` bundled, and a process of it that answers one line of JSON with another."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


STUDIO = Path(__file__).resolve().parents[1] / "studio"
LANGUAGES = STUDIO.parent / "src" / "pellucid" / "languages"
LOOP = """
import { createInterface } from "node:readline";
const code = await import(process.argv[1]);
const answer = (ANSWER)(code);
for await (const line of createInterface({ input: process.stdin })) {
  let found;
  try { found = await answer(JSON.parse(line)); } catch (error) { found = { error: String(error.message ?? error) }; }
  console.log(JSON.stringify(found) ?? "null");
}
"""


def require_node_packages() -> None:
    """Skips the test where node or the packages of `studio/` are not there."""
    if shutil.which("node") is None or not (STUDIO / "node_modules").is_dir():
        pytest.skip("node or studio/node_modules (npm ci) is not here; tools/studio.py --check installs and compares")


@contextmanager
def node_process(folder: Path, entry: str, answer: str, *options: str) -> Iterator[Callable[[Any], Any]]:
    """Starts node with a bundle.

    Args:
        folder: for the bundle. entry: what it exports, as TypeScript that stands in `studio/`.
        answer: a JavaScript function of what the bundle exports that gives a function from a question to its answer.
        options: of node.

    Yields:
        A function that asks; an error in there is {"error": message}.
    """
    require_node_packages()
    bundle, tables = folder / "code.mjs", folder / "tables.json"
    texts = {path.stem: json.loads(path.read_text("utf-8")) for path in LANGUAGES.glob("*.json")}
    tables.write_text(json.dumps(texts), "utf-8")
    esbuild = [STUDIO / "node_modules" / ".bin" / "esbuild", "--bundle", "--format=esm", f"--outfile={bundle}"]
    esbuild.append(f"--alias:pellucid:tables={tables}")
    subprocess.run(esbuild, cwd=STUDIO, input=entry, encoding="utf-8", check=True, capture_output=True)
    process = subprocess.Popen(
        ["node", *options, "--input-type=module", "--eval", LOOP.replace("ANSWER", answer), bundle.as_uri()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    questions, answers = process.stdin, process.stdout

    def ask(question: Any) -> Any:
        print(json.dumps(question), file=questions, flush=True)
        return json.loads(answers.readline())

    try:
        yield ask
    finally:
        questions.close()
        process.wait(30)
        answers.close()
