"""`pellucid finetune EXAMPLES --check` and `--prepare OUT`: prints what is wrong with examples, and writes a mended file."""

from pathlib import Path

from pellucid.cli.output import print_json
from pellucid.command_lines import command, shown_path
from pellucid.errors import PellucidError
from pellucid.files import check_target
from pellucid.finetuning.example_files import write_examples
from pellucid.finetuning.preparation import Finding, Prepared, preparing
from pellucid.formats import gguf_read
from pellucid.formats.hf_config import read_config
from pellucid.formats.tokenizers import read_tokenizer
from pellucid.generation.resolve import gguf_file, resolve
from pellucid.gpt.config_json import read_json
from pellucid.languages import plural, tr
from pellucid.text import Tokenizer


MOST_LINES = 12  # line numbers that are printed for each finding


def check_examples(examples: str, *, out: str | None, model: str, json: bool) -> int:
    """Prints the findings, and writes the mended examples to `out` if that is given. Returns the exit status.

    Raises:
        PellucidError: not a file of examples, no example is left to write, or `out` is the file itself or cannot be written.
    """
    path = Path(examples)
    if out is not None:
        check_target(out, what=tr("the mended examples"))
        if Path(out).exists() and path.exists() and Path(out).samefile(path):
            raise PellucidError(f"{out} is the file that is read: name another one for the mended examples")
    tokenizer, n_ctx = _tokenizer_of(model)
    with preparing(path, tokenizer=tokenizer, n_ctx=n_ctx) as found:
        if out is not None:
            if not len(found.examples):
                raise PellucidError(f"{path}: no example is left to write")
            write_examples(found.examples, out)
    if json:
        print_json(_as_json(found, out))
        return 0
    print("\n".join(_lines(found, path)))
    mended = plural(len(found.examples), "mended: {count:,} example", "mended: {count:,} examples")
    if out is not None:
        print(f"{mended}, {shown_path(Path(out))}")
        print(tr("fine-tune with: {command}", command=command("finetune", Path(out), "--out", "runs/tuned")))
    elif any(finding.mend for finding in found.findings):
        again = command("finetune", path, "--prepare", f"{path.stem}_prepared.jsonl")
        print(tr("{mended}; write them with: {command}", mended=mended, command=again))
    return 0


def _lines(found: Prepared, path: Path) -> list[str]:
    """The report, a line for the file and one for each finding."""
    kinds = {
        "open-ended": tr("open-ended text (the prompts are empty)"),
        "classification": tr("classification (few different completions)"),
        "conditional": tr("conditional generation"),
    }
    counted = plural(found.count, "{count:,} example", "{count:,} examples")
    what = tr("{file}: {counted}, read as {what}", file=shown_path(path), counted=counted, what=found.what)
    first = f"{what}; {kinds[found.kind]}"
    return [first, *(map(_line, found.findings) if found.findings else [f"  {tr('nothing is wrong')}"])]


def _line(finding: Finding) -> str:
    where, count = "", finding.count
    if count:
        numbers = ", ".join(map(str, finding.lines[:MOST_LINES])) + (", ..." if count > MOST_LINES else "")
        where = f" [{plural(count, '{count:,} line: {numbers}', '{count:,} lines: {numbers}', numbers=numbers)}]"
    mend = f" -> {finding.mend}" if finding.mend else ""
    return f"  {finding.problem}{where}{mend}"


def _as_json(found: Prepared, out: str | None) -> dict[str, object]:
    findings = [
        {"check": one.check, "problem": one.problem, "mend": one.mend or None, "lines": list(one.lines)}
        for one in found.findings
    ]
    return {
        "examples": found.count, "kind": found.kind, "findings": findings, "mended_examples": len(found.examples),
        "prepared": out,
    }  # fmt: skip


def _tokenizer_of(model: str) -> tuple[Tokenizer | None, int]:
    """The tokenizer and the context of a model, without its weights."""
    if (file := gguf_file(model)) is not None:
        header = gguf_read.read(file)
        return header.tokenizer, header.config.n_ctx
    directory = resolve(model)
    values = read_json(directory)
    config = read_config(directory, values)
    return read_tokenizer(directory, config, values)[0], config.n_ctx
