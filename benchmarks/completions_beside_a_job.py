"""What a fine-tuning job takes from the completions of others: tokens a second while one trains, and while none does.

    python benchmarks/completions_beside_a_job.py [--seconds 20] [--clients 2] [--model default]

The service is a process of its own (`pellucid serve --data`), the clients are threads of this one, which ask again and again
for 64 tokens. Both states are measured in turn, three times each: the machine may do other things meanwhile.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from typing import Any


BOUNDARY = "0123456789abcdef"
ROUNDS = 3


def ask(url: str, body: Any = None, kind: str = "application/json", method: str | None = None) -> Any:
    """A JSON answer of the service."""
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": kind}, method=method)
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


def rate(url: str, model: str, clients: int, seconds: float) -> float:
    """Tokens a second that all clients get together."""
    drawn, end = [0] * clients, time.monotonic() + seconds

    def work(place: int) -> None:
        while time.monotonic() < end:
            body = {"model": model, "prompt": "Once upon a time", "max_tokens": 64, "logit_bias": {}, "seed": drawn[place]}
            drawn[place] += ask(f"{url}/v1/completions", body)["usage"]["completion_tokens"]

    threads = [threading.Thread(target=work, args=(place,)) for place in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(drawn) / (time.monotonic() - began)


def start_job(url: str, model: str) -> str:
    """Starts a job that lasts; returns its id once it takes steps."""
    lines = [{"prompt": f"what is {a} plus {b}? ->", "completion": f" {a + b}\n"} for a in range(60) for b in range(60)]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    head = 'Content-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    file = 'Content-Disposition: form-data; name="file"; filename="sums.jsonl"\r\n\r\n'
    form = f"--{BOUNDARY}\r\n{head}--{BOUNDARY}\r\n{file}".encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    uploaded = ask(f"{url}/v1/files", form, f"multipart/form-data; boundary={BOUNDARY}")
    asked = {"model": model, "training_file": uploaded["id"], "hyperparameters": {"n_epochs": 50}}
    job = ask(f"{url}/v1/fine_tuning/jobs", asked)
    while ask(f"{url}/v1/fine_tuning/jobs/{job['id']}")["x_step"] < 1:
        time.sleep(0.2)
    return str(job["id"])


def main() -> None:
    """Measures and prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--model", default="default")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pellucid", "serve", "-m", args.model, "--data", folder, "--port", "0", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["url"]
            try:
                rate(url, args.model, args.clients, 2.0)  # warms up
                alone, beside = [], []
                for _ in range(ROUNDS):
                    alone.append(rate(url, args.model, args.clients, args.seconds))
                    job = start_job(url, args.model)
                    beside.append(rate(url, args.model, args.clients, args.seconds))
                    ask(f"{url}/v1/fine_tuning/jobs/{job}/cancel", {})
            finally:
                server.terminate()
    found = {"alone": alone, "beside a job": beside}
    share = statistics.median(beside) / statistics.median(alone)
    print(json.dumps({"tokens_per_s": found, "share": round(share, 3), "clients": args.clients, "model": args.model}))


if __name__ == "__main__":
    main()
