// Verifying the steps of a generation: each distribution, its cut and its draw (src/pellucid/interpret/verify/steps.py).
//
// Each logit may be off by e. With r = exp(2 e / temperature), the odds of any set of tokens change by a factor of at most r, so a
// probability F by at most F (1 - F) (r - 1).

import { SAMPLE } from "../../engine/generation.ts";
import { type SamplingOptions, usesCounts } from "../../engine/options.ts";
import { largest } from "../../engine/sampling.ts";
import { uniform } from "../../engine/uniform.ts";
import type { Numbers } from "../../record/decode.ts";
import { compareTop, Difference, FLOAT32, rangeOf } from "./difference.ts";

const FLOAT64 = 2 ** -36; // of a sum of all shares of a vocabulary in float64, in any order
const JUDGED = 20; // a number of a step is judged by the range of so many of the largest

/** The chunks `generation/steps/`, by the last part of their names. */
export interface StepChunks {
  drawn_ids: Numbers;
  drawn_logprobs: Numbers;
  topk_ids: Numbers;
  topk_logprobs: Numbers;
  topk_shares: Numbers;
  kept: Numbers;
  draw: Numbers;
  drawn_span: Numbers | null;
}

/** What is recomputed of one step, the model's own distribution aside. */
interface Cut {
  scores: Float64Array;
  best: number;
  /** Ids that were kept, ascending; null: all. */
  kept: Int32Array | null;
}

export class StepVerifier {
  readonly steps: number;
  private readonly candidates: number;
  private readonly adjusted: boolean;
  private readonly factor: number;
  private readonly own: { top: Float64Array; logTotal: number; error: number }[];
  private readonly cuts = new Map<number, Cut>();

  /** logits: of each step, (V,). noise: the relative error of a logit. prompt: its length. */
  constructor(
    readonly chunks: StepChunks,
    private readonly logits: readonly Float32Array[],
    private readonly noise: number,
    readonly options: SamplingOptions,
    private readonly prompt: number,
  ) {
    this.steps = logits.length;
    this.candidates = chunks.topk_ids.length / this.steps;
    this.adjusted = usesCounts(options) || options.logit_bias.length > 0;
    this.factor = this.adjusted ? Math.max(options.repetition_penalty, 1 / options.repetition_penalty) : 1;
    this.own = logits.map((row) => {
      const count = Math.min(row.length, Math.max(JUDGED, this.candidates));
      const size = row.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
      const order = largest(row, count);
      const best = row[order[0]!]!;
      const logTotal = best + Math.log(row.reduce((sum, x) => sum + Math.exp(x - best), 0));
      return { top: Float64Array.from(order, (id) => row[id]! - logTotal), logTotal, error: noise * size };
    });
  }

  withOptions(options: SamplingOptions): StepVerifier {
    return new StepVerifier(this.chunks, this.logits, this.noise, options, this.prompt);
  }

  get vocabulary(): number {
    return this.logits[0]!.length;
  }

  private drawn(i: number): number {
    return Number(this.chunks.drawn_ids[i]);
  }

  private row(name: "topk_ids" | "topk_logprobs" | "topk_shares", i: number): number[] {
    const k = this.candidates;
    return Array.from({ length: k }, (_, j) => Number(this.chunks[name][i * k + j]));
  }

  private valid(id: number): boolean {
    return id >= 0 && id < this.vocabulary;
  }

  /** The difference of the listed tokens, and of their log-probabilities. */
  top(): [Difference, Difference] {
    const [ids, numbers] = [new Difference("nats"), new Difference("nats")];
    this.own.forEach(({ top, logTotal, error }, i) => {
      const row = this.logits[i]!;
      compareTop(ids, numbers, (id) => row[id]! - logTotal, row.length, top, this.row("topk_ids", i), this.row("topk_logprobs", i), error);
    });
    return [ids, numbers];
  }

  drawnLogprobs(): Difference {
    const found = new Difference("nats");
    this.own.forEach(({ top, logTotal, error }, i) => {
      const expected = this.logits[i]![this.drawn(i)]! - logTotal;
      const stored = Number(this.chunks.drawn_logprobs[i]);
      found.add(Math.abs(stored - expected), error + FLOAT32 * Math.abs(expected), rangeOf(top.subarray(0, JUDGED)));
    });
    return found;
  }

  draws(): Difference {
    const found = new Difference();
    for (let i = 0; i < this.steps; i++) {
      const draw = Number(this.chunks.draw[i]);
      if (this.options.temperature === 0) found.add(Number.isNaN(draw) ? 0 : Infinity, 0);
      else found.add(Math.abs(draw - this.uniform(i)), 0);
    }
    return found;
  }

  kept(): Difference {
    const found = new Difference("tokens");
    for (let i = 0; i < this.steps; i++) {
      const [least, most] = this.keptRange(i);
      const middle = (least + most) / 2;
      found.add(Math.abs(Number(this.chunks.kept[i]) - middle), most - middle, Math.max(middle, 10));
    }
    return found;
  }

  shares(): Difference {
    const found = new Difference();
    for (let i = 0; i < this.steps; i++) {
      const { expected, tolerance } = this.sharesOf(i);
      const range = rangeOf(expected);
      this.row("topk_shares", i).forEach((stored, j) => found.add(Math.abs(stored - expected[j]!), tolerance[j]!, range));
    }
    return found;
  }

  spans(): Difference {
    const found = new Difference();
    for (let i = 0; i < this.steps; i++) {
      const { span, tolerance } = this.spanOf(i);
      for (const side of [0, 1]) found.add(Math.abs(Number(this.chunks.drawn_span![2 * i + side]) - span[side]!), tolerance[side]!, 1);
    }
    return found;
  }

  /** That each draw falls into the drawn token's part, or at temperature 0, that the token is the likeliest. */
  drawnIds(): Difference {
    const greedy = this.options.temperature === 0;
    const found = new Difference(greedy ? "nats below the likeliest" : "of the draw outside its span");
    for (let i = 0; i < this.steps; i++) {
      if (greedy) {
        const { scores, best } = this.cut(i);
        const list = Float64Array.from(largest(scores, Math.min(JUDGED, scores.length)), (id) => scores[id]!);
        found.add(best - scores[this.drawn(i)]!, 2 * this.error(i), rangeOf(list));
        continue;
      }
      const { span, tolerance } = this.spanOf(i);
      const u = this.uniform(i);
      const outside = Number.isNaN(span[0]!) ? NaN : Math.max(0, span[0]! - u, u - span[1]!);
      found.add(outside, Math.max(...tolerance), 1);
    }
    return found;
  }

  /** Whether step i could have been drawn with these options. */
  agrees(i: number): boolean {
    const [least, most] = this.keptRange(i);
    const kept = Number(this.chunks.kept[i]);
    if (!(least <= kept && kept <= most)) return false;
    const { expected, tolerance } = this.sharesOf(i);
    if (!this.row("topk_shares", i).every((stored, j) => Math.abs(stored - expected[j]!) <= tolerance[j]!)) return false;
    const { span, tolerance: ends } = this.spanOf(i);
    const u = this.options.temperature === 0 ? 0.5 : this.uniform(i);
    return span[0]! - ends[0]! <= u && u <= span[1]! + ends[1]!;
  }

  private uniform(i: number): number {
    return uniform(this.options.seed, SAMPLE, this.prompt + i);
  }

  /** By how much a score of step i may be off: a penalty that multiplies a logit multiplies its error. */
  private error(i: number): number {
    return this.own[i]!.error * this.factor;
  }

  private exponent(i: number): number {
    return Math.min((2 * this.error(i)) / this.options.temperature, 1e300);
  }

  private cut(i: number): Cut {
    let found = this.cuts.get(i);
    if (!found) {
      const scores = this.scores(i);
      const best = scores.reduce((most, x) => Math.max(most, x), -Infinity);
      found = { scores, best, kept: null };
      if (this.options.temperature > 0) found.kept = this.keptIds(i, scores);
      this.cuts.set(i, found);
      if (this.cuts.size > 4) this.cuts.delete(this.cuts.keys().next().value!);
    }
    return found;
  }

  /** The logits with penalties and biases, as `engine/sampling` defines them. */
  private scores(i: number): Float64Array {
    const scores = Float64Array.from(this.logits[i]!);
    if (!this.adjusted) return scores;
    const { repetition_penalty: repetition, presence_penalty: presence, frequency_penalty: frequency, logit_bias: biases } = this.options;
    const before = new Map<number, number>();
    if (usesCounts(this.options)) for (let j = 0; j < i; j++) before.set(this.drawn(j), (before.get(this.drawn(j)) ?? 0) + 1);
    for (const [id, times] of before) {
      const score = scores[id]!;
      scores[id] = score * (score > 0 ? 1 / repetition : repetition) - presence - times * frequency;
    }
    for (const [id, bias] of biases) scores[id] = scores[id]! + bias;
    return scores;
  }

  /** The fewest and the most tokens that step i may have kept. */
  private keptRange(i: number): [number, number] {
    const { temperature, top_k: k, top_p: p, min_p: m } = this.options;
    if (temperature === 0) return [1, 1];
    let least = Math.min(k ?? this.vocabulary, this.vocabulary);
    let most = least;
    const { scores, best } = this.cut(i);
    if (p !== null && p < 1) {
      const error = p * (1 - p) * Math.expm1(Math.min(this.exponent(i), 700));
      const sorted = scores.map((score) => Math.exp((score - best) / temperature)).sort().reverse().subarray(0, most);
      const total = sorted.reduce((sum, x) => sum + x, 0);
      let sum = 0;
      const sums = sorted.map((weight) => (sum += weight) / total);
      const place = (limit: number) => {
        const at = sums.findIndex((one) => one >= limit);
        return Math.min((at < 0 ? sums.length : at) + 1, sums.length);
      };
      [least, most] = [place(p - error), place(p + error)];
    }
    if (m) {
      const below = temperature * Math.log(m);
      const error = 2 * this.error(i) + 1e-12;
      const count = (limit: number) => scores.reduce((sum, score) => sum + Number(score - best >= limit), 0);
      least = Math.min(least, Math.max(1, count(below + error)));
      most = Math.min(most, count(below - error));
    }
    return [least, most];
  }

  /** How many tokens the record says were kept, limited to what is possible. */
  private count(i: number): number {
    return Math.min(Math.max(Number(this.chunks.kept[i]), 1), this.vocabulary);
  }

  /** Ids, ascending, of the tokens kept at a step, null for all: the listed ones where the record lists them all. */
  private keptIds(i: number, scores: Float64Array): Int32Array | null {
    const count = this.count(i);
    if (count === this.vocabulary) return null;
    const names = this.row("topk_ids", i);
    const first = names.slice(0, count);
    const distinct = count <= names.length && new Set(first).size === count;
    if (!this.adjusted && distinct && names.every((id) => this.valid(id))) return Int32Array.from(first).sort();
    return largest(scores, count).sort();
  }

  private sharesOf(i: number): { expected: number[]; tolerance: number[] } {
    const ids = this.row("topk_ids", i);
    const { temperature } = this.options;
    if (temperature === 0) return { expected: ids.map((id) => Number(id === this.drawn(i))), tolerance: ids.map(() => 0) };
    const { scores, best, kept } = this.cut(i);
    const exponent = (id: number) => (scores[id]! - best) / temperature;
    const all = kept ?? Int32Array.from(scores.keys());
    const total = Math.log(all.reduce((sum, id) => sum + Math.exp(exponent(id)), 0));
    const listed = ids.map((id) => (this.valid(id) ? id : 0));
    const logShare = listed.map((id) => Math.min(exponent(id) - total, 0));
    const stored = this.row("topk_shares", i);
    const mask = this.keptMask(i, listed, stored, scores, kept);
    const likeliest = logShare.reduce((at, share, j) => (share > logShare[at]! ? j : at), 0);
    const rest = all.reduce((sum, id) => (id === listed[likeliest] ? sum : sum + Math.exp(exponent(id))), 0);
    const growth = logExpm1(this.exponent(i));
    const expected = ids.map((id, j) => (!this.valid(id) ? Infinity : mask[j] ? Math.exp(logShare[j]!) : 0));
    const tolerance = expected.map((share, j) => {
      if (!(share > 0)) return 0;
      const others = j === likeliest ? Math.min(0, Math.log(rest) - total) : Math.log(-Math.expm1(logShare[j]!));
      return Math.exp(Math.min(logShare[j]! + others + growth, 0)) + FLOAT32 * share + 2 ** -149;
    });
    return { expected, tolerance };
  }

  private keptMask(i: number, ids: number[], stored: number[], scores: Float64Array, kept: Int32Array | null): boolean[] {
    if (!kept) return ids.map(() => true);
    if (!this.adjusted) return ids.map((_, j) => j < this.count(i)); // the list is in order, and the cuts keep the likeliest
    const edge = kept.reduce((least, id) => Math.min(least, scores[id]!), Infinity);
    // Rounding may have put one at the edge on either side: the record decides.
    return ids.map((id, j) => (Math.abs(scores[id]! - edge) <= 4 * this.error(i) ? stored[j]! > 0 : scores[id]! >= edge));
  }

  private spanOf(i: number): { span: [number, number]; tolerance: [number, number] } {
    const { temperature } = this.options;
    if (temperature === 0) return { span: [0, 1], tolerance: [0, 0] };
    const { scores, best, kept: all } = this.cut(i);
    const drawn = this.drawn(i);
    let kept = all;
    if (kept && !kept.includes(drawn)) {
      const edge = kept.reduce((least, id) => Math.min(least, scores[id]!), Infinity);
      // At the edge of the cut, rounding decides: a token that the record kept there is kept here, too.
      if (scores[drawn]! >= edge - 4 * this.error(i)) kept = Int32Array.from([...kept, drawn]).sort();
      else return { span: [NaN, NaN], tolerance: [1, 1] };
    }
    let [sum, before, after] = [0, 0, 0];
    for (const id of kept ?? Int32Array.from(scores.keys())) {
      if (id === drawn) before = sum;
      sum += Math.exp((scores[id]! - best) / temperature);
      if (id === drawn) after = sum;
    }
    const span: [number, number] = [before / sum, after / sum];
    const growth = Math.expm1(Math.min(this.exponent(i), 700));
    const tolerance = span.map((end) => Math.min(1, end * (1 - end) * growth) + 1e-12) as [number, number];
    return { span, tolerance };
  }

  /** Chunks with a number that contradicts another one of the record, by the last part of their names, and what is wrong. */
  contradictions(): Map<string, string> {
    const found = new Map<string, string>();
    const { temperature } = this.options;
    const limit = 1 + FLOAT32 * this.candidates;
    for (let i = 0; i < this.steps; i++) {
      const require = (holds: boolean, name: string, note: string) => {
        if (!holds && !found.has(name)) found.set(name, note);
      };
      const [ids, logprobs, shares] = [this.row("topk_ids", i), this.row("topk_logprobs", i), this.row("topk_shares", i)];
      const [drawn, own, kept, draw] = [this.drawn(i), Number(this.chunks.drawn_logprobs[i]), Number(this.chunks.kept[i]), Number(this.chunks.draw[i])];
      const place = ids.indexOf(drawn);
      const listed = place >= 0;
      const sum = shares.reduce((a, b) => a + b, 0);
      const positive = shares.filter((share) => share > 0).length;
      const ordered = logprobs.every((value, j) => (j ? value <= logprobs[j - 1]! : value <= 0));
      require(ordered, "topk_logprobs", "not the likeliest first");
      require(logprobs.reduce((a, b) => a + Math.exp(b), 0) <= limit * 1.0001, "topk_logprobs", "more than 1 in all");
      require(listed ? own === logprobs[place] : own <= logprobs.at(-1)!, "drawn_logprobs", "not what its place among the listed tokens says");
      require(shares.every((share) => share >= 0) && sum <= limit, "topk_shares", "less than 0, or more than 1 in all");
      require(positive <= kept, "topk_shares", "more tokens than were kept");
      require(listed ? shares[place]! > 0 : positive < kept, "drawn_ids", "a token that was cut off");
      if (!this.adjusted) {
        require(shares.every((share, j) => share === 0 || j < kept), "topk_shares", "not 0 where cut off");
        require(listed || kept > ids.length, "drawn_ids", "a token that was cut off");
        const full = kept <= ids.length || ids.length === this.vocabulary;
        require(!full || sum >= 2 - limit, "topk_shares", "less than 1 in all, with all that were kept");
        require(this.agree(shares, logprobs), "topk_shares", "not what log-probabilities and temperature give");
        require(temperature > 0 || ids[0] === drawn, "drawn_ids", "not the likeliest token");
      }
      if (temperature > 0 && this.chunks.drawn_span) {
        const [low, high] = [Number(this.chunks.drawn_span[2 * i]), Number(this.chunks.drawn_span[2 * i + 1])];
        require(low - FLOAT64 <= draw && draw < high + FLOAT64, "drawn_span", "the draw is not in it");
        const width = listed ? shares[place]! : high - low;
        require(Math.abs(high - low - width) <= FLOAT32 * width + FLOAT64, "drawn_span", "not as wide as the share");
        if (!this.adjusted)
          require(this.agree([shares[0]!, high - low], [logprobs[0]!, own]), "drawn_span", "not as wide as log-probability and temperature give");
      }
    }
    return found;
  }

  /** Whether the ratio of each share to the first one's follows from the two log-probabilities, which are roundings. */
  private agree(shares: number[], logprobs: number[]): boolean {
    const { temperature } = this.options;
    if (temperature === 0) return true;
    return shares.every((share, j) => {
      if (!(share > 1e-30 && shares[0]! > 1e-30)) return true;
      const ratio = Math.log(share) - Math.log(shares[0]!);
      const nats = (logprobs[j]! - logprobs[0]!) / temperature;
      const rounding = (FLOAT32 * (Math.abs(logprobs[j]!) + Math.abs(logprobs[0]!))) / temperature;
      return Math.abs(ratio - nats) <= rounding + 4 * FLOAT32 + FLOAT64 / Math.max(share, FLOAT64);
    });
  }
}

/** log(exp(x) - 1), for any x > 0. */
function logExpm1(x: number): number {
  return x > 40 ? x : Math.log(Math.expm1(x));
}
