// Film.at(t) against the golden display lists that also test the Python implementation, bit for bit.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { bitmap } from "../src/film/bitmap.ts";
import { readFilm } from "../src/film/film.ts";
import { Keyframes, formatNumber, rounded } from "../src/film/keyframes.ts";
import { FONTS, Typesetter } from "../src/film/text.ts";
import type { DrawnText } from "../src/film/types.ts";

declare const ROOT: string;

interface Case {
  name: string;
  film: Record<string, unknown>;
  at: { t: number; list: unknown[] }[];
  stills: number[];
  said: [t: number, caption: string, segment: string][]; // at some times
}

const golden = JSON.parse(readFileSync(`${ROOT}/tests/golden/film_at.json`, "utf8")) as { cases: Case[] };

for (const { name, film: json, at, stills, said } of golden.cases) {
  test(`golden: ${name}`, () => {
    const film = readFilm(JSON.stringify(json));
    assert.ok(at.length >= 2);
    for (const { t, list } of at) assert.deepStrictEqual(film.at(t), list, `at ${t} s`);
    assert.deepStrictEqual(film.stills(), stills);
    for (const [t, caption, segment] of said) {
      assert.deepStrictEqual([film.captionAt(t), film.segmentAt(t).name], [caption, segment], `at ${t} s`);
    }
  });

  test(`where nothing changes, nothing differs: ${name}`, () => {
    const film = readFilm(json);
    for (let i = 0; i < 60; i += 1) {
      for (const [a, b] of [[i / 60, (i + 1) / 60], [i / 60, ((i * 7) % 61) / 60]] as const) {
        const [from, to] = [a * film.duration, b * film.duration];
        if (film.unchanged(from, to)) assert.deepStrictEqual(film.at(from), film.at(to), `${from} and ${to} s`);
      }
    }
  });
}

test("a film that rests is known to rest, and one that moves to move", () => {
  const keys = (...points: unknown[]) => ({ keys: points });
  const film = readFilm({ ...plain(), nodes: [{ ...box, x: keys([1, 0, "hold"], [2, 5, "linear"], [4, 6, "hold"]) }] });
  assert.deepStrictEqual(film.changes, [[1, 2], [4, 4]]); // prettier-ignore
  const values = ([[0, 1], [0, 1.1], [2, 3.9], [3, 4], [4, 5], [5, 4], [5, 3.9], [1.5, 1.6], [1.5, 1.5]] as const).map(([a, b]) => film.unchanged(a, b)); // prettier-ignore
  assert.deepStrictEqual(values, [true, false, true, false, true, true, false, false, true]);
});

const box = { kind: "rect", x: 0, y: 0, w: 1, h: 1 };

function plain(): Record<string, unknown> {
  return {
    format: "pellucid-film", version: 1, title: "t", alt: "", notes: [], width: 9, height: 9, background: "#ffffff",
    segments: [{ name: "s", start: 0, end: 10, rests: [[9, 10]] }], captions: [], matrices: [], palettes: {}, nodes: [box],
  }; // prettier-ignore
}

test("numbers round and read as in Python", () => {
  const values = [0.005, -0.005, -0.006, 1.004999, 2.675, -1.25, 1e6, 0.1 + 0.2, -0].map((v) => String(rounded(v)));
  assert.deepStrictEqual(values, ["0.01", "0", "-0.01", "1", "2.68", "-1.25", "1000000", "0.3", "0"]);
  assert.deepStrictEqual([0.016, 0.5, 1, 0.00001, 0.333333].map(formatNumber), ["0.016", "0.5", "1", "0.00001", "0.33333"]);
});

test("there is no picture outside a film's time", () => {
  const film = readFilm(plain());
  for (const t of [-0.1, 10.1, NaN]) assert.throws(() => film.at(t), /from 0 to 10 s/);
});

const wrong: [string, Record<string, unknown>, RegExp][] = [
  ["another format", { format: "gif" }, /no film/],
  ["a newer version", { version: 2 }, /version 2/],
  ["no nodes", { nodes: undefined }, /nodes is not a list/],
  ["a kind that there is not", { nodes: [{ kind: "circle" }] }, /no known kind/],
  ["a kind from a prototype", { nodes: [{ kind: "constructor" }] }, /no known kind/],
  ["an attribute that there is not", { nodes: [{ ...box, onload: "x" }] }, /no attribute onload/],
  ["a missing attribute", { nodes: [{ kind: "rect", x: 0 }] }, /has no y/],
  ["a colour that is an address", { nodes: [{ ...box, fill: "url(//elsewhere)" }] }, /fill is wrong/],
  ["a background that is an address", { background: "url(//elsewhere)" }, /background/],
  ["no number", { nodes: [{ ...box, x: "1" }] }, /x is wrong/],
  ["a length below 0", { nodes: [{ ...box, w: -1 }] }, /w is wrong/],
  ["keys out of order", { nodes: [{ ...box, x: { keys: [[2, 0, "hold"], [1, 0, "hold"]] } }] }, /order of time/],
  ["an unknown ease", { nodes: [{ ...box, x: { keys: [[2, 0, "bounce"]] } }] }, /unknown ease/],
  ["a text between two", { nodes: [{ ...box, label: { keys: [[2, "a", "linear"]] } }] }, /unknown ease/],
  ["a path without a move", { nodes: [{ kind: "path", d: [["L", 0, 0]] }] }, /begin with a move/],
  ["a path with too few numbers", { nodes: [{ kind: "path", d: [["M", 0]] }] }, /wrong numbers/],
  ["a matrix that is not there", { nodes: [{ ...box, kind: "image", matrix: 0, palette: "grey" }] }, /matrix is wrong|palette/],
  ["a matrix of another size", { matrices: [{ rows: 2, columns: 2, data: "AAAA" }] }, /not as large/],
  ["half a palette", { palettes: { grey: "00" } }, /256 colours/],
  ["no segments", { segments: [] }, /no segment/],
  ["a truth that there is not", { nodes: [{ ...box, shows: { chunk: "a", index: [], step: null, truth: "believed" } }] }, /damaged/],
];

for (const [name, changed, said] of wrong) {
  test(`refused: ${name}`, () => assert.throws(() => readFilm({ ...plain(), ...changed }), said));
}

test("refused: no JSON", () => assert.throws(() => readFilm("{"), /not JSON/));

test("keys at their own times", () => {
  const keys = new Keyframes<number>([[1, 5, "hold"], [2, 7, "move"], [3, 0, "hold"]]); // prettier-ignore
  assert.deepStrictEqual([0, 1, 1.5, 2, 2.999, 3, 9].map((t) => keys.at(t)), [5, 5, 6.75, 7, 7, 0, 0]); // prettier-ignore
});

test("a matrix is a bitmap of its cells, rows padded to four bytes, the upper row first", () => {
  const palette = Uint8Array.from({ length: 768 }, (_, i) => i % 251);
  const file = bitmap({ rows: 2, columns: 3, data: Uint8Array.of(1, 2, 3, 4, 5, 255) }, palette);
  const view = new DataView(file.buffer);
  assert.equal(String.fromCharCode(file[0]!, file[1]!), "BM");
  assert.deepStrictEqual([view.getUint32(2, true), view.getInt32(18, true), view.getInt32(22, true)], [1078 + 8, 3, -2]);
  assert.deepStrictEqual([...file.subarray(1078)], [1, 2, 3, 0, 4, 5, 255, 0]);
  assert.deepStrictEqual([...file.subarray(54 + 4 * 5, 54 + 4 * 5 + 4)], [palette[17], palette[16], palette[15], 0]);
});

test("texts are laid out as in Python: outlines, and the runs of the reader's fonts", () => {
  const file = JSON.parse(readFileSync(`${ROOT}/tests/golden/text_layout.json`, "utf8")) as {
    fonts: string;
    film: unknown;
    texts: [DrawnText, { left: number; width: number; d: string; texts: unknown[] }][];
  };
  assert.equal(FONTS, file.fonts);
  const film = readFilm(file.film);
  const typesetter = new Typesetter(film.letters!);
  assert.deepStrictEqual(film.at(0), file.texts.map(([primitive]) => primitive));
  for (const [primitive, { left, width, d, texts }] of file.texts) {
    const found = typesetter.layOut(primitive);
    assert.deepStrictEqual([found.left, found.width, found.d, found.texts], [left, width, d, texts], primitive.string);
  }
});

test("refused: runs that are none", () => {
  const letters = { em: 1000, glyphs: {} };
  for (const runs of [[], { "sans-400": [] }, { "sans-400": { a: "b" } }, { "sans-400": { a: [["b", 1, -1, false]] } }]) {
    assert.throws(() => readFilm({ ...plain(), ...letters, text_runs: runs }), /damaged|not a list/);
  }
});
