// A model's parameters as its weight file holds them, and as the float32 numbers that they stand for.

import { RecordError } from "../record/bytes.ts";
import { float16 } from "../record/decode.ts";
import type { Tensor } from "./safetensors.ts";

/** The shape of a model, as `GPTConfig.to_dict` gives it; what is absent has GPT-3's value. */
export interface ModelConfig {
  vocab_size: number;
  n_ctx: number;
  n_layers: number;
  d_model: number;
  n_heads: number;
  d_ff: number;
  activation: string;
  norm_eps: number;
  pattern: string[];
  attention_scale?: boolean;
  qkv_bias?: boolean;
  final_norm?: boolean;
  name?: string;
}

/** These four matrices lie as (in, out) in the file, unless they are quantized in groups. */
const TRANSPOSED = /(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight$/;
const GROUP = 32; // numbers of a row that share a scale

/** A weight as the file holds it. */
export interface StoredWeight {
  tensor: Tensor;
  scale: Tensor | null;
  /** ASCII code of the number format, as the kernel names it. */
  type: number;
  /** Whether it lies as (in, out). */
  transposed: boolean;
}

export class Parameters {
  constructor(
    readonly config: ModelConfig,
    private readonly tensors: ReadonlyMap<string, Tensor>,
  ) {}

  /** The names of all parameters with their shapes, a matrix as (out, in), in the order of the names. */
  shapes(): [string, number[]][] {
    const { n_layers: blocks, d_model: c, d_ff: f, vocab_size: v, n_ctx: t, qkv_bias: bias = true, final_norm: last = true } = this.config;
    const found: [string, number[]][] = [["wte.weight", [v, c]], ["wpe.weight", [t, c]]]; // prettier-ignore
    const norm = (name: string) => found.push([`${name}.weight`, [c]], [`${name}.bias`, [c]]);
    const linear = (name: string, n: number, k: number, biased = true) => {
      found.push([`${name}.weight`, [n, k]]);
      if (biased) found.push([`${name}.bias`, [n]]);
    };
    for (let block = 0; block < blocks; block++) {
      norm(`h.${block}.ln_1`);
      norm(`h.${block}.ln_2`);
      linear(`h.${block}.attn.c_attn`, 3 * c, c, bias);
      linear(`h.${block}.attn.c_proj`, c, c);
      linear(`h.${block}.mlp.c_fc`, f, c);
      linear(`h.${block}.mlp.c_proj`, c, f);
    }
    if (last) norm("ln_f");
    return found.sort(([a], [b]) => (a < b ? -1 : 1));
  }

  /** Errors: `RecordError` for a tensor that the file lacks, or of numbers that a page does not read. */
  stored(name: string): StoredWeight {
    const tensor = this.tensors.get(name);
    if (!tensor) throw new RecordError(`the model's weights lack ${name}`);
    const scale = this.tensors.get(`${name}.scale`) ?? null;
    const letter = { F32: "f", F16: "h", BF16: "b", I8: scale?.dtype === "F16" ? "q" : "i", U8: "n" }[tensor.dtype];
    if (!letter || (!scale && /[inq]/.test(letter))) throw new RecordError(`${name} has ${tensor.dtype} numbers, which the page does not read`);
    return { tensor, scale, type: letter.charCodeAt(0), transposed: TRANSPOSED.test(name) && !/[qn]/.test(letter) };
  }

  /** The numbers of a parameter as float32, a matrix as (out, in). */
  float32(name: string, shape: readonly number[]): Float32Array<ArrayBuffer> {
    const [rows, columns = 1] = shape as [number, number?];
    const found = new Float32Array(rows * columns);
    for (let row = 0; row < rows; row++) this.fill(name, row, rows, columns, found.subarray(row * columns, (row + 1) * columns));
    return found;
  }

  /** One row of a matrix (out, in), or of a vector its number. into: what it is written to, a new array where it is not given. */
  row(name: string, row: number, shape: readonly number[], into?: Float32Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
    const [rows, columns = 1] = shape as [number, number?];
    const found = into ?? new Float32Array(columns);
    this.fill(name, row, rows, columns, found);
    return found;
  }

  private fill(name: string, row: number, rows: number, columns: number, into: Float32Array): void {
    const { tensor, scale, type, transposed } = this.stored(name);
    const numbers = this.view(tensor);
    const letter = String.fromCharCode(type);
    if (letter === "q" || letter === "n") {
      const groups = Math.ceil(columns / GROUP);
      const scales = this.view(scale!) as Uint16Array;
      for (let k = 0; k < columns; k++) {
        const step = float16(scales[row * groups + Math.floor(k / GROUP)]!);
        into[k] = step * (letter === "q" ? numbers[row * groups * GROUP + k]! : nibble(numbers as Uint8Array, row * groups * GROUP, k));
      }
      return;
    }
    const step = letter === "i" ? (this.view(scale!) as Float32Array)[row]! : 1;
    const plain = (value: number) => (letter === "h" ? float16(value) : letter === "b" ? fromBfloat16(value) : value * step);
    for (let k = 0; k < columns; k++) into[k] = plain(numbers[transposed ? k * rows + row : row * columns + k]!);
  }

  private readonly views = new Map<Tensor, Float32Array | Uint16Array | Int8Array | Uint8Array>();

  private view(tensor: Tensor): Float32Array | Uint16Array | Int8Array | Uint8Array {
    let found = this.views.get(tensor);
    if (!found) {
      const kinds = { F32: Float32Array, F16: Uint16Array, BF16: Uint16Array, I8: Int8Array } as const;
      const kind = kinds[tensor.dtype as keyof typeof kinds] ?? Uint8Array;
      const bytes = tensor.bytes.byteOffset % kind.BYTES_PER_ELEMENT ? tensor.bytes.slice() : tensor.bytes;
      found = new kind(bytes.buffer, bytes.byteOffset, bytes.length / kind.BYTES_PER_ELEMENT);
      this.views.set(tensor, found);
    }
    return found;
  }
}

/** A signed number of four bits, of which two lie in a byte, as `gpt.quantize.pack_nibbles` packs them. */
function nibble(bytes: Uint8Array, start: number, k: number): number {
  const group = start + Math.floor(k / GROUP) * GROUP;
  const place = k % GROUP;
  const byte = bytes[group / 2 + (place % 16)]!;
  return (place < 16 ? byte & 15 : byte >> 4) - 8;
}

const bits = new Uint32Array(1);
const asFloat = new Float32Array(bits.buffer);

function fromBfloat16(value: number): number {
  bits[0] = value << 16;
  return asFloat[0]!;
}
