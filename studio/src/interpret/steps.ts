// One step's distribution, cut and draw, as the schema's chunks `generation/steps/` hold them (src/pellucid/interpret/formulas.py).

import type { Arithmetic } from "../engine/arithmetic.ts";
import type { Step } from "../engine/generation.ts";
import type { SamplingOptions } from "../engine/options.ts";
import { adjusted, candidates, largest, logprobOf } from "../engine/sampling.ts";

export interface StepDistribution {
  topIds: number[];
  topLogprobs: number[];
  topShares: number[];
  kept: number;
  /** NaN at temperature 0, which draws nothing. */
  draw: number;
  span: [number, number];
}

/** count: candidates to list, the likeliest in the model's own distribution. */
export function stepDistribution(math: Arithmetic, step: Step, options: SamplingOptions, count: number): StepDistribution {
  const { logits, sums, token, u } = step;
  const top = [...largest(logits, count)];
  const topLogprobs = top.map((id) => logprobOf(math, logits[id]!, sums));
  if (options.temperature === 0)
    return { topIds: top, topLogprobs, topShares: top.map((id) => Number(id === token.id)), kept: 1, draw: NaN, span: [0, 1] };
  const { ids, weights } = step.candidates ?? candidates(math, adjusted(logits, options, step.counts), options);
  const total = math.sum(weights);
  const placeOf = (id: number) => (ids ? ids.indexOf(id) : id);
  const topShares = top.map((id) => (weights[placeOf(id)] ?? 0) / total); // 0 for one that was cut off
  const place = placeOf(token.id);
  let [before, last] = [0, 0]; // ends of the tokens' parts, side by side: of the one before the drawn token, and of the last
  weights.forEach((weight, at) => {
    if (at === place) before = last;
    last += weight;
  });
  const span: [number, number] = [before / last, (before + weights[place]!) / last];
  return { topIds: top, topLogprobs, topShares, kept: weights.length, draw: u, span };
}
