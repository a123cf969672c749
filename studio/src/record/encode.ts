// Encodes arrays as the chunks of a record, like src/pellucid/record/values.py and encoding.py.

import { float16Bits } from "./float16.ts";

/** An array as a chunk stores it. */
export interface Stored {
  dtype: string;
  shape: number[];
  /** Little-endian numbers, row-major, before compression. */
  plain: Uint8Array<ArrayBuffer>;
  triangle?: boolean;
}

type Typed = Uint8Array<ArrayBuffer> | Int32Array<ArrayBuffer> | BigInt64Array<ArrayBuffer> | Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;
const DTYPES: Record<string, string> = {
  Uint8Array: "uint8", Int32Array: "int32", BigInt64Array: "int64", Float32Array: "float32", Float64Array: "float64",
};
export const WIDTHS: Record<string, number> = { uint8: 1, float16: 2, bfloat16: 2, int32: 4, float32: 4, int64: 8, float64: 8 };

/** Numbers in their own dtype; pages run on little-endian machines, as every browser's machine is. */
export function asIs(array: Typed, shape: number[]): Stored {
  const plain = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  return { dtype: DTYPES[array.constructor.name]!, shape, plain };
}

/** float32 numbers rounded to bfloat16: to the nearest, of two equally near to the even one; NaN stays NaN. */
export function asBfloat16(array: Float32Array<ArrayBuffer>, shape: number[]): Stored {
  const bits = new Uint32Array(array.buffer, array.byteOffset, array.length);
  const rounded = Uint16Array.from(bits, (one) => {
    if ((one & 0x7fffffff) >>> 0 > 0x7f800000) return (one >>> 16) | 0x40;
    return (one + 0x7fff + ((one >>> 16) & 1)) >>> 16;
  });
  return { dtype: "bfloat16", shape, plain: new Uint8Array(rounded.buffer) };
}

/** float32 numbers that are float16 numbers already, as those. */
export function asFloat16(array: Float32Array, shape: number[]): Stored {
  return { dtype: "float16", shape, plain: new Uint8Array(Uint16Array.from(array, float16Bits).buffer) };
}

/** The encoding and the stored bytes: shuffled and deflated, or raw where that is not longer. */
export async function encode({ dtype, plain }: Stored): Promise<{ encoding: string; stored: Uint8Array<ArrayBuffer> }> {
  const width = WIDTHS[dtype]!;
  const stored = await deflate(width > 1 ? shuffled(plain, width) : plain);
  if (stored.length >= plain.length) return { encoding: "raw", stored: plain };
  return { encoding: width > 1 ? "shuffle+deflate" : "deflate", stored };
}

/** The bytes of numbers by place: all first bytes, then all second bytes, ... */
function shuffled(plain: Uint8Array, width: number): Uint8Array<ArrayBuffer> {
  const count = plain.length / width;
  const apart = new Uint8Array(plain.length);
  for (let place = 0; place < width; place++) for (let i = 0; i < count; i++) apart[place * count + i] = plain[i * width + place]!;
  return apart;
}

async function deflate(plain: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  if (!("CompressionStream" in globalThis)) return plain; // an old browser: the chunk is stored as it is
  const { readable, writable } = new CompressionStream("deflate");
  const writer = writable.getWriter();
  void writer.write(plain);
  void writer.close();
  return new Uint8Array(await new Response(readable).arrayBuffer());
}
