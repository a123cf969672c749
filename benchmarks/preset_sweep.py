"""Learning rate, warm-up, beta2 and optimizer of a small preset over seeds: held-out bits a byte at the end of short runs.

    python benchmarks/preset_sweep.py TEXT... [--preset cpu-2m] [--steps 300] [--seeds 1 2 3] [--out FILE.jsonl]

Each setting differs from the preset in what its name says and is trained on the same text with each seed, one after the other,
seeds outermost, so that a machine that slows down slows all settings alike. The held-out text is the same in all runs. A line
of JSON is written for each run (`--out`; runs that it holds already are not repeated), then a table: the mean over seeds, and
the difference to the preset seed by seed with its 95 % interval by Student's t. A setting is better outside noise where that
interval is below 0.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pellucid
from pellucid import events
from pellucid.gpt.presets import PRESETS
from pellucid.runs import recipe


DEFAULT = "preset"


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What differs from a preset.

    Attributes:
        rate: factor of the preset's peak learning rate.
        warmup: share of the training tokens over which the rate rises; None: `pellucid.train`'s.
        options: of `pellucid.train`.
    """

    rate: float = 1.0
    warmup: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


_BETA2 = {"optimizer": "adamw", "optimizer_settings": {"betas": [0.9, 0.99]}}
SETTINGS = {
    DEFAULT: Setting(),
    "rate x 1/2": Setting(rate=1 / 2),
    "rate x 3/2": Setting(rate=3 / 2),
    "rate x 2": Setting(rate=2),
    "beta2 0.99": Setting(options=_BETA2),
    "warm-up 2 %": Setting(warmup=0.02),
    "warm-up 10 %": Setting(warmup=0.1),
    "rate x 3/2, warm-up 10 %": Setting(rate=3 / 2, warmup=0.1),
    "muon": Setting(options={"optimizer": "muon"}),
    "muon, rate x 2": Setting(rate=2, options={"optimizer": "muon"}),
}
SEEDS = (1, 2, 3)
T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365}  # of Student's t, by degrees of freedom


def bits(texts: list[str], setting: Setting, *, preset: str, steps: int, seed: int) -> float:
    """Held-out bits a byte at the end of one run."""
    looks: list[float] = []

    def watch(event: events.Event) -> None:
        if isinstance(event, events.HeldOut):
            looks.append(event.bits_per_byte)

    rate = setting.rate * PRESETS[preset].learning_rate
    warmup = recipe.SMALL_RUN_WARMUP if setting.warmup is None else setting.warmup
    with tempfile.TemporaryDirectory() as folder, patch.object(recipe, "SMALL_RUN_WARMUP", warmup):
        pellucid.train(
            texts, Path(folder) / "run", preset=preset, steps=steps, seed=seed, learning_rate=rate, record=False,
            observers=[watch], **setting.options,
        )  # fmt: skip
    return looks[-1]


def table(found: dict[tuple[str, int], float], seeds: list[int]) -> str:
    """A line a setting, the best first."""
    rows = []
    for name in dict.fromkeys(name for name, _ in found):
        values = [found[name, seed] for seed in seeds if (name, seed) in found]
        pairs = [found[name, s] - found[DEFAULT, s] for s in seeds if (name, s) in found and (DEFAULT, s) in found]
        line = f"{name:26} {statistics.mean(values):.4f} ({len(values)})"
        if name != DEFAULT and len(pairs) > 1:
            error = T_95[len(pairs) - 1] * statistics.stdev(pairs) / math.sqrt(len(pairs))
            line += f"  {statistics.mean(pairs):+.4f} +- {error:.4f}"
        elif name != DEFAULT:
            line += "".join(f"  {pair:+.4f}" for pair in pairs)
        rows.append((statistics.mean(values), line))
    return "\n".join(line for _, line in sorted(rows))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--preset", default="cpu-2m")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="8 at most")
    parser.add_argument("--settings", nargs="+", choices=tuple(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    if len(chosen.seeds) > len(T_95) + 1:
        parser.error(f"{len(T_95) + 1} seeds at most: the intervals of more are not in the table of Student's t")
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
