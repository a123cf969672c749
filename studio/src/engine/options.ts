// The sampling options of one request, checked against the table that Python wrote into the page (src/pellucid/engine/options.py).

import { RecordError } from "../record/bytes.ts";
import type { OptionField } from "../wire.ts";

/** How tokens are drawn: see `SamplingOptions` in Python. */
export interface SamplingOptions {
  max_tokens: number;
  temperature: number;
  top_k: number | null;
  top_p: number | null;
  min_p: number | null;
  presence_penalty: number;
  frequency_penalty: number;
  repetition_penalty: number;
  /** (token id, what is added to its logit), by id. */
  logit_bias: [number, number][];
  stop: string[];
  seed: bigint;
}

const HALF = /\p{Surrogate}/u;

/** Options by name, those that are absent or null at their defaults. Errors: `RecordError` for an option or value that there is not. */
export function samplingOptions(stated: Readonly<Record<string, unknown>>, table: readonly OptionField[], seed: bigint): SamplingOptions {
  const found: Record<string, unknown> = {};
  for (const name of Object.keys(stated))
    if (!table.some((option) => option.name === name)) throw new RecordError(`there is no sampling option ${name}`);
  for (const option of table) {
    const value = stated[option.name];
    if (option.name === "seed") found.seed = value === undefined || value === null ? seed : seedOf(value, option);
    else found[option.name] = value === undefined || (value === null && !option.nullable) ? initial(option) : checked(option, value);
  }
  return found as unknown as SamplingOptions;
}

const initial = (option: OptionField): unknown => (option.type === "biases" ? [] : option.default);

function seedOf(value: unknown, option: OptionField): bigint {
  const text = typeof value === "number" ? (Number.isSafeInteger(value) ? String(value) : "") : typeof value === "string" ? value : "";
  if (!/^-?[0-9]{1,19}$/.test(text)) throw refused(option, value);
  const seed = BigInt(text);
  if (BigInt.asIntN(64, seed) !== seed) throw refused(option, value);
  return seed;
}

function checked(option: OptionField, value: unknown): unknown {
  if (value === null && option.nullable) return null;
  if (option.type === "texts") {
    const texts = typeof value === "string" ? [value] : value;
    if (!Array.isArray(texts) || !texts.every((text) => typeof text === "string" && text !== "" && !HALF.test(text)))
      throw refused(option, value);
    return texts;
  }
  if (option.type === "biases") return biases(option, value);
  if (option.type === "bool") {
    if (typeof value !== "boolean") throw refused(option, value);
    return value;
  }
  const { minimum, maximum } = option;
  const valid =
    typeof value === "number" && Number.isFinite(value) && (option.type !== "int" || Number.isInteger(value)) &&
    (minimum === null || (option.above_minimum ? value > minimum : value >= minimum)) && (maximum === null || value <= maximum);
  if (!valid) throw refused(option, value);
  return value;
}

/** Pairs in the order of the ids, from an object or from pairs as a record states them. */
function biases(option: OptionField, value: unknown): [number, number][] {
  const given: unknown[] = Array.isArray(value) ? value : typeof value === "object" && value ? Object.entries(value) : [null];
  const pairs = given.map((pair): [number, number] => {
    const [id, bias] = Array.isArray(pair) && pair.length === 2 ? (pair as unknown[]) : [];
    const token = typeof id === "string" && /^\d{1,15}$/.test(id) ? Number(id) : id;
    if (!Number.isSafeInteger(token) || (token as number) < 0 || typeof bias !== "number" || !(Math.abs(bias) <= 100)) throw refused(option, value);
    return [token as number, bias];
  });
  pairs.sort(([a], [b]) => a - b);
  if (pairs.some(([id], i) => i > 0 && id === pairs[i - 1]![0])) throw new RecordError(`${option.name} names a token twice: give each one bias`);
  return pairs;
}

function refused(option: OptionField, value: unknown): RecordError {
  const text = String(JSON.stringify(value) ?? value);
  return new RecordError(`${option.name} cannot be ${text.length > 40 ? `${text.slice(0, 40)}...` : text}: ${option.help}`);
}

/** Whether a draw depends on how often each token was drawn before. */
export function usesCounts(options: SamplingOptions): boolean {
  return options.presence_penalty !== 0 || options.frequency_penalty !== 0 || options.repetition_penalty !== 1;
}

/** Whether fewer than all of the tokens may be left to draw from. */
export function truncates(options: SamplingOptions, vocabSize: number): boolean {
  const { top_k: k, top_p: p, min_p: least } = options;
  return (k !== null && k < vocabSize) || (p !== null && p < 1) || Boolean(least);
}

/** The options as a generation record names them, all but the seed; `always` are those that it names at their defaults, too. */
export function recordedOptions(options: SamplingOptions, table: readonly OptionField[]): Record<string, unknown> {
  const named: Record<string, unknown> = {};
  for (const option of table) {
    const value = options[option.name as keyof SamplingOptions];
    if (option.name === "seed") continue;
    if (ALWAYS.includes(option.name) || JSON.stringify(value) !== JSON.stringify(initial(option))) named[option.name] = value;
  }
  return named;
}

/** The options that a record always names (a test compares them with Python's table). */
export const ALWAYS: readonly string[] = ["max_tokens", "temperature", "top_k", "top_p", "stop"];
