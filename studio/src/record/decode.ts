// Decodes the stored bytes of a chunk (docs/record.md, "Chunks"), like src/pellucid/record/encoding.py.

import { RecordError } from "./bytes.ts";

/** An entry of the chunk table. */
export interface Entry {
  name: string;
  dtype: string;
  shape: number[];
  encoding: string;
  offset: number;
  stored_bytes: number;
  plain_bytes: number;
  sha256: string;
  truth: "given" | "derived" | "replayed" | "measured" | "estimated";
  meaning: string;
  unit?: string;
  source?: Record<string, unknown>;
  scale?: [number, number];
  triangle?: boolean;
}

export type Numbers =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigInt64Array
  | Float32Array
  | Float64Array;

const WIDTHS: Record<string, number> = {
  uint8: 1, int8: 1, uint16: 2, int16: 2, uint32: 4, int32: 4, int64: 8, float16: 2, bfloat16: 2, float32: 4, float64: 8,
};
const ENCODINGS = ["raw", "deflate", "shuffle+deflate", "delta+deflate"];
const MAX_CHUNK_BYTES = 1 << 28;

/** Why an entry is invalid; null where it is valid. */
export function entryProblem(entry: Entry): string | null {
  if (![entry.name, entry.meaning, entry.unit ?? "", entry.truth].every((word) => typeof word === "string"))
    return "its name, meaning, unit or truth class is no text";
  if (entry.triangle !== undefined && typeof entry.triangle !== "boolean") return "no good triangle";
  if (entry.scale !== undefined && !(Array.isArray(entry.scale) && entry.scale.length === 2 && entry.scale.every(Number.isFinite)))
    return "no good scale";
  const width = WIDTHS[entry.dtype];
  if (width === undefined && entry.dtype !== "json" && entry.dtype !== "utf8") return `unknown dtype ${entry.dtype}`;
  if (!ENCODINGS.includes(entry.encoding)) return `unknown encoding ${entry.encoding}`;
  if (!Array.isArray(entry.shape) || ![...entry.shape, entry.offset, entry.stored_bytes, entry.plain_bytes].every(isSize))
    return "no good shape or size";
  if (width !== undefined && entry.plain_bytes !== entry.shape.reduce((a, b) => a * b, width))
    return "its shape gives other bytes";
  if (entry.plain_bytes > MAX_CHUNK_BYTES) return "too large";
  if (entry.encoding === "raw" && entry.stored_bytes !== entry.plain_bytes) return "raw, yet of another size";
  return null;
}

function isSize(value: unknown): boolean {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

/** The decompressed bytes of a chunk. Never holds more of them in memory than the entry states. */
export async function plainBytes(entry: Entry, stored: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  let plain = entry.encoding === "raw" ? stored : await inflate(stored, entry);
  if (plain.length !== entry.plain_bytes) throw damaged(entry, "it holds fewer bytes than it states");
  if (entry.encoding === "shuffle+deflate") {
    const width = WIDTHS[entry.dtype]!;
    const count = plain.length / width;
    const together = new Uint8Array(plain.length);
    for (let place = 0; place < width; place++)
      for (let i = 0; i < count; i++) together[i * width + place] = plain[place * count + i]!;
    plain = together;
  } else if (entry.encoding === "delta+deflate") {
    const row = plain.length / Math.max(entry.shape[0] ?? 1, 1);
    for (let i = row; i < plain.length; i++) plain[i] = plain[i]! + plain[i - row]!; // modulo 256, by the array's kind
  }
  return plain;
}

async function inflate(stored: Uint8Array<ArrayBuffer>, entry: Entry): Promise<Uint8Array<ArrayBuffer>> {
  if (!("DecompressionStream" in globalThis)) throw new RecordError("this browser cannot decompress a record: update it");
  const reader = new Blob([stored]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const plain = new Uint8Array(entry.plain_bytes);
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (length + value.length > plain.length) {
        await reader.cancel().catch(() => undefined);
        throw damaged(entry, "it holds more bytes than it states");
      }
      plain.set(value, length);
      length += value.length;
    }
  } catch (error) {
    throw error instanceof RecordError ? error : damaged(entry, "its bytes cannot be decompressed");
  }
  return plain.subarray(0, length);
}

export function damaged(entry: Entry, why: string): RecordError {
  return new RecordError(`the record is damaged: chunk ${entry.name}: ${why}`);
}

/** Numbers as stored: the bits of bfloat16 and float16, the codes of quantized uint8. */
function storedNumbers(entry: Entry, plain: Uint8Array<ArrayBuffer>): Numbers {
  const width = WIDTHS[entry.dtype]!;
  const bytes = plain.byteOffset % width ? plain.slice() : plain;
  const at: [ArrayBuffer, number, number] = [bytes.buffer, bytes.byteOffset, bytes.length / width];
  switch (entry.dtype) {
    case "uint8": return new Uint8Array(...at);
    case "int8": return new Int8Array(...at);
    case "int16": return new Int16Array(...at);
    case "uint32": return new Uint32Array(...at);
    case "int32": return new Int32Array(...at);
    case "int64": return new BigInt64Array(...at);
    case "float32": return new Float32Array(...at);
    case "float64": return new Float64Array(...at);
    default: return new Uint16Array(...at);
  }
}

/** Decoded numbers: 16-bit floats and quantized uint8 as float32; triangles stay packed (see `triangleAt`). */
export function values(entry: Entry, plain: Uint8Array<ArrayBuffer>): Numbers {
  const stored = storedNumbers(entry, plain);
  if (entry.dtype === "bfloat16") {
    const bits = new Uint32Array(stored.length);
    for (let i = 0; i < bits.length; i++) bits[i] = Number(stored[i]) << 16;
    return new Float32Array(bits.buffer);
  }
  if (entry.dtype === "float16") return Float32Array.from(stored as Uint16Array, float16);
  if (entry.scale) {
    const [lo, hi] = entry.scale;
    const table = Float32Array.from({ length: 256 }, (_, code) => lo + code * ((hi - lo) / 255));
    return Float32Array.from(stored as Uint8Array, (code) => table[code]!);
  }
  return stored;
}

/** A float16 from its bits (IEEE 754). */
export function float16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const rest = bits & 1023;
  if (exponent === 0) return sign * rest * 2 ** -24;
  if (exponent === 31) return rest ? NaN : sign * Infinity;
  return sign * (1024 + rest) * 2 ** (exponent - 25);
}

/** T of a packed lower triangle of T x T with this many numbers. Errors: `RecordError` for any other count. */
export function triangleSide(count: number): number {
  const side = Math.floor((Math.sqrt(8 * count + 1) - 1) / 2);
  if ((side * (side + 1)) / 2 !== count) throw new RecordError(`${count} numbers are no triangle`);
  return side;
}

/** The index of (row, column <= row) in a packed lower triangle. */
export function triangleAt(row: number, column: number): number {
  return (row * (row + 1)) / 2 + column;
}
