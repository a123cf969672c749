// What the figures of a generation show: src/pellucid/draw/views/overview.py, tokens.py and model_info.py. S steps, L blocks, T positions.

import type { Shows } from "../film/types.ts";
import { general } from "../formatting.ts";
import { listed, mark, plural, tr } from "../language.ts";
import { RecordError } from "../record/bytes.ts";
import type { PellucidRecord } from "../record/record.ts";
import { given, shows } from "./nodes.ts";
import { Pieces } from "./pieces.ts";

export const TIMES = "generation/timings/steps";
const STEPS = "generation/steps/";
const CACHE_BYTES = "generation/cache_bytes";
const DIGITS = 8; // of a fingerprint
const VALUE_BYTES: Record<string, number> = { float32: 4, bfloat16: 2, float16: 2, float64: 8 };
const GREEDY = mark("temperature 0");
const PATTERNS = [mark("dense"), mark("banded")];

/** The model of a record, from its provenance. */
export interface RecordedModel {
  name: string;
  pattern: readonly string[];
  width: number;
  vocabulary: number;
  parameters: number;
  seed: string | null;
  fingerprint: string;
}

/** One step of a generation. */
export interface GenerationStep {
  /** From 0. */
  number: number;
  /** Tokens before it, and how many of them went through the model in this step. */
  context: readonly number[];
  read: number;
  drawn: number;
  /** Of the drawn token, in the model's own distribution. */
  p: number;
  logprob: number;
  /** [token, p, share of what was drawn from] of the candidates, the likeliest first. */
  listed: readonly (readonly [token: number, p: number, share: number])[];
  /** Tokens left by the cut, and the options of the cut in words; "" for none. */
  kept: number;
  cut: string;
  vocabulary: number;
  /** u from 0 to 1, NaN at temperature 0; and the drawn token's part of [0, 1), null if not recorded. */
  draw: number;
  span: readonly [number, number] | null;
  seconds: number;
  /** Bytes of keys and values after it and after the last step, from the model's shape. */
  cache: number;
  cacheLast: number;
  /** Of each position so far: its keys and values were computed in this step (1), are kept by all blocks (2), or not by some (3). */
  positions: readonly number[];
}

export interface Generated {
  model: RecordedModel;
  pieces: Pieces;
  prompt: readonly number[];
  answer: readonly number[];
  probabilities: readonly number[];
  seconds: readonly number[];
  steps: readonly GenerationStep[];
  /** Bytes of each number in the KV cache; and those that the runner allocated, null where they were not recorded. */
  valueBytes: number;
  cacheBytes: number | null;
}

/** Reads a generation record. Errors: `RecordError` where it lacks a chunk, or its model has a pattern that the page does not know. */
export async function readGenerated(record: PellucidRecord): Promise<Generated> {
  const model = modelOf(record);
  const numbers = async (name: string) => Array.from(await record.numbers(name), Number);
  const steps = (name: string) => numbers(STEPS + name);
  const [prompt, answer, logprobs, seconds] = await Promise.all([numbers("generation/prompt_ids"), steps("drawn_ids"), steps("drawn_logprobs"), numbers(TIMES)]);
  const [ids, tops, shares, kept, draws] = await Promise.all(["topk_ids", "topk_logprobs", "topk_shares", "kept", "draw"].map(steps)) as [number[], number[], number[], number[], number[]];
  const spans = record.has(`${STEPS}drawn_span`) ? await steps("drawn_span") : null;
  const cells = await numbers("generation/cells");
  const [count, k] = [answer.length, ids.length / answer.length];
  const valueBytes = VALUE_BYTES[record.provenance.dtype] ?? 4;
  const cut = cutOf(record.provenance.sampling ?? {});
  const bytes = (tokens: number) => 2 * model.width * valueBytes * model.pattern.reduce((sum, pattern) => sum + cachedKeys(pattern, tokens), 0);
  const last = bytes(prompt.length + count - 1);
  return {
    model, pieces: await Pieces.of(record), prompt, answer, probabilities: logprobs.map(Math.exp), seconds, valueBytes,
    cacheBytes: record.has(CACHE_BYTES) ? (await numbers(CACHE_BYTES))[0]! : null,
    steps: answer.map((drawn, i) => {
      const context = [...prompt, ...answer.slice(0, i)];
      const listed = Array.from({ length: k }, (_, j) => [ids[i * k + j]!, Math.exp(tops[i * k + j]!), shares[i * k + j]!] as const);
      return {
        number: i, context, read: i ? 1 : prompt.length, drawn, p: Math.exp(logprobs[i]!), logprob: logprobs[i]!, listed, kept: kept[i]!, cut,
        vocabulary: model.vocabulary, draw: draws[i]!, span: spans && [spans[2 * i]!, spans[2 * i + 1]!], seconds: seconds[i]!,
        cache: bytes(context.length), cacheLast: last, positions: positionsOf(cells, i, count, model.pattern.length),
      };
    }),
  }; // prettier-ignore
}

export function modelOf({ provenance }: PellucidRecord): RecordedModel {
  const { config, parameters, seed = null, model } = provenance;
  const pattern = config.pattern as string[];
  const unknown = pattern.find((one) => !/^(dense|banded\(\d+\))$/.test(one));
  if (unknown !== undefined) throw new RecordError(tr("this page does not draw attention by {pattern}", { pattern: unknown }));
  const name = typeof config.name === "string" && config.name ? config.name : tr("{blocks} blocks, {width} wide", { blocks: Number(config.n_layers), width: Number(config.d_model) });
  return { name, pattern, width: Number(config.d_model), vocabulary: Number(config.vocab_size), parameters, seed, fingerprint: model.slice(0, DIGITS) };
}

/** The model in two lines: name and size; seed and fingerprint. */
export function footerOf({ name, parameters, seed, fingerprint }: RecordedModel): readonly [string, string] {
  const parts = [...(seed === null ? [] : [tr("seed {seed}", { seed })]), tr("model {fingerprint}", { fingerprint })];
  return [tr("{name}: {count:,} parameters", { name, count: parameters }), parts.join(" · ")];
}

/** A block's attention pattern: dense, banded(128). */
export function patternName(pattern: string): string {
  return pattern.replace(/[a-z]+/, (kind) => (PATTERNS.includes(kind) ? tr(kind) : kind));
}

/** How many keys of so many a later query can still read. */
function cachedKeys(pattern: string, tokens: number): number {
  const width = /^banded\((\d+)\)$/.exec(pattern)?.[1];
  return width === undefined ? tokens : Math.min(tokens, Number(width));
}

/** (S, L, T) states of keys and values -> of each position that is there in step i: computed, kept by all, not by some. */
function positionsOf(cells: readonly number[], i: number, steps: number, blocks: number): number[] {
  const positions = cells.length / steps / blocks;
  const found: number[] = [];
  for (let at = 0; at < positions; at++) {
    const states = Array.from({ length: blocks }, (_, block) => cells[(i * blocks + block) * positions + at]!);
    if (states.some((state) => state > 0)) found.push(states.includes(1) ? 1 : states.includes(3) ? 3 : 2);
  }
  return found;
}

/** The sampling options that change the distribution, in words; "" for none. */
function cutOf(options: Readonly<Record<string, unknown>>): string {
  const { temperature = 1, top_k: k, top_p: p, min_p: least, logit_bias: biases = [] } = options as Record<string, number> & { logit_bias?: unknown[] };
  const values = (name: string) => ({ value: Number(options[name]) });
  const parts: string[] = [];
  if ("repetition_penalty" in options) parts.push(tr("repetition penalty {value:g}", values("repetition_penalty")));
  if ("frequency_penalty" in options) parts.push(tr("frequency penalty {value:g}", values("frequency_penalty")));
  if ("presence_penalty" in options) parts.push(tr("presence penalty {value:g}", values("presence_penalty")));
  const biased = (biases as unknown[]).length;
  if (biased) parts.push(plural(biased, "{count} token biased", "{count} tokens biased"));
  if (temperature === 0) return listed([...parts, tr(GREEDY)]);
  if (temperature !== 1) parts.push(tr("temperature {value:g}", { value: temperature }));
  if (k !== undefined && k !== null) parts.push(`top-k ${k}`);
  if (p !== undefined && p !== null && p < 1) parts.push(`top-p ${general(p)}`);
  if (least) parts.push(`min-p ${general(least)}`);
  return listed(parts);
}

export const isGreedy = (step: GenerationStep): boolean => Number.isNaN(step.draw);

/** Whether nothing else changed the distribution of a greedy step. */
export const takesLikeliest = (step: GenerationStep): boolean => step.cut === tr(GREEDY);

/** What a greedy step takes, in words. */
export function takenOf(step: GenerationStep): string {
  return takesLikeliest(step) ? tr("likeliest token") : tr("token with the largest logit after penalties and biases");
}

/** Where a number of a step stands in `generation/steps/`; where its time stands; and the shape that its bytes follow from. */
export const sourceOf = (step: GenerationStep, chunk: string, ...index: number[]): Shows => shows(STEPS + chunk, [step.number, ...index]);
export const timeOf = (step: GenerationStep): Shows => shows(TIMES, [step.number], "measured");
export const cacheOf = (step: GenerationStep): Shows => shows("provenance", [], "derived", step.number);
export const ALLOCATED: Shows = shows(CACHE_BYTES, [0], "measured");

/** Where token i stands: in the prompt (given), or among the drawn ones (derived). */
export function tokenSource({ prompt }: Generated, i: number): Shows {
  return i < prompt.length ? given("generation/prompt_ids", i) : shows(`${STEPS}drawn_ids`, [i - prompt.length]);
}

/** [token, from, to] on the line from 0 to 1, in the order of ids: of all that the cut left where they are listed, else of the drawn one. */
export function spansOf({ listed, kept, drawn, span }: GenerationStep): [number, number, number][] {
  const left = listed.filter(([, , share]) => share > 0).map(([token, , share]): [number, number] => [token, share]);
  left.sort(([a], [b]) => a - b);
  if (left.length !== kept) return span ? [[drawn, ...span]] : [];
  const total = left.reduce((sum, [, share]) => sum + share, 0);
  let at = 0;
  return left.map(([token, share]) => [token, at, (at += share / total)]);
}
