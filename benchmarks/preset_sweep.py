"""Learning rates, optimizers and beta2 of a small preset over seeds: held-out bits a byte at the end of short runs.

    python benchmarks/preset_sweep.py TEXT... [--preset cpu-2m] [--steps 300] [--seeds 1 2 3] [--out FILE.jsonl]

Each setting is trained on the same text with each seed, one after the other, seeds outermost, so that a machine that slows down
slows all settings alike. The held-out text is the same in all runs. A line of JSON is written for each run (`--out`, which goes
on where it was ended), then a table: the mean over seeds, and the difference to the preset's own setting seed by seed with 1.96
standard errors. A setting is better outside noise where that interval is below 0.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import pellucid
from pellucid import events


DEFAULT = "preset"
SETTINGS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "rate 1e-3": {"learning_rate": 1e-3},
    "rate 2e-3": {"learning_rate": 2e-3},
    "rate 3e-3": {"learning_rate": 3e-3},
    "rate 4e-3": {"learning_rate": 4e-3},
    "rate 1e-3, beta2 0.99": {"learning_rate": 1e-3, "optimizer": "adamw", "optimizer_settings": {"betas": [0.9, 0.99]}},
    "rate 2e-3, beta2 0.99": {"learning_rate": 2e-3, "optimizer": "adamw", "optimizer_settings": {"betas": [0.9, 0.99]}},
    "rate 3e-3, beta2 0.99": {"learning_rate": 3e-3, "optimizer": "adamw", "optimizer_settings": {"betas": [0.9, 0.99]}},
}
SEEDS = (1, 2, 3)


def bits(texts: list[str], settings: dict[str, Any], *, preset: str, steps: int, seed: int) -> float:
    """Held-out bits a byte at the end of one run."""
    looks: list[float] = []

    def watch(event: events.Event) -> None:
        if isinstance(event, events.HeldOut):
            looks.append(event.bits_per_byte)

    with tempfile.TemporaryDirectory() as folder:
        pellucid.train(
            texts, Path(folder) / "run", preset=preset, steps=steps, seed=seed, record=False, observers=[watch], **settings
        )
    return looks[-1]


def table(found: dict[tuple[str, int], float], seeds: list[int]) -> str:
    """A line a setting, the best first."""
    rows = []
    for name in dict.fromkeys(name for name, _ in found):
        values = [found[name, seed] for seed in seeds if (name, seed) in found]
        pairs = [found[name, s] - found[DEFAULT, s] for s in seeds if (name, s) in found and (DEFAULT, s) in found]
        error = 1.96 * statistics.stdev(pairs) / math.sqrt(len(pairs)) if len(pairs) > 1 else math.inf
        rows.append(
            (statistics.mean(values), f"{name:24} {statistics.mean(values):.4f}  {statistics.mean(pairs):+.4f} +- {error:.4f}")
        )
    return "\n".join(line for _, line in sorted(rows))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--preset", default="cpu-2m")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--settings", nargs="+", choices=tuple(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    found: dict[tuple[str, int], float] = {}
    if chosen.out is not None and chosen.out.is_file():
        for line in chosen.out.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if (row["preset"], row["steps"]) == (chosen.preset, chosen.steps):
                found[row["setting"], row["seed"]] = row["bits_per_byte"]
    for seed in chosen.seeds:
        for name in dict.fromkeys((DEFAULT, *chosen.settings)):
            if (name, seed) in found:
                continue
            found[name, seed] = bits(chosen.texts, SETTINGS[name], preset=chosen.preset, steps=chosen.steps, seed=seed)
            row = {
                "preset": chosen.preset, "steps": chosen.steps, "setting": name, "seed": seed,
                "bits_per_byte": found[name, seed],
            }  # fmt: skip
            print(json.dumps(row), file=sys.stderr, flush=True)
            if chosen.out is not None:
                with chosen.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    print(table(found, chosen.seeds))


if __name__ == "__main__":
    main()
