// The words of a record against their sources: its chunk table against the schema, its header against the model
// (src/pellucid/interpret/verify/words.py and record/check.py).

import { RecordError } from "../../record/bytes.ts";
import type { Entry } from "../../record/decode.ts";
import { KNOWN_ENTRY, KNOWN_PROVENANCE, type PellucidRecord } from "../../record/record.ts";
import { SCHEMA_VERSION } from "../../record/writer.ts";
import type { PageModel } from "../../wire.ts";
import type { Loaded } from "../capture.ts";
import { compared, sameJson, type WordResult } from "./difference.ts";

const UNVERIFIED = ["pellucid", "machine", "created", "checkpoint", "step"]; // what nothing here confirms

/** The name of the schema's row for a chunk: `generation/attention/3` is of `generation/attention/{block}`. */
export function patternOf(name: string, page: PageModel): string | null {
  if (name in page.chunks) return name;
  const number = /^(.*\/)(0|[1-9]\d{0,5})$/.exec(name);
  if (!number) return null;
  const blocks = Number(page.config.n_layers);
  const limits = { "{block}": blocks, "{level}": blocks + 1 };
  for (const [word, most] of Object.entries(limits)) {
    const pattern = number[1] + word;
    if (pattern in page.chunks && Number(number[2]) < most) return pattern;
  }
  return null;
}

/** Errors: `RecordError` for a chunk with another class of truth than the schema gives it, a scale, or a table with gaps. */
export function checkTable(record: PellucidRecord, page: PageModel): void {
  const pieces = ["ids", "starts", "bytes"].map((part) => record.has(`pieces/${part}`));
  if (pieces.includes(true) && pieces.includes(false)) throw new RecordError("pieces/ids, pieces/starts and pieces/bytes must all be there, or none");
  let end = 0;
  for (const name of record.names()) {
    const entry = record.entry(name);
    if (entry.offset !== Math.ceil(end / 8) * 8) throw new RecordError(`the record is damaged: ${name} does not begin where the one before it ends`);
    end = entry.offset + entry.stored_bytes;
    const pattern = patternOf(name, page);
    if (pattern === null) continue;
    const text = page.chunks[pattern]!;
    if (entry.truth !== text.truth) throw new RecordError(`the record is not what it says: ${name} is ${entry.truth}, not ${text.truth}`);
    const scaled = pattern === "generation/attention/{block}" && entry.dtype === "uint8";
    if ((entry.scale !== undefined) !== scaled) throw new RecordError(`the record is not what it says: ${name} is not stored ${scaled ? "as steps" : "unchanged"}`);
  }
  if (record.dataBytes !== null && end !== record.dataBytes) throw new RecordError("the record is damaged: its chunks do not fill its file");
}

/**
 * Checks that a record was made from the page's model. Errors: `RecordError` where it was not, or where the page cannot tell.
 */
export function checkModel(record: PellucidRecord, { page, tokenizer }: Loaded): void {
  const named = record.provenance;
  if (named.dtype !== "float32")
    throw new RecordError(`the record was made in ${named.dtype}, and this page computes in float32: pellucid verify recomputes it`);
  if (named.model !== page.fingerprint)
    throw new RecordError(`the record was made with another model: it names ${named.model.slice(0, 12)}, and this page holds ${page.fingerprint.slice(0, 12)}`);
  if (!sameJson(named.config, { ...page.config, name: named.config.name ?? "" }))
    throw new RecordError("the record states another shape than its model has: it was changed");
  if (named.parameters !== page.parameters) throw new RecordError(`the record states ${named.parameters} parameters, but its model has another number of them`);
  if (named.tokenizer !== tokenizer.fingerprint) throw new RecordError("the record was made with another tokenizer than this model's");
}

/** The words of the header, those of the sampling options aside. */
export function headerWords(record: PellucidRecord, page: PageModel): WordResult[] {
  const { header } = record;
  const found: WordResult[] = [compared("schema", header.schema, SCHEMA_VERSION, "unverified")];
  const unknown = (word: string) => found.push({ word, status: "unverified", note: "not known to this page" });
  for (const name of Object.keys(header)) if (!["format", "schema", "kind", "provenance", "chunks"].includes(name)) unknown(name);
  for (const name of Object.keys(record.provenance)) {
    const value = record.provenance[name as keyof typeof record.provenance];
    if (!KNOWN_PROVENANCE.includes(name)) unknown(`provenance/${name}`);
    else if (UNVERIFIED.includes(name)) found.push({ word: `provenance/${name}`, status: "unverified", note: "nothing here to compare it with" });
    else if (!["sampling", "seed", "ablation"].includes(name) && value !== undefined) found.push({ word: `provenance/${name}`, status: "equal", note: "" });
  }
  for (const name of record.names())
    for (const field of Object.keys(record.entry(name))) if (!KNOWN_ENTRY.includes(field)) unknown(`${name}: ${field}`);
  const [stated, own] = [record.provenance.config.name ?? "", page.config.name ?? ""];
  found.push(compared("provenance/config/name", stated, own, stated && own ? "differs" : "unverified"));
  const change = record.provenance.machine?.model_change;
  if (change !== undefined) found.push(compared("provenance/machine/model_change", change, null));
  return found;
}

/** Meaning, unit and source of each chunk. sources: of each chunk that has one, by name. */
export function chunkWords(record: PellucidRecord, page: PageModel, sources: Readonly<Record<string, unknown>>): WordResult[] {
  const otherwise = sameJson(record.header.schema, SCHEMA_VERSION) ? "differs" : "unverified"; // another schema has other words
  return record.names().flatMap((name) => {
    const pattern = patternOf(name, page);
    if (pattern === null) return []; // reported as a chunk
    const entry: Entry = record.entry(name);
    const text = page.chunks[pattern]!;
    return [
      compared(`${name}: meaning`, entry.meaning, text.meaning, otherwise),
      compared(`${name}: unit`, entry.unit ?? "", text.unit, otherwise),
      compared(`${name}: source`, entry.source ?? null, sources[name] ?? null, otherwise),
    ];
  });
}
