"""`SourceCatalog`: the runs, records and models that the studio shows, by id. Requests name ids, never paths."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pellucid.arguments import path_of, shown
from pellucid.command_lines import command, path_here
from pellucid.errors import PellucidError
from pellucid.files import reading
from pellucid.formats.hf_config import read_config
from pellucid.generation.resolve import ASSETS, DEFAULT
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.config_json import CONFIG
from pellucid.languages import mark, tr
from pellucid.locks import is_locked
from pellucid.record import SUFFIX, Record, check, open_record
from pellucid.record.schema import SCHEMA
from pellucid.runs.files import HELD_OUT_EXAMPLES, METRICS, MODEL, RUN_FILE
from pellucid.serve.http.ranges import Content
from pellucid.serve.studio.model_words import Learned, model_words, read_learned
from pellucid.serve.wire import FigureInfo, ModelInfo, ModelShape, RecordInfo, RunInfo, SourceLists
from pellucid.strict_json import Fields, parse_json
from pellucid.text.graphemes import first_columns


EMBEDDED = mark("the embedded model")
MAX_COMPLETIONS = 24  # records of completions made on the page; the oldest is dropped first
MAX_COMPLETION_BYTES = 1 << 28  # of them together, unless one alone has more
_ANSWER = "answer-"  # then letters of this start of the server, and a number: the id of a completion's record
_DEFAULT = ASSETS / DEFAULT
_TITLE = 80  # characters of a record's text in a list
_LISTED = 8  # ids in a message
_PROMPT = 400  # characters of a proposed prompt
_MAX_EXAMPLE = 1 << 14  # bytes of a held-out example that is read for its prompt


@dataclass(frozen=True, slots=True)
class _CompletionRecord:
    """A record in memory, of a completion made on the page."""

    data: bytes
    model: str


@dataclass(slots=True)
class _IdTable:
    """Ids of paths, numbered in the order in which they were found; they stay the same while the server runs."""

    prefix: str
    by_path: dict[Path, str] = field(default_factory=dict)

    def of(self, path: Path) -> str:
        return self.by_path.setdefault(path, f"{self.prefix}-{len(self.by_path) + 1}")

    def path(self, name: str) -> Path:
        """The path of an id. Raises PellucidError: no such id."""
        for path, known in list(self.by_path.items()):  # a copy: another thread's listing may add to it
            if known == name:
                return path
        raise PellucidError(f"there is no {shown(name)} here: {self.listed()}")

    def listed(self, *others: str) -> str:
        """The ids that there are, in words."""
        known = [*others, *self.by_path.values()]
        more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
        return f"there are {', '.join(known[:_LISTED])}{more}" if known else "nothing of this kind is served"


class SourceCatalog:
    """The studio's sources. Folders and runs are scanned again at each listing: a run may still be training.

    Args:
        sources: run directories, model directories, record files, folders of these, or "default", the embedded model,
            which is there in any case.

    Raises:
        PellucidError: a source does not exist, or is nothing that can be shown.
    """

    def __init__(self, sources: Iterable[str | Path] = ()) -> None:
        self._lock = threading.Lock()
        self._runs, self._records, self._models = _IdTable("run"), _IdTable("record"), _IdTable("model")
        self._completions: OrderedDict[str, _CompletionRecord] = OrderedDict()
        self._start = secrets.token_hex(3)  # a page that outlives its server takes no new answer for an old one
        self._count = 0  # of completions so far
        self._described: dict[str, tuple[str, RecordInfo, Learned | None]] = {}  # id: (etag, what is listed, of its run)
        self._folders: list[Path] = []
        self._has_default = (_DEFAULT / CONFIG).exists()
        for source in sources:
            self._add(source)
        self._scan()

    def _add(self, source: str | Path) -> None:
        if source == DEFAULT:
            if not self._has_default:
                raise PellucidError("this build of pellucid carries no default model: name a model or run directory")
            return
        path = path_of("a source", source).resolve()
        if path.is_file():
            open_record(path).close()
            self._records.of(path)
        elif not path.is_dir():
            raise PellucidError(f"cannot show {source}: no such file or directory")
        elif (path / RUN_FILE).exists() or (path / CONFIG).exists():
            self._add_directory(path)
        else:
            self._folders.append(path)
            if not any(_is_source(child) for child in path.iterdir()):
                raise PellucidError(
                    f"{source} holds no run (run.json), record (*{SUFFIX}) or model (config.json): name what to show"
                )

    def _add_directory(self, path: Path) -> None:
        if (path / RUN_FILE).exists():
            self._runs.of(path)
        else:
            self._models.of(path)

    def _scan(self) -> None:
        """Finds new runs and records in folders, and new records and models of runs."""
        for folder in self._folders:
            for child in _children(folder):
                if child.is_dir() and _is_source(child):
                    self._add_directory(child)
                elif _is_source(child):
                    self._records.of(child)
        for run in list(self._runs.by_path):
            for path in sorted(run.glob(f"*{SUFFIX}")):
                self._records.of(path)
            if (run / MODEL / CONFIG).exists():
                self._models.of(run)

    def listing(self) -> SourceLists:
        """The runs, records and models that are there now."""
        with self._lock:
            self._scan()
            runs = [self._describe_run(path, name) for path, name in self._runs.by_path.items() if path.is_dir()]
            records = self._describe_records()
            models = [_describe_model(path, name) for path, name in self._models.by_path.items() if path.is_dir()]
            if self._has_default:
                models.insert(0, _describe_embedded())
        return SourceLists(runs=runs, records=records, models=models)

    def _record_ids(self) -> list[str]:
        there = [name for path, name in self._records.by_path.items() if path.is_file()]
        return [*there, *self._completions]

    def _describe_run(self, path: Path, name: str) -> RunInfo:
        from pellucid.runs.metrics import last_line  # a studio without runs need not import training's events and recipes
        from pellucid.runs.plan import read_shown_plan

        records = [known for at, known in self._records.by_path.items() if at.parent == path and at.is_file()]
        found = RunInfo(id=name, title=path.name, records=records, model=self._models.by_path.get(path))
        try:
            plan = read_shown_plan(path)
            found |= {"kind": plan["kind"], "total_steps": plan["total_steps"], "resume": resume_command(path, plan["kind"])}
        except PellucidError as error:
            return {**found, "problem": f"run.json cannot be read: {error}"}
        if (last := last_line(path)) is not None:
            found["steps"] = last.step
            found |= {} if last.ended is None else {"ended": last.ended}
        if (running := is_locked(path)) is not None:
            found["running"] = running
        with suppress(OSError):
            found["idle"] = max(0.0, time.time() - (path / METRICS).stat().st_mtime)
        return found

    def _describe_records(self) -> list[RecordInfo]:
        described = [self._describe_record(name) for name in self._record_ids()]
        add_model_words(described)
        return [found for found, _ in described]

    def _describe_record(self, name: str) -> tuple[RecordInfo, Learned | None]:
        """A record's entry, and what its model learned from if it is that of a run."""
        try:
            content = self.content(name)
            if (known := self._described.get(name)) and known[0] == content.etag:
                return {**known[1], "title": self._title(name)}, known[2]  # in the language of this listing
            with self.record(name) as record:
                found = describe_record(record, name, self._title(name))
                learned = read_learned(record, self._run_of(name))
        except (OSError, PellucidError) as error:
            return RecordInfo(id=name, title=self._title(name), problem=str(error)), None
        found |= {"url": f"/records/{name}", "bytes": content.size}
        self._described[name] = (content.etag, found, learned)
        return {**found}, learned

    def _run_of(self, name: str) -> Path | None:
        """The run that a record's file lies in."""
        if name in self._completions:
            return None
        path = self._records.path(name)
        return path.parent if path.parent in self._runs.by_path else None

    def _title(self, name: str) -> str:
        if name in self._completions:
            model = self._completions[name].model
            number = int(name.rpartition("-")[2])
            named = tr(EMBEDDED) if model == EMBEDDED else model
            return tr("answer {number}, written here by {model}", number=number, model=named)
        path, run = self._records.path(name), self._run_of(name)
        return f"{run.name}/{path.name}" if run else path.name

    def content(self, name: str) -> Content:
        """A record as the content of a response.

        Raises:
            PellucidError: no record has this id. OSError: its file is gone.
        """
        completion = self._completions.get(name)
        return Content.of(completion.data if completion else self._record_path(name), name)

    def record(self, name: str) -> Record:
        """Opens a record.

        Raises:
            PellucidError: no record has this id, or it cannot be read.
        """
        completion = self._completions.get(name)
        return open_record(completion.data if completion else self._record_path(name))

    def _record_path(self, name: str) -> Path:
        if name.startswith(_ANSWER):
            raise self._gone(name)
        return self._records.path(name)

    def _gone(self, name: str) -> PellucidError:
        return PellucidError(f"{name} is not kept any more, only the last {MAX_COMPLETIONS} are: generate it again")

    def keep(self, data: bytes, model: str) -> str:
        """Keeps a completion's record in memory; returns its id."""
        with self._lock:
            self._count += 1
            name = f"{_ANSWER}{self._start}-{self._count}"
            self._completions[name] = _CompletionRecord(data, model)
            size = sum(len(one.data) for one in self._completions.values())
            while len(self._completions) > MAX_COMPLETIONS or (size > MAX_COMPLETION_BYTES and len(self._completions) > 1):
                gone, dropped = self._completions.popitem(last=False)
                size -= len(dropped.data)
                self._described.pop(gone, None)
        return name

    def take(self, name: str) -> bytes:
        """A completion's record, which is kept in memory no longer. Raises PellucidError: it is not there any more."""
        with self._lock:
            found = self._completions.pop(name, None)
            self._described.pop(name, None)
        if found is None:
            raise self._gone(name)
        return found.data

    def add_record(self, path: Path) -> str:
        """Shows a record's file, too; returns its id."""
        with self._lock:
            return self._records.of(path.resolve())

    def add_folder(self, path: Path) -> None:
        """Shows a folder's runs, records and models, too; there may be none yet."""
        with self._lock:
            self._folders.append(path.resolve())

    def model_id(self, source: str | Path) -> str | None:
        """The id of what `load` takes as a model; None: it is not shown."""
        if source == DEFAULT:
            return DEFAULT
        path = path_of("a model", source).resolve()
        with self._lock:
            if path not in self._models.by_path:
                self._scan()  # it may be new
            return self._models.by_path.get(path)

    def run(self, name: str) -> Path:
        """A run's directory. Raises PellucidError: no run has this id."""
        return self._runs.path(name)

    def model(self, name: str) -> tuple[str | Path, str]:
        """(what `load` takes, the title shown for it).

        Raises:
            PellucidError: no model has this id.
        """
        if name == DEFAULT and self._has_default:
            return DEFAULT, EMBEDDED
        if name == DEFAULT:
            raise PellucidError(f"this build carries no embedded model: name one in `model`; {self._models.listed()}")
        path = self._models.path(name)
        return path, path.name


def describe_record(record: Record, name: str, title: str) -> RecordInfo:
    """The entry of a record in a list: its kind, the shape of its model and, of a generation or a priming, the text.

    The figures are those of its kind: whether it holds the chunks of one is known when that is drawn.

    Args:
        name: the record's id. title: shown for it.
    """
    from pellucid.draw.figures import figures_of
    from pellucid.draw.views.pieces import read_pieces

    check(record, partial=True)
    named, config = record.provenance, GPTConfig.from_dict(record.provenance.config)
    found = RecordInfo(
        id=name, title=title, kind=record.kind, model=named.model, figures=figures_of(record.kind),
        shape=ModelShape(
            name=named.config.get("name"), n_layers=config.n_layers, d_model=config.d_model, n_heads=config.n_heads
        ),
        parameters=named.parameters,
    )  # fmt: skip
    if record.kind == "generation" and "pieces/bytes" in record:
        pieces = read_pieces(record)
        read, drawn = (record[f"generation/{part}"].tolist() for part in ("prompt_ids", "steps/drawn_ids"))
        text = b"".join(pieces.bytes_of(token) or b"" for token in (read + drawn)[:_TITLE]).decode("utf-8", "replace")
        found |= {"text": first_columns(" ".join(text.split()), _TITLE), "tracks": len(read) + len(drawn)}
    if record.kind == "priming" and "priming/prompt" in record:
        stated = record["priming/prompt"]
        if isinstance(stated, dict) and isinstance(question := stated.get("query"), str):
            found |= {"text": first_columns(" ".join(question.split()), _TITLE)}
    return found


def add_model_words(described: Iterable[tuple[RecordInfo, Learned | None]]) -> None:
    """Adds to the entries of records which model each is of, in the current language: a run's record tells of the others."""
    described = list(described)
    learned = {found["model"]: told for found, told in described if told is not None and "model" in found}
    for found, _ in described:
        if "model" in found:
            found["about_model"] = model_words(found, learned)


def resume_command(run: Path, kind: str) -> str:
    """The command that goes on with a run, for a shell in the current directory."""
    return command(kind, "--resume", "--out", path_here(run))


def _describe_model(path: Path, name: str) -> ModelInfo:
    found = ModelInfo(id=name, title=path.name)
    try:
        config = read_config(path / MODEL if (path / RUN_FILE).exists() else path)
    except (OSError, ValueError) as error:
        return {**found, "problem": str(error)}
    found |= {"parameters": config.parameters(), "n_ctx": config.n_ctx, "vocab_size": config.vocab_size}
    if prompt := _fitting_prompt(path):
        found["prompt"] = prompt
    return found


def _describe_embedded() -> ModelInfo:
    return {**_describe_model(_DEFAULT, DEFAULT), "title": tr(EMBEDDED), "prompt": "Once upon a time"}


def _fitting_prompt(path: Path) -> str:
    """A prompt of the kind that a run's model was trained on: a held-out example's, or the run's own; "" for other models."""
    from pellucid.runs.plan import read_plan

    with suppress(OSError, PellucidError, ValueError):
        with reading(path / HELD_OUT_EXAMPLES) as file:
            example = Fields(parse_json(file.readline(_MAX_EXAMPLE), max_bytes=_MAX_EXAMPLE), HELD_OUT_EXAMPLES)
        return str(example.text("prompt"))[:_PROMPT]
    with suppress(PellucidError, ValueError):
        return str(Fields(read_plan(path), RUN_FILE).text("sample_prompt"))[:_PROMPT]
    return ""


def known_figures() -> list[FigureInfo]:
    """Every figure that this version draws, from the table of figures."""
    from pellucid.draw.figures import FIGURES

    return [FigureInfo(name=one.name, kind=one.kind, about=tr(one.about), command=one.command) for one in FIGURES.values()]


def meanings() -> dict[str, str]:
    """What the chunks of a generation record hold, in the current language, by the English text: those that are translated."""
    said = {spec.meaning: tr(spec.meaning) for spec in SCHEMA["generation"]}
    return {meaning: translated for meaning, translated in said.items() if translated != meaning}


def _children(folder: Path) -> list[Path]:
    """What is in a folder, in order; nothing where it is gone or may not be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _is_source(path: Path) -> bool:
    try:
        if path.is_dir():
            return (path / RUN_FILE).exists() or (path / CONFIG).exists()
        return path.suffix == SUFFIX and path.is_file()
    except OSError:  # a folder that may not be read
        return False
