// Sampling: penalties, biases, temperature, top-k, top-p, min-p and the draw of a token from logits, number for number as
// src/pellucid/engine/sampling.py does it. V vocabulary.

import type { Arithmetic, Sums } from "./arithmetic.ts";
import { largestOf } from "./arithmetic.ts";
import { type SamplingOptions, truncates } from "./options.ts";

const FIRST_SORTED = 256; // tokens sorted for top_p; more only if these do not reach it

type Floats = Float32Array | Float64Array;
/** How often each token was drawn before, by id. */
export type Counts = ReadonlyMap<number, number>;

/** What may be drawn: ids, ascending (null: all), and their probabilities as multiples of the largest. */
export interface Candidates {
  ids: Int32Array | null;
  weights: Float64Array;
}

/** A drawn token and its log-probability in the model's own distribution (temperature 1, nothing cut off). */
export interface Draw {
  id: number;
  logprob: number;
  sums: Sums;
  /** What it was drawn from; null where that was the model's own distribution, or nothing was drawn (temperature 0). */
  candidates: Candidates | null;
}

/** Draws one token. logits: (V,). u: in [0, 1). counts: null where the options do not ask. */
export function draw(math: Arithmetic, logits: Float32Array, options: SamplingOptions, u: number, counts: Counts | null): Draw {
  const scores = adjusted(logits, options, counts);
  if (scores === logits && options.temperature === 1 && !truncates(options, logits.length)) {
    const { id, sums } = math.sample(logits, u);
    return { id, logprob: logprobOf(math, logits[id]!, sums), sums, candidates: null };
  }
  const sums = math.sums(logits);
  let id: number;
  let from: Candidates | null = null;
  if (options.temperature === 0) {
    id = scores.indexOf(largestOf(scores)); // of equals the first
  } else {
    from = candidates(math, scores, options);
    const index = math.inverseCdf(from.weights, u);
    id = from.ids ? from.ids[index]! : index;
  }
  return { id, logprob: logprobOf(math, logits[id]!, sums), sums, candidates: from };
}

/** The log-probability of a token from its logit, rounded to float32 once. */
export function logprobOf(math: Arithmetic, logit: number, { best, total }: Sums): number {
  return Math.fround(logit - best - math.log(total));
}

/** The (V,) logits with penalties and biases; themselves where there are none. */
export function adjusted(logits: Float32Array, options: SamplingOptions, counts: Counts | null): Floats {
  if (!counts?.size && !options.logit_bias.length) return logits;
  const scores = Float64Array.from(logits);
  const { repetition_penalty: repetition, frequency_penalty: frequency, presence_penalty: presence } = options;
  for (const [id, times] of counts ?? []) {
    const drawn = scores[id]! > 0 ? scores[id]! / repetition : scores[id]! * repetition;
    scores[id] = drawn - times * frequency - presence;
  }
  for (const [id, bias] of options.logit_bias) scores[id] = scores[id]! + bias;
  return scores;
}

/** What may be drawn from (V,) scores at a temperature above 0. */
export function candidates(math: Arithmetic, scores: Floats, options: SamplingOptions): Candidates {
  const { temperature, top_k: most, top_p: share, min_p: least } = options;
  const best = largestOf(scores);
  let ids: Int32Array | null = null;
  if (most !== null && most < scores.length) ids = largest(scores, most).sort();
  if (share !== null && share < 1) {
    const nucleus = nucleusOf(math, ids ? taken(scores, ids) : scores, temperature, share).sort();
    const before: Int32Array | null = ids;
    ids = before ? nucleus.map((at) => before[at]!) : nucleus;
  }
  let weights = weightsOf(math, ids ? taken(scores, ids) : scores, best, temperature);
  if (least) {
    const likely = Int32Array.from(weights.keys()).filter((at) => weights[at]! >= least); // the largest is 1
    const before: Int32Array | null = ids;
    ids = before ? likely.map((at) => before[at]!) : likely;
    weights = Float64Array.from(likely, (at) => weights[at]!);
  }
  return { ids, weights };
}

function taken(scores: Floats, ids: Int32Array): Float64Array {
  return Float64Array.from(ids, (id) => scores[id]!);
}

function weightsOf(math: Arithmetic, scores: Floats, best: number, temperature: number): Float64Array {
  const exponents = new Float64Array(scores.length);
  // The largest becomes 0 first: a tiny temperature then cannot overflow.
  for (let i = 0; i < scores.length; i++) exponents[i] = (scores[i]! - best) / temperature;
  return math.exp(exponents);
}

/** Indices of the fewest likeliest that have at least `share` of the probability together (Holtzman et al. 2019). */
function nucleusOf(math: Arithmetic, scores: Floats, temperature: number, share: number): Int32Array {
  const weights = weightsOf(math, scores, largestOf(scores), temperature);
  const wanted = share * math.sum(weights);
  for (let look = FIRST_SORTED; ; look *= 16) {
    const order = largest(scores, Math.min(look, scores.length));
    let sum = 0;
    const reached = order.findIndex((at) => (sum += weights[at]!) >= wanted);
    if (reached >= 0) return order.slice(0, reached + 1);
    if (look >= scores.length) return order; // all of them may add up to less, by rounding
  }
}

/** Indices of the `count` largest of some numbers, the largest first, of equals the lower index first. */
export function largest(values: Floats, count: number): Int32Array<ArrayBuffer> {
  const before = (a: number, b: number) => values[b]! - values[a]! || a - b;
  if (count >= values.length || count > FIRST_SORTED) return Int32Array.from(values.keys()).sort(before).slice(0, count);
  const found: number[] = [];
  for (let i = 0; i < values.length; i++) {
    if (found.length === count && !(values[i]! > values[found[count - 1]!]!)) continue;
    let at = found.length < count ? found.length : count - 1;
    while (at > 0 && values[found[at - 1]!]! < values[i]!) {
      found[at] = found[at - 1]!;
      at--;
    }
    if (count) found[at] = i;
  }
  return Int32Array.from(found);
}
