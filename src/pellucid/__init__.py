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
    from pellucid.errors import PellucidError
    from pellucid.generate.completion import Completion, Token
    from pellucid.generate.load import load
    from pellucid.generate.model import GPT
    from pellucid.generate.prompt import Prompt
    from pellucid.gpt.config import GPTConfig
    from pellucid.record import Record
    from pellucid.record import open_record as open
    from pellucid.text.tokenizer import Tokenizer
    from pellucid.train.run import Run, train
    from pellucid.tune.examples import Example
    from pellucid.tune.job import finetune
    from pellucid.xray.capture import xray
    from pellucid.xray.verify import verify

__version__ = "0.1.0"

_HOME = {
    "load": "generate.load",
    "GPT": "generate.model",
    "GPTConfig": "gpt.config",
    "Completion": "generate.completion",
    "Token": "generate.completion",
    "Prompt": "generate.prompt",
    "Record": "record",
    "Tokenizer": "text.tokenizer",
    "Run": "train.run",
    "finetune": "tune.job",
    "Example": "tune.examples",
    "PellucidError": "errors",
    "verify": "xray.verify",
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
    if name in ("train", "xray"):  # rooms that can be called; importing one also binds its name here
        return import_module(f"pellucid.{name}")
    if name == "open":
        return import_module("pellucid.record").open_record
    if name not in _HOME:
        raise AttributeError(f"module 'pellucid' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"pellucid.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
