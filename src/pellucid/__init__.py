"""Pellucid: GPT-3 as a system that you can run and see through.

    import pellucid

    model = pellucid.load()                                  # the embedded model, a directory, a run
    print(model.generate("Once upon a time").text)
    run = pellucid.train("book.txt", "runs/book", minutes=10)
    run = pellucid.finetune("examples.jsonl", "runs/tuned", model="runs/book")
    record = pellucid.xray(model, "Once upon a time")        # a generation, with what the model computed inside
    assert pellucid.verify(record, model).ok                 # every derived number recomputed and compared
    record.figure("xray").save("xray.gif")
    scores = pellucid.evaluate(model, "two_digit_addition", shots=(0, 1, 8))

Names are imported on first use, so that `import pellucid` itself imports neither torch nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pellucid.errors import NO_TORCH, PellucidError
from pellucid.version import __version__


if TYPE_CHECKING:
    from pellucid.api.inspection import prime, verify, xray
    from pellucid.api.one_parameter import one_parameter
    from pellucid.api.records import Record, open
    from pellucid.api.runs import Run, finetune, open_run, train
    from pellucid.engine.completion import Completion, Token
    from pellucid.evaluation.evaluate import evaluate
    from pellucid.finetuning.examples import Example
    from pellucid.generation.load import load
    from pellucid.generation.model import GPT
    from pellucid.generation.prompt import Prompt
    from pellucid.gpt.config import GPTConfig
    from pellucid.text.tokenizer import Tokenizer

_MODULES = {
    "load": "generation.load",
    "GPT": "generation.model",
    "GPTConfig": "gpt.config",
    "Completion": "engine.completion",
    "Token": "engine.completion",
    "Prompt": "generation.prompt",
    "Tokenizer": "text.tokenizer",
    "Example": "finetuning.examples",
    "Record": "api.records",
    "open": "api.records",
    "xray": "api.inspection",
    "prime": "api.inspection",
    "evaluate": "evaluation.evaluate",
    "verify": "api.inspection",
    "one_parameter": "api.one_parameter",
    "Run": "api.runs",
    "train": "api.runs",
    "finetune": "api.runs",
    "open_run": "api.runs",
}

__all__ = [
    "GPT",
    "Completion",
    "Example",
    "GPTConfig",
    "PellucidError",
    "Prompt",
    "Record",
    "Run",
    "Token",
    "Tokenizer",
    "__version__",
    "evaluate",
    "finetune",
    "load",
    "one_parameter",
    "open",
    "open_run",
    "prime",
    "train",
    "verify",
    "xray",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'pellucid' has no attribute {name!r}")
    try:
        module = import_module(f"pellucid.{_MODULES[name]}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise PellucidError(f"pellucid.{name} {NO_TORCH}") from None
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
