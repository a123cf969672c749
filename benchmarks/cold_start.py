"""How long a whole `pellucid generate` takes, with the kernel and with PyTorch: processes from beginning to end, in turn.

    python benchmarks/cold_start.py [--rounds 7]

Prints one JSON object in the form of `pellucid bench --json`. The peers are the floors: an interpreter that imports numpy,
without which nothing is computed here, and one that imports torch.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time


GENERATE = [sys.executable, "-m", "pellucid", "generate", "A robot must", "--seed", "1", "--max-tokens", "16", "--json"]
COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import numpy": [sys.executable, "-c", "import numpy"],
    "kernel": [*GENERATE, "--kernel", "only"],
    "import torch": [sys.executable, "-c", "import torch"],
    "torch": [*GENERATE, "--kernel", "off"],
}
PEERS = {"kernel": "import numpy", "torch": "import torch"}


def seconds(command: list[str]) -> float:
    """Wall time of one process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Times all in turn, one unmeasured round first, in which the kernel is compiled if it was not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for round_ in range(rounds + 1):
        for name, command in COMMANDS.items():
            took = seconds(command)
            if round_:
                times[name].append(took)

    from pellucid.training.machine import describe

    median = {name: statistics.median(took) for name, took in times.items()}
    comparisons = [
        {
            "name": f"generate/default/cold-start/{name}", "value": round(median[name], 3), "unit": "s", "peer": peer,
            "peer_value": round(median[peer], 3), "ratio": round(median[peer] / median[name], 3),
            "least": round(min(times[name]), 3), "python": round(median["python"], 3),
        }
        for name, peer in PEERS.items()
    ]  # fmt: skip
    print(json.dumps({"comparisons": comparisons, "machine": describe()}))


if __name__ == "__main__":
    main()
