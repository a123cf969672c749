// Checks the sizes that a generation record's header states, like src/pellucid/record/check.py, before the page reads or draws
// what they count. The page's own limits are lower where it draws one element for each.

import { RecordError } from "./bytes.ts";
import { triangleSide } from "./decode.ts";
import type { PellucidRecord } from "./record.ts";

// The schema's dtypes and shapes (src/pellucid/record/schema.py; a test compares).
const SHAPES: Record<string, string> = {
  "pieces/ids": "int32: U",
  "pieces/starts": "int32: U+1",
  "pieces/bytes": "uint8: Y",
  "generation/prompt_ids": "int32: P",
  "generation/steps/drawn_ids": "int32: S",
  "generation/steps/drawn_logprobs": "float32: S",
  "generation/steps/topk_ids": "int32: S K",
  "generation/steps/topk_logprobs": "float32: S K",
  "generation/steps/topk_shares": "float32: S K",
  "generation/steps/kept": "int32: S",
  "generation/steps/draw": "float64: S",
  "generation/steps/drawn_span": "float64: S 2",
  "generation/block_inputs/{level}": "bfloat16|float32: T C",
  "generation/lens/ids": "int32: L+1 T J",
  "generation/lens/logprobs": "float32: L+1 T J",
  "generation/lens/next_ranks": "int32: L+1 A",
  "generation/lens/next_logprobs": "float32: L+1 A",
  "generation/embedding/token": "float32: C",
  "generation/embedding/position": "float32: C",
  "generation/embedding/nearest_ids": "int32: I",
  "generation/embedding/nearest_cosines": "float32: I",
  "generation/writes/attention": "float32: L T",
  "generation/writes/mlp": "float32: L T",
  "generation/output/vector": "float32: D",
  "generation/output/rows": "float32: F D",
  "generation/attention/{block}": "float16|float32|uint8: H T T triangle",
  "generation/cells": "uint8: S L T",
  "generation/timings/steps": "float32|float64: S",
  "generation/timings/blocks": "float32|float64: S L",
  "generation/cache_bytes": "int64: 1",
};

const FROM_CONFIG = { L: "n_layers", H: "n_heads", C: "d_model" } as const;
const MAX_SIZE = 1 << 20; // of anything that a shape counts, but bytes
const BYTES = "Y";
const MOST: Record<string, number> = { L: 512, H: 1024, J: 1024 }; // drawn at once: columns, buttons, bars
const MAX_TOKENS = 1 << 14; // prompt and drawn ones

/** Errors: `RecordError` for a record that states other sizes than its chunks have, or more than the page can show. */
export function checkGeneration(record: PellucidRecord): void {
  const sizes: Record<string, number> = {};
  for (const [letter, key] of Object.entries(FROM_CONFIG)) {
    const size = record.provenance.config[key];
    if (typeof size !== "number" || !Number.isInteger(size) || size < 1 || size > (MOST[letter] ?? MAX_SIZE))
      throw new RecordError(`the record's header states ${key} ${short(size)}: the page shows 1 to ${MOST[letter] ?? MAX_SIZE}`);
    sizes[letter] = size;
  }
  for (const name of record.names()) {
    const spec = specOf(name, sizes.L!);
    if (spec) compare(record, name, spec, sizes);
  }
  const { P = 0, S = 0, T, A } = sizes;
  if (P + S > MAX_TOKENS) throw new RecordError(`the record holds ${P + S} tokens: the page shows up to ${MAX_TOKENS}`);
  if ((T !== undefined && P + S - T !== 0 && P + S - T !== 1) || (A !== undefined && P + S - 1 !== A))
    throw new RecordError(`the record is damaged: ${T ?? A} positions cannot come of ${P} tokens and ${S} drawn ones`);
}

/** The schema's row for a chunk; undefined for a chunk that it does not name. */
function specOf(name: string, blocks: number): string | undefined {
  const number = /^(.*\/)(0|[1-9]\d{0,6})$/.exec(name);
  if (!number) return SHAPES[name];
  const at = Number(number[2]);
  return (at < blocks ? SHAPES[`${number[1]}{block}`] : undefined) ?? (at <= blocks ? SHAPES[`${number[1]}{level}`] : undefined);
}

function compare(record: PellucidRecord, name: string, spec: string, sizes: Record<string, number>): void {
  const entry = record.entry(name);
  const [dtypes, words] = spec.split(": ") as [string, string];
  const triangle = words.endsWith(" triangle");
  const wanted = words.replace(" triangle", "").split(" ");
  const wrong = (what: string) => new RecordError(`the record is damaged: ${name} ${what}`);
  if (!dtypes.split("|").includes(entry.dtype)) throw wrong(`is ${entry.dtype}, not ${dtypes}`);
  if ((entry.triangle ?? false) !== triangle) throw wrong(`is not stored ${triangle ? "as lower triangles" : "unchanged"}`);
  if (triangle && !entry.shape.length) throw wrong("has no shape");
  const side = triangle ? triangleSide(entry.shape.at(-1)!) : 0;
  const shape = triangle ? [...entry.shape.slice(0, -1), side, side] : entry.shape;
  if (shape.length !== wanted.length) throw wrong(`has shape (${shape.join(", ")}), not (${wanted.join(", ")})`);
  shape.forEach((size, at) => {
    const word = wanted[at]!;
    const more = word.endsWith("+1") ? 1 : 0;
    const known = /^\d+$/.test(word) ? Number(word) : (sizes[word[0]!] ??= size - more) + more;
    const most = word === BYTES ? Infinity : (MOST[word[0]!] ?? MAX_SIZE) + more;
    if (size !== known) throw wrong(`has shape (${shape.join(", ")}), where (${wanted.join(", ")}) has ${word} = ${known}`);
    if (size > most) throw wrong(`has shape (${shape.join(", ")}): the page shows up to ${most}`);
  });
}

function short(value: unknown): string {
  const text = String(JSON.stringify(value) ?? value);
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
}
