"""Fine-tuning through the real clients, from upload to answer; the pages' blocks as typed; the document, attacked.

The clients are in environments of their own: see test_completions_clients.py.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cases import TIMES
from clients import FINE_TUNES, FINE_TUNING
from test_completions_clients import CLIENTS, OLD, ROOT, python_of, run
from tuning import EXAMPLES, Caller, jsonl, new_keys, tuning_of

import pellucid
from pellucid.cli import main
from pellucid.finetuning import number_words, write_examples
from pellucid.serve.openai.models import EngineSettings, open_models
from pellucid.serve.openai.server import Service
from pellucid.serve.openai.settings import ServiceSettings


pytestmark = pytest.mark.long
SUMS = [(f"{a} plus {b} ->", f" {a + b}\n") for a in range(15) for b in range(14)]
# A file of each fault: its rows, the line that is named, and words of the problem and of its mend.
BAD: dict[str, tuple[bytes, str, str]] = {
    "no JSON": (jsonl(EXAMPLES) + b"{oh no}\n", "line 31", "it should read"),
    "keys": (jsonl(EXAMPLES) + b'{"prompt": "a", "reply": " b"}\n', "line 31", "it should read"),
    "no text": (jsonl(EXAMPLES) + b'{"prompt": "a", "completion": 3}\n', "line 31", "must be text"),
    "further keys": (jsonl(EXAMPLES) + b'{"prompt": "a ->", "completion": " b\\n", "id": 3}\n', "31", "left out"),
    "empty": (jsonl([*EXAMPLES, ("a ->", "")]), "31", "left out"),
    "duplicates": (jsonl([*EXAMPLES, EXAMPLES[3]]), "31", "left out"),
    "long": (jsonl([*EXAMPLES, ("x" * 10_001 + " ->", " a\n")]), "31", "left out"),
    "upper case": (jsonl([(f"WHAT IS {p.upper()}", c) for p, c in EXAMPLES]), "1, 2, 3", "lower case"),
    "separator": (jsonl([*EXAMPLES, ("none", " a\n")]), "31", "is put there"),
    "separator inside": (jsonl([*EXAMPLES, ("a -> b ->", " a\n")]), "31", "inside the prompt"),
    "prefix": (jsonl([(p, f" the answer is {n} {c}") for n, (p, c) in enumerate(EXAMPLES)]), "1, 2, 3", "taken away"),
    "ending": (jsonl([*((p, f" {n} words") for n, (p, _) in enumerate(EXAMPLES)), ("z ->", " at all")]), "31", "is put there"),
    "space": (jsonl([*EXAMPLES, ("a ->", "word\n")]), "31", "a space is put there"),
}  # fmt: skip


@pytest.fixture
def bad(tmp_path: Path) -> dict[str, str]:
    found = {}
    for name, (content, _, _) in BAD.items():
        path = tmp_path / f"{name.replace(' ', '-')}.jsonl"
        path.write_bytes(content)
        found[name] = str(path)
    return found


def test_every_bad_file_is_told_by_the_shell(bad: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    for name, path in bad.items():
        _, line, words = BAD[name]
        main(["finetune", path, "--check", "-m", "small"])
        told = "".join(capfd.readouterr())
        assert line in told and words in told, (name, told)


def check_bad(found: dict[str, Any]) -> None:
    """Every bad file was told by its line and its mend, whether it was refused, cannot be trained on, or can be mended."""
    for name, (_, line, words) in BAD.items():
        told = found[name]
        text = str(told.get("refused") or told["details"])
        assert line in text and words in text, (name, told)
        assert ("refused" in told) == (name in ("no JSON", "keys", "no text"))
        if name == "empty":
            assert told["status"] == "error" and "[line 31] -> left out" in told["job"][-1]


def served(run_or_name: str, data: Path, keys: Any) -> Service:
    settings = ServiceSettings(drain_seconds=0, keys_needed=True)
    return Service(
        open_models([run_or_name], EngineSettings()), port=0, data=data, keys=keys, settings=settings, studio=False
    )  # fmt: skip


def test_openai_of_today_from_upload_to_answer(tmp_path: Path, bad: dict[str, str]) -> None:
    python = python_of(CLIENTS, "openai")
    keys, (key,) = new_keys(tmp_path, "ada")
    (tmp_path / "sums.jsonl").write_bytes(jsonl(SUMS))
    asked = {
        "key": key,
        "model": "small",
        "file": str(tmp_path / "sums.jsonl"),
        "epochs": 3,
        "prompt": "3 plus 4 ->",
        "bad": bad,
    }
    with served("small=small", tmp_path / "data", keys) as service:
        found = run(python, FINE_TUNING, service, asked)
    check_bad(found["bad"])
    assert found["status"] == "succeeded", found["error"]
    assert re.fullmatch(r" \d+", found["answer"])
    assert found["file"] in found["files"] and len(set(found["files"])) == len(found["files"])
    assert found["retrieved"] == found["file"] and found["content"]
    assert found["jobs"] == found["mine"][::-1] and found["filtered"] == found["mine"][:1] and found["cancelled"] == "cancelled"
    assert found["events"][0] == "The job has successfully completed" and "Created" in found["events"][-1]
    assert len(found["events"]) == len(set(found["events"])) and any("training loss=" in one for one in found["events"])
    assert found["checkpoints"] == sorted(found["checkpoints"], reverse=True) and found["checkpoints"]
    assert found["results"][0].startswith("step,train_loss") and found["model"] in found["models"]
    statuses = [one[1] for one in found["refused"]]
    assert statuses == [404, 404, 404, 400, 404, 400] and found["refused"][4][2:4] == ["model", "model_not_found"]
    assert found["deleted"] == [True, True] and found["gone"][1] == 404


def test_openai_of_2020_to_2023_from_upload_to_answer(tmp_path: Path, bad: dict[str, str]) -> None:
    python = python_of(OLD, "openai")
    keys, (key,) = new_keys(tmp_path, "ada")
    (tmp_path / "sums.jsonl").write_bytes(jsonl(SUMS))
    asked = {
        "key": key,
        "model": "small",
        "file": str(tmp_path / "sums.jsonl"),
        "epochs": 2,
        "prompt": "3 plus 4 ->",
        "bad": bad,
    }
    with served("small=small", tmp_path / "data", keys) as service:
        found = run(python, FINE_TUNES, service, asked)
    check_bad(found["bad"])
    assert found["status"] == "succeeded"
    assert re.fullmatch(r" \d+", found["answer"])
    assert found["streamed"] == found["events"] and found["events"][-1] == "The job has successfully completed"
    assert found["jobs"] == found["mine"] and found["cancelled"] == "cancelled" and found["training"] == [found["file"]]
    assert found["file"] in found["files"] and found["content"] and found["results"].startswith("step,train_loss")
    assert found["model"].startswith("small:ft-ada:sums-") and found["deleted"] == [True, True]


@pytest.mark.parametrize("keys", [False, True] if TIMES > 1 else [False])
def test_schemathesis_finds_no_status_that_the_document_lacks(tiny_run: Path, tmp_path: Path, keys: bool) -> None:
    python = python_of(CLIENTS, "schemathesis")
    ring, (key,) = new_keys(tmp_path, "tester")
    excluded = "positive_data_acceptance"  # no example file is drawn by chance, and no id of one
    with tuning_of(tiny_run, tmp_path / "data", keys=ring if keys else None, at_once=0) as service:
        file = Caller(service, key).upload()["id"]
        Caller(service, key).job(file)
        command = [
            python, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json", "-n", "10", "--phases",
            "examples,coverage,fuzzing", "--include-path-regex", "/v1/(files|fine|models)", "--exclude-checks", excluded, "-H",
            f"Authorization: Bearer {key}", "--seed", "1", "--no-color",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280, cwd=tmp_path)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert Caller(service, key).get(f"/v1/files/{file}")["id"] == file


BLOCK = re.compile(r"^<!-- test: fine-tune -->\n+```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    (page, block) for page in ("README.md", "docs/serving.md") for block in BLOCK.findall((ROOT / page).read_text("utf-8"))
]


def test_the_pages_have_a_block_each() -> None:
    assert [page for page, _ in BLOCKS] == ["README.md", "docs/serving.md"]


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[page for page, _ in BLOCKS])
def test_the_pages_blocks_work_as_typed(page: str, block: str, tmp_path: Path) -> None:
    python = python_of(CLIENTS, "openai")
    (tmp_path / "examples.jsonl").write_bytes(jsonl(SUMS[:60]))
    write_examples(number_words(), tmp_path / "numbers.jsonl")  # as an earlier block of the README does
    models = open_models(["default=small"], EngineSettings())  # the smaller one: it takes a third of the time
    with Service(models, port=0, settings=ServiceSettings(drain_seconds=0), data=tmp_path / "service") as service:
        typed = block.replace("127.0.0.1:8000", f"127.0.0.1:{service.port}")
        done = subprocess.run([python, "-c", typed], capture_output=True, text=True, check=False, timeout=400, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "The job has successfully completed" in done.stdout and done.stdout.strip().splitlines()[-1]
    if page == "README.md":  # its block begins with a completion
        drawn = pellucid.load("small").generate("The king said", max_tokens=16, seed=7)
        assert done.stdout.startswith(f"The king said{drawn.text} [None, ") and repr(drawn.logprobs[0])[:8] in done.stdout
