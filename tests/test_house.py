"""The house rules that no linter knows."""

import ast
import inspect
import pickle
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Set
from itertools import chain
from pathlib import Path
from typing import Any

import grimp
import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import pellucid
from pellucid.corpus import Document


ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
LONGEST_FILE = 400
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {"eval", "exec", "torch.load", "numpy.load", "np.load"}
COLD = ("rich", "tokenizers", "transformers", "torch._dynamo", "pellucid.training", "pellucid.corpus", "pellucid.finetuning")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_there_are_sources() -> None:
    assert len(SOURCES) > 40  # the tests below would pass on nothing


def test_no_file_is_too_long() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


def forbidden(module: ast.Module) -> Iterator[str]:
    """Everything in a module that could run code out of a file."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in FORBIDDEN_MODULES:
            yield node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in FORBIDDEN_CALLS:
            yield ast.unparse(node.func)


@pytest.mark.long
def test_no_source_unpickles_or_evaluates() -> None:
    probe = ast.parse("from pickle import load\nimport dill.x\neval('1')\ntorch.load(f)\nmodel.eval()")
    assert sorted(forbidden(probe)) == ["dill.x", "eval", "pickle", "torch.load"]  # the check itself can fail
    assert {name_of(path): found for path in SOURCES if (found := list(forbidden(tree(path))))} == {}


def test_nothing_is_unpickled_in_a_run_s_life(
    documents: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Train, save, load, resume and generate with every way to read a pickle poisoned."""

    def poisoned(*_: object, **__: object) -> None:
        raise AssertionError("something read a pickle")

    for owner, name in ((pickle, "load"), (pickle, "loads"), (torch, "load")):
        monkeypatch.setattr(owner, name, poisoned)
    config = pellucid.GPTConfig(vocab_size=280, n_ctx=16, n_layers=2, d_model=16, n_heads=2)
    asked = iter([True])
    run = pellucid.train(documents, tmp_path / "run", config=config, steps=2, batch_tokens=32, stop=lambda: next(asked))
    assert not run.finished
    assert pellucid.train([], tmp_path / "run", resume=True).finished
    model = pellucid.load(tmp_path / "run")
    model.save(tmp_path / "saved")
    written = pellucid.load(tmp_path / "saved").generate("the fox", max_tokens=4, seed=1)
    assert written.ids == model.generate("the fox", max_tokens=4, seed=1).ids


def decorators(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    return [ast.unparse(decorator) for decorator in node.decorator_list]


def undocumented(path: Path) -> Iterator[str]:
    """Public modules, classes, functions and methods without a docstring.

    Overloads share one with what they overload; a small module's `forward` may say its shapes in a comment instead.
    """

    def visit(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[str]:
        if not ast.get_docstring(node):
            yield prefix
        for child in node.body:
            if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or child.name.startswith("_"):
                continue
            if isinstance(child, ast.ClassDef):
                yield from visit(child, f"{prefix}.{child.name}")
            elif not (ast.get_docstring(child) or child.name == "forward" or "overload" in decorators(child)):
                yield f"{prefix}.{child.name}"

    yield from visit(tree(path), name_of(path))


@pytest.mark.long
def test_everything_public_has_a_docstring() -> None:
    assert [missing for path in SOURCES for missing in undocumented(path)] == []


def test_every_public_name_is_there() -> None:
    assert all(getattr(pellucid, name) is not None for name in pellucid.__all__)
    assert set(pellucid.__all__) <= set(dir(pellucid))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pellucid.nothing  # noqa: B018


def test_no_tracked_file_knows_a_machine() -> None:
    """A path of somebody's own machine helps nobody else."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode("utf-8")
    machine_paths = [f"/{name}/".encode() for name in ("work", "root", "tmp/runs")]
    found = []
    for path in (ROOT / name for name in listed.split("\0") if name):
        content = path.read_bytes() if path.is_file() else b""  # a file may be gone and not yet committed
        if b"\0" not in content:
            found += [(name_of(path), bad) for bad in machine_paths if bad in content]
    assert found == []


def test_constraints_pin_every_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for pin in pins:
        assert [clause.operator for clause in pin.specifier] == ["=="], pin
        assert pin.url is None, pin
    pinned = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins}
    assert pinned["torch"] == "2.13.0"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for wanted in map(Requirement, chain(project["dependencies"], *project["optional-dependencies"].values())):
        assert pinned[canonicalize_name(wanted.name)] in wanted.specifier, wanted


FACE = ("__init__.py", "__main__.py", "api", "cli", "bench")  # what composes the rooms, and may name a module in a string


def named_modules(module: ast.Module) -> Iterator[str]:
    """The strings in a module's code, docstrings left out, that name a module of ours."""
    bodies = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        node.body[0].value for node in ast.walk(module) if isinstance(node, bodies) and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            package, dot, rest = node.value.partition(".")
            room = ROOT / "src" / "pellucid" / rest.split(".")[0]
            if package == "pellucid" and dot and (room.is_dir() or room.with_suffix(".py").is_file()):
                yield node.value


@pytest.mark.long
def test_no_room_imports_one_of_ours_by_a_string() -> None:
    probe = ast.parse("'pellucid.draw'\nload('pellucid.draw.film')\nload(f'pellucid.{x}')\nkey = 'pellucid.pattern'")
    assert list(named_modules(probe)) == ["pellucid.draw.film", "pellucid."]  # the check itself can fail
    named = {}
    for path in SOURCES:
        room = path.relative_to(ROOT / "src" / "pellucid").parts[0]
        found = set(named_modules(tree(path))) - {f"pellucid.{room}"}  # a room reads files of its own: resources.files
        if found and room not in FACE:
            named[name_of(path)] = found
    assert named == {}


def circles(imports: Mapping[str, Set[str]]) -> list[set[str]]:
    """Groups of two or more modules, each of which imports every other of its group, directly or through others."""
    reached: dict[str, set[str]] = {}
    for module in imports:
        found: set[str] = set()
        waiting = [module]
        while waiting:
            new = imports[waiting.pop()] - found
            found |= new
            waiting += new
        reached[module] = found
    groups = {frozenset({module} | {other for other in reached[module] if module in reached[other]}) for module in reached}
    return sorted((set(group) for group in groups if len(group) > 1), key=min)


def room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


@pytest.fixture(scope="module")
def our_imports() -> dict[str, set[str]]:
    """Every module of ours, and those of ours that it imports, for type checking alone or not."""
    graph: Any = grimp.build_graph("pellucid", cache_dir=None)
    return {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}


def test_the_search_for_circles_finds_them() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [{"b", "c"}]


def test_no_files_of_different_rooms_form_a_circle(our_imports: dict[str, set[str]]) -> None:
    assert [group for group in circles(our_imports) if len(set(map(room_of, group))) > 1] == []


def test_no_files_of_one_room_form_a_circle(our_imports: dict[str, set[str]]) -> None:
    assert circles(our_imports) == []


@pytest.mark.long
def test_a_class_name_means_one_thing() -> None:
    """But for `Record`: the public one is the record room's with figures and verification added."""
    places: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name_of(path))
    assert len(places) > 150
    assert {name: found for name, found in places.items() if len(found) > 1 and name != "Record"} == {}


COLD_GENERATE = """
import sys
from pellucid.cli import main
assert main(["generate", "the fox", "-m", sys.argv[1], "--max-tokens", "3", "--seed", "1", "--kernel", "off"]) == 0
print(*sorted(sys.modules), file=sys.stderr)
"""


def test_generating_imports_torch_and_little_else(tiny_run: Path) -> None:
    """Cold paths stay cold, and no import of ours warns."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", COLD_GENERATE, str(tiny_run)],
        capture_output=True, text=True, check=False, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = done.stderr.split()
    assert "torch" in loaded
    assert [name for name in COLD if name in loaded] == []


def test_importing_pellucid_is_quick() -> None:
    code = "import pellucid, sys; assert pellucid.__version__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert "pellucid" in done.stdout.split()
    assert not {"torch", "numpy"} & set(done.stdout.split())


def test_opening_and_drawing_a_record_needs_no_torch() -> None:
    code = "import pellucid.draw.figures, sys; pellucid.open, pellucid.Record; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert "pellucid.api.records" in done.stdout.split()
    assert "torch" not in done.stdout.split()


def test_public_functions_show_their_arguments_and_documentation() -> None:
    arguments = {"train": "minutes", "finetune": "examples", "xray": "keep", "prime": "shots", "verify": "model"}
    arguments["evaluate"] = "shots"
    for name, argument in (*arguments.items(), ("open", "source"), ("open_run", "path")):
        function = getattr(pellucid, name)
        assert argument in inspect.signature(function).parameters
        assert "Raises:" in (inspect.getdoc(function) or "")


WITHOUT_TORCH = (
    "engine.engine", "engine.driver", "runtime.runner", "runtime.runner_selection", "runtime.kernel.runner",
    "generation.resolve", "generation.prompt", "generation.prompt_file", "generation.text_generator", "generation.mixin",
    "runs.plan", "runs.recipe", "formats.hf_config", "formats.weights", "formats.tokenizers", "gpt.config_json",
    "gpt.tensor_names", "gpt.safetensors_file", "gpt.config", "record", "draw", "text",
)  # fmt: skip


def test_what_is_around_a_model_needs_no_torch() -> None:
    code = f"import {', '.join(f'pellucid.{name}' for name in WITHOUT_TORCH)}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "numpy" in loaded
    assert [name for name in ("torch", "safetensors", "tiktoken", *COLD) if name in loaded] == []
