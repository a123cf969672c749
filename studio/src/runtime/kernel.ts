// The C kernel as a WebAssembly module (src/pellucid/runtime/kernel/wasm): its exports, and the arrays in its memory.

import { RecordError } from "../record/bytes.ts";

/** What the module exports; "ptr" is a place in its memory, 0 is none. */
export interface KernelExports {
  memory: WebAssembly.Memory;
  _initialize?(): void;
  pellucid_variant(): number;
  pellucid_fma_is_fused(): number;
  pellucid_alloc(bytes: number): number;
  pellucid_free(ptr: number): void;
  pellucid_model_new(
    width: number, heads: number, blocks: number, vocabulary: number, context: number, inner: number, activation: number,
    weights: number, finalNorm: number, eps: number, scale: number,
  ): number; // prettier-ignore
  pellucid_model_free(model: number): void;
  pellucid_set_band(model: number, block: number, width: number): void;
  pellucid_set_matrix(
    model: number, block: number, part: number, source: number, type: number, row: number, column: number, scale: number, bias: number,
  ): number; // prettier-ignore
  pellucid_set_vector(model: number, block: number, part: number, source: number, type: number, scale: number): number;
  pellucid_model_incomplete(model: number): number;
  pellucid_sequence_new(model: number, capacity: number): number;
  pellucid_sequence_free(sequence: number): void;
  pellucid_sequence_copy(source: number, target: number, positions: number): void;
  pellucid_sequence_ablate(sequence: number, ablation: number): void;
  pellucid_read(
    model: number, sequence: number, first: number, ids: number, count: number, wanted: number, logits: number, taps: number,
  ): number; // prettier-ignore
  pellucid_lens(model: number, stream: number, rows: number, logits: number): number;
  pellucid_exp(x: number, n: number): void;
  pellucid_log(x: number): number;
  pellucid_sum(x: number, n: number): number;
  pellucid_weights(logits: number, n: number, weights: number): number;
  pellucid_inverse_cdf(weights: number, n: number, u: number): number;
}

const NO_MEMORY = "there is not enough memory for this in the browser: take a smaller model, or close other pages";

/** An array of float64 or float32 numbers in the kernel's memory, made larger when it has to be. */
export class Scratch {
  private ptr = 0;
  private bytes = 0;

  constructor(private readonly kernel: Kernel) {}

  /** The place of at least so many bytes; what was there before may be gone. */
  reserve(bytes: number): number {
    if (bytes > this.bytes) {
      this.kernel.free(this.ptr);
      this.ptr = this.kernel.alloc(bytes);
      this.bytes = bytes;
    }
    return this.ptr;
  }
}

export class Kernel {
  readonly exports: KernelExports;
  /** "WASM relaxed" or "WASM exact". */
  readonly variant: string;

  private constructor(instance: WebAssembly.Instance) {
    this.exports = instance.exports as unknown as KernelExports;
    this.exports._initialize?.();
    const start = this.exports.pellucid_variant();
    const text = new Uint8Array(this.exports.memory.buffer, start, 32);
    this.variant = new TextDecoder().decode(text.subarray(0, text.indexOf(0)));
  }

  /**
   * Opens the module that this browser runs: with relaxed SIMD where its multiply-add rounds once, else with exact arithmetic.
   *
   * Errors: `RecordError` for a browser without WebAssembly or its SIMD instructions.
   */
  static async open(relaxed: Uint8Array<ArrayBuffer>, exact: Uint8Array<ArrayBuffer>): Promise<Kernel> {
    if (typeof WebAssembly !== "object") throw new RecordError("this browser runs no WebAssembly: open the page in a newer one");
    for (const bytes of [relaxed, exact]) {
      if (!WebAssembly.validate(bytes)) continue;
      const { instance } = await WebAssembly.instantiate(bytes, {});
      const kernel = new Kernel(instance);
      if (kernel.exports.pellucid_fma_is_fused() === 1) return kernel;
    }
    throw new RecordError("this browser lacks WebAssembly's SIMD instructions: open the page in a newer one");
  }

  /** A place for so many bytes. Errors: `RecordError` where there is no memory. */
  alloc(bytes: number): number {
    const ptr = this.exports.pellucid_alloc(Math.max(bytes, 1));
    if (!ptr) throw new RecordError(NO_MEMORY);
    return ptr;
  }

  free(ptr: number): void {
    if (ptr) this.exports.pellucid_free(ptr);
  }

  /** Errors: `RecordError` for what a function of the kernel returned, unless it is 0. */
  check(error: number): void {
    if (error === 1) throw new RecordError(NO_MEMORY);
    if (error) throw new Error(`the kernel refused an argument (${error})`);
  }

  /** A copy of bytes in the kernel's memory; `free` it. */
  put(bytes: Uint8Array): number {
    const ptr = this.alloc(bytes.length);
    new Uint8Array(this.exports.memory.buffer, ptr, bytes.length).set(bytes);
    return ptr;
  }

  /** float32 numbers at a place: the memory itself, until it grows. */
  float32(ptr: number, count: number): Float32Array<ArrayBuffer> {
    return new Float32Array(this.exports.memory.buffer, ptr, count);
  }

  float64(ptr: number, count: number): Float64Array<ArrayBuffer> {
    return new Float64Array(this.exports.memory.buffer, ptr, count);
  }

  int32(ptr: number, count: number): Int32Array<ArrayBuffer> {
    return new Int32Array(this.exports.memory.buffer, ptr, count);
  }
}
