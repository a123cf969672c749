// Verifying the sampling options that a record states: one is verified if no neighbouring value of it could have given the recorded
// steps (src/pellucid/interpret/verify/sampling_words.py).

import { SAMPLE } from "../../engine/generation.ts";
import { type SamplingOptions, samplingOptions } from "../../engine/options.ts";
import { TextAssembler } from "../../text/detokenizer.ts";
import type { Loaded } from "../capture.ts";
import { compared, type WordResult } from "./difference.ts";
import type { StepVerifier } from "./steps.ts";

const SAMPLING = "provenance/sampling/";
const NO_EFFECT = "the recorded numbers do not depend on it";
const NEAR = 1.1; // a neighbouring value: 10 % more or less

/** The result for each sampling option that the provenance states, and for the seed. drawn: the tokens. */
export function samplingWords(stated: Record<string, unknown>, loaded: Loaded, steps: StepVerifier, drawn: number[]): WordResult[] {
  const { options } = steps;
  const table = loaded.page.options;
  const warm = options.temperature > 0;
  const found = [wordOf("provenance/seed", warm, "nothing was drawn at temperature 0")];
  for (const [name, value] of Object.entries(stated)) {
    const word = SAMPLING + name;
    if (name === "sample") found.push(compared(word, value, SAMPLE));
    else if (name === "seed" || !table.some((option) => option.name === name))
      found.push({ word, status: "unverified", note: "no option that this page records" });
    else if (name === "max_tokens" || name === "stop") found.push(endOf(word, loaded, options, drawn));
    else found.push(wordOf(word, name === "temperature" && !warm ? true : warm && isDetermined(steps, name, loaded), NO_EFFECT));
  }
  return found;
}

function wordOf(word: string, verified: boolean, note: string): WordResult {
  return { word, status: verified ? "equal" : "unverified", note: verified ? "" : note };
}

function isDetermined(steps: StepVerifier, name: string, loaded: Loaded): boolean {
  const { seed, ...stated } = steps.options;
  for (const value of neighbours(steps, name, loaded)) {
    let options: SamplingOptions;
    try {
      options = samplingOptions({ ...stated, [name]: value }, loaded.page.options, seed);
    } catch {
      continue; // outside of the option's range
    }
    const other = steps.withOptions(options);
    let all = true;
    for (let i = 0; all && i < steps.steps; i++) all = other.agrees(i);
    if (all) return false;
  }
  return true;
}

/** Other values of an option, the nearest that could matter. */
function neighbours(steps: StepVerifier, name: string, loaded: Loaded): unknown[] {
  const value = steps.options[name as keyof SamplingOptions];
  if (name === "top_k") {
    if (value !== null) return [Number(value) + 1, Number(value) - 1, null];
    const kept = Array.from(steps.chunks.kept as Int32Array).reduce((a, b) => Math.max(a, b), 0);
    return [Math.min(kept, steps.vocabulary - 1)];
  }
  if (name === "top_p" || name === "min_p") {
    if (value === null) return [name === "top_p" ? 1 / NEAR : 1e-3];
    return [Number(value) * NEAR, Number(value) / NEAR, null];
  }
  if (name === "logit_bias") {
    const pairs = value as [number, number][];
    const without = pairs.map((_, i) => pairs.filter((_, j) => j !== i));
    const near = pairs.flatMap(([id, bias], i) => [bias * NEAR, bias / NEAR].map((other) => pairs.map((pair, j) => (j === i ? [id, other] : pair))));
    return [...without, ...near];
  }
  const initial = Number(loaded.page.options.find((option) => option.name === name)!.default);
  const number = Number(value);
  if (number === initial && name !== "temperature") return [initial + 0.5, initial - 0.5];
  return number === initial ? [number * NEAR, number / NEAR] : [number * NEAR, number / NEAR, initial];
}

/** max_tokens and stop, by where the text ends: before max_tokens tokens only after end-of-text or a stop string. */
function endOf(word: string, loaded: Loaded, options: SamplingOptions, drawn: number[]): WordResult {
  const text = new TextAssembler(loaded.tokenizer, options.stop);
  const end = drawn.findIndex((token) => {
    const ended = loaded.page.end_ids.includes(token);
    if (!ended) text.push(token);
    return ended || text.stopped;
  });
  if (end >= 0 && end < drawn.length - 1)
    return { word, status: "differs", note: `the text should end after ${end + 1} tokens, but continues` };
  if (end < 0 && drawn.length < options.max_tokens)
    return { word, status: "differs", note: `nothing ended the text after ${drawn.length} tokens` };
  if (word.endsWith("stop")) return { word, status: "unverified", note: "other strings could have ended it at the same place" };
  return wordOf(word, end < 0 && drawn.length === options.max_tokens, "the text was ended by something else");
}
