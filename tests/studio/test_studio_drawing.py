"""Figures that a page draws of its own records are the films that Python draws of them, mark by mark, in every language."""

import base64
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from cases import TIMES
from models import lively
from node import node_process
from tokenizer_directories import STORY

import pellucid
from pellucid.draw.figures import figure
from pellucid.draw.film.film_json import letters_of
from pellucid.draw.film.font import fit, text_width, wrap
from pellucid.gpt.pattern import Banded, Dense
from pellucid.languages import language
from pellucid.serve.model_page.drawing import page_drawing
from pellucid.text import train_tokenizer


pytestmark = pytest.mark.long

ENTRY = """
import { film, FIGURES } from "./src/draw/figure.ts";
import { Font } from "./src/draw/font.ts";
import { Language, setLanguage } from "./src/language.ts";
import { BufferBytes } from "./src/record/bytes.ts";
import { PellucidRecord } from "./src/record/record.ts";
export { BufferBytes, FIGURES, Font, Language, PellucidRecord, film, setLanguage };
"""
ANSWER = """(code) => {
  let font;
  return async ({ open, name, record, width, language, measure }) => {
    if (open) { font = new code.Font(open); return code.FIGURES; }
    if (measure) {
      const face = { family: measure.family, weight: measure.weight };
      const { text, room } = measure;
      return [font.width(text, 14, face), font.fit(text, room, 14, face), font.wrap(text, room, 14, face)];
    }
    code.setLanguage(new code.Language(language));
    const bytes = new Uint8Array(Uint8Array.from(Buffer.from(record, "base64")).buffer);
    return code.film(await code.PellucidRecord.open(new code.BufferBytes(bytes)), name, font, width);
  };
}"""
DRAWN = ("overview", "tokens", "context", "embedding", "stack", "xray")
PROMPTS = [
    "the fox", "\u4e2d\u6587 and \u00fcber", "\U0001f98a\U0001f469\u200d\U0001f467 x", "\u0645\u0631\u062d\u0628\u0627, a",
    "\t'q' \\ \"\n", "the " * 30,
]  # fmt: skip
LETTERS = (
    "ab \u00e9\u0301\u4e2d\u6587\uff0c\u3042\uac00\u0639\u0645\u05d0\u0928\u094d\u0930\u0e33\U0001f600"
    "\U0001f469\u200d\U0001f467\U0001f1e9\U0001f1ea\u0007\u200b\ufffd\U00020000\u3000\u00a0.?"
)
OPTIONS: list[dict[str, Any]] = [
    {"top_k": 40, "top_p": 0.85, "temperature": 1.08}, {"temperature": 0}, {"temperature": 0, "presence_penalty": 0.5}, {},
    {"min_p": 0.03, "repetition_penalty": 1.3, "frequency_penalty": 0.4, "logit_bias": {5: 2.5}, "max_tokens": 1},
    {"top_k": 1}, {"temperature": 1e-5, "max_tokens": 30},
]  # fmt: skip


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Any], Any]]:
    with node_process(tmp_path_factory.mktemp("drawing"), ENTRY, ANSWER) as asked:
        assert asked({"open": page_drawing()}) == list(DRAWN)
        yield asked


@pytest.fixture(scope="module")
def model() -> pellucid.GPT:
    config = pellucid.GPTConfig(vocab_size=289, n_ctx=200, n_layers=2, d_model=24, n_heads=3, pattern=(Banded(5), Dense()))
    return lively(pellucid.GPT(config, seed=3, tokenizer=train_tokenizer([STORY], 289)))


def differences(ours: Any, theirs: Any, where: str = "") -> Iterator[str]:
    """Where two JSON values differ; numbers may differ by rounding."""
    if isinstance(theirs, dict) and isinstance(ours, dict) and ours.keys() == theirs.keys():
        for key in theirs:
            yield from differences(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, list) and isinstance(ours, list) and len(ours) == len(theirs):
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(one, other, f"{where}[{i}]")
    elif isinstance(theirs, int | float) and isinstance(ours, int | float) and abs(ours - theirs) <= 1e-9 * (1 + abs(theirs)):
        return
    elif ours != theirs:
        yield f"{where}: {str(ours)[:200]!r}, not {str(theirs)[:200]!r}"


def test_every_figure_is_the_film_that_python_draws(ask: Callable[[Any], Any], model: pellucid.GPT) -> None:
    random = Random(0)
    for i in range(6 * TIMES):
        prompt, options = PROMPTS[i % len(PROMPTS)], OPTIONS[i % len(OPTIONS)]
        with pellucid.xray(model, prompt, seed=i, **{"max_tokens": 12, **options}) as record:
            coded = base64.b64encode(record.to_bytes()).decode()
            for name in DRAWN:
                width, code = random.choice([360, 960, 1920]), random.choice(["en", "zh"])
                with language(code):
                    film = figure(record, name, width=width)
                    glyphs, runs = letters_of([film])
                letters = json.loads(json.dumps({"em": 1000, "glyphs": glyphs, "text_runs": runs}))
                expected = json.loads(film.to_json()) | letters
                found = ask({"name": name, "record": coded, "width": width, "language": code})
                assert not (wrong := list(differences(found, expected))[:6]), (prompt, options, width, code, wrong)


def test_texts_are_as_wide_as_in_python_and_cut_at_the_same_places(ask: Callable[[Any], Any]) -> None:
    random = Random(1)
    for _ in range(60 * TIMES):
        text = "".join(random.choices(LETTERS, k=random.randint(0, 14)))
        family, weight, room = random.choice(["sans", "mono"]), random.choice([400, 600]), random.uniform(30, 160)
        found = ask({"measure": {"text": text, "family": family, "weight": weight, "room": room}})
        face = (family, weight)
        expected = [text_width(text, 14, *face), fit(text, room, 14, *face), wrap(text, room, 14, *face)]
        assert not list(differences(found, expected)), (text, family, weight, room, found, expected)
