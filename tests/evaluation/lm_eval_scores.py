"""Run as a script by a Python that has lm-eval: its log-likelihoods and metrics of the same prompts, and of a text, as JSON.

Arguments: a model directory, a file of lines {"text", "choices", "label"}, a file of one line {"text"}, the file to write.
"""

import json
import sys
from typing import Any

from lm_eval import simple_evaluate


def main(model: str, prompts: str, text: str, out: str) -> None:
    """Evaluates, and writes {"logprobs": [[one a choice] a line], "metrics": {...}, "text": {...}}."""
    common: dict[str, Any] = {"dataset_path": "json", "test_split": "test", "num_fewshot": 0, "target_delimiter": " "}
    choice = common | {
        "task": "prompts", "output_type": "multiple_choice", "dataset_kwargs": {"data_files": {"test": prompts}},
        "doc_to_text": "{{text}}", "doc_to_choice": "{{choices}}", "doc_to_target": "label",
        "metric_list": [{"metric": name} for name in ("acc", "acc_bytes")],
    }  # fmt: skip
    rolling = common | {
        "task": "text", "output_type": "loglikelihood_rolling", "dataset_kwargs": {"data_files": {"test": text}},
        "doc_to_text": "", "doc_to_target": "{{text}}", "metric_list": [{"metric": "bits_per_byte"}],
    }  # fmt: skip
    found = simple_evaluate(
        model="hf", model_args={"pretrained": model, "dtype": "float32"}, tasks=[choice, rolling], device="cpu",
        log_samples=True, batch_size=1,
    )  # fmt: skip
    samples = sorted(found["samples"]["prompts"], key=lambda sample: sample["doc_id"])
    logprobs = [[float(pair[0]) for pair in sample["filtered_resps"]] for sample in samples]
    results = {name: {key.split(",")[0]: value for key, value in each.items()} for name, each in found["results"].items()}
    with open(out, "w", encoding="utf-8") as file:
        json.dump({"logprobs": logprobs, "metrics": results["prompts"], "text": results["text"]}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
