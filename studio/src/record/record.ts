// Reads a record: the header first, each chunk on request (docs/record.md). Works in pages and in node.

import { type ByteSource, RecordError } from "./bytes.ts";
import { type Entry, type Numbers, damaged, entryProblem, plainBytes, values } from "./decode.ts";
import { hex, sha256 } from "./digest.ts";

const PREAMBLE = 48;
const MAX_HEADER = 1 << 24;
const KINDS = ["generation", "training", "finetuning", "priming", "plan"] as const;

export interface Provenance {
  pellucid: string;
  model: string;
  config: Record<string, unknown>;
  parameters: number;
  dtype: string;
  tokenizer?: string;
  seed?: string;
  step?: number;
  checkpoint?: string;
  sampling?: Record<string, unknown>;
  machine?: Record<string, unknown>;
  prompt_ids?: number[];
  ablation?: Record<string, unknown>;
}

/** The fields of a provenance and of a row of the chunk table that this version knows. */
export const KNOWN_PROVENANCE: readonly string[] = [
  "pellucid", "model", "config", "parameters", "dtype", "tokenizer", "checkpoint", "step", "seed", "prompt_ids", "sampling", "ablation", "machine", "created",
]; // prettier-ignore
export const KNOWN_ENTRY: readonly string[] = [
  "name", "dtype", "shape", "encoding", "offset", "stored_bytes", "plain_bytes", "sha256", "truth", "meaning", "unit", "source", "scale", "triangle",
]; // prettier-ignore

export class PellucidRecord {
  private readonly chunks = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();
  private readonly entries: Map<string, Entry>;

  private constructor(
    private readonly bytes: ByteSource,
    readonly kind: (typeof KINDS)[number],
    readonly provenance: Provenance,
    /** The header as it is, its rows aside. */
    readonly header: Readonly<Record<string, unknown>>,
    chunks: Entry[],
    private readonly data: number,
    /** Whether SHA-256 digests are checked: browsers compute them on secure pages and on localhost only. */
    readonly checked: boolean,
  ) {
    this.entries = new Map(chunks.map((entry) => [entry.name, entry]));
    if (this.entries.size < chunks.length) throw new RecordError("the record is damaged: two chunks have one name");
  }

  /** Reads the header. Errors: `RecordError` for no record, a damaged one, or one of a newer version. */
  static async open(bytes: ByteSource): Promise<PellucidRecord> {
    const preamble = await bytes.read(0, PREAMBLE);
    const letters = new TextDecoder("latin1").decode(preamble.subarray(0, 8));
    if (letters !== "PELLUCID") throw new RecordError("this is no Pellucid record");
    if (preamble.length < PREAMBLE) throw new RecordError("the record is truncated: it ends before its header");
    const view = new DataView(preamble.buffer, preamble.byteOffset, preamble.length);
    const layout = view.getUint32(8, true);
    const length = view.getUint32(12, true);
    if (layout !== 1) throw new RecordError(`the record has layout ${layout}, and this page reads 1: update Pellucid`);
    if (length > MAX_HEADER) throw new RecordError("the record is damaged: its header would be larger than any");
    const text = await bytes.read(PREAMBLE, PREAMBLE + length);
    if (text.length < length) throw new RecordError("the record is truncated: it ends within its header");
    const signed = new Uint8Array(16 + length);
    signed.set(preamble.subarray(0, 16));
    signed.set(text, 16);
    const digest = await sha256(signed);
    if (digest && digest !== hex(preamble.subarray(16, 48)))
      throw new RecordError("the record is damaged: its header is not what was written (SHA-256)");
    const header = parse(text);
    return new PellucidRecord(
      bytes,
      header.kind,
      header.provenance,
      header.plain,
      header.chunks,
      Math.ceil((PREAMBLE + length) / 8) * 8,
      digest !== null,
    );
  }

  /** Bytes from the first chunk to the end of the file; null where the source does not say. */
  get dataBytes(): number | null {
    return this.bytes.size === undefined ? null : this.bytes.size - this.data;
  }

  has(name: string): boolean {
    return this.entries.has(name);
  }

  /** The chunk table's entry of a chunk. Errors: `RecordError` where the record lacks it. */
  entry(name: string): Entry {
    const entry = this.entries.get(name);
    if (!entry) throw new RecordError(`${name} is not in this record`);
    return entry;
  }

  names(): string[] {
    return [...this.entries.keys()];
  }

  /** The decoded numbers of a chunk; triangles stay packed. */
  async numbers(name: string): Promise<Numbers> {
    const entry = this.entry(name);
    if (entry.dtype === "json" || entry.dtype === "utf8") throw new RecordError(`${name} is text, not numbers`);
    return values(entry, await this.plain(entry));
  }

  async json(name: string): Promise<unknown> {
    return JSON.parse(new TextDecoder().decode(await this.plain(this.entry(name))));
  }

  private plain(entry: Entry): Promise<Uint8Array<ArrayBuffer>> {
    let found = this.chunks.get(entry.name);
    if (!found) {
      found = this.fetch(entry);
      this.chunks.set(entry.name, found);
      found.catch(() => this.chunks.delete(entry.name)); // the next call retries
    }
    return found;
  }

  private async fetch(entry: Entry): Promise<Uint8Array<ArrayBuffer>> {
    const start = this.data + entry.offset;
    const stored = await this.bytes.read(start, start + entry.stored_bytes);
    if (stored.length < entry.stored_bytes) throw damaged(entry, "it is not whole");
    const digest = await sha256(stored);
    if (digest && digest !== entry.sha256) throw damaged(entry, "it is not what was written (SHA-256)");
    return plainBytes(entry, stored);
  }
}

interface Header {
  kind: PellucidRecord["kind"];
  provenance: Provenance;
  plain: Record<string, unknown>;
  chunks: Entry[];
}

function parse(text: Uint8Array): Header {
  let header: Record<string, unknown>;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(text)) as Record<string, unknown>;
  } catch {
    throw new RecordError("the record is damaged: its header is not JSON");
  }
  if (header?.format !== "pellucid record")
    throw new RecordError("this is no Pellucid record: its header names another format");
  const version = header.schema;
  if (!Array.isArray(version) || version.length !== 2 || !version.every((part) => Number.isSafeInteger(part) && part >= 0))
    throw new RecordError("the record is damaged: its header states no schema version");
  const [major] = version as number[];
  if (major !== 1) throw new RecordError(`the record has schema ${String(major)}, and this page reads 1: update Pellucid`);
  const { kind, provenance, chunks } = header;
  if (!KINDS.includes(kind as never) || typeof provenance !== "object" || !provenance || !Array.isArray(chunks))
    throw new RecordError("the record is damaged: its header names no kind, provenance and chunks");
  const invalid = provenanceProblem(provenance as Record<string, unknown>);
  if (invalid) throw new RecordError(`the record is damaged: its provenance has no valid ${invalid}`);
  for (const entry of chunks as Entry[]) {
    if (!isObject(entry)) throw new RecordError("the record is damaged: its chunk table has a row that is no object");
    const problem = entryProblem(entry);
    if (problem) throw damaged(entry, problem);
  }
  return { kind: kind as PellucidRecord["kind"], provenance: provenance as Provenance, plain: header, chunks: chunks as Entry[] };
}

const TEXTS: Record<string, number> = { pellucid: 100, model: 200, dtype: 20, tokenizer: 200, checkpoint: 200, seed: 21, created: 100 };

/** The first field that is not of its type or too long, as src/pellucid/record/provenance.py has them; null where all are valid. */
function provenanceProblem(stated: Record<string, unknown>): string | null {
  for (const [name, most] of Object.entries(TEXTS)) {
    const value = stated[name];
    const lacking = value === undefined && !["pellucid", "model", "dtype"].includes(name);
    if (!lacking && (typeof value !== "string" || value.length > most)) return name;
  }
  const { config, parameters, step = 0, sampling = {}, machine = {}, ablation = {}, prompt_ids: ids = [] } = stated;
  if (!isObject(config) || JSON.stringify(config.name ?? "").length > 1000) return "config";
  if (!isCount(parameters)) return "parameters";
  if (!isCount(step)) return "step";
  if (!isObject(sampling)) return "sampling";
  if (!isObject(machine)) return "machine";
  if (!isObject(ablation)) return "ablation";
  return Array.isArray(ids) ? null : "prompt_ids";
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
