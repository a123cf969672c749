"""Programs that were written for the API, against a running service: openai of today and of 2020 to 2023,
lm-evaluation-harness, and schemathesis, which makes requests from the document.

They are in environments of their own, whose interpreters two variables name; without them the tests are skipped:

    python -m venv clients && clients/bin/pip install -c constraints.txt -e '.[service-test]'
    python -m venv old && old/bin/pip install openai==0.28.1
    PELLUCID_CLIENTS_PYTHON=clients/bin/python PELLUCID_OPENAI_2020_PYTHON=old/bin/python pytest -m long tests/serve
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cases import TIMES
from clients import HARNESS, OPENAI, OPENAI_2020
from models import lively
from service import complete, expected, named, service_of

import pellucid
from pellucid.evaluation.arithmetic import arithmetic_task
from pellucid.generation.text_generator import open_text_generator
from pellucid.serve.openai.server import Service
from pellucid.serve.openai.settings import ServiceSettings


pytestmark = pytest.mark.long
CLIENTS, OLD = "PELLUCID_CLIENTS_PYTHON", "PELLUCID_OPENAI_2020_PYTHON"
ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4  # nats: both compute in float32, in another order
ROUNDING = 1e-6  # of a sum over hundreds of tokens, which the harness keeps in float32: beyond 1,000 nats it has no finer steps
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONPATH": ""}


def python_of(variable: str, module: str) -> str:
    """The interpreter that a variable names, or this one, if it has a module; skips the test otherwise."""
    python = os.environ.get(variable, sys.executable)
    if subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode:
        pytest.skip(f"{module} is not installed: {variable} names a Python that has it")
    return python


def run(python: str, program: str, service: Service, asked: dict[str, Any], **environment: str) -> dict[str, Any]:
    """The JSON object that a program prints last."""
    words = [python, "-c", program, service.url, json.dumps(asked)]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=900, env=os.environ | OFFLINE | environment
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def service(tiny_run: Path) -> Iterator[Service]:
    with service_of(named(tiny_run, "org/tiny")) as served:
        yield served


BODY = {"model": "org/tiny", "prompt": ["the fox", "On day"], "seed": 3, "n": 2, "logprobs": 2, "max_tokens": 8, "echo": True}


def test_openai_of_today(service: Service, tiny_run: Path) -> None:
    found = run(python_of(CLIENTS, "openai"), OPENAI, service, BODY)
    wanted = expected(open_text_generator(tiny_run), BODY)
    texts = [choice["text"] for choice in wanted["choices"]]
    for way in ("sync", "async", "raw", "streamed_raw", "legacy", "azure"):
        assert [{name: one[name] for name in wanted["choices"][0]} for one in found[way]] == wanted["choices"], way
    assert found["stream"] == found["async_stream"] == texts and found["distinct"] == 1
    assert {name: found["usage"][name] for name in wanted["usage"]} == wanted["usage"]
    assert (found["version"], found["id"], found["nulls"]) == ("2020-10-01", True, 1)
    assert found["extra"] == complete(service, **BODY, top_k=1)["choices"][0]["text"]
    assert found["models"] == ["org/tiny"] and found["model"] == "org/tiny"
    (range_error, model_error, field_error) = found["refused"]
    assert range_error[:6] == ["BadRequestError", 400, "temperature", None, "invalid_request_error", True]
    assert "3 is greater than the maximum of 2 - 'temperature'" in range_error[6]
    assert model_error[:4] == ["NotFoundError", 404, "model", "model_not_found"]
    assert field_error[1] == 400 and "Unrecognized request argument supplied: messages" in field_error[6]


def test_openai_of_2020_to_2023(service: Service, tiny_run: Path) -> None:
    found = run(python_of(OLD, "openai"), OPENAI_2020, service, BODY)
    wanted = expected(open_text_generator(tiny_run), BODY)["choices"]
    assert found["model"] == found["engine"] == wanted
    assert found["stream"] == [choice["text"] for choice in wanted]
    assert found["engines"] == found["models"] == ["org/tiny"] and found["retrieved"] == "org/tiny"
    assert [error[:2] for error in found["errors"]] == [["InvalidRequestError", 400], ["InvalidRequestError", 404]]


TASKS = {
    "choices": """
task: choices
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_text: prompt
doc_to_choice: choices
doc_to_target: 0
target_delimiter: " "
metric_list: [{metric: acc}]
""",
    "rolling": """
task: rolling
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: text
metric_list: [{metric: bits_per_byte}]
""",
    "written": """
task: written
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_text: prompt
doc_to_target: answer
generation_kwargs: {until: ["nn", "q", "zz"], do_sample: false, max_gen_toks: 8}
metric_list: [{metric: exact_match}]
""",
}


def test_the_harness_scores_as_with_its_own_back_end(documents: list[pellucid.corpus.Document], tmp_path: Path) -> None:
    """Log-likelihood, rolling and generation, one by one, batched and at once, through the service's tokenizer."""
    python = python_of(CLIENTS, "lm_eval, aiohttp")
    config = pellucid.GPTConfig(vocab_size=300, n_ctx=96, n_layers=2, d_model=32, n_heads=2, pattern="dense")
    trained = pellucid.train(documents, tmp_path / "run", config=config, steps=3, batch_tokens=256, learning_rate=1e-2, seed=7)
    lively(pellucid.load(trained.path)).save(tmp_path / "model")
    queries = arithmetic_task("two_digit_addition").queries[:8]
    rows = {
        "choices": [{"prompt": one.prompt, "choices": [one.answers[0], f"{one.answers[0]}0", "é a fox"]} for one in queries],
        "rolling": [{"text": documents[0].text[:700]}, {"text": "the fox – naïve"}],
        "written": [{"prompt": one.prompt, "answer": one.answers[0]} for one in queries[:4]],
    }
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name, text in TASKS.items():
        data = tmp_path / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows[name]), encoding="utf-8")
        (folder / f"{name}.yaml").write_text(text.replace("DATA", str(data)), encoding="utf-8")
    with service_of(named(tmp_path / "model")) as service:
        asked = {
            "model": "tiny", "tasks": str(folder), "names": list(TASKS), "exported": str(tmp_path / "model"), "n_ctx": 96,
        }  # fmt: skip
        found = run(python, HARNESS, service, asked, OPENAI_API_KEY="none", HF_HOME=str(tmp_path / "hub"))
    for way in ("api", "batched", "concurrent"):
        for task in ("choices", "rolling"):
            compare(found[way][task], found["hf"][task])
        assert found[way]["written"] == found["hf"]["written"]
    lengths = {len(text) for _, answers, _ in found["hf"]["written"] for (text,) in answers}
    assert lengths == {1, 8}  # one is stopped by two tokens, the others by their length


def compare(ours: Any, theirs: Any) -> None:
    """Equal decisions, and log-likelihoods within the tolerance; the harness writes both as text."""
    if isinstance(ours, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            compare(one, other)
    elif isinstance(ours, str) and re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", ours):
        assert float(ours) == pytest.approx(float(theirs), abs=TOLERANCE, rel=ROUNDING)
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, abs=TOLERANCE, rel=ROUNDING)
    else:
        assert ours == theirs


@pytest.mark.parametrize("keys", [False, True] if TIMES > 1 else [True])
def test_schemathesis_finds_no_status_that_the_document_lacks(tiny_run: Path, tmp_path: Path, keys: bool) -> None:
    from pellucid.serve.http.keys import add_key, read_keys

    python = python_of(CLIENTS, "schemathesis")
    path = tmp_path / "keys.json"
    key = add_key(path, "tester") if keys else "none"
    settings = ServiceSettings(drain_seconds=0, keys_needed=keys)
    count = str((4 if keys else 12) * TIMES)  # requests that are made for an operation
    # A prompt that is too long, and n above best_of, are right by the schema alone: JSON Schema cannot say so.
    excluded = "positive_data_acceptance"
    with service_of(named(tiny_run), keys=read_keys(path) if keys else None, settings=settings, studio=False) as service:
        command = [
            python, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json", "-n", count, "--phases",
            "examples,coverage,fuzzing", "--exclude-checks", excluded, "-H", f"Authorization: Bearer {key}", "--seed", "1",
            "--no-color",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280 * TIMES, cwd=tmp_path)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert complete(service) if not keys else True


BLOCK = re.compile(r"^<!-- test: serve -->\n+```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_pages_block_works_beside_the_command() -> None:
    python = python_of(CLIENTS, "openai")
    (block,) = BLOCK.findall((ROOT / "docs/serving.md").read_text(encoding="utf-8"))
    with service_of("default") as service:
        done = subprocess.run(
            [python, "-c", block.replace("127.0.0.1:8000", f"127.0.0.1:{service.port}")], capture_output=True, text=True,
            check=False, timeout=100,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    drawn = pellucid.load().generate("The king said", max_tokens=12, seed=7)
    assert done.stdout.startswith((drawn.text, f"The king said{drawn.text}"))
    assert repr(drawn.logprobs[0])[:8] in done.stdout
