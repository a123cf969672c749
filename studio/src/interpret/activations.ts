// The activations of one sequence, as the passes over it leave them, and what is computed from them: attention weights, the logit
// lens, cache states. T positions, C width, H heads, D head width, L blocks, V vocabulary, J candidates.

import type { Arithmetic } from "../engine/arithmetic.ts";
import { largest, logprobOf } from "../engine/sampling.ts";
import type { KernelModel, TapSink } from "../runtime/model.ts";
import type { ModelConfig } from "../runtime/parameters.ts";

const LENS_ROWS = 64; // positions whose logits are in memory at once
const [NOT_YET, COMPUTED, CACHED, DROPPED] = [0, 1, 2, 3]; // as the schema says of generation/cells

export class Activations implements TapSink {
  /** By level, (T, C). */
  readonly stream: Float32Array<ArrayBuffer>[];
  /** By block, (T, 3 C): queries, keys, values. */
  readonly qkv: Float32Array<ArrayBuffer>[];
  /** By block, attention and MLP: (T, C). */
  readonly writes: [Float32Array<ArrayBuffer>, Float32Array<ArrayBuffer>][];
  /** By block, (T, C): outputs of the heads. */
  readonly attended: Float32Array<ArrayBuffer>[];
  /** T: positions that were read. */
  positions = 0;

  constructor(
    private readonly config: ModelConfig,
    capacity: number,
  ) {
    const { n_layers: blocks, d_model: c } = config;
    const rows = (width: number) => new Float32Array(capacity * width);
    this.stream = Array.from({ length: blocks + 1 }, () => rows(c));
    this.qkv = Array.from({ length: blocks }, () => rows(3 * c));
    this.attended = Array.from({ length: blocks }, () => rows(c));
    this.writes = Array.from({ length: blocks }, () => [rows(c), rows(c)]);
  }

  take(first: number, count: number, stream: Float32Array, qkv: Float32Array, attended: Float32Array, writes: Float32Array): void {
    const { n_layers: blocks, d_model: c } = this.config;
    const copy = (into: Float32Array, from: Float32Array, at: number, width: number) =>
      into.set(from.subarray(at * count * width, (at + 1) * count * width), first * width);
    for (let level = 0; level <= blocks; level++) copy(this.stream[level]!, stream, level, c);
    for (let block = 0; block < blocks; block++) {
      copy(this.qkv[block]!, qkv, block, 3 * c);
      copy(this.attended[block]!, attended, block, c);
      copy(this.writes[block]![0], writes, 2 * block, c);
      copy(this.writes[block]![1], writes, 2 * block + 1, c);
    }
    this.positions = first + count;
  }

  /** (T, C) of one level. */
  level(level: number): Float32Array<ArrayBuffer> {
    return this.stream[level]!.subarray(0, this.positions * this.config.d_model);
  }

  /**
   * The attention weights of a block by the definition, as lower triangles (H, T (T + 1) / 2): softmax(q k^T / sqrt(D)) where the
   * pattern sees.
   */
  attention(block: number): Float64Array<ArrayBuffer> {
    const { d_model: c, n_heads: heads, attention_scale: scaled = true } = this.config;
    const { positions } = this;
    const width = c / heads;
    const factor = scaled ? 1 / Math.sqrt(width) : 1;
    const seen = bandOf(this.config.pattern[block]!) || positions;
    const size = (positions * (positions + 1)) / 2;
    const weights = new Float64Array(heads * size);
    const qkv = this.qkv[block]!;
    for (let head = 0; head < heads; head++) {
      for (let query = 0; query < positions; query++) {
        const row = head * size + (query * (query + 1)) / 2;
        const first = Math.max(0, query - seen + 1);
        const q = query * 3 * c + head * width;
        let best = -Infinity;
        for (let key = first; key <= query; key++) {
          const k = key * 3 * c + c + head * width;
          let sum = 0;
          for (let d = 0; d < width; d++) sum += qkv[q + d]! * qkv[k + d]!;
          weights[row + key] = sum * factor;
          if (sum * factor > best) best = sum * factor;
        }
        let total = 0;
        for (let key = first; key <= query; key++) total += weights[row + key] = Math.exp(weights[row + key]! - best);
        for (let key = first; key <= query; key++) weights[row + key]! /= total;
      }
    }
    return weights;
  }

  /** The L2 norms of what a part (0 attention, 1 MLP) of each block adds: (L, T). */
  norms(part: 0 | 1): Float64Array<ArrayBuffer> {
    const { n_layers: blocks, d_model: c } = this.config;
    const found = new Float64Array(blocks * this.positions);
    for (let block = 0; block < blocks; block++)
      for (let at = 0; at < this.positions; at++) found[block * this.positions + at] = normOf(this.writes[block]![part], at * c, c);
    return found;
  }
}

/** The keys that a block's queries see, themselves included; 0: all. */
export function bandOf(pattern: string): number {
  return Number(/^banded\((\d+)\)$/.exec(pattern)?.[1] ?? 0);
}

/** The L2 norm of `width` numbers. */
export function normOf(numbers: Float32Array, start: number, width: number): number {
  let sum = 0;
  for (let i = start; i < start + width; i++) sum += numbers[i]! ** 2;
  return Math.sqrt(sum);
}

/** The logit lens of (T, C) vectors: calls `each` with every position's (V,) logits, which hold until the next call. */
export function lensRows(model: KernelModel, stream: Float32Array, each: (position: number, logits: Float32Array) => void): void {
  const { d_model: c, vocab_size: v } = model.config;
  const positions = stream.length / c;
  const logits = new Float32Array(v); // a copy: the kernel's memory may grow meanwhile
  for (let start = 0; start < positions; start += LENS_ROWS) {
    const rows = Math.min(LENS_ROWS, positions - start);
    const place = model.lens(stream.subarray(start * c, (start + rows) * c), rows);
    for (let row = 0; row < rows; row++) {
      logits.set(model.kernel.float32(place + 4 * row * v, v));
      each(start + row, logits);
    }
  }
}

/** The logit lens at one level: J likeliest tokens of each position, and rank and log-probability of the one that follows. */
export interface LensLevel {
  ids: Int32Array<ArrayBuffer>;
  logprobs: Float32Array<ArrayBuffer>;
  nextRanks: Int32Array<ArrayBuffer>;
  nextLogprobs: Float32Array<ArrayBuffer>;
}

/** following: the token after each of the first positions. */
export function lensLevel(
  model: KernelModel, math: Arithmetic, stream: Float32Array, count: number, following: readonly number[],
): LensLevel {
  const positions = stream.length / model.config.d_model;
  const found: LensLevel = {
    ids: new Int32Array(positions * count), logprobs: new Float32Array(positions * count),
    nextRanks: new Int32Array(following.length), nextLogprobs: new Float32Array(following.length),
  };
  lensRows(model, stream, (position, logits) => {
    const sums = math.sums(logits);
    largest(logits, count).forEach((id, j) => {
      found.ids[position * count + j] = id;
      found.logprobs[position * count + j] = logprobOf(math, logits[id]!, sums);
    });
    if (position >= following.length) return;
    const own = logits[following[position]!]!;
    found.nextLogprobs[position] = logprobOf(math, own, sums);
    found.nextRanks[position] = logits.reduce((rank, logit) => rank + Number(logit > own), 0);
  });
  return found;
}

/** Which keys and values each step computes, and which it finds in the KV cache: (S, L, T). */
export function cacheCells(pattern: readonly string[], prompt: number, steps: number): Uint8Array<ArrayBuffer> {
  const positions = prompt + steps - 1;
  const cells = new Uint8Array(steps * pattern.length * positions);
  let at = 0;
  for (let step = 0; step < steps; step++) {
    const newest = prompt - 1 + step;
    for (const one of pattern) {
      const seen = bandOf(one) || Infinity;
      for (let position = 0; position < positions; position++) {
        const there = step === 0 || position === newest ? COMPUTED : newest - position < seen ? CACHED : DROPPED;
        cells[at++] = position > newest ? NOT_YET : there;
      }
    }
  }
  return cells;
}
