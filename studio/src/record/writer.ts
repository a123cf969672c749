// Writes a record (docs/record.md), like src/pellucid/record/writer.py; Python opens what is written here.

import { RecordError } from "./bytes.ts";
import type { Entry } from "./decode.ts";
import { digest, hex } from "./digest.ts";
import { encode, type Stored } from "./encode.ts";
import type { Provenance } from "./record.ts";

const FORMAT = "pellucid record";
export const SCHEMA_VERSION = [1, 3];
const PREAMBLE = 48;
const aligned = (offset: number): number => Math.ceil(offset / 8) * 8;

/** What the schema says of a chunk. */
export interface ChunkText {
  truth: Entry["truth"];
  meaning: string;
  unit: string;
}

export class RecordWriter {
  private readonly entries: Entry[] = [];
  private readonly parts: { offset: number; stored: Uint8Array }[] = [];
  private end = 0;

  constructor(
    private readonly kind: string,
    private readonly provenance: Provenance,
  ) {}

  /** Adds a chunk. source: what it was computed from. Errors: `RecordError` for a name that is there already. */
  async add(name: string, value: Stored, text: ChunkText, source?: Record<string, unknown>): Promise<void> {
    if (this.entries.some((entry) => entry.name === name)) throw new RecordError(`chunk ${name} is already in this record`);
    const { encoding, stored } = await encode(value);
    const offset = aligned(this.end);
    this.entries.push({
      name, dtype: value.dtype, shape: value.shape, encoding, offset, stored_bytes: stored.length, plain_bytes: value.plain.length,
      sha256: hex(await required(stored)), ...text, ...(source ? { source } : {}), ...(value.triangle ? { triangle: true } : {}),
    }); // prettier-ignore
    this.parts.push({ offset, stored });
    this.end = offset + stored.length;
  }

  /** The bytes of the record. */
  async finish(): Promise<Uint8Array<ArrayBuffer>> {
    const { kind, provenance, entries } = this;
    const text = new TextEncoder().encode(canonical({ format: FORMAT, schema: SCHEMA_VERSION, kind, provenance, chunks: entries }));
    const signed = new Uint8Array(16 + text.length);
    signed.set(new TextEncoder().encode("PELLUCID"));
    const view = new DataView(signed.buffer);
    view.setUint32(8, 1, true);
    view.setUint32(12, text.length, true);
    signed.set(text, 16);
    const start = aligned(PREAMBLE + text.length);
    const whole = new Uint8Array(start + this.end);
    whole.set(signed.subarray(0, 16));
    whole.set(await required(signed), 16);
    whole.set(text, PREAMBLE);
    for (const { offset, stored } of this.parts) whole.set(stored, start + offset);
    return whole;
  }
}

/** JSON with the keys of objects in order and no spaces. Errors: `RecordError` for a number that JSON does not hold. */
export function canonical(value: unknown): string {
  if (typeof value === "number" && !Number.isFinite(value)) throw new RecordError(`${value} is not in JSON`);
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const pairs = Object.entries(value).filter(([, one]) => one !== undefined);
  pairs.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${pairs.map(([key, one]) => `${JSON.stringify(key)}:${canonical(one)}`).join(",")}}`;
}

async function required(data: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const found = await digest(data);
  if (!found) throw new RecordError("this browser computes no SHA-256 for this page, and a record needs it");
  return found;
}
