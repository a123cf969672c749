// What the figure `xray` shows: the logit lens of every position, the cache's states, and attention
// (src/pellucid/draw/views/xray.py). L blocks, S steps, T positions. Level l is what enters block l; level L what the last one gives.

import type { Shows } from "../film/types.ts";
import type { PellucidRecord } from "../record/record.ts";
import { modelOf, type RecordedModel } from "./generated.ts";
import { given, shows } from "./nodes.ts";
import { Pieces } from "./pieces.ts";

export const [CACHED, DROPPED] = [2, 3] as const; // as the schema says of generation/cells

/** The attention weights of one position on those up to itself, in one block, as the mean over its heads. */
export interface AttentionRow {
  block: number;
  heads: number;
  weights: readonly number[];
}

export interface XrayView {
  model: RecordedModel;
  pieces: Pieces;
  /** How many tokens, how many steps; and the ids of all tokens. */
  prompt: number;
  steps: number;
  ids: readonly number[];
  /** [level][position] the likeliest next token by the raw logit lens, and its probability. */
  words: readonly (readonly number[])[];
  odds: readonly (readonly number[])[];
  /** [step][block][position] of keys and values. */
  states: readonly (readonly (readonly number[])[])[];
  /** Of the followed position; null where the record holds no attention. */
  attention: AttentionRow | null;
}

export const followedOf = ({ prompt }: XrayView): number => prompt - 1;

/** The step in which a position goes through the model. */
export const stepOf = ({ prompt }: XrayView, position: number): number => Math.max(0, position - prompt + 1);

export const drawnSource = (step: number): Shows => shows("generation/steps/drawn_ids", [step]);

/** Where the token that enters a position stands in the record. */
export function tokenSource({ prompt }: XrayView, position: number): Shows {
  return position < prompt ? given("generation/prompt_ids", position) : drawnSource(position - prompt);
}

/** How many outputs of the prompt's positions before the last, which are not used, are the token that follows. */
export function rightOutputs({ words, ids, prompt }: XrayView): number {
  return words.at(-1)!.slice(0, prompt - 1).filter((word, position) => word === ids[position + 1]).length;
}

/** Reads a generation record. Errors: `RecordError` where it lacks a chunk that the figure needs. */
export async function readXray(record: PellucidRecord): Promise<XrayView> {
  const numbers = async (name: string) => Array.from(await record.numbers(`generation/${name}`), Number);
  const [prompt, drawn, words, logs, cells] = (await Promise.all(["prompt_ids", "steps/drawn_ids", "lens/ids", "lens/logprobs", "cells"].map(numbers))) as [number[], number[], number[], number[], number[]];
  const [levels, positions, count] = record.entry("generation/lens/ids").shape as [number, number, number];
  const first = (values: number[]) => rowsOf(values.filter((_, i) => i % count === 0), levels, positions);
  const blocks = levels - 1;
  const model = modelOf(record);
  return {
    model, pieces: await Pieces.of(record), prompt: prompt.length, steps: drawn.length, ids: [...prompt, ...drawn], words: first(words),
    odds: first(logs).map((row) => row.map(Math.exp)), states: rowsOf(cells, drawn.length, blocks * positions).map((step) => rowsOf(step, blocks, positions)),
    attention: await readAttention(record, blocks, prompt.length - 1),
  }; // prettier-ignore
}

function rowsOf(values: readonly number[], rows: number, columns: number): number[][] {
  return Array.from({ length: rows }, (_, row) => values.slice(row * columns, (row + 1) * columns));
}

/** Of the block in which one position, other than itself and the first, has the largest weight; null if none is recorded. */
async function readAttention(record: PellucidRecord, blocks: number, position: number): Promise<AttentionRow | null> {
  let [best, most]: [AttentionRow | null, number] = [null, -1];
  for (let block = 0; block < blocks; block++) {
    const name = `generation/attention/${block}`;
    if (!record.has(name)) continue;
    const { shape, triangle } = record.entry(name);
    const stored = await record.numbers(name);
    const heads = shape[0]!;
    const size = stored.length / heads;
    const start = triangle ? (position * (position + 1)) / 2 : position * shape[2]!;
    const weights = Array.from({ length: position + 1 }, (_, key) => {
      let sum = 0;
      for (let head = 0; head < heads; head++) sum += Number(stored[head * size + start + key]);
      return sum / heads;
    });
    const largest = Math.max(0, ...weights.slice(1, position));
    if (largest > most) [best, most] = [{ block, heads, weights }, largest];
  }
  return best;
}
