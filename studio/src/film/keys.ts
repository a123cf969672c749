// Values that change with time, and the one rule by which they become numbers on a picture.
//
// Only + - * / floor and square root on IEEE doubles, in the order written, as in Python's `draw/keys.py`: the same bits.
// `docs/film.md` states the rules; `tests/golden/film_at.json` holds both languages to them.

export type Ease = "hold" | "linear" | "move";
export type Key<T> = readonly [time: number, value: T, ease: Ease];

/** A value by time. The ease of a key says how it is reached from the key before. */
export class Keys<T> {
  constructor(readonly points: readonly Key<T>[]) {}

  /** The value at t seconds. */
  at(t: number): T {
    const points = this.points;
    let after = 0; // the first key later than t; there are few keys, so one by one
    while (after < points.length && points[after]![0] <= t) after += 1;
    if (after === 0) return points[0]![1];
    const [start, value] = points[after - 1]!;
    if (after === points.length || points[after]![2] === "hold") return value;
    const [end, target, ease] = points[after]!;
    let share = (t - start) / (end - start);
    if (ease === "move") {
      const left = 1 - share;
      share = 1 - left * left * left;
    }
    return between(value, target, share) as T;
  }

  /** When the value changes: [from, to] of each movement, [t, t] of each jump. */
  changes(): [number, number][] {
    const found: [number, number][] = [];
    for (let i = 1; i < this.points.length; i += 1) {
      const [start, before] = this.points[i - 1]!;
      const [end, after, ease] = this.points[i]!;
      if (before !== after) found.push(ease === "hold" ? [end, end] : [start, end]);
    }
    return found;
  }
}

export type Timed<T> = T | Keys<T>;

/** A constant, or what keys say at t. */
export function now<T>(value: Timed<T>, t: number): T {
  return value instanceof Keys ? value.at(t) : value;
}

function between(a: unknown, b: unknown, share: number): unknown {
  if (typeof a === "number" && typeof b === "number") return a + (b - a) * share;
  return typeof a === "string" && typeof b === "string" ? mix(a, b, share) : a;
}

/** A colour between two, channel by channel; share 0 is `a`, 1 is `b`. */
export function mix(a: string, b: string, share: number): string {
  let mixed = "#";
  for (let at = 1; at < 7; at += 2) {
    const [one, other] = [parseInt(a.slice(at, at + 2), 16), parseInt(b.slice(at, at + 2), 16)];
    mixed += Math.floor(one + (other - one) * share + 0.5)
      .toString(16)
      .padStart(2, "0");
  }
  return mixed;
}

/** The value to two decimals, halves upwards. Never -0. */
export function rounded(value: number): number {
  return Math.floor(value * 100 + 0.5) / 100;
}

/** A number that is not a length: five decimals at most. */
export function fine(value: number): string {
  return String(Number(value.toFixed(5)));
}
