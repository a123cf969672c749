// The table of words, the groups of bytes, the story's figures, and the state of a run.

import assert from "node:assert/strict";
import test from "node:test";
import { entryOf, glossary, partsOf, wordsIn } from "../src/glossary/glossary.ts";
import { groupsOf, hexBytes, isWhole } from "../src/record/characters.ts";
import { statusOf } from "../src/studio/run.ts";
import { shownFigures, STORY } from "../src/studio/story.ts";

test("words are found in a text by any form, whole and once", () => {
  const ids = (text: string) => wordsIn(text).map((entry) => entry.id);
  assert.deepStrictEqual(ids("Tokens: the TOKEN, a token."), ["token"]);
  assert.deepStrictEqual(ids("loss in nats, ln V = 6.9 on held-out text"), ["loss", "nats", "ln-v", "held-out"]);
  assert.deepStrictEqual(ids("a blockade, glosses, steps/loss, stepwise"), []);
  assert.deepStrictEqual(ids("the logit lens"), ["lens"]);
  for (const entry of glossary()) assert.ok(ids(`(${entry.word})`).includes(entry.id), entry.word);
  assert.throws(() => entryOf("nothing"), /the glossary has no nothing/);
  assert.deepStrictEqual(partsOf("`a` and `b`."), ["", "a", " and ", "b", "."]);
});

test("tokens that are parts of characters are grouped by them", () => {
  let state = 7;
  const below = (limit: number) => (state = (state * 1103515245 + 12345) % 2 ** 31) % limit;
  for (let round = 0; round < 300; round++) {
    const text = Array.from({ length: below(12) }, () => ["a", "é", "世", "🙂", " "][below(5)]).join("");
    const bytes = new TextEncoder().encode(text);
    const tokens: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at = tokens.reduce((sum, one) => sum + one.length, 0)) tokens.push(bytes.subarray(at, at + 1 + below(3)));
    const groups = groupsOf(tokens.map((token) => (isWhole(token) ? null : token)));
    assert.deepStrictEqual(groups.flatMap(({ from, to }) => tokens.slice(from, to)), tokens);
    const said = groups.map(({ from, bytes: together }) => new TextDecoder().decode(together ?? tokens[from]));
    assert.equal(said.join(""), text);
  }
  const torn = ["e4b8", "f0", "9f99"].map(hexBytes);
  assert.deepStrictEqual(groupsOf(torn), [0, 1, 2].map((from) => ({ from, to: from + 1, bytes: null })));
  assert.equal(hexBytes(undefined), null);
});

test("a step of the story shows the figures of its names, in its own order", () => {
  const sources = ["stack", "xray", "loss", "xray"].map((name, record) => ({ name, record }));
  const [, , look] = STORY;
  assert.deepStrictEqual(shownFigures(look!, sources).map(({ name, record }) => [name, record]), [["xray", 1], ["xray", 3], ["stack", 0]]);
  const names = STORY.flatMap((step) => step.figures);
  assert.equal(new Set(names).size, names.length);
});

test("a run says whether it runs, as far as that is known", () => {
  const run = { id: "run-1", title: "book", records: [], model: null, total_steps: 10, steps: 4 };
  assert.equal(statusOf({ ...run, steps: 10, running: true }).text, "finished");
  assert.equal(statusOf({ ...run, running: true, idle: 500 }).text, "running now");
  assert.equal(statusOf({ ...run, running: false, idle: 1 }).text, "not running");
  assert.equal(statusOf({ ...run, idle: 12.4 }).text, "running: its last line is 12 s old");
  assert.equal(statusOf({ ...run, idle: 60 }).text, "not running: its last line is 1 min old");
  assert.equal(statusOf({ ...run, idle: 3 * 86_400 }).text, "not running: its last line is 3 days old");
  assert.equal(statusOf(run).text, "not finished");
});
