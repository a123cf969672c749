"""The tables of words: the pages of the documentation say the same, and what they name is there."""

import importlib.util
import json
import re
from pathlib import Path

from pellucid.record.schema import SCHEMA


ROOT = Path(__file__).resolve().parents[2]
TABLES = ROOT / "studio" / "src" / "glossary"
TABLE = TABLES / "en.json"


def test_the_pages_of_the_documentation_are_generated_from_the_tables() -> None:
    specification = importlib.util.spec_from_file_location("glossary_tool", ROOT / "tools" / "glossary.py")
    assert specification and specification.loader
    tool = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tool)
    for code, page in tool.PAGES.items():
        table = json.loads((TABLES / f"{code}.json").read_text("utf-8"))
        assert page.read_text(encoding="utf-8") == tool.generate(code, table)


def test_a_translated_table_has_the_same_words_and_names() -> None:
    english, chinese = (json.loads((TABLES / f"{code}.json").read_text("utf-8")) for code in ("en", "zh"))
    assert [entry["id"] for entry in chinese] == [entry["id"] for entry in english]
    forms = [form.lower() for entry in chinese for form in (entry["word"], *entry["also"])]
    assert len(set(forms)) == len(forms), "two words have one form"
    for ours, other in zip(english, chinese, strict=True):
        named = (sorted(re.findall(r"`[^`]+`|[a-z.]+\.(?:jsonl?|safetensors|md)", entry["stands"])) for entry in (ours, other))
        assert len({tuple(names) for names in named}) == 1, ours["id"]
        assert other["meaning"].endswith("。") and other["stands"].endswith("。"), other["id"]


def test_what_the_words_name_is_there(tiny_run: Path) -> None:
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    assert len({entry["id"] for entry in table}) == len(table) > 30
    forms = [form.lower() for entry in table for form in (entry["word"], *entry["also"])]
    assert len(set(forms)) == len(forms), "two words have one form"
    chunks = {re.sub(r"\{\w+\}", "0", spec.name) for specs in SCHEMA.values() for spec in specs}
    lines = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    config = json.loads((tiny_run / "model" / "config.json").read_text(encoding="utf-8"))
    plan = json.loads((tiny_run / "run.json").read_text(encoding="utf-8"))
    for entry in table:
        assert entry["meaning"].endswith(".") and entry["stands"].endswith(".")
        for name in re.findall(r"`([a-z]+/[\w/]+)`", entry["stands"]):
            assert name in chunks, name
        key = re.match(r"`(\w+)`", entry["stands"])
        if "metrics.jsonl" in entry["stands"] and key:
            assert any(key[1] in line for line in lines), entry["id"]
        if "config.json" in entry["stands"] and key:
            assert key[1] in config | plan["config"], entry["id"]
        if "run.json" in entry["stands"] and key:
            assert any(key[1] in found for found in (plan, *lines)), entry["id"]
