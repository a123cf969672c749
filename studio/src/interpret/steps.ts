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
  const { logits, terms, token, u } = step;
  const top = [...largest(logits, count)];
  const topLogprobs = top.map((id) => logprobOf(math, logits[id]!, terms));
  if (options.temperature === 0)
    return { topIds: top, topLogprobs, topShares: top.map((id) => Number(id === token.id)), kept: 1, draw: NaN, span: [0, 1] };
  const { ids, weights } = candidates(math, adjusted(logits, options, step.counts), options);
  const total = math.sum(weights);
  const shares = new Float64Array(logits.length);
  const ends = new Float64Array(weights.length); // of the tokens' parts, side by side
  weights.forEach((weight, at) => {
    shares[ids ? ids[at]! : at] = weight / total;
    ends[at] = (at ? ends[at - 1]! : 0) + weight;
  });
  const place = ids ? ids.indexOf(token.id) : token.id;
  const last = ends.at(-1)!;
  const span: [number, number] = [place ? ends[place - 1]! / last : 0, ends[place]! / last];
  return { topIds: top, topLogprobs, topShares: top.map((id) => shares[id]!), kept: weights.length, draw: u, span };
}
