"""Run as a script: reads damaged and hostile files of every kind in one process of bounded memory, and prints what failed.

A case takes a good file, changes one place of it (a field's type or value, a key, the bytes) and gives it to everything that
reads such a file. What that may do is succeed or raise `PellucidError`.

Arguments: a folder to work in, a seed, how many cases. Prints one JSON object: cases, kinds (how many of each), failures.
"""

import json
import random
import shutil
import struct
import sys
import traceback
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from finetuning_records import finetuning_record
from generation_records import generation
from stories import story
from training_records import training_record

import pellucid
from pellucid.corpus import Document
from pellucid.draw import figures
from pellucid.draw.figure_files import draw_figures
from pellucid.draw.film.film_json import from_json
from pellucid.errors import PellucidError
from pellucid.evaluation.task_file import read_task
from pellucid.finetuning.example_files import read_examples
from pellucid.finetuning.general import general_text, read_general
from pellucid.formats.convert import convert
from pellucid.generation.prompt_file import read_prompt
from pellucid.generation.text_generator import open_text_generator
from pellucid.planning.source import planned_model
from pellucid.record import open_record
from pellucid.serve.studio.generate_request import parse_generate_request
from pellucid.serve.studio.sources import SourceCatalog, describe_record
from pellucid.serve.studio.static_page import write_page


GGUF_HEADER = 8000  # bytes of the header of the GGUF file made here, or less
ALLOWED = 1 << 30  # bytes of address space that reading one file may take beyond what the process has
# What JSON can say and Python's `json` does not write, by the text that stands for it.
RAW = {
    "@nan": "NaN", "@infinity": "-Infinity", "@1e999": "1e999", "@digits": "9" * 5000, "@many": "7" * 400,
    "@deep": "[" * 5000 + "]" * 5000, "@objects": '{"a":' * 200 + "1" + "}" * 200, "@surrogate": '"\\ud800"',
}  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, -5, 3, 10**9, 2**31, 2**53, 2**63, -(2**70), 0.5, -1e-9, 1e308, "", "x",
    "\x00", "../x", "é" * 10_000, "default", [], {}, [[]], [None], [1, 2], [-1], [10**9] * 3, [[1, 2], [3, 4]], {"a": 1}, [{}],
    ["x"] * 1000, *RAW,
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON value; of long lists and objects, of the first few."""
    found = [path]
    if isinstance(value, dict | list):
        items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
        for key, item in items if len(items) < 60 else [*items[:3], items[-1]]:
            found += places(item, (*path, key))
    return found


def changed(value: Any, choose: random.Random) -> str:
    """The JSON text of a value in which one place is another."""
    copy = json.loads(json.dumps(value))
    path = choose.choice(places(copy))
    if not path:
        return text_of(choose.choice(VALUES))
    owner = copy
    for key in path[:-1]:
        owner = owner[key]
    old, what = owner[path[-1]], choose.random()
    if what < 0.1:
        del owner[path[-1]]
    elif what < 0.2 and isinstance(owner, dict):
        return text_of(copy).replace(json.dumps(path[-1]) + ":", json.dumps(path[-1]) + ": 1," + json.dumps(path[-1]) + ":", 1)
    elif what < 0.25 and isinstance(owner, dict):
        owner[choose.choice(["", "unknown", "x" * 10_000])] = owner.pop(path[-1])
    elif what < 0.45 and type(old) in (int, float):
        owner[path[-1]] = choose.choice([-old, old + 1, old * 1000, -old - 1, old / 2, str(old), [old], old * 10**12])
    else:
        owner[path[-1]] = choose.choice(VALUES)
    return text_of(copy)


def text_of(value: Any) -> str:
    """JSON in which the stand-ins of `RAW` are what they stand for."""
    text = json.dumps(value)
    for name, raw in RAW.items():
        text = text.replace(f'"{name}"', raw)
    return text


def damaged(data: bytes, choose: random.Random) -> bytes:
    """Bytes that are cut, garbled, repeated or replaced."""
    at = choose.randrange(len(data) + 1)
    return choose.choice([
        data[:at], data[:at] + bytes([choose.randrange(256)]) + data[at + 1 :], data[:at] + b"\xff\xfe\x00" + data[at:], b"",
        data + data, choose.randbytes(200), bytes(len(data)), b"\xef\xbb\xbf" + data, data.decode("latin-1").encode("utf-16"),
    ])  # fmt: skip


def changed_file(data: bytes, choose: random.Random) -> bytes:
    """A JSON file with one place changed, or its bytes."""
    return damaged(data, choose) if choose.random() < 0.2 else changed(json.loads(data), choose).encode()


def changed_lines(data: bytes, choose: random.Random) -> bytes:
    """The same of one line of a file of lines."""
    lines = data.splitlines(keepends=True)
    at = choose.randrange(len(lines))
    lines[at] = changed_file(lines[at].strip(), choose) + b"\n"
    return b"".join(lines)


def changed_weights(data: bytes, choose: random.Random) -> bytes:
    """A safetensors file with one place of its header changed."""
    length = int.from_bytes(data[:8], "little")
    header = changed_file(data[8 : 8 + length], choose)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def changed_gguf(data: bytes, choose: random.Random) -> bytes:
    """A GGUF file with a few numbers of its header replaced, or cut."""
    if choose.random() < 0.1:
        return data[: choose.randrange(len(data))]
    copy = bytearray(data)
    for _ in range(choose.choice([1, 1, 2, 8])):
        width = choose.choice([1, 4, 8])
        value = choose.choice([0, 1, 3, 255, 2**31, 2**32 - 1, 2**63, 2**64 - 1, choose.getrandbits(64)]) % 256**width
        at = choose.randrange(choose.choice([32, 512, GGUF_HEADER]))
        copy[at : at + width] = value.to_bytes(width, "little")
    return bytes(copy)


def changed_record(data: bytes, choose: random.Random) -> bytes:
    """A record with one place of its header changed, or a chunk that claims to be large; its checksums are right."""
    length = struct.unpack_from("<I", data, 12)[0]
    header, rest = json.loads(data[48 : 48 + length]), data[-(-(48 + length) // 8) * 8 :]
    if choose.random() < 0.3:
        header, rest = with_other_chunk(header, rest, choose)
        text = json.dumps(header).encode()
    else:
        text = changed_file(data[48 : 48 + length], choose)
    start = struct.pack("<8sII", b"PELLUCID", 1, len(text))
    whole = start + sha256(start + text).digest() + text
    return whole.ljust(-(-len(whole) // 8) * 8, b"\0") + rest


def with_other_chunk(header: dict[str, Any], data: bytes, choose: random.Random) -> tuple[dict[str, Any], bytes]:
    """The last chunk of a header's table replaced by one under any chunk's name: other numbers, or a few bytes that inflate."""
    rows = header["chunks"]
    row = dict(choose.choice(rows))
    others = [other for other in rows if other["name"] != row["name"]]
    width = {"float32": 4, "int32": 4, "int64": 8, "float64": 8, "uint8": 1, "json": 1}
    if choose.random() < 0.5:  # the shape stays, every byte is another
        plain = bytes([choose.choice([0, 1, 127, 255])]) * row["plain_bytes"] if row["dtype"] != "json" else b"[" * 9
    else:
        row["dtype"] = choose.choice(list(width))
        side = choose.choice([3, 100, 4000, 11_000])
        numbers = side * (side + 1) // 2
        row["shape"] = [] if row["dtype"] == "json" else choose.choice([[numbers], [1, numbers], [numbers, 1], [side, side]])
        size = numbers if row["shape"] != [side, side] else side * side
        row |= {"triangle": choose.random() < 0.5 and bool(row["shape"])}
        row.pop("scale", None)
        if row["dtype"] == "uint8" and choose.random() < 0.7:
            row["scale"] = [0.0, choose.choice([1.0, 1e300])]
        plain = b"[" + b"[]," * (min(size, 10**7) // 3) + b"1]" if row["dtype"] == "json" else bytes(size * width[row["dtype"]])
    stored = zlib.compress(plain, 1)
    packed, table = b"", []
    for other in others:
        packed = packed.ljust(-(-len(packed) // 8) * 8, b"\0")
        table.append(other | {"offset": len(packed)})
        packed += data[other["offset"] : other["offset"] + other["stored_bytes"]]
    packed = packed.ljust(-(-len(packed) // 8) * 8, b"\0")
    row |= {"encoding": "deflate", "offset": len(packed), "stored_bytes": len(stored), "plain_bytes": len(plain)}
    row["sha256"] = sha256(stored).hexdigest()
    return header | {"chunks": [*table, row]}, packed + stored


Read = Callable[[Path], Any]


def converted(source: Path, destination: Path, to: str) -> None:
    """A model in another format, as the command writes it."""
    model = pellucid.load(source)
    convert(model, model.tokenizer, destination, to=to)


def read_model(folder: Path) -> None:
    """Everything that reads a model directory."""
    for read in (
        pellucid.load, lambda path: open_text_generator(path, kernel="off"), planned_model,
        lambda path: SourceCatalog([path]).listing(),
        lambda path: converted(path, path / "converted.gguf", "gguf"),
    ):  # fmt: skip
        attempt(read, folder)


def read_gguf(folder: Path) -> None:
    """Everything that reads a GGUF file."""
    file = folder / "model.gguf"
    attempt(pellucid.load, file)
    attempt(planned_model, file)
    attempt(lambda path: open_text_generator(path, kernel="off"), file)
    attempt(lambda path: converted(path, folder / "converted", "pellucid"), file)


def read_run(folder: Path) -> None:
    """Everything that reads a run directory, and resuming it."""
    for read in (
        lambda run: pellucid.open_run(run).metrics(), planned_model, lambda run: SourceCatalog([run]).listing(),
        lambda run: write_page(run / "page.html", [], runs=[run]),
        lambda run: pellucid.train([], run, resume=True, stop=lambda: True),
    ):  # fmt: skip
        attempt(read, folder)


def read_record(path: Path) -> None:
    """Everything that reads a record."""

    def open_all(file: Path) -> None:
        with open_record(file) as record:
            for name in record:
                attempt(lambda _, record=record, name=name: record[name], file)
            attempt(lambda _: describe_record(record, "record-1", "title"), file)
            attempt(lambda _: pellucid.verify(record, file.parent / "run"), file)
            attempt(lambda _: draw_figures([file], file.parent / "drawn", formats=("svg",)), file)
            for name in figures.figures_of(record.kind):
                attempt(lambda _, name=name: figures.figure(record, name, width=360), file)

    attempt(open_all, path)
    attempt(lambda file: SourceCatalog([file]).listing(), path)


def attempt(read: Read, path: Path) -> None:
    """Reads; a `PellucidError` is what a damaged file may give."""
    try:
        read(path)
    except PellucidError as error:
        assert path.name in ("body.json", "film.json") or len(str(error)) < 3000, "a message that long helps nobody"


def make_files(folder: Path) -> dict[str, tuple[Path, Path, Callable[[bytes, random.Random], bytes], Read]]:
    """Good files of every kind: by kind the folder to copy, the file in it, how to change it, and what reads it."""
    run, hugging_face = folder / "run", folder / "hf"
    config = pellucid.GPTConfig(vocab_size=280, n_ctx=16, n_layers=2, d_model=16, n_heads=2, pattern=("dense", "dense"))
    documents = [Document(f"story {seed}", story(120, seed)) for seed in range(1, 4)]
    asked = iter([False, True])
    options = {"checkpoint_every": 1, "keep_best": True, "skip_spikes": 9.0, "patience": 3, "batch_ramp": True}
    pellucid.train(documents, run, config=config, steps=4, batch_tokens=64, stop=lambda: next(asked), **options)
    shutil.copytree(run / "model", hugging_face)
    weights = hugging_face / "model.safetensors"
    weights.rename(hugging_face / "model-00001-of-00001.safetensors")
    header = weights_header((hugging_face / "model-00001-of-00001.safetensors").read_bytes())
    index = {"metadata": {"total_size": 1}, "weight_map": {name: "model-00001-of-00001.safetensors" for name in header}}
    (hugging_face / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    records = folder / "records"
    records.mkdir()
    generation(steps=3, blocks=2).save(records / "generation.pellucid")
    training = training_record(steps=12, tracks=8)
    training.save(records / "training.pellucid")
    finetuning_record(steps=6).save(records / "finetuning.pellucid")
    pellucid.xray(pellucid.load(run), "the fox", max_tokens=3, seed=1).save(records / "xray.pellucid")
    question = pellucid.Prompt("", [("a", "b")], "c", "equals")
    pellucid.prime(pellucid.load(run), question, answer="d").save(records / "priming.pellucid")
    (folder / "small").mkdir()
    film = figures.figure(training, "loss", width=360).to_json()
    (folder / "small" / "film.json").write_text(film, encoding="utf-8")
    (folder / "small" / "examples.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 3, encoding="utf-8")
    query = {"prompt": "a", "choices": ["b", "c"], "completion": ["b"], "example": False}
    lines = [{"task": "Do:", "format": "qa", "choices": ["b"], "max_tokens": 3}, query, query | {"example": True}]
    (folder / "small" / "task.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (folder / "small" / "examples.csv").write_text("id;text;label\n1;a;b\n2;\"c;\nd\";e\n", encoding="utf-8")
    general_text(run, pellucid.load(run).require_tokenizer(), 16).save(folder / "small")
    stated = {"task": "Do:", "examples": [{"prompt": "a", "completion": "b"}], "query": "c", "answer": "d", "format": "qa"}
    (folder / "small" / "prompt.json").write_text(json.dumps(stated), encoding="utf-8")
    converted(run / "model", folder / "small" / "model.gguf", "gguf")
    body = {"model": "default", "prompt": "Once", "max_tokens": 3, "temperature": 0.8, "stop": ["."], "seed": 1, "record": True}
    (folder / "small" / "body.json").write_text(json.dumps(body), encoding="utf-8")
    model, small, newest = run / "model", folder / "small", sorted((run / "checkpoints").iterdir())[-1]
    found: dict[str, tuple[Path, Path, Callable[[bytes, random.Random], bytes], Read]] = {
        "config.json": (model, model / "config.json", changed_file, read_model),
        "tokenizer.json": (model, model / "tokenizer.json", changed_file, read_model),
        "safetensors": (model, model / "model.safetensors", changed_weights, read_model),
        "gguf": (small, small / "model.gguf", changed_gguf, read_gguf),
        "index": (hugging_face, hugging_face / "model.safetensors.index.json", changed_file, read_model),
        "run.json": (run, run / "run.json", changed_file, read_run),
        "metrics.jsonl": (run, run / "metrics.jsonl", changed_lines, read_run),
        "state.json": (run, newest / "state.json", changed_file, read_run),
        "best.json": (run, run / "best" / "best.json", changed_file, read_run),
        "checkpoint config": (run, newest / "config.json", changed_file, read_run),
        "corpus.json": (run, run / "corpus" / "corpus.json", changed_file, read_run),
        "film": (small, small / "film.json", changed_file, lambda at: attempt(film_of, at / "film.json")),
        "general.json": (small, small / "general.json", changed_file, lambda at: attempt(lambda to: read_general(to, 280), at)),
        "table": (small, small / "examples.csv", damaged, lambda at: attempt(read_examples, at / "examples.csv")),
        "examples": (small, small / "examples.jsonl", changed_lines, lambda at: attempt(read_examples, at / "examples.jsonl")),
        "task": (small, small / "task.jsonl", changed_lines, lambda at: attempt(read_task, at / "task.jsonl")),
        "prompt": (small, small / "prompt.json", changed_file, lambda at: attempt(read_prompt, at / "prompt.json")),
        "request": (small, small / "body.json", changed_file, lambda at: attempt(request_of, at / "body.json")),
    }
    for name in ("generation", "training", "finetuning", "xray", "priming"):
        file = records / f"{name}.pellucid"
        found[f"{name} record"] = (file, file, changed_record, read_record)
    return found


def film_of(path: Path) -> Any:
    """The film of a file."""
    return from_json(path.read_text(encoding="utf-8", errors="replace"))


def request_of(path: Path) -> Any:
    """The request of a body."""
    return parse_generate_request(path.read_bytes())


def weights_header(data: bytes) -> dict[str, Any]:
    """The tensors of a safetensors file."""
    header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    header.pop("__metadata__", None)
    return header


def read_case(kind: str, files: dict[str, Any], work: Path, seed: int) -> None:
    """One case: a changed copy, read by all that read its kind."""
    folder, file, change, read = files[kind]
    copy = work / folder.name
    if copy.is_dir():
        shutil.rmtree(copy)
    if folder.is_dir():
        shutil.copytree(folder, copy)
        target = copy / file.relative_to(folder)
    else:
        target = copy
    target.write_bytes(change(file.read_bytes(), random.Random(seed)))
    read(copy)


def bound_memory() -> None:
    """Bounds this process's address space, where the system can."""
    try:
        import resource

        size = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return
    resource.setrlimit(resource.RLIMIT_AS, (size + ALLOWED, resource.RLIM_INFINITY))


def main(folder: Path, seed: int, cases: int) -> None:
    """Runs the cases."""
    files = make_files(folder)
    work = folder / "work"
    work.mkdir()
    for folder_, _, _, read in files.values():  # all good files can be read, and everything is imported
        copy = work / folder_.name
        shutil.copytree(folder_, copy, dirs_exist_ok=True) if folder_.is_dir() else shutil.copy(folder_, copy)
        read(copy)
    bound_memory()
    failures, counts = [], dict.fromkeys(files, 0)
    for case in range(seed, seed + cases):
        kind = list(files)[case % len(files)]
        counts[kind] += 1
        try:
            read_case(kind, files, work, case)
        except Exception as error:
            failures.append(f"{kind}, seed {case}: {error!r:.300}\n{''.join(traceback.format_tb(error.__traceback__)[-4:])}")
    print(json.dumps({"cases": sum(counts.values()), "kinds": counts, "failures": failures}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
