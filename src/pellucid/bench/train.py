"""Training steps against `transformers`: the same shape, weights, batches, optimizer and clipping, step for step.

The peer is `GPT2LMHeadModel` as its documentation sets it up for speed: no dropout, `scaled_dot_product_attention`, no cache,
`torch.compile` where there is a compiler, fused AdamW, bfloat16 autocast where the CPU multiplies it (float32 elsewhere, where
bfloat16 is emulated and far slower). Each side runs in its own process, since allocator settings apply to a process; a second
peer has ours. Rounds of a few steps alternate; compilation and the first steps are not counted.
"""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

from pellucid.bench.attention import peak_bytes
from pellucid.bench.compare import Comparison, Rounds, in_turn, less_is_better
from pellucid.bench.worker import Work, Worker
from pellucid.errors import PellucidError
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.gpt.arrangements import all_dense, alternating
from pellucid.gpt.config import GPTConfig
from pellucid.runs.recipe import Recipe
from pellucid.training.matmul_rate import matmul_flops_per_s
from pellucid.training.memory_limit import retain_freed_memory
from pellucid.training.optimizers import make_optimizer
from pellucid.training.placement import default_dtype, has_operators
from pellucid.training.step import loss_and_gradients, micro_batch_of, update


ABOUT = "tokens a second of training steps against transformers (compiled), with memory and losses"
RATE = 6e-4  # learning rate of both


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingShape:
    """A measured configuration: model, positions per window, windows per batch, steps per round.

    Attributes:
        compiled: whether the peer is compiled. same_allocator: whether a second peer has our allocator settings.
    """

    name: str
    config: GPTConfig
    positions: int
    batch: int
    steps: int
    compiled: bool = True
    same_allocator: bool = True

    @property
    def tokens(self) -> int:
        """Tokens per step."""
        return self.positions * self.batch

    @property
    def flops(self) -> float:
        """FLOPs per step: 6 per parameter and token, and attention over whole windows (12 L C T per token)."""
        c = self.config
        return self.tokens * (6 * c.parameters() + 12 * c.n_layers * c.d_model * self.positions)


def _shape(name: str, positions: int, batch: int, steps: int, **config: Any) -> TrainingShape:
    layers = config["n_layers"]
    config.setdefault("pattern", all_dense(layers))
    return TrainingShape(name=name, config=GPTConfig(n_ctx=positions, **config), positions=positions, batch=batch, steps=steps)


_SMALL = {"n_layers": 6, "d_model": 384, "n_heads": 6, "vocab_size": 4096}
_GPT2 = {"n_layers": 12, "d_model": 768, "n_heads": 12, "vocab_size": 50257}
SHAPES = (
    _shape("cpu-12m", 256, 16, 4, **_SMALL),
    _shape("cpu-12m-alternating", 256, 16, 4, **_SMALL, pattern=alternating(6, band=128)),
    _shape("gpt2-124m-t512", 512, 2, 2, **_GPT2),
    _shape("gpt2-124m-t1024", 1024, 1, 2, **_GPT2),
)


def comparisons(rounds: int) -> Sequence[Comparison]:
    """Every shape: `train/cpu-12m/tokens_per_s`, `.../same-allocator`, `.../peak_memory`, `.../flops_per_s`, `.../loss`."""
    return [row for shape in SHAPES for row in measured(shape, rounds)]


def measured(shape: TrainingShape, rounds: int) -> list[Comparison]:
    """One shape, ours and both peers in turn.

    Raises:
        PellucidError: transformers is not installed.
    """
    if find_spec("transformers") is None:
        raise PellucidError("the peer is not installed: pip install transformers")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        peers_model = Path(folder) / "dense"  # the same parameters with dense attention
        fields = shape.config.to_dict() | {"pattern": [str(p) for p in all_dense(shape.config.n_layers)]}
        GPT(GPTConfig.from_dict(fields), seed=0).save(peers_model)
        GPT(shape.config, seed=0).save(Path(folder) / "ours")
        work = {"positions": shape.positions, "batch": shape.batch, "vocabulary": shape.config.vocab_size}
        peers = {"directory": str(peers_model), "compiled": shape.compiled}
        sides: dict[str, tuple[str, dict[str, Any]]] = {"ours": ("ours", {"directory": str(Path(folder) / "ours")})}
        if shape.same_allocator:
            sides["same-allocator"] = ("peer", peers | {"keep": True})
        sides["peer"] = ("peer", peers | {"keep": False})
        made = {
            name: stack.enter_context(Worker("pellucid.bench.train", function, work | arguments))
            for name, (function, arguments) in sides.items()
        }
        losses: dict[str, list[float]] = {name: [] for name in made}

        def steps(name: str) -> float:
            answer = made[name].ask({"steps": shape.steps})
            losses[name] += answer["losses"]
            return float(answer["seconds"])

        # Each side's first step was its warm-up.
        both = {name: partial(steps, name) for name in sides if name != "peer"}
        timed = in_turn(both, partial(steps, "peer"), rounds=rounds, warm_ups=0)
        memory = {name: worker.ask({"steps": 0})["peak"] for name, worker in made.items()}
        return _rows(shape, timed, losses, memory, made["peer"].ready, made["ours"].ready)


def _rows(
    shape: TrainingShape, timed: dict[str, Rounds], losses: dict[str, list[float]], memory: dict[str, int | None],
    peer: dict[str, Any], ours: dict[str, Any],
) -> list[Comparison]:  # fmt: skip
    name, work = f"train/{shape.name}", shape.steps * shape.tokens
    words = f"transformers {peer['words']}; ours: {ours['words']}"
    plain = timed["ours"]
    flops = shape.flops * shape.steps / 1e12
    rows = [plain.rate(f"{name}/tokens_per_s", words, work=work)]
    if "same-allocator" in timed:
        against = Rounds(plain.ours, timed["same-allocator"].ours)
        rows.append(against.rate(f"{name}/tokens_per_s/same-allocator", f"{words}, our allocator settings", work=work))
    rows += [
        Comparison(
            f"{name}/flops",
            flops / median(plain.ours),
            "TFLOP/s",
            f"this machine's products, {ours['dtype']}",
            ours["products"] / 1e12,
            flops / median(plain.ours) * 1e12 / ours["products"],
        ),
        less_is_better(f"{name}/first-step", "s", words, ours["first"], peer["first"]),
        less_is_better(f"{name}/loss", "nats", words, losses["ours"][-1], losses["peer"][-1]),
    ]
    if memory["ours"] and memory["peer"]:
        rows.append(less_is_better(f"{name}/peak_memory", "MB", words, memory["ours"] / 1e6, memory["peer"] / 1e6))
    return rows


def ours(directory: str, positions: int, batch: int, vocabulary: int) -> tuple[Work, dict[str, Any]]:
    """Sets our side up, in a worker."""
    retain_freed_memory()
    torch.set_flush_denormal(True)
    dtype = default_dtype()
    compiled = has_operators(dtype)
    model = load(directory).requires_grad_(True).train()
    recipe = Recipe.scaled(RATE, 10**9)
    optimizer = make_optimizer(model, recipe)
    micro_batch = micro_batch_of(batch, positions)

    def step(ids: torch.Tensor, targets: torch.Tensor) -> float:
        loss = loss_and_gradients(model, ids, targets, micro_batch=micro_batch, dtype=dtype, compiled=compiled)
        update(optimizer, model.parameters(), lr=RATE, clip=recipe.clip)
        return loss

    work, first = _steps(step, positions, batch, vocabulary)
    products = matmul_flops_per_s(dtype, [(1536, 1536, 1536)], seconds=0.5)
    words = f"Pellucid, {str(dtype).removeprefix('torch.')}, {'compiled' if compiled else 'built-in'} operators"
    return work, {"dtype": str(dtype).removeprefix("torch."), "words": words, "first": first, "products": products}


def peer(
    directory: str, positions: int, batch: int, vocabulary: int, keep: bool, compiled: bool
) -> tuple[Work, dict[str, Any]]:
    """Sets the peer up, in a worker. keep: with our allocator settings."""
    if keep:
        retain_freed_memory()
    import transformers

    dtype = default_dtype()
    model = transformers.GPT2LMHeadModel.from_pretrained(directory, attn_implementation="sdpa", dtype=torch.float32).train()
    model.config.use_cache = False
    recipe = Recipe.scaled(RATE, 10**9)
    optimizer = make_optimizer(model, recipe)
    forward: Any = torch.compile(model) if compiled else model

    def step(ids: torch.Tensor, targets: torch.Tensor) -> float:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            logits = forward(ids, use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.item())

    work, first = _steps(step, positions, batch, vocabulary)
    words = f"{transformers.__version__}, {str(dtype).removeprefix('torch.')}{', compiled' * compiled}"
    return work, {"words": words, "first": first}


def _steps(step: Any, positions: int, batch: int, vocabulary: int) -> tuple[Work, float]:
    """A function that runs a number of steps on batches that depend on the step's number; and the first step's seconds."""
    done = 0

    def one() -> float:
        nonlocal done
        generator = torch.Generator().manual_seed(done)
        windows = torch.randint(vocabulary, (batch, positions + 1), generator=generator)
        done += 1
        loss: float = step(windows[:, :-1], windows[:, 1:].contiguous())
        return loss

    began = perf_counter()
    one()
    first = perf_counter() - began

    def work(request: dict[str, Any]) -> dict[str, Any]:
        if request["steps"]:
            one()  # not timed: it warms the caches, and memory that was swapped while the other side ran
        began = perf_counter()
        losses = [one() for _ in range(request["steps"])]
        return {"seconds": perf_counter() - began, "losses": losses, "peak": peak_bytes()}

    return work, first
