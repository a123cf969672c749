"""Pellucid: GPT-3 as a system that you can run and see through.

    import pellucid

    model = pellucid.load()                                  # the embedded model, a directory, a run
    print(model.generate("Once upon a time").text)
    run = pellucid.train("book.txt", "runs/book", minutes=10)
    run = pellucid.finetune("examples.jsonl", "runs/tuned", model="runs/book")
    record = pellucid.xray(model, "Once upon a time")        # what the model does while it writes
    assert pellucid.verify(record, model).ok                 # every number of it, computed again

Names are imported when they are first used, so that `import pellucid` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from pellucid.engine.completion import Completion, Token
    from pellucid.errors import PellucidError
    from pellucid.finetuning.examples import Example
    from pellucid.finetuning.job import finetune
    from pellucid.generation.load import load
    from pellucid.generation.model import GPT
    from pellucid.generation.prompt import Prompt
    from pellucid.gpt.config import GPTConfig
    from pellucid.interpret.capture import xray
    from pellucid.interpret.verify.verify import verify
    from pellucid.record import Record
    from pellucid.record import open_record as open
    from pellucid.text.tokenizer import Tokenizer
    from pellucid.training.run import Run, train

__version__ = "0.1.0"

_HOME = {
    "load": "generation.load",
    "GPT": "generation.model",
    "GPTConfig": "gpt.config",
    "Completion": "engine.completion",
    "Token": "engine.completion",
    "Prompt": "generation.prompt",
    "Record": "record",
    "Tokenizer": "text.tokenizer",
    "Run": "training.run",
    "train": "training.run",
    "xray": "interpret.capture",
    "finetune": "finetuning.job",
    "Example": "finetuning.examples",
    "PellucidError": "errors",
    "verify": "interpret.verify.verify",
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
    "finetune",
    "load",
    "open",
    "train",
    "verify",
    "xray",
]


def __getattr__(name: str) -> Any:
    if name == "open":
        return import_module("pellucid.record").open_record
    if name not in _HOME:
        raise AttributeError(f"module 'pellucid' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"pellucid.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
