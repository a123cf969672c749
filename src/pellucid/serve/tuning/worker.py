"""The process of a job: `python -m pellucid.serve.tuning.worker`. Its settings come as a line of JSON on stdin.

It does what `pellucid finetune FILE --out RUN --resume` does: `RUN` is an ordinary run. When stdin ends (the server has ended,
or asks for it) it saves a checkpoint after the step and ends. Exit status: 0 done, 1 failed (the reason is the last line of
stderr), 75 saved and to be resumed.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any


INTERRUPTED = 75  # EX_TEMPFAIL
GRACE = 30.0  # seconds in which a process that is to end must have saved its checkpoint
ANSWERS = "answers.json"
SHOWN = 100  # held-out examples in the table of answers


def main() -> int:
    """Runs the job; returns the exit status."""
    asked: dict[str, Any] = json.loads(sys.stdin.readline())
    if asked["niceness"] and hasattr(os, "nice"):
        os.nice(asked["niceness"])
    ending = threading.Event()

    def watch() -> None:
        while sys.stdin.readline():
            pass
        ending.set()
        threading.Event().wait(GRACE)
        os._exit(INTERRUPTED)  # it is not between steps: what was saved before is what there is

    threading.Thread(target=watch, name="pellucid end", daemon=True).start()
    from pellucid.errors import PellucidError

    try:
        return run_job(asked, ending)
    except PellucidError as error:
        print(error, file=sys.stderr)
    except MemoryError:
        print("there is too little memory for it: choose a smaller batch_size, or a smaller model", file=sys.stderr)
    return 1


def run_job(asked: dict[str, Any], ending: threading.Event) -> int:
    """Fine-tunes; writes the record and the answers at the end."""
    import torch

    from pellucid.files import write_whole
    from pellucid.finetuning.answers import held_out_answers
    from pellucid.finetuning.job import finetune
    from pellucid.interpret.finetuning_recorder import record_finetuning
    from pellucid.runs.files import RUN_FILE

    torch.set_num_threads(asked["threads"])
    out = Path(asked["out"])
    begins = {name: asked[name] for name in ("held_out", "seed")} | {"model": asked["source"], **asked["options"]}
    begun = (out / RUN_FILE).exists()  # then it goes on as it was planned
    done = finetune(
        [] if begun else asked["examples"], out, resume=True, stop=ending.is_set, write_record=record_finetuning,
        **({} if begun else begins),
    )  # fmt: skip
    if not done.finished:
        return INTERRUPTED
    table = [row.to_dict() for row in held_out_answers(out, most=SHOWN)]
    answers = {"rows": table, "counts": None if done.answers is None else list(done.answers)}
    write_whole(out / ANSWERS, json.dumps(answers), durable=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
