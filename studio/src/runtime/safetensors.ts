// The tensors of a safetensors file (https://huggingface.co/docs/safetensors): a header in JSON, then the numbers.

import { RecordError } from "../record/bytes.ts";

export interface Tensor {
  /** As the file names it: F32, F16, BF16, I8, U8. */
  dtype: string;
  shape: number[];
  bytes: Uint8Array<ArrayBuffer>;
}

const PREFIX = "transformer."; // of every tensor's name in the model files that a page holds

/** The tensors by name, without the prefix. Errors: `RecordError` for bytes that are no such file. */
export function readSafetensors(file: Uint8Array<ArrayBuffer>): Map<string, Tensor> {
  const length = file.length < 8 ? Infinity : Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  if (8 + length > file.length) throw new RecordError("the model's weights are no safetensors file");
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length))) as Record<string, unknown>;
  const found = new Map<string, Tensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const { dtype, shape, data_offsets: offsets } = entry as { dtype: string; shape: number[]; data_offsets: [number, number] };
    const [start, end] = offsets.map((offset) => 8 + length + offset) as [number, number];
    if (end > file.length) throw new RecordError(`the model's weights end within ${name}`);
    found.set(name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name, { dtype, shape, bytes: file.subarray(start, end) });
  }
  return found;
}
