// The exponentials, logarithms and sums of a draw, by the kernel: one implementation for Python, C and the page, so that all of
// them draw the same tokens and give the same log-probabilities, bit for bit.

import { RecordError } from "../record/bytes.ts";
import { type Kernel, Scratch } from "../runtime/kernel.ts";

/** What log-probabilities are made of: the largest logit, and the sum of e^(logit - largest) over all tokens. */
export interface Sums {
  best: number;
  total: number;
}

/** What a distribution is made of: e^(logit - largest) of each token, too. */
export interface Terms extends Sums {
  weights: Float64Array;
}

export class Arithmetic {
  private readonly numbers: Scratch;
  private readonly logits: Scratch;

  constructor(private readonly kernel: Kernel) {
    this.numbers = new Scratch(kernel);
    this.logits = new Scratch(kernel);
  }

  /** The terms of (V,) logits. Errors: `RecordError` where one of them is no number. */
  terms(logits: Float32Array): Terms {
    const sums = this.sums(logits);
    return { ...sums, weights: this.kernel.float64(this.numbers.reserve(8 * logits.length), logits.length).slice() };
  }

  /** The same without the terms themselves. Errors as `terms`. */
  sums(logits: Float32Array): Sums {
    const place = this.logits.reserve(4 * logits.length);
    const weights = this.numbers.reserve(8 * logits.length);
    this.kernel.float32(place, logits.length).set(logits);
    const total = this.kernel.exports.pellucid_weights(place, logits.length, weights);
    if (Number.isNaN(total)) throw new RecordError("the model's output is not a number (NaN): its weights are damaged");
    return { best: largestOf(logits), total };
  }

  /** e^x of each number, none of them more than 0. */
  exp(x: Float64Array): Float64Array {
    const place = this.put(x);
    this.kernel.exports.pellucid_exp(place, x.length);
    return this.kernel.float64(place, x.length).slice();
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
