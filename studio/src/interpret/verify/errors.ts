// By how much recomputed activations may be off: sums were taken in another order (src/pellucid/interpret/verify/activations.py).

import { float16Spacing } from "../../record/float16.ts";
import { MOST_STEPS, roundedWeight, SUM_ERROR, TOTAL_ERROR } from "../../record/triangle.ts";
import { median, rangeOf } from "./difference.ts";

export const NOISE = 2 ** -15; // relative error of a float32 logit; a choice, measured
const FEW = 8; // positions: of fewer, the mean of a channel is no measure of it

const rootMeanSquare = (sum: number, count: number) => Math.sqrt(sum / count);

/** By how much each number of (T, C) vectors of the residual stream may be off. */
export function streamError(expected: ArrayLike<number>, width: number): Float64Array {
  const positions = expected.length / width;
  const squares = Float64Array.from(expected, (x) => (NOISE * Math.abs(x)) ** 2);
  const channels = new Float64Array(width);
  if (positions >= FEW) {
    squares.forEach((square, i) => (channels[i % width]! += square));
    for (let c = 0; c < width; c++) channels[c] = rootMeanSquare(channels[c]!, positions);
  }
  const found = new Float64Array(expected.length);
  for (let start = 0; start < found.length; start += width) {
    const row = squares.subarray(start, start + width);
    const own = rootMeanSquare(row.reduce((sum, x) => sum + x, 0), width);
    const typical = 3 * Math.sqrt(median(row)); // the median of squares is that of sizes, but for an even count
    for (let c = 0; c < width; c++) {
      const allowed = positions >= FEW ? Math.min(own, Math.max(channels[c]!, typical)) : own;
      found[start + c] = 4 * allowed + 4 * NOISE * Math.abs(expected[start + c]!);
    }
  }
  return found;
}

/** The range that each number of (T, C) vectors is judged by. */
export function streamRanges(expected: ArrayLike<number>, width: number): Float64Array {
  const sizes = new Float64Array(width);
  for (let i = 0; i < expected.length; i++) sizes[i % width] = Math.max(sizes[i % width]!, Math.abs(expected[i]!));
  const typical = median(sizes);
  const found = new Float64Array(expected.length);
  for (let start = 0; start < found.length; start += width) {
    const range = rangeOf(Array.from({ length: width }, (_, c) => expected[start + c]!));
    for (let c = 0; c < width; c++) found[start + c] = Math.min(range, Math.max(sizes[c]!, typical));
  }
  return found;
}

/** By how much an attention weight may be off: an error e of a score moves it by w (1 - w) e. */
export function weightError(weight: number): number {
  return 16 * NOISE * weight * (1 - weight);
}

/** The step of a row of weights that lie within `noise` of those that were stored: at least as coarse as theirs. */
export function rowStepWithin(row: ArrayLike<number>, noise: ArrayLike<number>): number {
  const totalNoise = Array.from(noise).reduce((sum, x) => sum + x, 0);
  for (let bits = 8; bits < 24; bits++) {
    const step = 2 ** -bits;
    let [sum, total, ties] = [0, 0, 0];
    for (let i = 0; i < row.length; i++) {
      const error = roundedWeight(row[i]!, step) - row[i]!;
      sum += error;
      total += Math.abs(error);
      const unit = Math.max(step, float16Spacing(row[i]!));
      const place = row[i]! / unit;
      if (Math.abs(place - Math.floor(place) - 0.5) * unit <= noise[i]!) ties += unit;
    }
    // The distance to the nearest multiple changes by no more than the weight does, unless it is rounded otherwise.
    if (total - totalNoise <= TOTAL_ERROR && Math.abs(sum) - totalNoise - ties <= SUM_ERROR) return step;
  }
  return 2 ** -24;
}

/** The largest rounding error of a weight that is stored with a step, within `noise` of this one. */
export function roundingError(weight: number, noise: number, step: number): number {
  return weight === 0 ? 0 : Math.max(step, (weight + noise) / (MOST_STEPS / 2)) / 2;
}
