// Texts in a language: as Python's `tr`, `plural` and `counted` give them (tests/golden/languages.json), and the marks in them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { glossary, wordsIn } from "../src/glossary/glossary.ts";
import { ENGLISH, format, Language, LANGUAGES, setLanguage, tr, type Values } from "../src/language.ts";
import { wordsOf } from "../src/player/words.ts";
import { LABELS } from "../src/studio/options.ts";
import { piecesOf } from "../src/studio/markup.ts";
import { OPENING, STORY } from "../src/studio/story.ts";

declare const ROOT: string;
const read = (path: string) => JSON.parse(readFileSync(`${ROOT}/${path}`, "utf8"));
const zh = new Language("zh");

test("placeholders are filled as Python fills them", () => {
  const cases = read("tests/golden/languages.json") as { text: string; values: Values; formatted: string }[];
  assert.ok(cases.length >= 100);
  for (const { text, values, formatted } of cases) assert.equal(format(text, values), formatted);
  assert.throws(() => format("{a} {b}", { a: 1 }), /no value of {b}/);
  assert.throws(() => format("{constructor}", {}), RangeError);
});

test("a text is in the language, with its plurals; in English where there is no translation", () => {
  const table = read("src/pellucid/languages/zh.json") as Record<string, string>;
  assert.equal(zh.tr("Transcript"), table["Transcript"]);
  assert.equal(zh.tr("no such text {x}", { x: 1 }), "no such text 1");
  assert.equal(zh.tr("constructor"), "constructor");
  assert.equal(zh.counted(1200, "token"), table["{count:,} tokens"]!.replace("{count:,}", "1,200"));
  const english = new Language(ENGLISH);
  assert.deepEqual([english.counted(1, "token"), english.counted(1200, "token")], ["1 token", "1,200 tokens"]);
  assert.equal(new Language("xx").tr("Transcript"), "Transcript");
  assert.deepEqual(LANGUAGES, ["en", "zh"]);
});

test("everything that the page and the player say is there in Chinese", () => {
  setLanguage(zh);
  try {
    for (const text of [...LABELS, ...[OPENING, ...STORY].flatMap((step) => [step.title, step.text])])
      if (!/^(Top|Min)-/.test(text)) assert.match(tr(text), /\p{Script=Han}/u, text);
    const words = Object.values(wordsOf(zh)).filter((one) => typeof one === "string");
    for (const text of words) assert.match(text, /\p{Script=Han}/u);
    assert.deepEqual(wordsIn("模型进步很快。第 3 步的词元，嵌入向量").map((entry) => entry.id), ["token", "embedding", "step"]);
    for (const entry of glossary()) assert.match(entry.meaning, /\p{Script=Han}.*。$/u, entry.id);
  } finally {
    setLanguage(new Language(ENGLISH));
  }
});

test("marks in a text are words, code and parts; punctuation stays with its word", () => {
  assert.deepEqual(piecesOf("试试[token]。`a b` {x}[ln-v|ln V]"), [
    { kind: "text", text: "试试" },
    { kind: "word", word: "token", shown: null, closing: "。" },
    { kind: "code", text: "a b" },
    { kind: "text", text: " " },
    { kind: "part", text: "x" },
    { kind: "word", word: "ln-v", shown: "ln V", closing: "" },
  ]);
  assert.deepEqual(piecesOf(""), []);
});

test("a translation has the marks and parts of its text, and words that the glossary has", () => {
  const ids = new Set(glossary().map((entry) => entry.id));
  for (const [text, translated] of Object.entries(read("src/pellucid/languages/zh.json") as Record<string, string>)) {
    const marks = (one: string) => piecesOf(one).flatMap((piece) => (piece.kind === "word" ? piece.word : []));
    const known = marks(text).filter((word) => ids.has(word));
    if (known.length) assert.deepEqual(marks(translated).sort(), known.sort(), text);
  }
});
