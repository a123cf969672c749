"""Generation beside `transformers` and llama.cpp: GPT-2's 124M shape with random weights, exported to each by `convert`'s code.

Everyone is a process of its own, reads the same token ids and takes the likeliest token each time. `transformers` runs its
`generate`, in bfloat16 where the CPU multiplies it and else in float32; llama.cpp evaluates token by token through
llama-cpp-python, with as many threads as there are cores. Reading the prompt and writing are timed apart: tokens a second are
those after the first. The share of equal tokens is printed, for random weights have near ties that rounding decides.
"""

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pellucid.bench.attention import peak_bytes
from pellucid.bench.compare import Comparison, Rounds, in_turn, less_is_better
from pellucid.bench.worker import Work, Worker, WorkerDied
from pellucid.errors import PellucidError


if TYPE_CHECKING:
    from pellucid.gpt.config import GPTConfig

ABOUT = "tokens a second: one stream and 32, against transformers and llama.cpp, on the same weights"
PRESET, NAME = "gpt2", "gpt2-124m"
SMALLEST = 50257  # vocabulary that the prompts' ids are taken from
READ, WRITTEN = 128, 32  # tokens of the prompt and of the answer; one stream
STREAMS, READ_BY_MANY, WRITTEN_BY_MANY = 32, 16, 16
LONGEST = 512  # tokens of a prompt that are read at once, by ours and by llama.cpp
# llama.cpp's files by the weights that ours are compared with: equal bits, or as equal as it has.
GGUF = {"float32": "F32", "bf16": "F16", "int8": "Q8_0"}
Maker = tuple[str, dict[str, Any]]  # a function of this module that makes a worker's work, and its arguments
KERNEL = {"float32": "float32", "bf16": "bfloat16", "int8": "int8"}


def comparisons(rounds: int) -> Sequence[Comparison]:
    """`generate/gpt2-124m/{float32,bf16,int8}/{one-stream,32-streams}`; ours by the kernel and by PyTorch, each peer."""
    with tempfile.TemporaryDirectory() as folder:
        files = written(Path(folder))
        found = []
        for bits in GGUF:
            found += one_stream(bits, files, rounds)
        return [*found, *many_streams(files, rounds)]


def written(folder: Path, config: "GPTConfig | None" = None) -> dict[str, str]:
    """The same random model for everybody: file names by what reads them. None: the shape of `PRESET`, with its tokenizer."""
    from pellucid.formats import gguf
    from pellucid.generate.model import GPT
    from pellucid.gpt.config import GPTConfig
    from pellucid.text.r50k import r50k

    shape = config or GPTConfig.preset(PRESET)
    model = GPT(shape, tokenizer=None if config else r50k(), seed=1).eval()
    model.save(folder / "model")
    files = {"model": str(folder / "model")}
    if find_spec("llama_cpp") is not None and config is None:
        for kind in GGUF.values():
            gguf.write(model, model.tokenizer, folder / f"{kind}.gguf", kind=kind)
            files[kind] = str(folder / f"{kind}.gguf")
    return files


def one_stream(bits: str, files: dict[str, str], rounds: int) -> list[Comparison]:
    """One answer after one prompt."""
    request = {"prompt": prompt(READ), "tokens": WRITTEN, "streams": 1}
    name = f"generate/{NAME}/{bits}/one-stream"
    ours: dict[str, Maker] = {"kernel": ("ours", {"directory": files["model"], "kernel": "only", "weights": KERNEL[bits]})}
    if bits == "float32":
        ours["PyTorch"] = ("ours", {"directory": files["model"], "kernel": "off", "weights": None})
    peers: dict[str, Maker] = {}
    if GGUF[bits] in files:
        peers["llama.cpp"] = ("llama_cpp", {"file": files[GGUF[bits]]})
    if find_spec("transformers") is not None and bits != "int8":
        peers["transformers"] = ("transformers", {"directory": files["model"], "dtype": best_dtype()})
    return compared(name, ours, peers, request, rounds)


def many_streams(files: dict[str, str], rounds: int) -> list[Comparison]:
    """Thirty-two answers at once, to equal prompts, none of which shares its reading with another's answer."""
    request = {"prompt": prompt(READ_BY_MANY), "tokens": WRITTEN_BY_MANY, "streams": STREAMS}
    ours: dict[str, Maker] = {
        "PyTorch": ("ours", {"directory": files["model"], "kernel": "off", "weights": None}),
        **{bits: ("ours", {"directory": files["model"], "kernel": "only", "weights": KERNEL[bits]}) for bits in GGUF},
    }
    peers: dict[str, Maker] = {}
    if find_spec("transformers") is not None:
        peers["transformers"] = ("transformers", {"directory": files["model"], "dtype": best_dtype()})
    return compared(f"generate/{NAME}/{{}}/{STREAMS}-streams", ours, peers, request, rounds)


def best_dtype() -> str:
    """What PyTorch multiplies fastest here: bfloat16 where the CPU has it, else float32 (bfloat16 is emulated then)."""
    from pellucid.train.machine import compute_dtype

    return str(compute_dtype()).removeprefix("torch.")


def prompt(length: int) -> list[int]:
    """Token ids without a pattern, the same at each call."""
    return [(i * i * 7919 + 12345 * i) % SMALLEST for i in range(length)]


@dataclass(frozen=True, slots=True)
class Answers:
    """What the workers told: who computed, in words, and their answers of the rounds that count; or how a peer died."""

    paths: dict[str, str]
    rounds: dict[str, list[dict[str, Any]]]
    died: dict[str, str]


def answered(ours: dict[str, Maker], peers: dict[str, Maker], request: dict[str, Any], rounds: int) -> Answers:
    """Everybody answers the request in turn, round after round; a peer that dies is left out."""
    paths: dict[str, str] = {}
    answers: dict[str, list[dict[str, Any]]] = {}
    died: dict[str, str] = {}
    with ExitStack() as stack:
        started: dict[str, Worker] = {}
        for who, (function, arguments) in {**ours, **peers}.items():
            try:
                started[who] = stack.enter_context(Worker(__name__, function, arguments))
                paths[who], answers[who] = started[who].ready["path"], []
            except WorkerDied as death:
                died[who] = str(death)

        def work(who: str) -> float:
            try:
                if who not in died:
                    answers[who].append(started[who].ask(request))
            except WorkerDied as death:
                died[who] = str(death)
            return 0.0 if who in died else float(answers[who][-1]["seconds"])

        last = list(started)[-1]
        in_turn({who: partial(work, who) for who in started if who != last}, partial(work, last), rounds=rounds)
    for who in ours:
        if who in died:
            raise PellucidError(f"our own side failed: {died[who]}")
    return Answers(paths, {who: told[-rounds:] for who, told in answers.items() if who not in died}, died)


def compared(
    name: str, ours: dict[str, Maker], peers: dict[str, Maker], request: dict[str, Any], rounds: int
) -> list[Comparison]:
    """Each of ours against each peer: speed of writing, the first token, the slowest, memory, and how many tokens are equal."""
    told = answered(ours, peers, request, rounds)
    found = [gone(f"{name.format(peer)}", peer, why) for peer, why in told.died.items()]
    for who in ours:
        for peer in (p for p in peers if p in told.rounds):
            found += _rows(name.format(who), told, who, peer, request)
    return found


def gone(name: str, peer: str, why: str) -> Comparison:
    """The row of a peer that died."""
    return Comparison(name, 0.0, "-", f"{peer} {why}", 0.0, 0.0)


def _rows(name: str, told: Answers, who: str, peer: str, request: dict[str, Any]) -> list[Comparison]:
    own, theirs = told.rounds[who], told.rounds[peer]
    words = f"{told.paths[peer]}; ours: {told.paths[who]}"
    equal = sum(a == b for a, b in zip(own[-1]["ids"], theirs[-1]["ids"], strict=True)) / len(own[-1]["ids"])
    speed, first = rounds_of(told, who, peer, "seconds"), rounds_of(told, who, peer, "first")
    rows = [
        speed.rate(name, f"{words}; {equal:.0%} of the tokens equal", work=request["streams"] * (request["tokens"] - 1)),
        first.seconds(f"{name}/first-token", words),
        less_is_better(f"{name}/slowest-token", "s", words, *(median(max(a["each"]) for a in side) for side in (own, theirs))),
    ]
    if own[-1]["peak"] and theirs[-1]["peak"]:
        rows.append(less_is_better(f"{name}/peak_memory", "MB", words, own[-1]["peak"] / 1e6, theirs[-1]["peak"] / 1e6))
    return rows


def rounds_of(told: Answers, who: str, peer: str, what: str) -> Rounds:
    """Seconds of one thing, round by round."""
    return Rounds(tuple(a[what] for a in told.rounds[who]), tuple(a[what] for a in told.rounds[peer]))


def _told(times: list[float], began: float, ids: list[int]) -> dict[str, Any]:
    """An answer of a worker: when each token was there."""
    each = [b - a for a, b in pairwise(times)]
    return {"first": times[0] - began, "seconds": times[-1] - times[0], "each": each, "ids": ids, "peak": peak_bytes()}


def ours(directory: str, kernel: str, weights: str | None) -> tuple[Work, dict[str, Any]]:
    """Makes our side, in a worker: requests that enter an engine together."""
    from pellucid.generate.engine import Engine
    from pellucid.generate.sampling import SamplingOptions
    from pellucid.generate.writer import open_writer

    # No token ends an answer, as with the peers; nothing that was read before is read again.
    runner = open_writer(directory, kernel=kernel, weights=weights).runner  # type: ignore[arg-type]
    engine = Engine(runner, tokenizer=None, end_of_text=-1, chunk=LONGEST, prefix_cache=False)

    def work(request: dict[str, Any]) -> dict[str, Any]:
        options = SamplingOptions(max_tokens=request["tokens"], temperature=0, seed=0)
        rows = [engine.submit(request["prompt"], replace(options, seed=i)) for i in range(request["streams"])]
        times, began = [], perf_counter()
        while not engine.idle:
            if engine.step():
                times.append(perf_counter())
        return _told(times, began, [token.id for token in rows[0].tokens])

    return work, {"path": f"Pellucid, {engine.runner.path}, {engine.runner.mode}"}


def transformers(directory: str, dtype: str) -> tuple[Work, dict[str, Any]]:
    """Makes the peer `transformers`, in a worker."""
    import torch
    import transformers as peer

    model: Any = peer.GPT2LMHeadModel.from_pretrained(directory, attn_implementation="sdpa", dtype=getattr(torch, dtype))
    model.requires_grad_(False).train(False)

    class Clock(peer.StoppingCriteria):
        """Looks at the clock after each token, and stops nothing."""

        def __init__(self) -> None:
            self.times: list[float] = []

        def __call__(self, input_ids: torch.Tensor, scores: Any, **others: Any) -> torch.Tensor:
            self.times.append(perf_counter())
            return torch.zeros(len(input_ids), dtype=torch.bool)

    def work(request: dict[str, Any]) -> dict[str, Any]:
        ids, clock = torch.tensor([request["prompt"]] * request["streams"]), Clock()
        began = perf_counter()
        with torch.inference_mode():
            written = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=request["tokens"], do_sample=False,
                eos_token_id=None, pad_token_id=0, stopping_criteria=peer.StoppingCriteriaList([clock]),
            )  # fmt: skip
        return _told(clock.times, began, written[0, ids.shape[1] :].tolist())

    return work, {"path": f"transformers {peer.__version__} {dtype}"}


def llama_cpp(file: str) -> tuple[Work, dict[str, Any]]:
    """Makes the peer llama.cpp, in a worker."""
    import numpy as np

    peer = import_module("llama_cpp")

    threads = os.cpu_count() or 1
    model: Any = peer.Llama(file, n_ctx=1024, n_batch=LONGEST, n_threads=threads, n_threads_batch=threads, verbose=False)

    def work(request: dict[str, Any]) -> dict[str, Any]:
        model.reset()
        ids, times, began = [], [], perf_counter()
        some = request["prompt"]
        for _ in range(request["tokens"]):
            model.eval(some)
            ids.append(int(np.argmax(np.ctypeslib.as_array(model._ctx.get_logits(), shape=(model.n_vocab(),)))))
            times.append(perf_counter())
            some = ids[-1:]
        return _told(times, began, ids)

    return work, {"path": f"llama.cpp ({peer.__version__}) {Path(file).stem}"}
