"""Same text, same minutes: held-out bits a byte of `pellucid train` and of a usual loop over `transformers`.

    python benchmarks/time_to_quality.py TEXT... [--minutes 5] [--ours 2 5] [--preset cpu-12m] [--optimizer adamw]

Ours runs first, as `pellucid train --preset P --minutes M` does, once for each number of minutes after --ours: a schedule ends
where its minutes do, so how soon ours comes as far as the peer is asked of runs planned for less time. The peer is what people
write: the same tokens, shape (every block dense), batch and threads; `GPT2LMHeadModel` without dropout,
`torch.compile`, bfloat16 autocast where the CPU multiplies it, fused AdamW (0.9, 0.95, decay 0.1 of matrices), clipping to 1,
windows drawn at random, and a cosine from its peak rate to a tenth of it after 5 % warm-up over as many steps as fit, timed
after compiling, which counts among its minutes. It has our allocator's settings, for it is the same process. Both are measured
by one function on the same held-out windows. Prints one JSON object in the form of `pellucid bench --json`: of each of our runs
the bits a byte beside the peer's, and the wall time in all (ours with reading and tokenizing the text, the peer's compiling).
"""

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import pellucid
from pellucid import events
from pellucid.bench.compare import less_is_better, to_json
from pellucid.corpus.shards import open_corpus
from pellucid.gpt.arrangements import all_dense
from pellucid.runs.plan import Plan
from pellucid.text import Tokenizer
from pellucid.training.batches import WindowBatches
from pellucid.training.placement import default_dtype


RATES = (6e-4, 2e-3)  # nanoGPT's for GPT-2's size, and one for small models: the better of both is the peer
TIMED = 4  # steps that say how many will fit


def ours(texts: list[str], run: Path, preset: str, minutes: float, optimizer: str) -> tuple[float, float]:
    """Trains, and gives back the held-out bits a byte of its last look, and the minutes that all took."""
    began, looks = time.perf_counter(), []

    def watch(event: events.Event) -> None:
        if isinstance(event, events.HeldOut):
            looks.append(event.bits_per_byte)

    pellucid.train(texts, run, preset=preset, minutes=minutes, optimizer=optimizer, record=False, observers=[watch])
    took = (time.perf_counter() - began) / 60
    print(f"ours, {optimizer}: {looks[-1]:.4f} bits a byte, {took:.2f} minutes in all", file=sys.stderr)
    return looks[-1], took


def peer(run: Path, minutes: float, rate: float) -> tuple[float, float]:
    """The usual loop on the run's tokens; gives back (held-out bits a byte, the minutes that all took)."""
    import transformers

    began, until = time.perf_counter(), time.perf_counter() + 60 * minutes
    plan = Plan.load(run, kind="train")
    corpus = open_corpus(run / "corpus", verify=False)
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    n_ctx, tokens = plan.config.n_ctx, torch.from_numpy(corpus.train[0 : len(corpus.train)])
    shape = plan.config.replace(pattern=all_dense(plan.config.n_layers))
    with tempfile.TemporaryDirectory() as folder:
        pellucid.GPT(shape).save(folder)  # its config.json; the weights are the peer's own
        config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="sdpa")
    model = transformers.GPT2LMHeadModel(config).train()
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=True)
    compiled, dtype = torch.compile(model), default_dtype()

    def step(along: float) -> None:
        lr = rate * (along / 0.05 if along < 0.05 else 0.1 + 0.45 * (1 + math.cos(math.pi * (along - 0.05) / 0.95)))
        starts = torch.randint(len(tokens) - n_ctx, (plan.batch,))
        windows = torch.stack([tokens[start : start + n_ctx + 1] for start in starts.tolist()])
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            logits = compiled(windows[:, :-1], use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), windows[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step(0.001)
    timed = time.perf_counter()
    for _ in range(TIMED):
        step(0.001)
    each = (time.perf_counter() - timed) / TIMED
    total = max(1, int((until - time.perf_counter()) / each))
    for number in range(total):
        step((number + 1) / total)
    took = (time.perf_counter() - began) / 60
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        read = pellucid.load(folder)
    bits = WindowBatches.of(plan, corpus, Tokenizer.load(run / "corpus")).held_out(read, torch.float32)[1]
    print(f"peer at {rate:g}: {bits:.4f} bits a byte, {total} steps in {took:.2f} minutes", file=sys.stderr)
    return bits, took


def main() -> None:
    """Ours, then the peer at each of its rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="+")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--ours", type=float, nargs="+", help="minutes of our runs (default: the peer's)")
    parser.add_argument("--preset", default="cpu-12m")
    parser.add_argument("--optimizer", default="adamw")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    chosen: Any = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        reached = {
            minutes: ours(chosen.text, Path(folder) / f"{minutes:g}", chosen.preset, minutes, chosen.optimizer)
            for minutes in chosen.ours or [chosen.minutes]
        }
        run = next(Path(folder).iterdir())
        bits, took, rate = min((*peer(run, chosen.minutes, rate), rate) for rate in chosen.rates)
    words = f"transformers, compiled, peak rate {rate:g}, {chosen.minutes:g} minutes"
    rows = []
    for minutes, (our_bits, our_minutes) in reached.items():
        name = f"quality/{chosen.preset}/{chosen.optimizer}/{minutes:g}-minutes"
        rows.append(less_is_better(name, "bits a byte", words, our_bits, bits))
        rows.append(less_is_better(f"{name}/wall-time", "minutes", words, our_minutes, took))
    print(json.dumps(to_json(rows), indent=2))


if __name__ == "__main__":
    main()
