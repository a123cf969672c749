// Passes over a record's tokens: the logits that its steps are derived from, and those with another ablation.

import type { Ablation, Replacements } from "../../engine/ablation.ts";
import type { Activations } from "../activations.ts";
import type { Loaded } from "../capture.ts";
import type { WordResult } from "./difference.ts";
import { NOISE } from "./errors.ts";

const LOGIT_ROWS = 64; // positions whose logits are computed at once

/**
 * The ablation, verified if each part of it, and zeros or means, moved the logits by more than they may be off. rows: the logits with
 * it. read: gives the logits with another one.
 */
export function ablationWord(ablation: Ablation, rows: Float32Array[], read: (left: Ablation | null) => Float32Array[]): WordResult {
  const without = ablation.parts.map((_, i) => ablation.parts.filter((_, j) => j !== i));
  const others = without.map((parts): Ablation | null => (parts.length ? { ...ablation, parts } : null));
  const determined = [...others, { ...ablation, by: ablation.by === "zero" ? ("mean" as const) : ("zero" as const) }].every((other) => {
    return read(other).some((row, i) => {
      const size = rows[i]!.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
      return row.some((logit, id) => Math.abs(logit - rows[i]![id]!) > 2 * NOISE * size);
    });
  });
  const note = determined ? "" : "the recorded numbers do not depend on all of it";
  return { word: "provenance/ablation", status: determined ? "equal" : "unverified", note };
}

/** The logits at position `first` and after it, by position; the activations go to `sink`. */
export function readAll({ model }: Loaded, ids: number[], first: number, sink: Activations | null, replaced: Replacements | null): Float32Array[] {
  const { vocab_size: v } = model.config;
  const sequence = model.open(ids.length);
  replaced?.apply(sequence);
  const rows: Float32Array[] = [];
  try {
    for (let start = 0; start < ids.length; ) {
      const end = start < first ? first : Math.min(ids.length, start + LOGIT_ROWS);
      const wanted = start < first ? 0 : end - start;
      const place = model.read(sequence, start, ids.slice(start, end), wanted, sink);
      const logits = model.kernel.float32(place, wanted * v).slice();
      for (let row = 0; row < wanted; row++) rows.push(logits.subarray(row * v, (row + 1) * v));
      start = end;
    }
  } finally {
    model.close(sequence);
  }
  return rows;
}
