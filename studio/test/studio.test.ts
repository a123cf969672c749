// The studio's pure functions: routes, charts, colours.

import assert from "node:assert/strict";
import test from "node:test";
import { bucketMeans, ticks } from "../src/studio/chart.ts";
import { inkOn, SEQUENTIAL, shade } from "../src/studio/colours.ts";
import { hashOf, parseRoute, type Route } from "../src/studio/route.ts";

test("addresses say where one is, and nonsense is home", () => {
  const routes: Route[] = [
    { page: "home" },
    { page: "ask", model: null },
    { page: "ask", model: "model-1" },
    { page: "run", id: "run-1" },
    { page: "record", id: "a/b?#%", track: null, level: null },
    { page: "record", id: "record-2", track: 17, level: 0 },
  ];
  for (const route of routes) assert.deepEqual(parseRoute(hashOf(route)), route);
  for (const hash of ["", "#", "#/nothing", "#/run", "#/record/%E0%A4%A", "#javascript:alert(1)"]) assert.equal(parseRoute(hash).page, "home");
  assert.deepEqual(parseRoute("#/record/r/x/99999999"), { page: "record", id: "r", track: null, level: null });
});

test("ticks are round and inside of the range", () => {
  assert.deepEqual(ticks(0, 5.7, 6), [0, 1, 2, 3, 4, 5]);
  assert.deepEqual(ticks(0.21, 0.29, 4), [0.22, 0.24, 0.26, 0.28]);
  assert.deepEqual(ticks(3, 3, 5), [3]);
});

test("bucketMeans keep every point where there is room, and the total where there is none", () => {
  const points = Array.from({ length: 1000 }, (_, i) => ({ step: i + 1, value: i % 7 }));
  assert.equal(bucketMeans(points, 1000).points, points);
  const { points: fewer, of } = bucketMeans(points, 90);
  assert.ok(fewer.length <= 90 && of === 12);
  assert.equal(fewer[0]!.value, [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4].reduce((a, b) => a + b) / 12);
});

function luminance(colour: string): number {
  const parts = colour.startsWith("#") ? [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16)) : colour.match(/\d+/g)!.map(Number);
  const [r, g, b] = parts.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
}

test("text on every shade can be read: 4.5 to 1 at least", () => {
  for (let share = 0; share <= 1; share += 0.005) {
    const [a, b] = [luminance(shade(share)), luminance(inkOn(share))].sort((x, y) => y - x);
    assert.ok((a! + 0.05) / (b! + 0.05) >= 4.5, `${share}: ${(a! + 0.05) / (b! + 0.05)}`);
  }
  assert.equal(SEQUENTIAL.length, 17);
});
