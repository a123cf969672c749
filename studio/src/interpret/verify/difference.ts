// Comparing a chunk with its recomputed value: differences, tolerances, and the number that is furthest out, as
// src/pellucid/interpret/verify/difference.py and report.py define them.

import type { Entry } from "../../record/decode.ts";

export const MATERIAL = 0.1; // a tolerance of more than this part of the recomputed values' range checks nothing
export const FLOAT32 = 2 ** -24; // relative rounding of a float32 number

type Numbers = ArrayLike<number>;

/** The comparison of one chunk. */
export interface ChunkResult {
  chunk: string;
  truth: Entry["truth"];
  ok: boolean;
  /** |stored - recomputed| of the number with the largest difference / tolerance; null where nothing was compared. */
  difference: number | null;
  tolerance: number | null;
  unit: string;
  note: string;
  /** How many of its numbers have a tolerance of more than `MATERIAL` of their range, of how many. */
  coarse: number;
  numbers: number;
  /** Whether nothing here could be compared. */
  unchecked: boolean;
}

/** The comparison of one word of the header with its source. */
export interface WordResult {
  word: string;
  status: "equal" | "differs" | "unverified";
  note: string;
}

/** |stored - recomputed| of every number, the tolerance of each, and the range that the tolerance is judged by. */
export class Difference {
  readonly found: number[] = [];
  readonly allowed: number[] = [];
  readonly ranges: number[] = [];

  constructor(readonly unit = "") {}

  add(found: number, allowed: number, range = Infinity): void {
    this.found.push(found);
    this.allowed.push(allowed);
    this.ranges.push(range);
  }

  result(chunk: string, truth: Entry["truth"]): ChunkResult {
    let [worst, ratio, coarse] = [-1, -1, 0];
    for (let i = 0; i < this.found.length; i++) {
      const found = Number.isNaN(this.found[i]!) ? Infinity : this.found[i]!;
      const allowed = Number.isNaN(this.allowed[i]!) ? Infinity : this.allowed[i]!;
      const own = found === Infinity ? Infinity : found > 0 ? found / allowed : 0;
      if (own > ratio) [worst, ratio] = [i, own];
      const covered = allowed > 0 ? allowed / this.ranges[i]! : 0;
      if (Number.isNaN(covered) || covered > MATERIAL) coarse++;
    }
    const difference = worst < 0 ? 0 : Number.isNaN(this.found[worst]!) ? Infinity : this.found[worst]!;
    const tolerance = worst < 0 ? 0 : this.allowed[worst]!;
    return {
      chunk, truth, ok: ratio <= 1, difference, tolerance, unit: this.unit, note: "", coarse, numbers: this.found.length, unchecked: false,
    }; // prettier-ignore
  }
}

/** A difference of 0, or an infinite one, for what is not compared number by number. */
export function equality(same: boolean): Difference {
  const found = new Difference();
  found.add(same ? 0 : Infinity, 0);
  return found;
}

/** The difference of numbers that are stored without rounding: they must be equal, and as many. */
export function equal(stored: Numbers, expected: Numbers): Difference {
  if (stored.length !== expected.length) return equality(false);
  const found = new Difference();
  for (let i = 0; i < stored.length; i++) found.add(Math.abs(Number(stored[i]) - expected[i]!), 0);
  return found;
}

/** The range of a row's finite values; where all are equal, their size. */
export function rangeOf(row: Numbers): number {
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < row.length; i++) {
    const value = row[i]!;
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return 0;
  return low < high ? high - low : Math.abs(high);
}

export function median(values: Numbers): number {
  const sorted = Float64Array.from(values).sort();
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** Whether two JSON values are equal. */
export function sameJson(one: unknown, other: unknown): boolean {
  if (Array.isArray(one) || Array.isArray(other)) {
    if (!Array.isArray(one) || !Array.isArray(other) || one.length !== other.length) return false;
    return one.every((item, i) => sameJson(item, other[i]));
  }
  if (typeof one === "object" && one && typeof other === "object" && other) {
    const [a, b] = [one as Record<string, unknown>, other as Record<string, unknown>];
    const keys = Object.keys(a);
    return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && sameJson(a[key], b[key]));
  }
  return one === other;
}

/** The result for one word: "equal", or `otherwise`. */
export function compared(word: string, stated: unknown, expected: unknown, otherwise: WordResult["status"] = "differs"): WordResult {
  if (sameJson(stated, expected)) return { word, status: "equal", note: "" };
  const short = (value: unknown) => String(JSON.stringify(value)).slice(0, 60);
  return { word, status: otherwise, note: `it says ${short(stated)}, its source ${short(expected)}` };
}

/**
 * Compares a stored list of the likeliest tokens, likeliest first, with recomputed log-probabilities: of two that are equally likely
 * up to rounding either may come first; a repeated id, or one that there is not, is wrong.
 *
 * values: by token, by which they are ordered. best: their largest, the largest first, as many as are listed or more. nats: the
 * tolerance of a value.
 */
export function compareTop(
  ids: Difference, numbers: Difference, values: (id: number) => number, count: number, best: Numbers, listed: Numbers, stored: Numbers,
  nats: number,
): void {
  const expected = Array.from({ length: listed.length }, (_, j) => best[j]!);
  const range = rangeOf(expected);
  const repeated = new Set(Array.from(listed)).size < listed.length;
  expected.forEach((value, j) => {
    const id = listed[j]!;
    const valid = id >= 0 && id < count;
    const found = valid && !repeated ? values(id) : Infinity;
    const rounding = FLOAT32 * Math.abs(value);
    ids.add(Math.abs(found - value), 2 * nats + rounding, range);
    numbers.add(Math.abs(stored[j]! - (valid ? found : value)), nats + rounding, range);
  });
}
