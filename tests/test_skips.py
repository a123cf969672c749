"""The check of skipped tests, in runs of pytest of its own, alone and with workers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import skips


FILES = {
    "test_skipped.py": "import pytest\ndef test_it(): pytest.skip('no abacus')\ndef test_that(): pass\n",
    "test_listed.py": "import pytest\n@pytest.mark.skipif(True, reason='a listed reason')\ndef test_it(): pass\n",
    "test_module.py": "import pytest\npytest.skip('no slide rule', allow_module_level=True)\n",
    "test_missing.py": "import pytest\npytest.importorskip('no_such_package')\n",
    "test_fixture.py": "import pytest\n@pytest.fixture\ndef f(): pytest.skip('no sundial')\ndef test_it(f): pass\n",
    "test_expected.py": "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_it(): assert False\n",
}
REASONS = {
    "test_skipped": "no abacus", "test_module": "no slide rule", "test_missing": "could not import 'no_such_package'",
    "test_fixture": "no sundial",
}  # fmt: skip
CONFTEST = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import skips
skips.LISTED = (skips.ListedSkip("test_listed.py::", "a listed reason", lambda: True),)
def pytest_configure(config):
    config.pluginmanager.register(skips.SkipCheck())
"""


@pytest.mark.long
@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "2")], ids=["alone", "with workers"])
def test_a_skip_that_is_not_listed_fails_the_run(options: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    for name, code in FILES.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    done = run_pytest(tmp_path, *options)
    assert done.returncode == 1, done.stdout
    named = {line.split(": ", 1)[1] for line in done.stdout.splitlines() if "not listed in tests/skips.py" in line}
    assert {line.split(".py")[0] for line in named} == set(REASONS)
    assert all(any(line.startswith(name) and reason in line for line in named) for name, reason in REASONS.items())
    for name in REASONS:
        (tmp_path / f"{name}.py").unlink()
    if not options:
        assert run_pytest(tmp_path).returncode == 0


def run_pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    alone = {"PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", *options, "."],
        capture_output=True, text=True, check=False, cwd=folder, env=os.environ | alone,
    )  # fmt: skip


def test_a_listed_skip_needs_its_cause() -> None:
    test, reason = "tests/runtime/test_device.py::test_an_accelerator_gives[x]", "no accelerator here"
    (there,) = [skip for skip in skips.LISTED if skip.reason == reason]
    assert (skips.unlisted([(test, reason)]) == []) == there.expected()
    assert skips.unlisted([(test, "another reason"), ("tests/x.py::test_y", reason)]) == [
        (test, "another reason"), ("tests/x.py::test_y", reason)
    ]  # fmt: skip


def test_what_is_listed_exists() -> None:
    root = Path(__file__).parents[1]
    for skip in skips.LISTED:
        file, name = skip.tests.replace("\\", "").split("::")
        assert f"def {name}" in (root / file).read_text(encoding="utf-8")
