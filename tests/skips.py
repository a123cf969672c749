"""The tests that `.ci/run` lets be skipped, and why; any other skip fails it.

With PELLUCID_LISTED_SKIPS=1 in the environment a run of pytest in which a test, or a whole file, was skipped that is not listed
here ends with exit status 1 and says which.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from shutil import which
from typing import Any

import pytest
from cases import TIMES


VARIABLE = "PELLUCID_LISTED_SKIPS"


@dataclass(frozen=True, slots=True)
class ListedSkip:
    """Tests that may be skipped.

    Attributes:
        tests: a regular expression that their ids begin with. reason: one that the reason begins with.
        expected: whether this machine lacks what they need.
    """

    tests: str
    reason: str
    expected: Callable[[], bool]


def _has_accelerator() -> bool:
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


def _multiplies_bfloat16() -> bool:
    import torch

    from pellucid.training.placement import default_dtype

    return default_dtype() == torch.bfloat16


LISTED = (
    ListedSkip(r"tests/runtime/test_device\.py::test_an_accelerator_", "no accelerator here", lambda: not _has_accelerator()),
    ListedSkip(r"tests/runtime/test_device\.py::test_a_device_that_is_not_there", "there is a GPU here", _has_accelerator),
    ListedSkip(
        r"tests/recipe/test_recipe_train\.py::test_a_step_takes_the_products", "bfloat16 is emulated here",
        lambda: not _multiplies_bfloat16(),
    ),
    # Peers and tools that take long to install, and that nothing else needs.
    ListedSkip(
        r"tests/formats/test_formats_gguf\.py::test_llama_cpp_", "llama-cpp-python is not installed",
        lambda: find_spec("llama_cpp") is None,
    ),
    ListedSkip(
        r"tests/draw/test_draw_backends\.py::test_an_mp4_", "an MP4 needs ffmpeg", lambda: find_spec("imageio_ffmpeg") is None
    ),
    ListedSkip(
        r"tests/evaluation/test_evaluation_lm_eval\.py::test_lm_eval_", "lm-eval is not installed",
        lambda: "PELLUCID_LM_EVAL_PYTHON" not in os.environ and find_spec("lm_eval") is None,
    ),
    ListedSkip(
        r"tests/recipe/test_recipe_clusters\.py::test_slurm_", "no Slurm here", lambda: which("sbatch") is None
    ),
    ListedSkip(r"tests/recipe/test_recipe_clusters\.py::test_two_hosts_", "in .ci/full", lambda: TIMES == 1),
    ListedSkip(
        r"tests/recipe/test_recipe_clusters\.py::test_two_hosts_", "network namespaces are not permitted", lambda: True
    ),
    ListedSkip(r"tests/serve/test_tuning_disk\.py::test_a_really_full_disk", "a file system cannot be mounted", lambda: True),
    ListedSkip(
        r"tests/studio/test_studio_firefox\.py::", "no Firefox",
        lambda: which("firefox-esr") is None and which("firefox") is None,
    ),
)  # fmt: skip


def unlisted(skipped: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of (test id, reason) that are not listed, or whose cause this machine does not have."""
    return [
        (test, reason)
        for test, reason in skipped
        if not any(re.match(s.tests, test) and re.match(s.reason, reason) and s.expected() for s in LISTED)
    ]


class SkipCheck:
    """A pytest plugin: gathers skips, of this process and of pytest-xdist's workers, and fails the run for unlisted ones."""

    def __init__(self) -> None:
        self.skipped: list[tuple[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test was skipped."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self._add(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file was skipped."""
        if report.skipped:
            self._add(report)

    def _add(self, report: Any) -> None:
        *_, reason = report.longrepr
        self.skipped.append((report.nodeid, str(reason).removeprefix("Skipped: ")))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker ended: the files that it skipped. Its skipped tests were reported here before."""
        self.skipped += map(tuple, getattr(node, "workeroutput", {}).get("skipped", []))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hands a worker's skipped files to the process that began it; elsewhere fails the run for unlisted skips."""
        config: Any = session.config
        if hasattr(config, "workeroutput"):
            config.workeroutput["skipped"] = [skip for skip in self.skipped if "::" not in skip[0]]
        elif unlisted(self.skipped):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Names them."""
        for test, reason in sorted(set(unlisted(self.skipped))):
            terminalreporter.write_line(f"SKIPPED, and not listed in tests/skips.py: {test}: {reason}", red=True)
