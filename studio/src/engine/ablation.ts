// Ablation: parts of a model whose outputs are replaced by zeros or by their means over the prompt, as src/pellucid/gpt/ablation.py
// defines it. L blocks, H heads, C width.

import { RecordError } from "../record/bytes.ts";
import type { KernelModel, TapSink } from "../runtime/model.ts";
import type { ModelConfig } from "../runtime/parameters.ts";

/** (block, head), (block, "mlp") or (block, null) for all of it, counted from 0. */
export type Part = [number, number | "mlp" | null];

export interface Ablation {
  /** In order, each once. */
  parts: Part[];
  by: "zero" | "mean";
}

/** An ablation that was stated, checked against the model's shape. Errors: `RecordError` for what is none of it. */
export function checkedAblation(stated: unknown, config: ModelConfig): Ablation {
  const { parts, by, ...others } = (typeof stated === "object" && stated ? stated : {}) as Record<string, unknown>;
  const wrong = (why: string) => new RecordError(`the ablation is not valid: ${why}`);
  if (!Array.isArray(parts) || !parts.length || (by !== "zero" && by !== "mean") || Object.keys(others).length)
    throw wrong("it has no parts and by, and nothing else");
  const found = new Map<string, Part>();
  for (const part of parts as unknown[]) {
    const [block, inside] = (Array.isArray(part) && part.length === 2 ? part : [-1, -1]) as unknown[];
    const inBlock = Number.isInteger(block) && (block as number) >= 0 && (block as number) < config.n_layers;
    const inHeads = Number.isInteger(inside) && (inside as number) >= 0 && (inside as number) < config.n_heads;
    if (!inBlock || !(inside === null || inside === "mlp" || inHeads)) throw wrong(`the model has no part ${JSON.stringify(part)}`);
    found.set(JSON.stringify(part), [block, inside] as Part);
  }
  const place = ([, inside]: Part) => (inside === null ? Infinity : inside === "mlp" ? Number.MAX_SAFE_INTEGER : inside);
  return { parts: [...found.values()].sort((a, b) => a[0] - b[0] || place(a) - place(b)), by };
}

/** Sums of outputs over positions, in float64 one position after the other. */
class Means implements TapSink {
  readonly heads: Float64Array;
  readonly attention: Float64Array;
  readonly mlp: Float64Array;
  private positions = 0;

  constructor(private readonly config: ModelConfig) {
    const make = () => new Float64Array(config.n_layers * config.d_model);
    [this.heads, this.attention, this.mlp] = [make(), make(), make()];
  }

  take(_first: number, count: number, _stream: Float32Array, _qkv: Float32Array, attended: Float32Array, writes: Float32Array): void {
    const { n_layers: blocks, d_model: c } = this.config;
    const add = (sums: Float64Array, from: Float32Array, block: number, place: number) => {
      for (let at = 0; at < count; at++)
        for (let i = 0; i < c; i++) sums[block * c + i] = sums[block * c + i]! + from[(place * count + at) * c + i]!;
    };
    for (let block = 0; block < blocks; block++) {
      add(this.heads, attended, block, block);
      add(this.attention, writes, block, 2 * block);
      add(this.mlp, writes, block, 2 * block + 1);
    }
    this.positions += count;
  }

  of(sums: Float64Array): Float32Array {
    return Float32Array.from(sums, (sum) => sum / this.positions);
  }
}

/** An ablation in the kernel's memory, for sequences that begin with a prompt; `free` it after them. */
export class Replacements {
  private readonly places: number[] = [];

  constructor(private readonly model: KernelModel, ablation: Ablation, prompt: readonly number[]) {
    const { n_layers: blocks, n_heads: heads } = model.config;
    const flags = [new Uint8Array(blocks * heads), new Uint8Array(blocks), new Uint8Array(blocks)] as const;
    for (const [block, inside] of ablation.parts) {
      if (typeof inside === "number") {
        flags[0][block * heads + inside] = 1;
        continue;
      }
      flags[2][block] = 1;
      if (inside === null) flags[1][block] = 1;
    }
    const { kernel } = model;
    const held = flags.map((bytes) => kernel.put(bytes));
    if (ablation.by === "mean") {
      const means = new Means(model.config);
      const sequence = model.open(prompt.length);
      model.read(sequence, 0, prompt, 0, means);
      model.close(sequence);
      for (const sums of [means.heads, means.attention, means.mlp]) held.push(kernel.put(new Uint8Array(means.of(sums).buffer)));
    }
    const struct = kernel.alloc(24);
    kernel.int32(struct, 6).set([...held, 0, 0, 0].slice(0, 6));
    this.places = [struct, ...held];
  }

  /** Makes a sequence that holds nothing yet one of the ablated model. */
  apply(sequence: number): void {
    this.model.kernel.exports.pellucid_sequence_ablate(sequence, this.places[0]!);
  }

  free(): void {
    for (const place of this.places) this.model.kernel.free(place);
  }
}
