// What the figure `stack` shows: what each block adds at one position, and where its token is decided
// (src/pellucid/draw/views/stack.py). The followed position is that of the last prompt token. Level l is the input of block l.

import type { Shows } from "../film/types.ts";
import type { PellucidRecord } from "../record/record.ts";
import { modelOf, type RecordedModel } from "./generated.ts";
import { shows } from "./nodes.ts";
import { Pieces } from "./pieces.ts";

export const BLOCK_TIMES = "generation/timings/blocks";

/** The followed position at one level, by the raw logit lens. */
export interface StackLevel {
  /** L2 norm of its vector. */
  length: number;
  likeliest: number;
  likeliestP: number;
  /** How many tokens are likelier than the answer, and the answer's probability. */
  rank: number;
  p: number;
}

export interface StackBlock {
  pattern: string;
  /** L2 norms of what they add. */
  attention: number;
  mlp: number;
  /** That the block took while the prompt was read; null where it was not recorded. */
  seconds: number | null;
}

export interface StackView {
  model: RecordedModel;
  pieces: Pieces;
  position: number;
  token: number;
  answer: number;
  levels: readonly StackLevel[];
  blocks: readonly StackBlock[];
  /** Parameters of a block. */
  blockParameters: number;
}

/** The lowest level from which on the answer is the likeliest token; null where at the last level it is not. */
export function decidedIn({ levels }: StackView): number | null {
  const last = levels.findLastIndex(({ rank }) => rank > 0);
  return last === levels.length - 1 ? null : last + 1;
}

export const writeSource = ({ position }: StackView, part: string, block: number): Shows => shows(`generation/writes/${part}`, [block, position]);

export function lensSource({ position }: StackView, chunk: string, level: number, ...index: number[]): Shows {
  return shows(`generation/lens/${chunk}`, [level, position, ...index]);
}

/** Reads a generation record. Errors: `RecordError` where it lacks a chunk that the figure needs. */
export async function readStack(record: PellucidRecord): Promise<StackView> {
  const model = modelOf(record);
  const { d_model: c, d_ff: f = 4 * Number(c), qkv_bias: biased = true } = record.provenance.config as Record<string, number>;
  const [width, inner] = [Number(c), Number(f)];
  const prompt = Array.from(await record.numbers("generation/prompt_ids"), Number);
  const at = prompt.length - 1;
  /** Of each row of a chunk of (rows, positions, ...) the first number at the followed position. */
  const column = async (name: string) => {
    const numbers = await record.numbers(`generation/${name}`);
    const [rows, positions, each = 1] = record.entry(`generation/${name}`).shape as [number, number, number?];
    return Array.from({ length: rows }, (_, row) => Number(numbers[(row * positions + at) * each]));
  };
  const [ids, logprobs, ranks, own, attention, mlp] = (await Promise.all(
    ["lens/ids", "lens/logprobs", "lens/next_ranks", "lens/next_logprobs", "writes/attention", "writes/mlp"].map(column),
  )) as [number[], number[], number[], number[], number[], number[]];
  const lengths: number[] = [];
  for (let level = 0; level < ids.length; level++) {
    const stream = (await record.numbers(`generation/block_inputs/${level}`)).slice(at * width, (at + 1) * width);
    lengths.push(Math.sqrt(Array.from(stream, Number).reduce((sum, x) => sum + x * x, 0)));
  }
  const times = record.has(BLOCK_TIMES) ? Array.from(await record.numbers(BLOCK_TIMES), Number) : null;
  return {
    model, pieces: await Pieces.of(record), position: at, token: prompt[at]!, answer: Number((await record.numbers("generation/steps/drawn_ids"))[0]),
    levels: ids.map((likeliest, level) => ({ length: lengths[level]!, likeliest, likeliestP: Math.exp(logprobs[level]!), rank: ranks[level]!, p: Math.exp(own[level]!) })),
    blocks: model.pattern.map((pattern, block) => ({ pattern, attention: attention[block]!, mlp: mlp[block]!, seconds: times ? times[block]! : null })),
    blockParameters: 3 * width * width + (biased ? 3 * width : 0) + width * width + width + 2 * width * inner + inner + width + 4 * width,
  }; // prettier-ignore
}
