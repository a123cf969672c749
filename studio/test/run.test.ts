// The files of a run: whatever stands in them, the page shows what is of the right type and counts the rest.

import assert from "node:assert/strict";
import test from "node:test";
import { checkPlan, endOf, parseLines, statusOf } from "../src/studio/run.ts";

/** A generator of numbers in [0, n) from a seed (mulberry32). */
function generator(seed: number): (n: number) => number {
  return (n) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % n;
  };
}

const VALUES = ["3", "0.5", '"text"', '"3"', "null", "true", "[]", "{}", "NaN", "Infinity", "1e400", "-1e400", "1e99", "\ufffd", "", "[[[["];
const KEYS = ["step", "tokens", "loss", "held_out_loss", "bits_per_byte", "tokens_per_s", "prompt", "sample", "lr", "__proto__"];
const isNumber = (value: string) => value === "3" || value === "0.5";
const isText = (value: string) => value.startsWith('"');

test("lines of metrics: the right types are shown, everything else is counted", () => {
  for (let seed = 0; seed < 300; seed++) {
    const draw = generator(seed);
    const wanted: boolean[] = [];
    const lines: string[] = [];
    for (let i = 0; i < 1 + draw(5); i++) {
      const entries = new Map([["step", "3"], ["loss", "0.5"]]);
      for (let j = 0; j < draw(3); j++) entries.set(KEYS[draw(KEYS.length)]!, VALUES[draw(VALUES.length)]!);
      if (draw(8) === 0) entries.delete("step");
      let good = entries.has("step");
      for (const [key, value] of entries) {
        if (["NaN", "Infinity", "\ufffd", "", "[[[["].includes(value)) good = false; // no JSON
        else if (key === "prompt" || key === "sample") good &&= isText(value);
        else if (key === "step") good &&= value === "3";
        else if (key !== "lr" && key !== "__proto__") good &&= isNumber(value);
      }
      wanted.push(good);
      lines.push(`{${[...entries].map(([key, value]) => `"${key}": ${value}`).join(", ")}}`);
    }
    const found = parseLines(`${lines.join("\n")}\n`);
    assert.equal(found.lines.length, wanted.filter(Boolean).length, lines.join("\n"));
    assert.equal(found.unreadable, wanted.length - found.lines.length);
    assert.equal(found.broken, !wanted[0]);
    for (const line of found.lines) assert.ok(Number.isFinite(line.step) && (line.loss === undefined || Number.isFinite(line.loss)));
  }
  assert.deepEqual(parseLines(""), { lines: [], unreadable: 0, broken: false });
});

test("a plan that the page cannot show is refused by name", () => {
  const plan = { kind: "train", seed: 1, batch: 2, total_steps: 6, dtype: "float32", threads: 1, config: {}, recipe: {} };
  assert.equal(checkPlan(plan).total_steps, 6);
  assert.throws(() => checkPlan({ ...plan, source: "book.txt" }), /source/);
  for (const name of ["batch", "total_steps", "threads", "config", "recipe"])
    for (const value of [undefined, null, "6", [], Number.NaN, true]) assert.throws(() => checkPlan({ ...plan, [name]: value }), new RegExp(name));
  for (const value of [null, [], "x", 3]) assert.throws(() => checkPlan(value), /total_steps/);
});

test("a run that ended early says why and after which step; a running or a complete one does not", () => {
  const run = { id: "run-1", title: "run", records: [], model: null, total_steps: 154, steps: 132 };
  for (const [ended, state, words] of [
    ["out of time", "stopped", /after 132 of 154 planned steps: its time was over/],
    ["no longer learning", "finished", /after 132 of 154 planned steps: its loss on held-out text/],
    ["interrupted", "stopped", /interrupted after 132 of 154/],
    [undefined, "stopped", /is at 132 of 154 planned steps; its files do not say/],
  ] as const) {
    const early = { ...run, running: false, ...(ended ? { ended } : {}) };
    assert.equal(statusOf(early).state, state);
    assert.match(endOf(early), words);
    assert.equal(endOf({ ...early, running: true }), "");
    assert.equal(endOf({ ...early, steps: 154 }), "");
  }
});
