// Keyframed values, their interpolation, and the rounding of coordinates.
//
// Uses only + - * / floor and square root on IEEE doubles, in the order written: the results equal Python's bit for bit.
// `docs/film.md` states the rules; the golden values in `tests/golden/film_at.json` test both implementations.

export type Ease = "hold" | "linear" | "move";
export type Keyframe<T> = readonly [time: number, value: T, ease: Ease];

/** A value as a function of time. The ease of a keyframe says how its value is reached from the one before. */
export class Keyframes<T> {
  constructor(readonly points: readonly Keyframe<T>[]) {}

  /** The value at t seconds. */
  at(t: number): T {
    const points = this.points;
    let after = 0; // index of the first keyframe later than t: there are few, so a linear search
    while (after < points.length && points[after]![0] <= t) after += 1;
    if (after === 0) return points[0]![1];
    const [start, value] = points[after - 1]!;
    if (after === points.length || points[after]![2] === "hold") return value;
    const [end, target, ease] = points[after]!;
    let fraction = (t - start) / (end - start);
    if (ease === "move") {
      const left = 1 - fraction;
      fraction = 1 - left * left * left;
    }
    return interpolate(value, target, fraction) as T;
  }

  /** When the value changes, in seconds: [from, to] of each movement, [t, t] of each jump. */
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

/** A constant or keyframes. */
export type Animated<T> = T | Keyframes<T>;

/** The value at t seconds. */
export function valueAt<T>(value: Animated<T>, t: number): T {
  return value instanceof Keyframes ? value.at(t) : value;
}

function interpolate(a: unknown, b: unknown, fraction: number): unknown {
  if (typeof a === "number" && typeof b === "number") return a + (b - a) * fraction;
  return typeof a === "string" && typeof b === "string" ? mixColours(a, b, fraction) : a;
}

/** A colour between two (#rrggbb), channel by channel: fraction 0 gives a, 1 gives b. */
function mixColours(a: string, b: string, fraction: number): string {
  let mixed = "#";
  for (let at = 1; at < 7; at += 2) {
    const [one, other] = [parseInt(a.slice(at, at + 2), 16), parseInt(b.slice(at, at + 2), 16)];
    mixed += Math.floor(one + (other - one) * fraction + 0.5)
      .toString(16)
      .padStart(2, "0");
  }
  return mixed;
}

/** A coordinate rounded to two decimals, halves upwards; never -0. */
export function rounded(value: number): number {
  return Math.floor(value * 100 + 0.5) / 100;
}

/** A number as text, with at most five decimals. */
export function formatNumber(value: number): string {
  return String(Number(value.toFixed(5)));
}
