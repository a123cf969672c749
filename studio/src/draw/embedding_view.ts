// What the figure `embedding` shows: one position's vectors, from its token to the next one
// (src/pellucid/draw/views/embedding.py). C width. The followed position is that of the last prompt token.

import type { PellucidRecord } from "../record/record.ts";
import { modelOf, type RecordedModel } from "./generated.ts";
import { Pieces } from "./pieces.ts";

/** One of the likeliest next tokens: its row of the token matrix, the product with the output vector, its probability. */
export interface TokenProduct {
  token: number;
  row: readonly number[];
  product: number;
  p: number;
}

export interface EmbeddingView {
  model: RecordedModel;
  pieces: Pieces;
  position: number;
  token: number;
  /** (C,), and the sum of both, the input of block 0. */
  tokenVector: readonly number[];
  positionVector: readonly number[];
  sum: readonly number[];
  /** [token, cosine] of the other tokens with the most similar rows, the most similar first. */
  nearest: readonly (readonly [token: number, cosine: number])[];
  /** After the final LayerNorm. */
  output: readonly number[];
  candidates: readonly TokenProduct[];
  drawn: number;
  drawnP: number;
  /** NaN at temperature 0. */
  draw: number;
}

/** Reads a generation record. Errors: `RecordError` where it lacks a chunk that the figure needs. */
export async function readEmbedding(record: PellucidRecord): Promise<EmbeddingView> {
  const numbers = async (name: string) => Array.from(await record.numbers(`generation/${name}`), Number);
  const [prompt, tokenVector, positionVector, output, rows, ids, logprobs, near, cosines] = (await Promise.all(
    ["prompt_ids", "embedding/token", "embedding/position", "output/vector", "output/rows", "steps/topk_ids", "steps/topk_logprobs",
     "embedding/nearest_ids", "embedding/nearest_cosines"].map(numbers),
  )) as [number[], number[], number[], number[], number[], number[], number[], number[], number[]]; // prettier-ignore
  const [[drawn], [drawnLogprob], [draw]] = (await Promise.all(["steps/drawn_ids", "steps/drawn_logprobs", "steps/draw"].map(numbers))) as [number[], number[], number[]];
  const width = output.length;
  const candidates = Array.from({ length: rows.length / width }, (_, i): TokenProduct => {
    const row = rows.slice(i * width, (i + 1) * width);
    return { token: ids[i]!, row, product: row.reduce((sum, x, j) => sum + x * output[j]!, 0), p: Math.exp(logprobs[i]!) };
  });
  return {
    model: modelOf(record), pieces: await Pieces.of(record), position: prompt.length - 1, token: prompt.at(-1)!, tokenVector, positionVector,
    sum: tokenVector.map((x, i) => x + positionVector[i]!), nearest: near.map((id, i) => [id, cosines[i]!]), output, candidates,
    drawn: drawn!, drawnP: Math.exp(drawnLogprob!), draw: draw!,
  }; // prettier-ignore
}
