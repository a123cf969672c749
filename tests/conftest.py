"""What several tests share: one thread, a text with a grammar of its own, and one tiny trained run."""

import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any


# Before torch is imported, and for every process that a test starts: tensors this small are not worth a second thread,
# and two threads that share a busy core with something else are many times slower than one (docs/log.md).
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
import skips
from cases import TIMES
from hypothesis import HealthCheck, settings
from stories import story

import pellucid
from pellucid.corpus import Document
from pellucid.training import matmul_rate


# A shell ignores SIGINT in what it runs in the background, and processes inherit that: those that tests start must not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test depends on time: a busy machine is no failure.
settings.register_profile("untimed", max_examples=100 * TIMES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def hasty() -> Iterator[None]:
    """Runs begin without timing the machine's products for long: nothing here depends on what they reach."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matmul_rate, "MEASURE_SECONDS", 0.0)
        yield


def pytest_configure(config: pytest.Config) -> None:
    """In `.ci/run` every skip has to be listed."""
    if os.environ.get(skips.VARIABLE):
        config.pluginmanager.register(skips.SkipCheck())


LONGEST = ("test_readme.py", "test_kernel.py")  # what begins last must be short, or one core waits for the other


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests first."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    """Eight stories, some 12 kB in all."""
    return [Document(f"story {seed}", story(300, seed)) for seed in range(1, 9)]


@pytest.fixture(scope="session")
def stories(documents: list[Document], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a folder of text files."""
    folder = tmp_path_factory.mktemp("stories")
    for document in documents:
        (folder / f"{document.name}.txt").write_text(document.text + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_run(documents: list[Document], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a few steps: some 37,000 parameters, two blocks, 64 tracks. To be read, not changed."""
    config = pellucid.GPTConfig(vocab_size=300, n_ctx=64, n_layers=2, d_model=32, n_heads=2)
    out = tmp_path_factory.mktemp("runs") / "tiny"
    return pellucid.train(documents, out, config=config, steps=6, batch_tokens=256, learning_rate=1e-2, seed=7).path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium, driven by Playwright (a `Browser`). Skips, with the reason, where either is missing.

    A module's own: while Playwright's synchronous side runs, its thread has a running event loop, and `asyncio.run` in a test
    of another module would fail.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is here")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()
