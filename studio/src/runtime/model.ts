// A model in the kernel's memory: packed weights, sequences with their KV caches, and passes over tokens.
//
// T positions, C width, H heads, L blocks, V vocabulary, M tokens of a pass.

import { RecordError } from "../record/bytes.ts";
import { type Kernel, Scratch } from "./kernel.ts";
import { type ModelConfig, Parameters } from "./parameters.ts";
import type { Tensor } from "./safetensors.ts";

const ACTIVATIONS = ["gelu_tanh", "gelu_erf", "relu"]; // enum activation
const FLOAT32 = 0; // what is computed with, whatever the file holds, as `pellucid generate` does
const PASS_TOKENS = 512; // more would only take more memory
const MATRICES = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]; // parts 1 to 4
const NORMS = ["ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias"]; // parts 3 to 6

/** Where a pass leaves its activations: those of M tokens from position `first` on. */
export interface TapSink {
  /** (L + 1, M, C) inputs of the blocks, the last the last block's output; (L, M, 3 C) queries, keys, values; (L, M, C) outputs
   * of the heads before c_proj; (L, 2, M, C) what attention and MLP add. The arrays are the kernel's memory: copy what is kept. */
  take(first: number, count: number, stream: Float32Array, qkv: Float32Array, attended: Float32Array, writes: Float32Array): void;
}

export class KernelModel {
  readonly parameters: Parameters;
  private readonly ptr: number;
  private readonly scratch: Record<"ids" | "logits" | "taps" | "stream", Scratch>;

  /** Packs the weights of a file. Errors: `RecordError` for tensors that are missing, or where there is no memory. */
  constructor(
    readonly kernel: Kernel,
    readonly config: ModelConfig,
    tensors: ReadonlyMap<string, Tensor>,
  ) {
    this.parameters = new Parameters(config, tensors);
    const { d_model: c, n_heads: heads, n_layers: blocks, vocab_size: v, n_ctx: t, d_ff: f } = config;
    const { final_norm: last = true, attention_scale: scaled = true, qkv_bias: biased = true } = config;
    const make = () => new Scratch(kernel);
    this.scratch = { ids: make(), logits: make(), taps: make(), stream: make() };
    const scale = scaled ? 1 / Math.sqrt(c / heads) : 1;
    const activation = ACTIVATIONS.indexOf(config.activation);
    this.ptr = kernel.exports.pellucid_model_new(c, heads, blocks, v, t, f, activation, FLOAT32, Number(last), config.norm_eps, scale);
    if (!this.ptr) kernel.check(1);
    this.matrix("wte", 0, 0, v, c, false);
    this.vector("wpe.weight", 0, 0);
    if (last) ["ln_f.weight", "ln_f.bias"].forEach((name, i) => this.vector(name, 0, 1 + i));
    for (let block = 0; block < blocks; block++) {
      const sizes = [[3 * c, c], [c, c], [f, c], [c, f]] as const; // prettier-ignore
      MATRICES.forEach((name, i) => this.matrix(`h.${block}.${name}`, block, 1 + i, sizes[i]![0], sizes[i]![1], i > 0 || biased));
      NORMS.forEach((name, i) => this.vector(`h.${block}.${name}`, block, 3 + i));
      const width = /^banded\((\d+)\)$/.exec(config.pattern[block]!)?.[1];
      if (width) kernel.exports.pellucid_set_band(this.ptr, block, Number(width));
    }
    if (kernel.exports.pellucid_model_incomplete(this.ptr)) throw new RecordError("the model's weights are not complete");
  }

  private matrix(name: string, block: number, part: number, n: number, k: number, biased: boolean): void {
    const { kernel, ptr } = this;
    const { tensor, scale, type, transposed } = this.parameters.stored(`${name}.weight`);
    const [row, column] = transposed ? [1, n] : [k, 1];
    const held = [tensor.bytes, scale?.bytes, biased ? this.parameters.stored(`${name}.bias`).tensor.bytes : undefined];
    const places = held.map((bytes) => (bytes ? kernel.put(bytes) : 0)) as [number, number, number];
    kernel.check(kernel.exports.pellucid_set_matrix(ptr, block, part, places[0], type, row, column, places[1], places[2]));
    places.forEach((place) => kernel.free(place));
  }

  private vector(name: string, block: number, part: number): void {
    const { kernel, ptr } = this;
    const { tensor, scale, type } = this.parameters.stored(name);
    const places = [tensor.bytes, scale?.bytes].map((bytes) => (bytes ? kernel.put(bytes) : 0)) as [number, number];
    kernel.check(kernel.exports.pellucid_set_vector(ptr, block, part, places[0], type, places[1]));
    places.forEach((place) => kernel.free(place));
  }

  /** A new, empty sequence of up to `capacity` positions; `close` it. */
  open(capacity: number): number {
    const sequence = this.kernel.exports.pellucid_sequence_new(this.ptr, capacity);
    if (!sequence) this.kernel.check(1);
    return sequence;
  }

  close(sequence: number): void {
    this.kernel.exports.pellucid_sequence_free(sequence);
  }

  /**
   * Reads tokens at positions `first`, `first` + 1, ...; what the cache holds beyond them is discarded.
   *
   * Returns the place of (wanted, V) float32 logits of the last `wanted` tokens, valid until the next pass.
   */
  read(sequence: number, first: number, ids: readonly number[], wanted: number, sink: TapSink | null = null): number {
    const { vocab_size: v } = this.config;
    const logits = this.scratch.logits.reserve(4 * Math.max(wanted, 1) * v);
    for (let start = 0; start < ids.length; start += PASS_TOKENS) {
      const part = ids.slice(start, start + PASS_TOKENS);
      const from = Math.max(start, ids.length - wanted); // the first token of all whose logits are asked for, not before this part
      const rows = Math.max(0, start + part.length - from);
      const place = logits + 4 * v * (from - (ids.length - wanted));
      this.pass(sequence, first + start, part, rows, place, sink);
    }
    return logits;
  }

  private pass(sequence: number, first: number, ids: readonly number[], wanted: number, logits: number, sink: TapSink | null): void {
    const { kernel, config } = this;
    const { n_layers: blocks, d_model: c } = config;
    const place = this.scratch.ids.reserve(4 * ids.length);
    const counts = [(blocks + 1) * ids.length * c, blocks * ids.length * 3 * c, blocks * ids.length * c, 2 * blocks * ids.length * c];
    let taps = 0;
    const places: number[] = [];
    if (sink) {
      taps = this.scratch.taps.reserve(16 + 4 * counts.reduce((a, b) => a + b));
      counts.reduce((at, count) => places.push(at) && at + 4 * count, taps + 16);
      kernel.int32(taps, 4).set(places);
    }
    kernel.int32(place, ids.length).set(ids);
    kernel.check(kernel.exports.pellucid_read(this.ptr, sequence, first, place, ids.length, wanted, logits, taps));
    if (sink) {
      const [stream, qkv, attended, writes] = places.map((at, i) => kernel.float32(at, counts[i]!));
      sink.take(first, ids.length, stream!, qkv!, attended!, writes!);
    }
  }

  /** The place of (rows, V) float32 logits of (rows, C) residual-stream vectors of any level, valid until the next pass. */
  lens(stream: Float32Array, rows: number): number {
    const { kernel, config } = this;
    const place = this.scratch.stream.reserve(4 * rows * config.d_model);
    const logits = this.scratch.logits.reserve(4 * rows * config.vocab_size);
    kernel.float32(place, rows * config.d_model).set(stream);
    kernel.check(kernel.exports.pellucid_lens(this.ptr, place, rows, logits));
    return logits;
  }
}
