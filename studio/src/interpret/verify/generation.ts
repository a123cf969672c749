// Verifying a generation record: every derived number recomputed from the page's model, as src/pellucid/interpret/verify/generation.py
// does it. The record's tokens go through the model in one pass, and each step is derived from the logits at its position.

import { type Ablation, checkedAblation, Replacements } from "../../engine/ablation.ts";
import { largest } from "../../engine/sampling.ts";
import { RecordError } from "../../record/bytes.ts";
import { checkGeneration } from "../../record/check.ts";
import type { Numbers } from "../../record/decode.ts";
import type { PellucidRecord } from "../../record/record.ts";
import { SUM_ERROR, TOTAL_ERROR } from "../../record/triangle.ts";
import { Activations, cacheCells, lensRows } from "../activations.ts";
import { LENS_CANDIDATES, type Loaded, pieceTable } from "../capture.ts";
import { cosines, positionRow, readOut, sources, tokenRow } from "../vectors.ts";
import { type ChunkResult, compareTop, Difference, equal, equality, FLOAT32, rangeOf, type WordResult } from "./difference.ts";
import { NOISE, roundingError, rowStepWithin, streamError, streamRanges, weightError } from "./errors.ts";
import { ablationWord, readAll } from "./passes.ts";
import { checkModel, checkTable, chunkWords, headerWords, patternOf } from "./record_words.ts";
import { samplingWords } from "./sampling_words.ts";
import { statedOptions } from "./stated_options.ts";
import { StepVerifier } from "./steps.ts";

const COSINE_ERROR = 2 ** -18; // of float32 sums of some thousand products
const CACHE_TILE = 8; // positions that a cache of PyTorch holds a multiple of
const G = "generation/";

/** What verifying found. */
export interface Report {
  chunks: ChunkResult[];
  words: WordResult[];
  /** Every recomputed chunk is within its tolerance, and no word differs from its source. */
  ok: boolean;
  /** Numbers that were recomputed and compared. */
  numbers: number;
}

/**
 * Recomputes a record's numbers and compares them.
 *
 * onChunk: called before each chunk, with how many of all are done. Errors: `RecordError` for a record that is damaged, was made from
 * another model, or contradicts itself where nothing can be recomputed.
 */
export async function verifyGeneration(
  record: PellucidRecord, loaded: Loaded, onChunk: (done: number, all: number) => Promise<void>,
): Promise<Report> {
  if (record.kind !== "generation") throw new RecordError(`this page proves records of generations, not of ${record.kind}: pellucid verify does`);
  if (!record.checked) throw new RecordError("this browser computes no SHA-256 for this page, and a proof needs it");
  checkGeneration(record);
  checkTable(record, loaded.page);
  checkModel(record, loaded);
  const verifier = await GenerationVerifier.open(record, loaded);
  const chunks: ChunkResult[] = [];
  const names = record.names();
  for (const name of names) {
    await onChunk(chunks.length, names.length);
    chunks.push(await verifier.result(name));
  }
  const words = [...headerWords(record, loaded.page), ...chunkWords(record, loaded.page, verifier.sources()), ...verifier.words()];
  const ok = chunks.every((one) => one.ok) && !words.some((one) => one.status === "differs");
  return { chunks, words, ok, numbers: chunks.reduce((sum, one) => sum + one.numbers, 0) };
}

async function optional(record: PellucidRecord, name: string): Promise<Numbers | null> {
  return record.has(name) ? record.numbers(name) : null;
}

class GenerationVerifier {
  private readonly contradictions: Map<string, string>;
  private lensDone: Record<"ids" | "logprobs" | "next_ranks" | "next_logprobs", Difference> | null = null;
  private topDone: [Difference, Difference] | null = null;

  private constructor(
    private readonly record: PellucidRecord,
    private readonly loaded: Loaded,
    private readonly ids: number[],
    private readonly prompt: number,
    private readonly computed: Activations,
    private readonly steps: StepVerifier,
    private readonly ablationWords: WordResult[],
  ) {
    this.contradictions = steps.contradictions();
  }

  static async open(record: PellucidRecord, loaded: Loaded): Promise<GenerationVerifier> {
    const { model } = loaded;
    const prompt = Array.from((await record.numbers(`${G}prompt_ids`)) as Int32Array);
    const drawn = Array.from((await record.numbers(`${G}steps/drawn_ids`)) as Int32Array);
    const draw = await record.numbers(`${G}steps/draw`);
    const options = statedOptions(record, loaded, prompt, drawn, draw);
    const ids = [...prompt, ...drawn];
    const axes: [string, number][] = [["cells", 2], ["block_inputs/0", 0], ["attention/0", 1], ["lens/ids", 1]];
    let positions = ids.length - 1;
    for (const [name, axis] of axes) {
      if (!record.has(G + name)) continue;
      const { shape, triangle } = record.entry(G + name);
      const side = triangle ? Math.floor((Math.sqrt(8 * shape.at(-1)! + 1) - 1) / 2) : shape[axis]!;
      positions = Math.max(positions, side);
    }
    const computed = new Activations(model.config, positions);
    const stated = record.provenance.ablation;
    const ablation = stated === undefined ? null : checkedAblation(stated, model.config);
    const read = (left: Ablation | null, sink: Activations | null) => {
      const replaced = left && new Replacements(model, left, prompt);
      try {
        return readAll(loaded, ids.slice(0, positions), prompt.length - 1, sink, replaced).slice(0, drawn.length);
      } finally {
        replaced?.free();
      }
    };
    const rows = read(ablation, computed);
    const ablated = ablation ? [ablationWord(ablation, rows, (left) => read(left, null))] : [];
    const numbers = (name: string) => record.numbers(`${G}steps/${name}`);
    const [ownLogprobs, topIds, topLogprobs, topShares, kept] = await Promise.all(
      ["drawn_logprobs", "topk_ids", "topk_logprobs", "topk_shares", "kept"].map(numbers),
    );
    const chunks = {
      drawn_ids: Int32Array.from(drawn), drawn_logprobs: ownLogprobs!, topk_ids: topIds!, topk_logprobs: topLogprobs!, topk_shares: topShares!,
      kept: kept!, draw, drawn_span: await optional(record, `${G}steps/drawn_span`),
    }; // prettier-ignore
    const steps = new StepVerifier(chunks, rows, NOISE, options, prompt.length);
    return new GenerationVerifier(record, loaded, ids, prompt.length, computed, steps, ablated);
  }

  words(): WordResult[] {
    return [...this.ablationWords, ...this.samplingWords()];
  }

  private samplingWords(): WordResult[] {
    return samplingWords(this.record.provenance.sampling ?? {}, this.loaded, this.steps, this.ids.slice(this.prompt));
  }

  async result(name: string): Promise<ChunkResult> {
    const { truth } = this.record.entry(name);
    const said = (ok: boolean, note: string, unchecked: boolean): ChunkResult => {
      return { chunk: name, truth, ok, difference: null, tolerance: null, unit: "", note, coarse: 0, numbers: 0, unchecked };
    };
    if (patternOf(name, this.loaded.page) === null) return said(false, "this page cannot recompute it", true);
    const wrong = name.startsWith(`${G}steps/`) && this.contradictions.get(name.slice(`${G}steps/`.length));
    if (wrong) return said(false, `contradicts the record: ${wrong}`, false);
    const stored = await this.record.numbers(name);
    if (truth === "measured") {
      const sound = Array.from(stored as Float64Array, Number).every((value) => Number.isFinite(value) && value >= 0);
      const possible = sound && (name !== `${G}cache_bytes` || this.possibleCache(Number(stored[0])));
      return said(possible, possible ? "measured" : "measured: not possible", true);
    }
    const found = await this.difference(name, stored as Float32Array);
    return found.result(name, truth);
  }

  private async difference(name: string, stored: Float32Array): Promise<Difference> {
    const { config } = this.loaded.model;
    const part = name.startsWith(G) ? name.slice(G.length) : name;
    const number = Number(part.slice(part.lastIndexOf("/") + 1));
    if (part.startsWith("pieces/")) return this.pieces(part, stored);
    if (part.startsWith("block_inputs/")) return this.blockInput(number, stored, this.record.entry(name).dtype);
    if (part.startsWith("attention/")) return this.attention(number, stored, this.record.entry(name).dtype);
    if (part.startsWith("lens/")) return (await this.lens())[part.slice("lens/".length) as "ids"];
    const token = this.ids[this.prompt - 1]!;
    switch (part) {
      case "prompt_ids": return equal(stored, this.ids.slice(0, this.prompt));
      case "steps/drawn_ids": return this.steps.drawnIds();
      case "steps/drawn_logprobs": return this.steps.drawnLogprobs();
      case "steps/topk_ids": return (this.topDone ??= this.steps.top())[0];
      case "steps/topk_logprobs": return (this.topDone ??= this.steps.top())[1];
      case "steps/topk_shares": return this.steps.shares();
      case "steps/kept": return this.steps.kept();
      case "steps/draw": return this.steps.draws();
      case "steps/drawn_span": return this.steps.spans();
      case "cells": return equal(stored, cacheCells(config.pattern, this.prompt, this.steps.steps));
      case "embedding/token": return equal(stored, tokenRow(this.loaded.model, token));
      case "embedding/position": return equal(stored, positionRow(this.loaded.model, this.prompt - 1));
      case "embedding/nearest_ids": return (await this.nearest(token))[0];
      case "embedding/nearest_cosines": return (await this.nearest(token))[1];
      case "output/vector": return this.output(stored);
      case "output/rows": return this.rows(stored);
      case "writes/attention": return this.writes(0, stored);
      case "writes/mlp": return this.writes(1, stored);
      default: return equality(false);
    } // prettier-ignore
  }

  /** What the record must state as the source of its chunks, by name. */
  sources(): Record<string, unknown> {
    const { config } = this.loaded.model;
    const token = this.ids[this.prompt - 1]!;
    const found: Record<string, unknown> = {
      [`${G}embedding/token`]: sources.token(token), [`${G}embedding/position`]: sources.position(this.prompt - 1),
      [`${G}embedding/nearest_ids`]: sources.tokens, [`${G}embedding/nearest_cosines`]: sources.tokens,
      [`${G}output/vector`]: sources.output(config), [`${G}output/rows`]: sources.rows(this.listed()),
    }; // prettier-ignore
    for (let level = 0; level <= config.n_layers; level++) found[`${G}block_inputs/${level}`] = sources.blockInput(config, level);
    for (let block = 0; block < config.n_layers; block++) found[`${G}attention/${block}`] = sources.attention(config, block);
    for (const part of ["ids", "logprobs", "next_ranks", "next_logprobs"]) found[`${G}lens/${part}`] = sources.lens(config);
    return found;
  }

  private blockInput(level: number, stored: Float32Array, dtype: string): Difference {
    const { d_model: c } = this.loaded.model.config;
    const expected = this.computed.level(level);
    if (stored.length !== expected.length) return equality(false);
    const [noise, ranges] = [streamError(expected, c), streamRanges(expected, c)];
    const rounding = dtype === "bfloat16" ? 2 ** -8 : FLOAT32;
    const found = new Difference();
    expected.forEach((value, i) => {
      const tolerance = noise[i]! + rounding * (Math.abs(value) + noise[i]!);
      found.add(Math.abs(stored[i]! - value), tolerance, ranges[i]!);
    });
    return found;
  }

  private attention(block: number, stored: Float32Array, dtype: string): Difference {
    const { n_heads: heads } = this.loaded.model.config;
    const { positions } = this.computed;
    const expected = this.computed.attention(block);
    if (stored.length !== expected.length) return equality(false);
    const size = expected.length / heads;
    const found = new Difference();
    for (let head = 0; head < heads; head++) {
      for (let query = 0; query < positions; query++) {
        const start = head * size + (query * (query + 1)) / 2;
        const row = expected.subarray(start, start + query + 1);
        const noise = Array.from(row, weightError);
        const largestWeight = row.reduce((most, weight) => Math.max(most, weight), 0);
        const step = dtype === "float16" ? rowStepWithin(row, noise) : 0;
        let [sum, total, noiseSum] = [0, 0, 2 ** -20];
        row.forEach((weight, key) => {
          const off = stored[start + key]! - weight;
          sum += off;
          total += Math.abs(off);
          noiseSum += noise[key]!;
          const rounding =
            dtype === "float16" ? roundingError(weight, noise[key]!, step) : dtype === "uint8" ? 1 / 510 + 2 ** -22 : FLOAT32 * weight + 2 ** -126;
          found.add(Math.abs(off), noise[key]! + rounding, largestWeight);
        });
        if (dtype !== "float16") continue; // sums of rows, whose tolerances bound no single weight
        found.add(Math.abs(sum), noiseSum + SUM_ERROR);
        found.add(total, noiseSum + TOTAL_ERROR);
      }
    }
    return found;
  }

  private async lens(): Promise<NonNullable<GenerationVerifier["lensDone"]>> {
    if (this.lensDone) return this.lensDone;
    const { record } = this;
    const { model } = this.loaded;
    const [ids, logprobs, ranks, nexts] = await Promise.all(
      ["ids", "logprobs", "next_ranks", "next_logprobs"].map((part) => optional(record, `${G}lens/${part}`)),
    );
    const found = { ids: new Difference("nats"), logprobs: new Difference("nats"), next_ranks: new Difference("tokens"), next_logprobs: new Difference("nats") };
    this.lensDone = found;
    const following = this.ids.slice(1);
    const levels = model.config.n_layers + 1;
    const { positions } = this.computed;
    const count = ids && logprobs ? ids.length / (levels * positions) : 0;
    if (ranks && nexts && (ranks.length !== levels * following.length || nexts.length !== ranks.length))
      [found.next_ranks, found.next_logprobs] = [equality(false), equality(false)];
    for (let level = 0; level < levels; level++) {
      lensRows(model, this.computed.level(level), (position, logits) => {
        const best = logits.reduce((most, x) => Math.max(most, x), -Infinity);
        const size = logits.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
        const logTotal = best + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - best), 0));
        const nats = NOISE * size;
        const top = Float64Array.from(largest(logits, Math.min(Math.max(20, count), logits.length)), (id) => logits[id]! - logTotal);
        if (count) {
          const at = (level * positions + position) * count;
          const part = (numbers: Numbers) => Array.from((numbers as Float32Array).subarray(at, at + count));
          compareTop(found.ids, found.logprobs, (id) => logits[id]! - logTotal, logits.length, top, part(ids!), part(logprobs!), nats);
        }
        if (!ranks || !nexts || position >= following.length) return;
        const expected = logits[following[position]!]! - logTotal;
        let [least, most] = [0, -1];
        for (const logit of logits) {
          if (logit - logTotal > expected + 2 * nats) least++;
          if (logit - logTotal >= expected - 2 * nats) most++;
        }
        const middle = (least + most) / 2;
        const place = level * following.length + position;
        found.next_ranks.add(Math.abs(Number(ranks[place]) - middle), most - middle, Math.max(middle, 10));
        const range = rangeOf([...top.subarray(0, 20), expected]);
        found.next_logprobs.add(Math.abs(Number(nexts[place]) - expected), nats + FLOAT32 * Math.abs(expected), range);
      });
    }
    return found;
  }

  private async nearest(token: number): Promise<[Difference, Difference]> {
    const { record } = this;
    const expected = cosines(this.loaded.model, token);
    expected[token] = -2; // the token itself is not listed
    const listed = await record.numbers(`${G}embedding/nearest_ids`);
    const stored = (await optional(record, `${G}embedding/nearest_cosines`)) ?? new Float32Array(listed.length);
    const best = Float64Array.from(largest(expected, listed.length), (id) => expected[id]!);
    const [ids, numbers] = [new Difference(), new Difference()];
    const plain = (numbers: Numbers) => Array.from(numbers as Float32Array);
    compareTop(ids, numbers, (id) => expected[id]!, expected.length, best, plain(listed), plain(stored), COSINE_ERROR);
    return [ids, numbers];
  }

  private output(stored: Float32Array): Difference {
    const { d_model: c, n_layers: blocks } = this.loaded.model.config;
    const expected = readOut(this.loaded.model, this.computed.level(blocks).subarray(0, this.prompt * c));
    if (stored.length !== c) return equality(false);
    const [noise, ranges] = [streamError(expected, c), streamRanges(expected, c)];
    const found = new Difference();
    const start = (this.prompt - 1) * c;
    stored.forEach((value, i) => {
      const own = expected[start + i]!;
      found.add(Math.abs(value - own), noise[start + i]! + FLOAT32 * Math.abs(own), ranges[start + i]!);
    });
    return found;
  }

  /** The first step's likeliest tokens, as the record lists them; `steps` checks those. */
  private listed(): number[] {
    const ids = this.steps.chunks.topk_ids;
    return Array.from({ length: Math.min(LENS_CANDIDATES, ids.length / this.steps.steps) }, (_, j) => Number(ids[j]));
  }

  private rows(stored: Float32Array): Difference {
    const listed = this.listed();
    if (!listed.every((id) => id >= 0 && id < this.loaded.model.config.vocab_size)) return equality(false);
    return equal(stored, listed.flatMap((id) => [...tokenRow(this.loaded.model, id)]));
  }

  private writes(part: 0 | 1, stored: Float32Array): Difference {
    const { d_model: c, n_layers: blocks } = this.loaded.model.config;
    const { positions } = this.computed;
    if (stored.length !== blocks * positions) return equality(false);
    const found = new Difference();
    for (let block = 0; block < blocks; block++) {
      const expected = this.computed.writes[block]![part].subarray(0, positions * c);
      const noise = streamError(expected, c);
      for (let at = 0; at < positions; at++) {
        let [norm, error] = [0, 0];
        for (let i = at * c; i < (at + 1) * c; i++) {
          norm += expected[i]! ** 2;
          error += noise[i]! ** 2; // the norm of an error bounds a norm's error
        }
        [norm, error] = [Math.sqrt(norm), Math.sqrt(error)];
        found.add(Math.abs(stored[block * positions + at]! - norm), error + 2 ** -20 * norm, norm);
      }
    }
    return found;
  }

  private async pieces(name: string, stored: ArrayLike<number>): Promise<Difference> {
    const { record } = this;
    const { tokenizer } = this.loaded;
    const tokens = new Set<number>();
    for (const chunk of ["prompt_ids", "steps/drawn_ids", "steps/topk_ids", "lens/ids", "embedding/nearest_ids"]) {
      for (const id of Array.from(((await optional(record, G + chunk)) ?? []) as Int32Array)) if (id >= 0 && id < tokenizer.vocabSize) tokens.add(id);
    }
    const { dtype, plain } = pieceTable(tokenizer, tokens)[name]!;
    return equal(stored, dtype === "int32" ? new Int32Array(plain.buffer, plain.byteOffset, plain.length / 4) : plain);
  }

  /** Whether a cache of so many bytes can hold the positions, and is not larger than one of the whole context. */
  private possibleCache(bytes: number): boolean {
    const { n_layers: blocks, d_model: c, n_ctx: context } = this.loaded.model.config;
    const of = (positions: number) => 2 * blocks * Math.ceil(positions / CACHE_TILE) * CACHE_TILE * c * 4;
    return bytes >= of(this.computed.positions) && bytes <= of(context);
  }
}
