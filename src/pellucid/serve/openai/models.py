"""The models of a service: each with an engine whose thread is started again once, should it end, and a line for its slots."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pellucid.arguments import path_of, shown
from pellucid.engine.driver import DriverClosedError, EngineDriver, QueueFullError
from pellucid.engine.engine import Engine
from pellucid.engine.request import Request
from pellucid.engine.request_handle import RequestHandle
from pellucid.engine.stats import EngineStats
from pellucid.errors import PellucidError
from pellucid.files import sha256 as file_sha256
from pellucid.generation.resolve import DEFAULT, gguf_file, resolve
from pellucid.generation.text_generator import TextGenerator, open_text_generator
from pellucid.runtime.runner import Mode, Runner
from pellucid.serve.http.waiting_line import WaitingLine
from pellucid.serve.openai.choices import TokenNames
from pellucid.serve.openai.errors import ApiError, busy, overloaded
from pellucid.version import __version__


LOG = logging.getLogger("pellucid.serve")
RESTART_AFTER = 0.5  # seconds from the end of an engine's thread until it is started again
WEIGHT_FILES = ("*.json", "*.safetensors")  # what a model directory computes with
MAX_ID = 200  # characters
TUNED = "fine-tuned"  # the name of all fine-tuned models in metrics


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSettings:
    """How the engines of a service run.

    Attributes:
        mode: "exact" (an answer depends on its own request alone, to the bit) or "fast".
        max_sequences: completions that are generated at once. max_waiting: prompts of a key that wait for that at
            most.
        memory: bytes of keys and values; None: as many as are asked for.
    """

    mode: Mode = "exact"
    max_sequences: int = 64
    max_waiting: int = 256
    memory: int | None = None


class ServedModel:
    """A model that a service answers with.

    Args:
        id: its name in requests. source: what `load` takes, or None. generator: the model. created: of its file, in seconds
            since 1970. digest: of its files. owner: the id of the key that owns it (`Client.id`); "" for those of all keys.

    Attributes:
        line: the slots of its engine. names: of its tokens. restarts: how often its engine's thread was started again.
    """

    def __init__(
        self, id: str, generator: TextGenerator, settings: EngineSettings, *, source: str | Path | None = None,
        created: int = 0, digest: str = "", owner: str = "",
    ) -> None:  # fmt: skip
        self.id, self.generator, self.source, self.created, self.owner = id, generator, source, created, owner
        self.line = WaitingLine(settings.max_sequences, settings.max_waiting)
        self.names = TokenNames(generator.tokenizer)
        self.restarts = 0
        self._settings = settings
        self._runner = runner_of_mode(generator.make_runner(), settings.mode)
        computed = f"{__version__} {self._runner.mode} {self._runner.path} {digest}"
        self.fingerprint = f"fp_{sha256(computed.encode()).hexdigest()[:12]}"
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._driver = self._new_driver()

    @property
    def label(self) -> str:
        """Its name in metrics, which everybody reads: those of keys have one together."""
        return TUNED if self.owner else self.id

    @property
    def mode(self) -> Mode:
        """Whether answers are the same to the bit, whatever else runs."""
        return self._runner.mode

    @property
    def path(self) -> str:
        """What computes."""
        return self._runner.path

    @property
    def alive(self) -> bool:
        """Whether its engine runs."""
        return self._driver.alive

    @property
    def stats(self) -> EngineStats:
        """What its engine counts, since its last start."""
        return self._driver.stats

    def submit(self, request: Request) -> RequestHandle:
        """Queues a request.

        Raises:
            ApiError: the engine cannot take it: for good (400), or now (429, 503).
        """
        try:
            return self._driver.submit(request)
        except DriverClosedError:
            raise overloaded(f"the engine of {self.id} does not run") from None
        except QueueFullError as error:
            raise busy(str(error), 1.0) from None
        except PellucidError as error:
            raise ApiError(400, str(error)) from None

    def close(self) -> None:
        """Ends its engine and the requests that run."""
        with self._lock:
            self._closed.set()
        self._driver.close()

    def _new_driver(self) -> EngineDriver:
        settings, generator = self._settings, self.generator
        engine = Engine(
            self._runner, tokenizer=generator.tokenizer, end_of_text=generator.end_ids, memory=settings.memory,
            max_sequences=settings.max_sequences,
        )  # fmt: skip
        return EngineDriver(engine, max_requests=settings.max_sequences + settings.max_waiting, on_failure=self._failed)

    def _failed(self) -> None:
        """Called in the engine's thread, which ends: another is started, once."""
        if self.restarts:
            LOG.error("the engine of %s has ended again and is not restarted: restart the server", self.id)
            return
        LOG.error("the engine of %s has ended: it is started again", self.id)
        threading.Thread(target=self._restart, name="pellucid restart", daemon=True).start()

    def _restart(self) -> None:
        if self._closed.wait(RESTART_AFTER):
            return
        with self._lock:
            if not self._closed.is_set():
                self._driver = self._new_driver()
                self.restarts += 1


def runner_of_mode(runner: Runner, mode: Mode) -> Runner:
    """A runner over the same weights with the promise of `mode`; the kernel's is exact in either."""
    if mode == "fast" or runner.mode == "exact":
        return runner
    from pellucid.runtime.torch_runner import TorchRunner

    assert isinstance(runner, TorchRunner)
    return TorchRunner(runner.model, mode="exact")


class ModelTable:
    """The models of a service by id. The first answers where a request to a tokenizer names none."""

    def __init__(self, models: Iterable[ServedModel]) -> None:
        self._models = {model.id: model for model in models}

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    @property
    def first(self) -> ServedModel:
        """The first model."""
        return next(iter(self._models.values()))

    def get(self, id: str) -> ServedModel | None:
        """The model of an id; None: there is none."""
        return self._models.get(id)

    def find(self, id: str | None, more: Sequence[str] = ()) -> ServedModel:
        """The model of an id. `more`: ids that a message lists beside those of this table.

        Raises:
            ApiError: the request names none (400), or none of these (404).
        """
        if id is None:
            raise ApiError(400, f"you must provide a model parameter: there is {self._listed(more)} - 'model'", param="model")
        found = self._models.get(id)
        if found is None:
            raise self.missing(id, more)
        return found

    def missing(self, id: str, more: Sequence[str] = ()) -> ApiError:
        """The error of a model that is not there (404). `more`: as `find`."""
        message = f"That model does not exist: {shown(id)}; there is {self._listed(more)}"
        return ApiError(404, message, param="model", code="model_not_found")

    def close(self) -> None:
        """Ends all engines."""
        for model in self._models.values():
            model.close()

    def _listed(self, more: Sequence[str]) -> str:
        return ", ".join([*self._models, *more])


def open_models(
    named: Sequence[str], settings: EngineSettings, notify: Callable[[str], None] = lambda line: None, *,
    kernel: str = "auto", weights: str | None = None,
) -> ModelTable:  # fmt: skip
    """The models of a command line, each `NAME=MODEL` or `MODEL`, whose name is then "default" or its directory's.

    Args:
        kernel, weights: as `open_text_generator` takes them. notify: is told what takes long.

    Raises:
        PellucidError: a model that cannot be opened, or two of one name.
    """
    pairs = [_named(one) for one in named] or [(DEFAULT, DEFAULT)]
    for i, (id, _) in enumerate(pairs):
        if id in [other for other, _ in pairs[:i]]:
            raise PellucidError(f"two models are named {id}: name one of them, as in -m NAME=MODEL")
    return ModelTable([open_model(id, source, settings, notify, kernel=kernel, weights=weights) for id, source in pairs])


def open_model(
    id: str, source: str | Path, settings: EngineSettings, notify: Callable[[str], None] = lambda line: None, *,
    kernel: str = "auto", weights: str | None = None, owner: str = "", created: int | None = None,
) -> ServedModel:  # fmt: skip
    """A model with its engine. Arguments as `open_models` and `ServedModel`."""
    generator = open_text_generator(source, kernel=kernel, weights=weights, notify=notify)  # type: ignore[arg-type]
    newest, digest = _files_of(source)
    created = newest if created is None else created
    return ServedModel(id, generator, settings, source=source, created=created, digest=digest, owner=owner)


def is_directory(source: str | Path) -> bool:
    """Whether a model is the embedded one or a directory, which the studio can show."""
    return source == DEFAULT or path_of("a model", source).is_dir()


def _named(text: str) -> tuple[str, str]:
    """(id, source) of an argument. A path that holds "=" and is there is no name and model."""
    name, equals, source = text.partition("=")
    if not equals or path_of("a model", text).exists():
        name, source = (DEFAULT, text) if text == DEFAULT else (path_of("a model", text).resolve().name, text)
    if not (name.isprintable() and name.strip("/ ") and len(name) <= MAX_ID):
        raise PellucidError(f"a model's name is printable text of at most {MAX_ID} characters, not {shown(name)}")
    return name, source


def _files_of(source: str | Path) -> tuple[int, str]:
    """(time of the newest file, digest of all) of a model."""
    file = gguf_file(source)
    directory = resolve(source) if file is None else file.parent
    paths = [file] if file else sorted(path for pattern in WEIGHT_FILES for path in directory.glob(pattern))
    lines = [f"{path.name} {file_sha256(path)}" for path in paths]
    newest = max((int(path.stat().st_mtime) for path in paths), default=0)
    return newest, sha256("\n".join(lines).encode()).hexdigest()
