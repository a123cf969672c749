// What the figure `context` shows: the window's positions, and which of them each block reads
// (src/pellucid/draw/views/context.py). L blocks, S steps, T positions that went through the model.

import type { Shows } from "../film/types.ts";
import type { PellucidRecord } from "../record/record.ts";
import { modelOf, type RecordedModel } from "./generated.ts";
import { given, shows } from "./nodes.ts";
import { Pieces } from "./pieces.ts";

const MOST_STEPS = 6; // that are shown
const MOST_PATTERNS = 6;
const [MASK_POSITIONS, MASK_TILES] = [2048, 64] as const; // of a mask: positions that are counted, and tiles a side
const DROPPED = 3; // as the schema says of generation/cells

/** The blocks of one attention pattern. */
export interface PatternRow {
  pattern: string;
  /** How many keys a query reads at most, itself included; Infinity where it reads all before it. */
  width: number;
  blocks: readonly number[];
  /** [step shown][position] whether the step's newest position reads it. */
  reads: readonly (readonly boolean[])[];
  /** [step shown][position] whether it went through the model and no later query can read it in any of these blocks. */
  unreadable: readonly (readonly boolean[])[];
  /** [tile of queries][tile of keys] the share of pairs in which the query reads the key, over the whole window. */
  mask: readonly (readonly number[])[];
}

export interface ContextView {
  model: RecordedModel;
  pieces: Pieces;
  /** Positions of the window. */
  context: number;
  prompt: number;
  ids: readonly number[];
  positions: number;
  /** Those shown, the first and the last among them. */
  steps: readonly number[];
  totalSteps: number;
  rows: readonly PatternRow[];
  /** How many patterns have no row. */
  otherPatterns: number;
}

/** The position whose output a step draws from. */
export const newestIn = ({ prompt }: ContextView, step: number): number => prompt - 1 + step;

export const countOf = (flags: readonly boolean[]): number => flags.filter(Boolean).length;

/** Where the token that enters a position stands in the record. */
export function tokenSource({ prompt }: ContextView, position: number): Shows {
  return position < prompt ? given("generation/prompt_ids", position) : shows("generation/steps/drawn_ids", [position - prompt]);
}

/** How many (query, key) pairs a window of so many positions has. */
export function pairsOf({ width }: PatternRow, positions: number): number {
  const w = Math.min(width, positions);
  return (w * (w + 1)) / 2 + (positions - w) * w;
}

/** Reads a generation record. Errors: `RecordError` where it lacks a chunk that the figure needs. */
export async function readContext(record: PellucidRecord): Promise<ContextView> {
  const model = modelOf(record);
  const numbers = async (name: string) => Array.from(await record.numbers(`generation/${name}`), Number);
  const [prompt, drawn, cells] = (await Promise.all(["prompt_ids", "steps/drawn_ids", "cells"].map(numbers))) as [number[], number[], number[]];
  const [count, blocks, positions] = record.entry("generation/cells").shape as [number, number, number];
  const shown = Math.min(count, MOST_STEPS);
  const steps = Array.from({ length: shown }, (_, i) => Math.floor((i * (count - 1)) / Math.max(shown - 1, 1)));
  const context = Number(record.provenance.config.n_ctx);
  const byPattern = new Map<string, number[]>();
  model.pattern.forEach((pattern, block) => byPattern.set(pattern, [...(byPattern.get(pattern) ?? []), block]));
  const state = (step: number, block: number, position: number) => cells[(step * blocks + block) * positions + position];
  const all = Array.from({ length: positions }, (_, position) => position);
  const rows = [...byPattern].slice(0, MOST_PATTERNS).map(([pattern, of]): PatternRow => {
    const width = Number(/^banded\((\d+)\)$/.exec(pattern)?.[1] ?? Infinity);
    return {
      pattern, width, blocks: of, mask: maskOf(width, Math.min(context, MASK_POSITIONS)),
      reads: steps.map((step) => all.map((key) => key <= prompt.length - 1 + step && key > prompt.length - 1 + step - width)),
      unreadable: steps.map((step) => all.map((position) => of.every((block) => state(step, block, position) === DROPPED))),
    }; // prettier-ignore
  });
  return {
    model, pieces: await Pieces.of(record), context, prompt: prompt.length, ids: [...prompt, ...drawn], positions, steps, totalSteps: count, rows,
    otherPatterns: Math.max(0, byPattern.size - MOST_PATTERNS),
  }; // prettier-ignore
}

/** The mean of the mask over equal tiles, each of whole positions. */
function maskOf(width: number, positions: number): number[][] {
  const tiles = Math.min(positions, MASK_TILES);
  const edges = Array.from({ length: tiles + 1 }, (_, i) => Math.floor((i * positions) / tiles));
  const pairs = (q: number, tile: number) => Math.max(0, Math.min(q + 1, edges[tile + 1]!) - Math.max(q + 1 - width, edges[tile]!));
  return Array.from({ length: tiles }, (_, row) =>
    Array.from({ length: tiles }, (_, column) => {
      let sum = 0;
      for (let q = edges[row]!; q < edges[row + 1]!; q++) sum += pairs(q, column);
      return sum / ((edges[row + 1]! - edges[row]!) * (edges[column + 1]! - edges[column]!));
    }),
  );
}
