"""Every public function with values of wrong types: it takes them, or refuses them by the argument's name."""

import inspect
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import TIMES, cases
from hypothesis import given
from hypothesis import strategies as st

import pellucid
from pellucid.arguments import number, path_of, shown, whole_number
from pellucid.errors import PellucidError
from pellucid.text.bytes_to_characters import BYTE_ORDER
from pellucid.text.token_table import TokenTable


WRONG: dict[str, Any] = {
    "5": 5, "-1": -1, "1.5": 1.5, "None": None, "True": True, "bytes": b"ab", "list": [1.5, "a"], "[]": [], "dict": {"a": 1},
    "huge": 10**400, "endless": 10**5000, "nan": math.nan, "inf": math.inf, "words": "some words", "''": "", "NUL": "a\0b",
    "object": object(), "array": np.array([[1, 2], [3, 4]]), "tensor": torch.ones(2), "long": "word " * 2000,
}  # fmt: skip
# Objects of the package's own, and functions that are called: nothing here checks them.
UNCHECKED = {
    "self", "observers", "stop", "on_token", "on_chunk", "make_recorder", "write_record", "cache", "tap", "fields", "request",
}  # fmt: skip
# Words by which a message names the argument, where it is not the argument's own name.
WORDS = {
    "name": ("figure", "preset", "record"), "ids": ("token id",), "token": ("token id",), "t": ("picture at", "t must"),
    "query": ("examples",), "examples": ("example",), "source": ("record", "model"), "draft": ("no such directory",),
    "path": ("no run in", "record", "picture"), "prompt": ("text has",), "completion": ("text has",), "width": (" wide",),
    "resume": ("no run in",), "optimizer_settings": ("optimizer settings",), "text": ("film",), "directory": ("no model in",),
}  # fmt: skip
CONFIG = pellucid.GPTConfig(vocab_size=257, n_ctx=16, n_layers=1, d_model=8, n_heads=2)
TABLE = TokenTable(tuple(bytes([b]) for b in BYTE_ORDER))
TOKENIZER = pellucid.Tokenizer([bytes([b]) for b in BYTE_ORDER])


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """By name: each public function and method, with arguments that it takes."""
    folder = tmp_path_factory.mktemp("arguments")
    model = pellucid.GPT(CONFIG, tokenizer=TOKENIZER)
    record = pellucid.xray(model, [1, 2], max_tokens=2, seed=1)
    few = {"max_tokens": 2, "seed": 1, "prompt": [1, 2]}
    found: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "load": (pellucid.load, {"source": folder / "none"}),
        "open": (pellucid.open, {"source": folder / "none"}),
        "open_run": (pellucid.open_run, {"path": folder / "none"}),
        "train": (pellucid.train, {"corpus": folder / "none", "out": folder / "run"}),
        "finetune": (pellucid.finetune, {"examples": folder / "none.jsonl", "out": folder / "run", "model": folder / "none"}),
        "xray": (pellucid.xray, {"model": model, **few}),
        "prime": (pellucid.prime, {"model": model, "prompt": pellucid.Prompt("", [], "a"), "answer": "b"}),
        "evaluate": (pellucid.evaluate, {"model": model, "tasks": "two_digit_addition", "queries": 1, "shots": 0}),
        "verify": (pellucid.verify, {"record": record, "model": model}),
        "Example": (pellucid.Example, {"prompt": "a", "completion": "b"}),
        "Prompt": (pellucid.Prompt, {"task": "a", "examples": [("a", "b")], "query": "c"}),
        "GPT": (pellucid.GPT, {"config": CONFIG}),
        "GPTConfig": (pellucid.GPTConfig, {"n_layers": 1, "d_model": 8, "n_heads": 2}),
        "one_parameter": (pellucid.one_parameter, {"points": [(1, 2), (2, 3), (3, 5)]}),
    }
    prompt = pellucid.Prompt("a", [("a", "b")], "c")
    film = record.figure("tokens", width=400)
    good = {
        "generate": few, "stream": few, "beam": {"max_tokens": 2, "prompt": [1]}, "new_request": few, "new_sequence": few,
        "score": {"prompt": [1, 2]}, "save": {"directory": folder / "model"}, "preset": {"name": "tiny"},
        "entry": {"name": "generation/prompt_ids"},
        "flops": {"tokens": 4}, "kv_bytes": {"tokens": 4}, "attention_bytes": {"tokens": 4}, "figure": {"name": "tokens"},
        "stored": {"name": "generation/prompt_ids"}, "stored_bytes": {"name": "generation/prompt_ids"},
        "drafter": {"draft": None},
        "__getitem__": {"name": "generation/prompt_ids"}, "fitted": {"model": model, "max_tokens": 2}, "at": {"t": 0.0},
        "answered": {"model": model, "answer": "a"}, "shots": {"count": 1},
        "forward": {"ids": torch.tensor([[1, 2]])}, "verify": {"model": model},
        "can_cut": {"before": "a", "after": "b"}, "from_table": {"table": TABLE},
        "encode": {"text": "a"}, "decode": {"ids": [1]}, "token_bytes": {"token": 1}, "encode_prompt": {"text": "a"},
        "load": {"path": folder / "none"}, "caption_at": {"t": 0.0}, "from_json": {"text": film.to_json()},
        "open": {"source": b""},
    }  # fmt: skip
    save = {"Record": {"path": folder / "a.pellucid"}, "Film": {"path": folder / "a.svg"}, "Tokenizer": {"path": folder}}
    left_out = {
        "new_group", "run", "make_runner", "detach", "close", "to_bytes", "copy", "segment_at", "from_dict", "to_dict",
        "encode_batch", "renumbered", "stills", "changes", "ranked_tokens", "matrices", "parameters", "block_parameters",
        "require_tokenizer", "frames", "replace", "keys", "items", "values", "get", "compressor", "hidden", "logits",
        "read_out", "init_weights",
    }  # fmt: skip
    owners = {"GPT": model, "GPTConfig": CONFIG, "Record": record, "Prompt": prompt, "Film": film, "Tokenizer": TOKENIZER}
    for label, owner in owners.items():
        for name, function in _methods(owner):
            if name not in left_out:
                found[f"{label}.{name}"] = (function, save[label] if name == "save" and label in save else good.get(name, {}))
    return found


def _methods(owner: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in dir(type(owner)):
        of_torch = hasattr(torch.nn.Module, name) and name not in ("forward", "requires_grad_")
        if (name.startswith("_") and name != "__getitem__") or of_torch or isinstance(getattr(type(owner), name), property):
            continue
        function = getattr(owner, name)
        if inspect.isroutine(function):
            yield name, function


def called(function: Callable[..., Any], arguments: dict[str, Any]) -> str | None:
    """None, or what it was refused with; other errors are passed on."""
    try:
        made = function(**arguments)
        if inspect.isgenerator(made):
            list(made)
        return None
    except (ValueError, TypeError) as error:
        return str(error)


def test_every_public_function_takes_a_wrong_value_or_names_it(
    functions: dict[str, tuple[Callable[..., Any], dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    public = {name for name in pellucid.__all__ if callable(getattr(pellucid, name))}
    made_by_others = {"Completion", "Token", "Record", "Run", "PellucidError", "Tokenizer"}
    assert public - made_by_others == {name for name in functions if "." not in name}
    faults, calls = [], 0
    for label, (function, arguments) in functions.items():
        usual = called(function, arguments)
        for name, parameter in inspect.signature(function).parameters.items():
            if name in UNCHECKED or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                continue
            for what in random.Random(f"{label} {name}").sample(list(WRONG), min(4 * TIMES, len(WRONG))):
                value, calls = WRONG[what], calls + 1
                try:
                    said = called(function, arguments | {name: value})
                except Exception as error:
                    faults.append(f"{label}({name}={what}): {type(error).__name__}: {error}"[:160])
                    continue
                known = (name, *WORDS.get(name, ()))
                if said is not None and said != usual and not any(word in said for word in known):
                    faults.append(f"{label}({name}={what}) says {said}"[:160])
                if said is not None and "\n" in said:
                    faults.append(f"{label}({name}={what}) says it in several lines")
    assert not faults, "\n".join(["", *faults])
    assert calls > 400


numbers = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.integers(-9, 9).map(np.int8), st.floats(width=32).map(np.float32), st.none(),
    st.text(), st.fractions(),
)  # fmt: skip


@cases(200)
@given(value=numbers, least=st.integers(-9, 9), span=st.integers(0, 20))
def test_numbers_are_taken_or_refused_as_they_are(value: Any, least: int, span: int) -> None:
    whole = not isinstance(value, bool) and isinstance(value, int | np.integer) and least <= int(value) <= least + span
    real = isinstance(value, int | float | np.number) or hasattr(value, "numerator")
    finite = real and not isinstance(value, bool) and math.isfinite(value) and least <= value <= least + span
    for function, right in ((whole_number, whole), (number, finite)):
        if right:
            assert function("x", value, least, least + span) == (int if function is whole_number else float)(value)
        else:
            with pytest.raises(PellucidError, match=r"^x must be a "):
                function("x", value, least, least + span)


@cases(100)
@given(text=st.one_of(st.text(), st.text(min_size=100), st.text("a/", min_size=4000, max_size=5000)))
def test_a_path_is_one_that_the_system_takes(text: str) -> None:
    try:
        path = path_of("source", text)
    except PellucidError as error:
        assert str(error).startswith("source must be a path") and len(str(error)) < 1000
    else:
        assert path == Path(text) and text
        path.exists()  # raises nothing


def test_what_cannot_be_printed_is_described() -> None:
    assert shown(10**5000) == "a value of type int that cannot be printed"
    assert len(shown("x" * 10**6)) < 200 and "\n" not in shown(np.zeros((9, 9)))
