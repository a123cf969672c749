// The form of priming: what an address states, and which numbers of examples are asked.

import type { PageModel, PagePriming } from "../wire.ts";
import type { AskState } from "./route.ts";

/** The prompt that an address states; what it does not state, or not as it should, is the page's own. */
export function statedPriming(state: AskState, { priming, formats }: Pick<PageModel, "priming" | "formats">): PagePriming {
  const { task = "", query, answer = "", format, examples } = state;
  if (query === undefined) return { ...priming, examples: priming.examples.map((pair) => [...pair]) };
  return { task, query, answer, format: format && Object.hasOwn(formats, format) ? format : priming.format, examples: examplesOf(examples) };
}

function examplesOf(text: string | undefined): string[][] {
  let found: unknown;
  try {
    found = JSON.parse(text ?? "[]");
  } catch {
    return [];
  }
  const pairs = Array.isArray(found) ? found : [];
  return pairs.filter((pair) => Array.isArray(pair) && pair.length === 2).map((pair: unknown[]) => pair.map(String));
}

/** The same prompt for an address. */
export function primingState({ task, query, answer, format, examples }: PagePriming, shots: string): AskState {
  return { ...(task ? { task } : {}), examples: JSON.stringify(examples), query, answer, format, shots };
}

/** Numbers in a text, such as "0, 1, 8"; null where it holds anything else. */
export function numbersIn(text: string): number[] | null {
  const parts = text.split(/[\s,;]+/).filter(Boolean);
  return parts.length && parts.every((part) => /^\d{1,3}$/.test(part)) ? parts.map(Number) : null;
}

/** No, one and all of some examples, as such a text. */
export function countsUpTo(most: number): string {
  return [...new Set([0, Math.min(1, most), most])].join(", ");
}
