"""The same prompts and the same text by lm-eval (EleutherAI's harness, 0.4.13) on the exported model.

lm-eval lives in an environment of its own, whose Python the variable names; without one the test is skipped.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from models import lively

import pellucid
from pellucid.evaluation.arithmetic import arithmetic_task
from pellucid.evaluation.task import Query, Task


VARIABLE = "PELLUCID_LM_EVAL_PYTHON"
SCRIPT = Path(__file__).with_name("lm_eval_scores.py")
TOLERANCE = 1e-4  # nats: both compute in float32, in another order


@pytest.mark.long
def test_lm_eval_finds_the_same(documents: list[pellucid.corpus.Document], tmp_path: Path) -> None:
    python = os.environ.get(VARIABLE, sys.executable)
    if subprocess.run([python, "-c", "import lm_eval, transformers"], capture_output=True, check=False).returncode:
        pytest.skip(f"lm-eval is not installed: {VARIABLE} names a Python that has it")
    config = pellucid.GPTConfig(vocab_size=300, n_ctx=256, n_layers=2, d_model=32, n_heads=2, pattern="dense")
    out = tmp_path / "run"
    run = pellucid.train(documents, out, config=config, steps=3, batch_tokens=256, learning_rate=1e-2, seed=7)
    model = lively(pellucid.load(run.path))
    model.save(tmp_path / "model")
    sums = [
        Query(prompt=query.prompt, answers=query.answers, choices=(query.answers[0], f"{query.answers[0]}0", "é, a fox"))
        for query in arithmetic_task("two_digit_addition").queries[:25]
    ]
    task = Task(name="sums", description="Add:", format="qa", queries=sums[:15], examples=sums[15:])
    text = tmp_path / "text.txt"
    text.write_text(documents[0].text[:3_000], encoding="utf-8")
    scores = pellucid.evaluate(model, [task, text], shots=(0, 3), orders=2, out=tmp_path / "e")
    lines = [json.loads(line) for line in (tmp_path / "e" / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    samples = [line for line in lines if line["task"] == "sums"]
    for name, rows in (
        ("prompts", [{"text": one["prompt"], "choices": one["choices"], "label": 0} for one in samples]),
        ("text", [{"text": text.read_text(encoding="utf-8")}]),
    ):  # fmt: skip
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = [python, SCRIPT, tmp_path / "model", tmp_path / "prompts.jsonl", tmp_path / "text.jsonl", tmp_path / "found.json"]
    hub = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, env=os.environ | hub)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert len(samples) == len(found["logprobs"]) == 45
    for sample, logprobs in zip(samples, found["logprobs"], strict=True):
        assert sample["logprobs"] == pytest.approx(logprobs, abs=TOLERANCE)
    for metric, theirs in (("accuracy", "acc"), ("accuracy_byte", "acc_bytes")):
        ours = [sample["metrics"][metric] for sample in samples]
        assert sum(ours) / len(ours) == pytest.approx(found["metrics"][theirs], abs=TOLERANCE)
    assert scores.texts[0].bits_per_byte == pytest.approx(found["text"]["bits_per_byte"], abs=TOLERANCE)
