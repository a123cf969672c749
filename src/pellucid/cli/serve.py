"""`pellucid serve`: serves models over HTTP by GPT-3's completions API."""

import argparse
import sys
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pellucid.serve.openai.models import ServedModel
    from pellucid.serve.openai.server import Service

HELP = "serve models by GPT-3's completions API"
DESCRIPTION = """Serves models over HTTP by the completions API of 2020 to 2023, as programs that were written for GPT-3 use it:
echo, log-probabilities, best_of, streaming. An answer depends on its own request alone. On this machine's own address no keys
are needed; any other address needs a file of keys. Ends on Ctrl-C or SIGTERM, when running requests are answered."""
EXAMPLE = """pellucid serve
  pellucid serve -m book=runs/book -m gpt2=./gpt2 --port 8000
  pellucid serve --new-key ada --keys keys.json
  pellucid serve --host 0.0.0.0 --keys keys.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "-m", "--model", action="append", default=[], metavar="[NAME=]MODEL", dest="models",
        help="a model and its name in requests; may be repeated (default: the embedded one)",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default 127.0.0.1: this machine only)")
    parser.add_argument("--port", type=int, metavar="N", help="default: 8000, or the next one that is free; 0: any free one")
    keys = parser.add_argument_group("keys")
    keys.add_argument("--keys", metavar="FILE", help="the keys that requests need (JSON: hashes, and the limits of each)")
    keys.add_argument("--new-key", metavar="NAME", help="add a key to --keys, print it once, and end")
    running = parser.add_argument_group("running")
    running.add_argument("--mode", choices=("exact", "fast"), default="exact", help="exact: other requests change no bit")
    running.add_argument("--kernel", choices=("auto", "off", "only"), default="auto", help="the C kernel, or PyTorch")
    running.add_argument("--weights", choices=("float32", "bfloat16", "int8", "int4"), help="format to compute with")
    running.add_argument("--max-sequences", type=_whole(1, 4096), default=64, metavar="N", help="completions generated at once")
    running.add_argument("--max-waiting", type=_whole(0, 1 << 16), default=256, metavar="N", help="of a key's prompts may wait")
    running.add_argument("--kv-memory", type=_whole(1, 1 << 20), metavar="MIB", help="memory of keys and values (no limit)")
    running.add_argument("--max-logprobs", type=_whole(0, 20), default=5, metavar="N", help="0 to 20 (default 5, the API's)")
    running.add_argument("--unknown-fields", choices=("refuse", "ignore"), default="refuse", help="of a request (refuse)")
    running.add_argument("--drain-seconds", type=_whole(0, 3600), default=30, metavar="N", help="for requests at the end")
    running.add_argument("--log-requests", action="store_true", help="a line of JSON for each on stderr")
    running.add_argument("--log-prompts", action="store_true", help="with their prompts")
    parser.add_argument("--no-studio", action="store_true", help="serve the API alone, without the studio under /")
    parser.add_argument("--data", metavar="DIR", help="records, files, jobs and models; without it no fine-tuning")
    tuning = parser.add_argument_group("fine-tuning and records, for each key (with --data)")
    tuning.add_argument("--file-mib", type=_whole(1, 1 << 20), default=100, metavar="N", help="MiB of an upload (100)")
    tuning.add_argument("--storage-mib", type=_whole(1, 1 << 30), default=10_000, metavar="N", help="MiB of it all (10,000)")
    tuning.add_argument("--records-mib", type=_whole(1, 1 << 30), default=1000, metavar="N", help="MiB of records (1,000)")
    tuning.add_argument("--max-files", type=_whole(1, 1 << 20), default=200, metavar="N", help="uploads (200)")
    tuning.add_argument("--max-jobs", type=_whole(1, 1 << 16), default=20, metavar="N", help="jobs that wait or run (20)")
    tuning.add_argument("--max-models", type=_whole(1, 1 << 16), default=100, metavar="N", help="fine-tuned models (100)")
    tuning.add_argument("--jobs-at-once", type=_whole(1, 64), default=1, metavar="N", help="of all keys (1)")
    tuning.add_argument("--job-threads", type=_whole(1, 1024), metavar="N", help="CPU threads of a job (half of the CPUs)")
    parser.add_argument("--json", action="store_true", help="one JSON object with the address on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the command, until Ctrl-C or SIGTERM."""
    from pellucid.arguments import path_of
    from pellucid.errors import PellucidError

    file = None if args.keys is None else path_of("--keys", args.keys)
    if args.new_key is not None:
        from pellucid.serve.http.keys import add_key

        if file is None:
            raise PellucidError("--new-key adds to a file: name it with --keys FILE")
        print(add_key(file, args.new_key))
        return 0
    from pellucid.serve.http.keys import read_keys
    from pellucid.serve.openai.models import EngineSettings, open_model, open_models
    from pellucid.serve.openai.server import Service
    from pellucid.serve.openai.settings import ServiceSettings
    from pellucid.serve.tuning.settings import TuningSettings

    keys = None if file is None else read_keys(file)
    data = None if args.data is None else path_of("--data", args.data)
    settings = ServiceSettings(
        max_logprobs=args.max_logprobs, ignore_unknown=args.unknown_fields == "ignore",
        log_requests=args.log_requests or args.log_prompts, log_prompts=args.log_prompts, drain_seconds=args.drain_seconds,
        keys_needed=keys is not None,
    )  # fmt: skip
    engines = EngineSettings(
        mode=args.mode, max_sequences=args.max_sequences, max_waiting=args.max_waiting,
        memory=None if args.kv_memory is None else args.kv_memory << 20,
    )  # fmt: skip

    tuning = TuningSettings(
        file_bytes=args.file_mib << 20, storage_bytes=args.storage_mib << 20, files=args.max_files, jobs=args.max_jobs,
        models=args.max_models, at_once=args.jobs_at_once, record_bytes=args.records_mib << 20,
        **({} if args.job_threads is None else {"threads": args.job_threads}),
    )  # fmt: skip

    def open_tuned(id: str, directory: "Path", owner: str, created: int) -> "ServedModel":
        return open_model(
            id, directory, engines, kernel=args.kernel, weights=args.weights, owner=owner, created=created
        )

    def notify(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    models = open_models(args.models, engines, notify, kernel=args.kernel, weights=args.weights)
    try:
        service = Service(
            models, args.host, args.port, keys=keys, settings=settings, studio=not args.no_studio, data=data, tuning=tuning,
            open_tuned=open_tuned,
        )  # fmt: skip
    except PellucidError:
        models.close()
        raise
    return _serve(service, json=args.json)


def _serve(service: "Service", *, json: bool) -> int:
    """Serves until Ctrl-C or SIGTERM, which is success; a second one does not wait for running requests."""
    import signal
    from types import FrameType

    from pellucid.cli.output import print_json

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        service.start()
        if json:
            print_json({"url": service.url, "port": service.port, "models": [model.id for model in service.models]})
        else:
            print(f"{service.url}/v1")
        sys.stdout.flush()
        print("Ctrl-C ends it", file=sys.stderr, flush=True)
        service.wait()
    except KeyboardInterrupt:
        try:
            if service.running:
                print("ending when running requests are answered; Ctrl-C again ends them", file=sys.stderr, flush=True)
            service.close()
        except KeyboardInterrupt:
            service.abort()
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)
    service.abort()
    return 1


def _whole(minimum: int, maximum: int) -> "Callable[[str], int]":
    """A type of argparse: a whole number of a range."""

    def whole(text: str) -> int:
        if not (text.isascii() and text.isdigit() and minimum <= int(text) <= maximum):
            raise argparse.ArgumentTypeError(f"a whole number from {minimum} to {maximum}, not {text!r}")
        return int(text)

    return whole
