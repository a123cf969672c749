"""How long `pellucid generate` takes beyond `import torch`: whole processes, interleaved.

    python benchmarks/cold_start.py [--rounds 7]

Prints one JSON object in the form of `pellucid bench --json`. The peer is the floor: an interpreter that imports torch.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time


COMMANDS = {
    "import torch": [sys.executable, "-c", "import torch"],
    "generate": [sys.executable, "-m", "pellucid", "generate", "A robot must", "--seed", "1", "--max-tokens", "16", "--json"],
}


def seconds(command: list[str]) -> float:
    """Wall time of one process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Times both in turn, one unmeasured round first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for round_ in range(rounds + 1):
        for name, command in COMMANDS.items():
            took = seconds(command)
            if round_:
                times[name].append(took)

    from pellucid.train.machine import describe

    torch_alone, generate = (statistics.median(times[name]) for name in ("import torch", "generate"))
    comparison = {
        "name": "generate/default/cold-start", "value": round(generate, 3), "unit": "s", "peer": "import torch",
        "peer_value": round(torch_alone, 3), "ratio": round(torch_alone / generate, 3),
    }  # fmt: skip
    print(json.dumps({"comparisons": [comparison], "machine": describe()}))


if __name__ == "__main__":
    main()
