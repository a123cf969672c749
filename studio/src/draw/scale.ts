// A linear scale with the ticks for which there is room (src/pellucid/draw/components/scales.py).

import { fixed } from "../formatting.ts";
import type { Font } from "./font.ts";

const STEPS = [1, 2, 5];
const ROOM = 0.9; // of the text's size, at least, between two labels

/** Values from `low` to `high` laid evenly from position `start` to `end`. */
export class LinearScale {
  constructor(readonly low: number, readonly high: number, readonly start: number, readonly end: number) {}

  place(value: number): number {
    return this.start + (this.end - this.start) * ((value - this.low) / (this.high - this.low));
  }

  /** The most ticks, at whole numbers, whose labels do not touch: [value, label]. */
  wholeTicks(font: Font, size: number): [number, string][] {
    for (let most = 10; most > 0; most--) {
      const values = this.ticks(most).filter((value) => value === Math.floor(value));
      if (!values.length) continue;
      const step = values.length < 2 ? 1 : values[1]! - values[0]!;
      const found = values.map((value): [number, string] => [value, label(value, step)]);
      if (this.haveRoom(font, found, size)) return found;
    }
    return [[this.low, label(this.low, this.high - this.low)]];
  }

  /** Multiples of a round step from low to high: at most `most` + 1. */
  private ticks(most: number): number[] {
    const step = niceStep(this.high - this.low, most);
    const [first, last] = [Math.ceil(this.low / step - 1e-9), Math.floor(this.high / step + 1e-9)];
    return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
  }

  private haveRoom(font: Font, ticks: readonly (readonly [number, string])[], size: number): boolean {
    const extents = ticks.map(([value, words]) => {
      const half = font.width(words, size) / 2;
      return [this.place(value) - half, this.place(value) + half] as const;
    });
    return extents.every(([from], i) => i === 0 || from - extents[i - 1]![1] >= ROOM * size);
  }
}

/** The smallest of ... 0.1, 0.2, 0.5, 1, 2, 5, 10 ... that divides a span into at most `most` parts. */
function niceStep(span: number, most: number): number {
  for (let power = Math.floor(Math.log10(span / most)); ; power++)
    for (const digit of STEPS) {
      const step = power >= 0 ? digit * 10 ** power : digit / 10 ** -power;
      if (span / step <= most) return step;
    }
}

/** A tick's number with as many decimals as its step needs, thousands set apart by commas. */
function label(value: number, step: number): string {
  return fixed(value, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), true);
}
