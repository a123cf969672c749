// Rules that the compiler cannot check: bundle size, no randomness, no clock, no network, no markup from text.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import test from "node:test";
import { gzipSync } from "node:zlib";

declare const ROOT: string;

const sources = (folder: string) =>
  readdirSync(`${ROOT}/studio/src/${folder}`).map((name) => [name, readFileSync(`${ROOT}/studio/src/${folder}/${name}`, "utf8")] as const);

function offences(folder: string, forbidden: RegExp): string[] {
  const found = sources(folder);
  assert.ok(found.length > 4);
  return found.flatMap(([name, text]) => (text.match(forbidden) ?? []).map((what) => `${name}: ${what}`));
}

test("the player weighs at most 60 kB, compressed", () => {
  const bundle = readFileSync(`${ROOT}/src/pellucid/assets/studio/player.js`);
  assert.ok(gzipSync(bundle, { level: 9 }).length <= 60_000);
});

test("nothing that draws is random, looks at a clock, or asks the network", () => {
  const forbidden = /Math\.random|getRandomValues|\bDate\b|performance\.|fetch\(|XMLHttpRequest|WebSocket|sendBeacon/g;
  assert.deepStrictEqual(offences("film", forbidden), []);
  assert.deepStrictEqual(offences("player", forbidden), []);
});

test("text never becomes markup, and no text becomes code", () => {
  const forbidden = /innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|\beval\(|new Function/g;
  assert.deepStrictEqual(offences("film", forbidden), []);
  assert.deepStrictEqual(offences("player", forbidden), []);
});

test("no component waits by {#await}: what such a block showed stays in memory (Svelte 5.57 keeps it in `untracked_writes`)", () => {
  assert.deepStrictEqual(offences("studio", /\{#await/g), []);
});

test("a film knows nothing of a page", () => {
  assert.deepStrictEqual(offences("film", /\bdocument\b|\bwindow\b|getBoundingClientRect|getBBox|requestAnimationFrame/g), []);
});
