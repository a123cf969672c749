"""`pellucid prime`: asks one question after different numbers of examples."""

import argparse
import sys
from math import exp
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from pellucid.generation.prompt import Prompt
    from pellucid.record import Record
    from pellucid.text.tokenizer import Tokenizer

HELP = "ask one question after 0, 1 and more examples, and compare the answers"
DESCRIPTION = """Puts a task, some examples and a question into one prompt, with a different number of examples each time, and
shows the probability of the right answer, and what the model would answer. No weight changes: the examples are only read.
FILE is JSON, {"task": "...", "examples": [{"prompt": "...", "completion": "..."}, ...], "query": "...", "answer": "..."}, or
examples alone, {"prompt": "...", "completion": "..."}, as JSON lines, a JSON array or a CSV table; the last one is then the
question with its right answer.
The figure `priming` is drawn from the record, and `pellucid verify` recomputes it.
One question may be answered by luck: with --score every example of FILE is asked once, after others that are drawn, and
scores with intervals are printed."""
EXAMPLE = """pellucid prime french.json --shots 0,1,8 --out french.pellucid
  pellucid prime french.jsonl --shots 0,1,8 --score"""

MOST_ANSWER = 200  # characters of an answer that a table shows
_RECORDING = ("candidates", "record_dtype")  # options of the record of one question
_MOST_GAIN = 700.0  # nats: exp() of more overflows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("file", metavar="FILE", help="task, examples, query and right answer: JSON, JSONL or CSV")
    parser.add_argument(
        "--shots", type=numbers_of_shots, metavar="LIST", help="numbers of examples (default: 0,1,8, or as many as FILE has)"
    )
    parser.add_argument("--out", metavar="RECORD", help="the record to write, such as french.pellucid")
    parser.add_argument("-m", "--model", default="default", help="a model or run directory (default: the embedded model)")
    parser.add_argument("--format", metavar="NAME", help="format of the prompt: arrow, equals, qa, code or plain")
    parser.add_argument("--candidates", type=int, metavar="K", help="likeliest first tokens listed (default 10)")
    parser.add_argument(
        "--record-dtype", choices=("float16", "float32"), help="of attention weights (default float16)"
    )
    parser.add_argument("--score", action="store_true", help="ask every example of FILE, and print scores with intervals")
    parser.add_argument("--queries", type=int, metavar="N", help="with --score: ask the first N (default 100; 0: all)")
    parser.add_argument("--orders", type=int, metavar="N", help="with --score: draws of examples for each question (default 3)")
    parser.add_argument("--seed", type=int, metavar="N", help="with --score: seed of draws and intervals (default 0)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def numbers_of_shots(text: str) -> tuple[int, ...]:
    """The value of --shots. Raises ArgumentTypeError for anything but whole numbers joined by commas."""
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers, such as 0,1,8") from None
    if min(found) < 0:
        raise argparse.ArgumentTypeError(f"{text!r} holds a number below 0")
    return found


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    if args.score:
        return _score(args)
    scoring = {"--queries": args.queries, "--orders": args.orders, "--seed": args.seed}
    if needless := [flag for flag, value in scoring.items() if value is not None]:
        print(f"pellucid prime: {needless[0]} needs --score: add it", file=sys.stderr)
        return 2
    from pathlib import Path

    from pellucid.cli.output import print_json, printable
    from pellucid.command_lines import command, shown_path
    from pellucid.files import check_target, replaces
    from pellucid.generation.load import load
    from pellucid.generation.prompt_file import read_prompt
    from pellucid.interpret.priming import prime
    from pellucid.languages import tr

    if args.out is not None:
        check_target(args.out, what="the record")

    def tell(what: str) -> None:
        print(tr("{path}: {what}", path=shown_path(args.file), what=printable(what)), file=sys.stderr)

    prompt, answer = read_prompt(args.file, format=args.format, tell=tell)
    model = load(args.model)
    given = {name: getattr(args, name) for name in _RECORDING if getattr(args, name) is not None}
    record = prime(model, prompt, answer=answer, shots=args.shots, **given)
    tokenizer = model.require_tokenizer()
    rows = shots_rows(record, tokenizer)
    kept = args.out is not None and replaces(args.out)
    if args.out is not None:
        record.save(args.out)
    if args.json:
        print_json({
            "query": prompt.query, "answer": answer, "answer_ids": record["priming/answer_ids"].tolist(),
            "format": prompt.format, "shots": rows, "model": record.provenance.model, "record": args.out,
        })  # fmt: skip
    out = sys.stderr if args.json or (args.out is not None and not kept) else sys.stdout
    print(shots_table(prompt, answer, rows), file=out)
    if kept:
        size = Path(args.out).stat().st_size
        line = tr(
            "{path}: {prompts} prompts, {chunks} chunks, {size:,} bytes",
            path=shown_path(args.out), prompts=len(rows), chunks=len(record), size=size,
        )  # fmt: skip
        print(line, file=out)
        named = [] if args.model == "default" else ["-m", Path(args.model) if args.model[:1] == "-" else args.model]
        print(tr("check it with: {command}", command=command("verify", Path(args.out), *named)), file=out)
        drawing = command("figures", Path(args.out), "--out", "pictures", "--only", "priming")
        print(tr("draw it with: {command}", command=drawing), file=out)
    return 0


def _score(args: argparse.Namespace) -> int:
    """Prints scores over the examples of the file, each asked once after others."""
    for name in ("out", *_RECORDING):
        if getattr(args, name) is not None:
            flag = f"--{name.replace('_', '-')}"
            print(f"pellucid prime: {flag} is for the record of one question: leave out {flag} or --score", file=sys.stderr)
            return 2
    from pathlib import Path

    from pellucid.cli.output import print_json
    from pellucid.evaluation.evaluate import ORDERS, QUERIES, SHOTS, evaluate
    from pellucid.evaluation.task import Query, Task
    from pellucid.generation.load import load
    from pellucid.generation.prompt_file import read_prompt_examples

    found = read_prompt_examples(args.file, format=args.format)
    task = Task(
        name=Path(args.file).stem, queries=[Query(prompt=given, answers=(output,)) for given, output in found.examples],
        description=found.task, format=found.format,
    )  # fmt: skip
    shots = args.shots or [count for count in SHOTS if count < len(task.queries)]
    queries = QUERIES if args.queries is None else args.queries or None
    scores = evaluate(
        load(args.model), task, shots=shots, queries=queries, orders=ORDERS if args.orders is None else args.orders,
        seed=args.seed or 0, report=lambda line: print(line, file=sys.stderr),
    )  # fmt: skip
    if args.json:
        print_json(scores.to_dict())
    print(scores.markdown(), end="", file=sys.stderr if args.json else sys.stdout)
    return 0


def shots_rows(record: "Record", tokenizer: "Tokenizer") -> list[dict[str, Any]]:
    """The results of each prompt, as plain values for JSON."""
    starts = record["priming/starts"].tolist()
    rows = []
    for i, count in enumerate(record["priming/shots"].tolist()):
        logprobs, greedy = record["priming/logprobs"][i].tolist(), record["priming/greedy_ids"][i].tolist()
        rows.append({
            "shots": count, "prompt_tokens": starts[i + 1] - starts[i], "logprobs": logprobs, "logprob": sum(logprobs),
            "probability": exp(sum(logprobs)), "greedy": tokenizer.decode(greedy), "greedy_ids": greedy,
            "right": greedy == record["priming/answer_ids"].tolist(),
        })  # fmt: skip
    return rows


def shots_table(prompt: "Prompt", answer: str, rows: list[dict[str, Any]]) -> str:
    """The table, and a sentence that says whether the examples helped. The column of variable width is the last one."""
    from pellucid.languages import tr
    from pellucid.text.graphemes import padded

    lines = [tr("question: {text}", text=_line(prompt.query)), tr("right answer: {text}", text=_line(answer)), ""]
    heads = ((tr("shots"), 5), (tr("tokens"), 6), (tr("right answer"), 12))
    lines.append("  ".join([*(padded(head, width, right=True) for head, width in heads), tr("greedy answer")]))
    for row in rows:
        right = "  " + tr("(right)") if row["right"] else ""
        chance = f"{row['probability']:.3g}"
        lines.append(f"{row['shots']:>5}  {row['prompt_tokens']:>6,}  {chance:>12}  {_line(row['greedy'])}{right}")
    return "\n".join([*lines, "", _verdict(rows)])


def _line(text: str) -> str:
    """A text in one line of limited length, with line breaks and control characters as escapes."""
    from pellucid.cli.output import printable

    shown = printable(text).strip()
    return shown if len(shown) <= MOST_ANSWER else f"{shown[:MOST_ANSWER]}..."


def _verdict(rows: list[dict[str, Any]]) -> str:
    """Whether the right answer is likelier with the most examples than with the fewest."""
    from pellucid.languages import counted, tr

    first, last = rows[0], rows[-1]
    if first is last:
        return tr("One number of examples: name several (--shots 0,1,8) to see whether examples help.")
    most, fewest = (counted(row["shots"], "example") for row in (last, first))
    values = {"most": most, "fewest": fewest, "p": last["probability"], "q": first["probability"]}
    gain = last["logprob"] - first["logprob"]
    if gain > 0:
        return tr(
            "With {most} the right answer is {factor:.3g} times as likely as with {fewest}: {p:.3g} against {q:.3g}.",
            **values, factor=exp(min(gain, _MOST_GAIN)),
        )  # fmt: skip
    return tr(
        "The examples did not help: with {most} the right answer has the probability {p:.3g}, with {fewest} it has {q:.3g}.",
        **values,
    )  # fmt: skip
