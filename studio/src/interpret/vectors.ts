// One position's vectors in a generation record: its embedding, its nearest tokens, its output vector (interpret/vectors.py).

import { largest } from "../engine/sampling.ts";
import type { KernelModel } from "../runtime/model.ts";
import type { ModelConfig } from "../runtime/parameters.ts";

export const NEAREST = 8; // tokens in the list of those with similar rows

/** The row of a token in the token matrix, which is its vector. */
export function tokenRow(model: KernelModel, token: number): Float32Array<ArrayBuffer> {
  return model.parameters.row("wte.weight", token, [model.config.vocab_size, model.config.d_model]);
}

export function positionRow(model: KernelModel, position: number): Float32Array<ArrayBuffer> {
  return model.parameters.row("wpe.weight", position, [model.config.n_ctx, model.config.d_model]);
}

/** The cosine of each token's row with that of one token; 0 where a row is 0. */
export function cosines(model: KernelModel, token: number): Float64Array {
  const { vocab_size: v, d_model: c } = model.config;
  const [row, unit, own] = [new Float32Array(c), new Float64Array(c), new Float64Array(c)]; // two arrays for each token are megabytes
  const read = (id: number, into: Float64Array) => {
    model.parameters.row("wte.weight", id, [v, c], row);
    const norm = Math.max(Math.sqrt(row.reduce((sum, x) => sum + x * x, 0)), 1e-12);
    for (let i = 0; i < c; i++) into[i] = row[i]! / norm;
  };
  read(token, own);
  const found = new Float64Array(v);
  for (let id = 0; id < v; id++) {
    read(id, unit);
    found[id] = unit.reduce((sum, x, i) => sum + x * own[i]!, 0);
  }
  return found;
}

/** The other tokens with the largest cosines, the largest first. */
export function nearestTokens(model: KernelModel, token: number): { ids: Int32Array<ArrayBuffer>; cosines: Float32Array<ArrayBuffer> } {
  const found = cosines(model, token);
  found[token] = -2; // below every cosine
  const ids = largest(found, Math.min(NEAREST, found.length - 1));
  return { ids, cosines: Float32Array.from(ids, (id) => found[id]!) };
}

/** The final LayerNorm of (T, C) vectors, in float64; themselves where the model has none. */
export function readOut(model: KernelModel, stream: Float32Array): Float64Array<ArrayBuffer> {
  const { d_model: c, norm_eps: eps, final_norm: last = true } = model.config;
  const found = Float64Array.from(stream);
  if (!last) return found;
  const [gain, bias] = ["weight", "bias"].map((part) => model.parameters.float32(`ln_f.${part}`, [c]));
  for (let start = 0; start < found.length; start += c) {
    const row = found.subarray(start, start + c);
    const mean = row.reduce((sum, x) => sum + x, 0) / c;
    const variance = row.reduce((sum, x) => sum + (x - mean) ** 2, 0) / c;
    for (let i = 0; i < c; i++) row[i] = ((row[i]! - mean) / Math.sqrt(variance + eps)) * gain![i]! + bias![i]!;
  }
  return found;
}

/** What chunks are computed from, as their `source` states it. */
export const sources = {
  blockInput: (config: ModelConfig, level: number) =>
    level < config.n_layers ? { input_of: `h.${level}` } : { output_of: `h.${level - 1}` },
  attention: (config: ModelConfig, block: number) => ({
    tensor: `h.${block}.attn`,
    pattern: config.pattern[block]!,
    formula: (config.attention_scale ?? true) ? "softmax(q k^T / sqrt(d_head))" : "softmax(q k^T)",
  }),
  output: (config: ModelConfig) =>
    (config.final_norm ?? true) ? { tensors: ["ln_f.weight", "ln_f.bias"], formula: "ln_f(x)" } : { tensors: [] as string[], formula: "x" },
  lens: (config: ModelConfig) => {
    const { tensors, formula } = sources.output(config);
    return { tensors: [...tensors, "wte.weight"], formula: `log_softmax(${formula} wte^T)` };
  },
  token: (token: number) => ({ tensors: ["wte.weight"], row: token }),
  position: (position: number) => ({ tensor: "wpe.weight", row: position }),
  tokens: { tensor: "wte.weight" },
  rows: (rows: readonly number[]) => ({ tensor: "wte.weight", rows: [...rows] }),
};
