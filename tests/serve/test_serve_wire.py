"""The studio server's messages have the types of `pellucid.serve.wire`, and `studio/src/wire.ts` is generated from them."""

import copy
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest
from serving import ask, events

import pellucid
from pellucid.engine.options import recordable_options
from pellucid.serve import Studio, wire, wire_page, write_page
from pellucid.serve.studio.sources import SourceCatalog


ROOT = Path(__file__).resolve().parents[2]


def problems(value: Any, hint: Any, where: str = "message") -> list[str]:
    """Where a parsed JSON value differs from an annotation."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return []
    if origin is NotRequired:
        return problems(value, arguments[0], where)
    if origin in (Union, UnionType):
        return [] if any(not problems(value, one, where) for one in arguments) else [f"{where} is no {hint}"]
    if origin is Literal:
        return [] if value in arguments else [f"{where} is none of {arguments}"]
    if is_typeddict(hint):
        return typed_dict_problems(value, hint, where)
    if origin in (list, tuple) and isinstance(value, list):
        hints = arguments if origin is tuple else arguments * len(value)
        if len(hints) != len(value):
            return [f"{where} has {len(value)} items"]
        return [found for i, one in enumerate(value) for found in problems(one, hints[i], f"{where}[{i}]")]
    if origin is dict and isinstance(value, dict):
        return [found for key, one in value.items() for found in problems(one, arguments[1], f"{where}.{key}")]
    if hint is bool:
        return [] if isinstance(value, bool) else [f"{where} is no bool: {value!r}"]
    accepted = {str: str, int: int, float: (int, float), type(None): type(None)}.get(hint)
    good = accepted is not None and isinstance(value, accepted) and not isinstance(value, bool)
    return [] if good else [f"{where} is no {hint}: {value!r}"]


def typed_dict_problems(value: Any, hint: Any, where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where} is no {hint.__name__}"]
    hints = get_type_hints(hint, include_extras=True)
    found = [f"{where} lacks {name}" for name in hint.__required_keys__ if name not in value]
    if hint not in wire.OPEN:
        found += [f"{where} has an unknown key {name}" for name in value if name not in hints]
    return found + [one for name in value if name in hints for one in problems(value[name], hints[name], f"{where}.{name}")]


def changed(value: Any) -> Iterator[Any]:
    """Copies of a message with one wrong value each: every part of it in turn."""
    yield object()
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        for other in changed(child):
            copied = copy.copy(value)
            copied[key] = other
            yield copied


@pytest.fixture(scope="module")
def folder(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run, a run and a record that cannot be read, and a generation record."""
    place = tmp_path_factory.mktemp("wire")
    shutil.copytree(tiny_run, place / "run", ignore=shutil.ignore_patterns("checkpoints", "corpus"))
    with (place / "run" / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": 6, "tokens": 1, "prompt": "the", "sample": " fox", "ids": [1]}) + "\n")
    shutil.copytree(place / "run", place / "torn")
    (place / "torn" / "run.json").write_text("{", encoding="utf-8")
    (place / "torn.pellucid").write_bytes(b"PELLUCID, but no more than that")
    pellucid.xray(pellucid.load(tiny_run), "the fox", max_tokens=4, seed=1).save(place / "tale.pellucid")
    return place


@pytest.fixture(scope="module")
def studio(folder: Path) -> Iterator[Studio]:
    with Studio([folder, "default"], port=0) as served:
        yield served


def test_sources_have_their_type(studio: Studio) -> None:
    sources = ask(studio, "/api/sources").json()
    assert problems(sources, wire.Sources) == []
    runs = {run["title"]: run for run in sources["runs"]}
    assert runs["torn"]["problem"] and runs["torn"]["records"] and "problem" not in runs["run"]
    assert sorted("problem" in record for record in sources["records"]) == [False, False, False, True]
    assert {record.get("kind") for record in sources["records"]} == {"generation", "training", None}
    assert [model["id"] for model in sources["models"]] == ["default", "model-1", "model-2"]


def test_a_wrong_value_anywhere_is_noticed(studio: Studio) -> None:
    """The comparison with the types can fail, at every place of a message."""
    sources = ask(studio, "/api/sources").json()
    wrong = list(changed(sources))
    assert len(wrong) > 50 and all(problems(one, wire.Sources) for one in wrong)
    for name in sources:
        assert problems({key: value for key, value in sources.items() if key != name}, wire.Sources)
    assert problems(sources | {"more": 1}, wire.Sources)
    assert problems({"step": True}, wire.MetricsLine) and not problems({"step": 1, "more": 2}, wire.MetricsLine)


def test_a_run_has_its_types(studio: Studio) -> None:
    ids = {run["title"]: run["id"] for run in ask(studio, "/api/sources").json()["runs"]}
    assert problems(ask(studio, f"/api/runs/{ids['run']}").json(), wire.RunPlan) == []
    answer = ask(studio, f"/api/runs/{ids['run']}/metrics?from=0")
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert [found for line in lines for found in problems(line, wire.MetricsLine)] == []
    for name in ("loss", "held_out_loss", "bits_per_byte", "tokens_per_s", "sample", "prompt", "tokens"):
        assert any(name in line for line in lines), name
    assert all(answer.headers[header.lower()].isdigit() for header in wire.MetricsHeader)


def test_a_generation_has_its_types(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"model": "model-1", "prompt": "the fox", "max_tokens": 3, "temperature": 0.8, "top_k": 20, "seed": "5"}
    assert problems(body, wire.GenerateRequest) == []
    sent = [{"event": name, "data": data} for name, data in events(ask(studio, "/api/generate", method="POST", body=body))]
    assert [found for event in sent for found in problems(event, wire.GenerationEvent)] == []
    assert [event["event"] for event in sent] == ["begin", "token", "token", "token", "done"]
    answer = sent[-1]["data"]
    listed = ask(studio, "/api/sources").json()["records"][-1]
    assert problems(listed, wire.RecordInfo) == [] and (listed["id"], listed["bytes"]) == (answer["record"], answer["bytes"])

    def broken(*_: object, **__: object) -> None:
        raise pellucid.PellucidError("no room for it")

    monkeypatch.setattr(SourceCatalog, "keep", broken)
    name, data = events(ask(studio, "/api/generate", method="POST", body=body))[-1]
    assert name == "error" and problems({"event": name, "data": data}, wire.ErrorEvent) == []


def test_the_request_s_fields_are_sampling_options() -> None:
    """Those of the table that a record can hold, and no others."""
    options = set(wire.GenerateRequest.__annotations__) - {"model", "prompt", "record"}
    assert options == {option.name for option in recordable_options()}


@pytest.mark.parametrize(
    ("status", "path", "options"),
    [
        (400, "/api/generate", {"method": "POST", "body": {"path": "x"}}),
        (400, "/api/figures/record-1/tokens?width=x", {}),
        (403, "/", {"host": "evil.example"}),
        (404, "/api/runs/none", {}),
        (404, "/records/none", {}),
        (405, "/api/sources", {"method": "POST", "body": {}}),
        (412, "/records/record-1", {"if_match": '"other"'}),
        (413, "/api/generate", {"method": "POST", "body": b" " * 70_000}),
        (415, "/api/generate", {"method": "POST", "body": {}, "content_type": "text/plain"}),
    ],
)
def test_errors_have_their_type(studio: Studio, status: int, path: str, options: dict[str, Any]) -> None:
    answer = ask(studio, path, **options)
    assert (answer.status, problems(answer.json(), wire.ErrorMessage)) == (status, [])


def test_figures_have_their_type(studio: Studio) -> None:
    record = next(one for one in ask(studio, "/api/sources").json()["records"] if one["title"] == "tale.pellucid")
    answers = [ask(studio, f"/api/figures/{record['id']}/{name}?width=400") for name in record["figures"]]
    films = [answer.json() for answer in answers if answer.status == 200]
    assert len(films) >= 2 and all(film["glyphs"] and film["segments"] for film in films)
    assert [found for film in films for found in problems(film, wire.FilmFile)] == []
    assert any(film["matrices"] and film["palettes"] for film in films)


def test_a_static_page_has_its_type(folder: Path, tmp_path: Path) -> None:
    with pellucid.open(folder / "tale.pellucid") as record:
        films = [record.figure("tokens", width=width) for width in (960, 400)]
    path = write_page(tmp_path / "page.html", [folder / "tale.pellucid"], figures=[("T", *films)], runs=[folder / "run"])
    found = re.search(r'id="pellucid-data">(.*?)</script>', path.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    page = json.loads(found[1])
    assert problems(page, wire_page.StaticPage) == []
    assert page["figures"] and page["records"] and page["runs"] and page["glyphs"]
    for line in page["runs"][0]["metrics"].splitlines():
        assert problems(json.loads(line), wire.MetricsLine) == []


def test_the_typescript_types_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "tools" / "wire.py"), "--check"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr


def test_every_type_is_generated() -> None:
    specification = importlib.util.spec_from_file_location("wire_tool", ROOT / "tools" / "wire.py")
    assert specification and specification.loader
    tool = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tool)
    generated = "".join(tool.generate(source.read_text(encoding="utf-8")) for source in tool.SOURCES)
    for name, value in (vars(wire) | vars(wire_page)).items():
        if is_typeddict(value):
            assert f"export interface {name} " in generated, name
            for field in value.__annotations__:
                assert re.search(rf"^  {field}\??: ", generated, re.MULTILINE), f"{name}.{field}"
    source = 'class A(TypedDict):\n    """Doc."""\n\n    b: NotRequired[list[int | None]]  #: Bytes.\n'
    expected = "/** Doc. */\nexport interface A {\n  /** Bytes. */\n  b?: (number | null)[];\n}\n"
    assert tool.generate(source) == expected
    with pytest.raises(SystemExit, match="no type in TypeScript"):
        tool.generate("class A(TypedDict):\n    b: set[int]\n")


def test_the_types_need_no_torch() -> None:
    code = "import pellucid.serve.wire, pellucid.serve.studio.generate_request, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "pellucid.serve.wire" in loaded and "torch" not in loaded
