// Reads what the x-ray shows from a generation record, with the chunk and index of each number.

import { checkGeneration } from "../record/check.ts";
import { mark, tr } from "../language.ts";
import { type Entry, type Numbers, triangleAt, triangleSide } from "../record/decode.ts";
import { RecordError } from "../record/bytes.ts";
import { isWhole } from "../record/characters.ts";
import { piece } from "../record/piece.ts";
import type { PellucidRecord } from "../record/record.ts";

/** A token that is shown as a box. */
export interface Boxed {
  piece: string;
  /** Its bytes, where they are not whole characters. */
  part: Uint8Array | null;
  kind: "input" | "output";
  /** Of a drawn token: its probability. */
  share?: number;
}

/** Provenance of a number: enough to find it in the file. */
export interface Origin {
  chunk: string;
  index: number[];
  truth: Entry["truth"];
  meaning: string;
  of?: string; // a text around the meaning
  note?: string; // how it was computed from the chunk
}

export interface Ranked {
  id: number;
  logprob: number;
  origin: Origin;
}

/** The parts of every generation record, and which of the optional groups it holds. */
export interface Overview {
  ids: number[]; // prompt, then drawn
  prompt: number; // P
  steps: number; // S
  tracks: number; // T: positions that the model computed
  blocks: number; // L
  heads: number;
  patterns: string[];
  pieces: Map<number, string> | null;
  parts: Map<number, Uint8Array>; // bytes of the tokens that are not whole characters
  lens: boolean;
  attention: boolean;
  inputs: boolean;
}

const LONGEST_PIECE = 1024; // bytes of a token that its label shows

function list(numbers: Numbers): number[] {
  return Array.from(numbers as Int32Array, Number);
}

/** Errors: `RecordError` for a record whose header states sizes that its chunks do not have, or more than the page can show. */
export async function overview(record: PellucidRecord): Promise<Overview> {
  checkGeneration(record);
  const [prompt, drawn] = await Promise.all(
    ["prompt_ids", "steps/drawn_ids"].map(async (name) => list(await record.numbers(`generation/${name}`))),
  );
  const config = record.provenance.config;
  const blocks = Number(config.n_layers);
  const pattern = Array.isArray(config.pattern) ? config.pattern.map(String) : [];
  return {
    ids: [...prompt!, ...drawn!],
    prompt: prompt!.length,
    steps: drawn!.length,
    tracks: prompt!.length + drawn!.length - 1,
    blocks,
    heads: Number(config.n_heads),
    patterns: Array.from({ length: blocks }, (_, block) => pattern[block] ?? "dense"),
    ...(record.has("pieces/bytes") ? await pieces(record) : { pieces: null, parts: new Map<number, Uint8Array>() }),
    lens: record.has("generation/lens/ids"),
    attention: record.has("generation/attention/0"),
    inputs: record.has("generation/block_inputs/0"),
  };
}

async function pieces(record: PellucidRecord): Promise<{ pieces: Map<number, string>; parts: Map<number, Uint8Array> }> {
  const [ids, starts, bytes] = await Promise.all(["ids", "starts", "bytes"].map((part) => record.numbers(`pieces/${part}`)));
  const found = new Map<number, string>();
  const parts = new Map<number, Uint8Array>();
  const at = (i: number) => Number(starts![i]);
  list(ids!).forEach((id, i) => {
    if (!(at(i) >= 0 && at(i) <= at(i + 1) && at(i + 1) <= bytes!.length))
      throw new RecordError("the record is damaged: pieces/starts are no places in pieces/bytes");
    const shown = Math.min(at(i + 1), at(i) + LONGEST_PIECE);
    const token = (bytes as Uint8Array).subarray(at(i), shown);
    found.set(id, piece(token) + (shown < at(i + 1) ? "..." : ""));
    if (shown === at(i + 1) && !isWhole(token)) parts.set(id, token);
  });
  return { pieces: found, parts };
}

/** The tokens of the text as boxes. */
export function piecesOf(overview: Overview): Boxed[] {
  return overview.ids.map((id, i) => {
    return { piece: label(overview, id), part: overview.parts.get(id) ?? null, kind: i < overview.prompt ? "input" : "output" };
  });
}

/** A token's label: its piece, or its id where the record holds no pieces. */
export function label(overview: Overview, id: number): string {
  const found = overview.pieces?.get(id);
  return found === undefined || found === "" ? `#${id}` : found;
}

export interface Lens {
  ids: Numbers;
  logprobs: Numbers;
  candidates: number; // J
  tracks: number;
}

export async function lens(record: PellucidRecord): Promise<Lens> {
  const [ids, logprobs] = await Promise.all(["ids", "logprobs"].map((part) => record.numbers(`generation/lens/${part}`)));
  const [, tracks, candidates] = record.entry("generation/lens/ids").shape;
  return { ids: ids!, logprobs: logprobs!, candidates: candidates!, tracks: tracks! };
}

/** The logit lens's candidates at a level and a track, the most likely first. */
export function lensAt(record: PellucidRecord, found: Lens, level: number, track: number): Ranked[] {
  const { truth } = record.entry("generation/lens/logprobs");
  const { meaning } = record.entry("generation/lens/ids");
  return Array.from({ length: found.candidates }, (_, j) => {
    const at = (level * found.tracks + track) * found.candidates + j;
    return {
      id: Number(found.ids[at]),
      logprob: Number(found.logprobs[at]),
      origin: { chunk: "generation/lens/logprobs", index: [level, track, j], truth, meaning, of: mark("{meaning}: its log-probability") },
    };
  });
}

/** The norm of a track's input to a block, computed from a row of its chunk. */
export async function norm(record: PellucidRecord, level: number, track: number): Promise<{ value: number; origin: Origin }> {
  const chunk = `generation/block_inputs/${level}`;
  const numbers = await record.numbers(chunk);
  const entry = record.entry(chunk);
  const width = entry.shape[1]!;
  let sum = 0;
  for (let i = track * width; i < (track + 1) * width; i++) sum += Number(numbers[i]) ** 2;
  return {
    value: Math.sqrt(sum),
    origin: {
      chunk, index: [track], truth: entry.truth, meaning: entry.meaning,
      note: tr("square root of the sum of the squares of its {count} numbers", { count: width }),
    }, // prettier-ignore
  };
}

/** Attention weights (0 to 1) of a track at a block, by key. head: null for the mean over heads. */
export async function attentionOf(
  record: PellucidRecord,
  block: number,
  track: number,
  head: number | null,
): Promise<{ weights: number[]; heads: number[][]; origin: (key: number) => Origin }> {
  const chunk = `generation/attention/${block}`;
  const numbers = (await record.numbers(chunk)) as Float32Array;
  const entry = record.entry(chunk);
  const [count, length] = entry.shape as [number, number];
  triangleSide(length); // throws unless it is a triangle
  const start = triangleAt(track, 0);
  const row = (first: number) => Array.from(numbers.subarray(first, first + track + 1));
  const heads = Array.from({ length: count }, (_, h) => row(h * length + start));
  const weights =
    head === null
      ? Array.from({ length: track + 1 }, (_, key) => heads.reduce((sum, one) => sum + one[key]!, 0) / count)
      : heads[head]!;
  return {
    weights,
    heads,
    origin: (key) => ({
      chunk,
      index: head === null ? [track, key] : [head, track, key],
      truth: entry.truth,
      meaning: entry.meaning,
      ...(head === null ? { note: tr("mean over its {count} heads", { count }) } : {}),
    }),
  };
}

export interface StepView {
  step: number;
  drawn: number;
  kept: number;
  draw: number; // NaN at temperature 0
  span: [number, number] | null;
  seconds: number | null;
  top: { id: number; logprob: number; share: number }[];
  logprob: number;
}

/** A sampling step: the distribution and the draw. */
export async function stepAt(record: PellucidRecord, step: number): Promise<StepView> {
  const read = async (name: string): Promise<Numbers | null> =>
    record.has(`generation/${name}`) ? record.numbers(`generation/${name}`) : null;
  const names = ["drawn_ids", "drawn_logprobs", "topk_ids", "topk_logprobs", "topk_shares", "kept", "draw", "drawn_span"];
  const chunks = await Promise.all(names.map((name) => read(`steps/${name}`)));
  const [drawn, logprob, ids, logprobs, shares, kept, draw, span] = chunks;
  const seconds = await read("timings/steps");
  const count = record.entry("generation/steps/topk_ids").shape[1]!;
  return {
    step,
    drawn: Number(drawn![step]),
    logprob: Number(logprob![step]),
    kept: Number(kept![step]),
    draw: Number(draw![step]),
    span: span ? [Number(span[2 * step]), Number(span[2 * step + 1])] : null,
    seconds: seconds ? Number(seconds[step]) : null,
    top: Array.from({ length: count }, (_, k) => ({
      id: Number(ids![step * count + k]),
      logprob: Number(logprobs![step * count + k]),
      share: Number(shares![step * count + k]),
    })),
  };
}

export function originOf(record: PellucidRecord, chunk: string, index: number[]): Origin {
  const { truth, meaning } = record.entry(chunk);
  return { chunk, index, truth, meaning };
}

/** A probability as text, as in the figures: 42%, 3.1%, 0.02%, <0.01%. */
export function percent(probability: number): string {
  const share = 100 * probability;
  if (probability >= 1) return "100%";
  if (probability >= 0.9945) return probability < 0.9995 ? `${share.toFixed(1)}%` : ">99.9%";
  if (probability >= 0.0995) return `${Math.floor(share + 0.5)}%`;
  if (probability >= 0.00995) return `${share.toFixed(1)}%`;
  if (probability >= 0.00005) return `${share.toFixed(2)}%`;
  return probability > 0 ? "<0.01%" : "0%";
}

/** Name of a level: of the vectors after block k, counted from 1, or of the embedding. Chunks count blocks from 0. */
export function levelName(level: number): string {
  return level === 0 ? tr("embedding") : tr("after block {number}", { number: level });
}

/** Short label of a block's attention pattern: "band 128" for banded(128). */
export function shortPattern(pattern: string): string {
  const width = /^banded\((\d+)\)$/.exec(pattern)?.[1];
  return width === undefined ? patternName(pattern) : tr("band {width}", { width });
}

const PATTERNS = [mark("dense"), mark("banded"), mark("strided"), mark("fixed"), mark("local"), mark("compressed")];

/** A block's attention pattern, its kind in the page's language. */
export function patternName(pattern: string): string {
  const kind = /^\w+/.exec(pattern)?.[0] ?? "";
  return PATTERNS.includes(kind) ? tr(kind) + pattern.slice(kind.length) : pattern;
}

const RECORDS: Record<string, string> = {
  generation: mark("generation"),
  training: mark("training"),
  finetuning: mark("finetuning"),
  priming: mark("priming"),
  plan: mark("plan"),
};

/** A kind of record, in the page's language. */
export function kindName(kind: string): string {
  return tr(RECORDS[kind] ?? kind);
}

const TRUTH = {
  derived: mark("derived"),
  replayed: mark("replayed"),
  measured: mark("measured"),
  given: mark("given"),
  estimated: mark("estimated"),
};

/** A class of truth, in the page's language. */
export function truthName(truth: Origin["truth"]): string {
  return tr(TRUTH[truth]);
}
