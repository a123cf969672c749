// The exponentials, logarithms and sums of a draw, by the kernel: one implementation for Python, C and the page, so that all of
// them draw the same tokens and give the same log-probabilities, bit for bit.

import { RecordError } from "../record/bytes.ts";
import { type Kernel, Scratch } from "../runtime/kernel.ts";

/** What log-probabilities are made of: the largest logit, and the sum of e^(logit - largest) over all tokens. */
export interface Sums {
  best: number;
  total: number;
}

export class Arithmetic {
  private readonly numbers: Scratch;
  private readonly logits: Scratch;

  constructor(private readonly kernel: Kernel) {
    this.numbers = new Scratch(kernel);
    this.logits = new Scratch(kernel);
  }

  /** The sums of (V,) logits. Errors: `RecordError` where one of them is no number. */
  sums(logits: Float32Array): Sums {
    return this.weigh(logits).sums;
  }

  /** The sums of (V,) logits, and the token that u in [0, 1) points at, where their probabilities lie side by side. Errors as `sums`. */
  sample(logits: Float32Array, u: number): { id: number; sums: Sums } {
    const { weights, sums } = this.weigh(logits);
    return { id: this.kernel.exports.pellucid_inverse_cdf(weights, logits.length, u), sums };
  }

  /** weights: the place of (V,) float64 e^(logit - largest) in the kernel's memory. */
  private weigh(logits: Float32Array): { weights: number; sums: Sums } {
    const place = this.logits.reserve(4 * logits.length);
    const weights = this.numbers.reserve(8 * logits.length);
    this.kernel.float32(place, logits.length).set(logits);
    const total = this.kernel.exports.pellucid_weights(place, logits.length, weights);
    if (Number.isNaN(total)) throw new RecordError("the model's output is not a number (NaN): its weights are damaged");
    return { weights, sums: { best: largestOf(logits), total } };
  }

  /** e^x of each number, none of them more than 0, in place. */
  exp(x: Float64Array): Float64Array {
    const place = this.put(x);
    this.kernel.exports.pellucid_exp(place, x.length);
    x.set(this.kernel.float64(place, x.length));
    return x;
  }

  sum(x: Float64Array): number {
    return this.kernel.exports.pellucid_sum(this.put(x), x.length);
  }

  log(x: number): number {
    return this.kernel.exports.pellucid_log(x);
  }

  /** The index of the weight that u points at, where all lie side by side. */
  inverseCdf(weights: Float64Array, u: number): number {
    return this.kernel.exports.pellucid_inverse_cdf(this.put(weights), weights.length, u);
  }

  private put(x: Float64Array): number {
    const place = this.numbers.reserve(8 * x.length);
    this.kernel.float64(place, x.length).set(x);
    return place;
  }
}

/** The largest of numbers none of which is NaN. */
export function largestOf(numbers: Float32Array | Float64Array): number {
  let best = -Infinity;
  for (const number of numbers) if (number > best) best = number;
  return best;
}
