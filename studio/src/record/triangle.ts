// Attention weights as a record stores them, like src/pellucid/record/triangle.py: lower triangles of float16 numbers, each row
// rounded to a step of its own.

import { asFloat16, type Stored } from "./encode.ts";
import { roundFloat16, roundHalfEven } from "./float16.ts";

export const SUM_ERROR = 0.0098; // of a row; its sum is then 1 within 1 %
export const TOTAL_ERROR = 0.15; // of a row: sum of |error|
const [COARSEST, FINEST] = [8, 24]; // steps 2^-8 to 2^-24, the smallest positive float16 number
export const MOST_STEPS = 2048; // a float16 number has 11 significant bits

/** A weight as it is stored with a step. */
export function roundedWeight(weight: number, step: number): number {
  return weight >= MOST_STEPS * step ? roundFloat16(weight) : roundHalfEven(weight / step) * step;
}

/** The step of a row of weights: the coarsest with which its sum and the sum of its errors stay within what is allowed. */
export function rowStep(row: Float32Array): number {
  for (let bits = COARSEST; bits < FINEST; bits++) {
    const step = 2 ** -bits;
    let [sum, total] = [0, 0];
    for (const weight of row) {
      const error = roundedWeight(weight, step) - weight; // exact: both have the bits of float32
      sum += error;
      total += Math.abs(error);
    }
    if (Math.abs(sum) <= SUM_ERROR && total <= TOTAL_ERROR) return step;
  }
  return 2 ** -FINEST;
}

/** (H, T, T) causal attention weights as packed triangles (H, T (T + 1) / 2). weights: by head, each row as long as its place. */
export function asTriangle(weights: Float32Array, heads: number, positions: number): Stored {
  const size = (positions * (positions + 1)) / 2;
  const packed = new Float32Array(heads * size);
  for (let head = 0; head < heads; head++) {
    for (let row = 0; row < positions; row++) {
      const start = head * size + (row * (row + 1)) / 2;
      const of = weights.subarray(start, start + row + 1);
      const step = rowStep(of);
      for (let key = 0; key <= row; key++) packed[start + key] = roundedWeight(of[key]!, step);
    }
  }
  return { ...asFloat16(packed, [heads, size]), triangle: true };
}
