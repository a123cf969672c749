// The form of the sampling options: its inputs, from the table that the server sends, and the values of a request.

import { mark, tr } from "../language.ts";
import type { OptionField } from "../wire.ts";

/** The value of an option in a request. */
export type OptionValue = number | string | boolean | string[] | Record<string, number>;

/** The input of one option. */
export interface OptionInput {
  option: OptionField;
  label: string;
  /** The option's help, and how its value is written where that is not obvious. */
  hint: string;
  /** "digits": a whole number that JavaScript's numbers do not hold; "lines": several texts, each in its own line. */
  kind: "number" | "digits" | "checkbox" | "text" | "lines" | "pairs";
  initial: string | boolean;
  /** What an empty input means. */
  placeholder: string;
  min: number | undefined;
  max: number | undefined;
  step: number | undefined;
}

/** A value that an option does not take. */
export class OptionError extends Error {
  constructor(
    /** Name of the option. */
    readonly option: string,
    message: string,
  ) {
    super(message);
  }
}

const COMMON = ["temperature", "top_p", "max_tokens", "seed"];
// Where the form begins; other options begin empty: at their defaults.
const INITIAL: Record<string, number> = { temperature: 0.8, top_p: 0.95, max_tokens: 40 };
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const INTEGER = /^[+-]?\d+$/;

/** The labels of the options of this version; another one's is in English. */
export const LABELS: readonly string[] = [
  mark("Max tokens"), mark("Temperature"), mark("Top-k"), mark("Top-p"), mark("Min-p"), mark("Presence penalty"),
  mark("Frequency penalty"), mark("Repetition penalty"), mark("Stop texts"), mark("Logit bias"), mark("Seed"),
]; // prettier-ignore

/** The name of an option in a sentence: top_k -> top-k, presence_penalty -> presence penalty, stop -> stop texts. */
export function phraseOf(name: string): string {
  if (name === "stop") return "stop texts"; // "Stop" is the button that ends an answer
  return name.replace(/_([a-z])$/, "-$1").replaceAll("_", " ");
}

/** The name of an option in the page's language; in a sentence, or as a label, which English begins with a capital letter. */
export function labelOf(name: string, capital = true): string {
  const phrase = phraseOf(name);
  const label = phrase.charAt(0).toUpperCase() + phrase.slice(1);
  const translated = tr(label);
  return translated === label && !capital ? phrase : translated;
}

function kindOf(option: OptionField): OptionInput["kind"] {
  const limits = [option.minimum, option.maximum].filter((limit) => limit !== null);
  if (option.type === "int") return limits.some((limit) => Math.abs(limit) > Number.MAX_SAFE_INTEGER) ? "digits" : "number";
  const kinds: Record<string, OptionInput["kind"]> = { float: "number", bool: "checkbox", texts: "lines", biases: "pairs" };
  return kinds[option.type] ?? "text";
}

/** What one press of an arrow key adds: whole numbers, or hundredths where the range is short or is not on multiples of 0.05. */
function stepOf({ type, minimum, maximum }: OptionField): number {
  if (type === "int") return 1;
  const short = minimum !== null && maximum !== null && maximum - minimum <= 1;
  return short || !Number.isInteger((minimum ?? 0) * 20) ? 0.01 : 0.05;
}

function inputOf(option: OptionField, stated: Readonly<Record<string, string>>): OptionInput {
  const kind = kindOf(option);
  const written = kind === "lines" ? tr(" (one a line; \\n is a line break in it)") : kind === "pairs" ? tr(" (50256=-100, 13=2)") : "";
  const step = kind === "number" ? stepOf(option) : undefined;
  const least = option.minimum === null || step === undefined ? undefined : option.minimum + (option.above_minimum ? step : 0);
  const absent = option.nullable ? tr("off") : option.default === null ? tr("automatic") : String(option.default);
  return {
    option,
    label: labelOf(option.name),
    hint: option.help + written,
    kind,
    initial: initialOf(option, kind, stated),
    placeholder: kind === "lines" || kind === "pairs" ? tr("nothing") : absent,
    min: least,
    max: step === undefined ? undefined : (option.maximum ?? undefined),
    step,
  };
}

/** Where an input begins; where something is stated, what is not stated is at its default. */
function initialOf({ name, default: absent }: OptionField, kind: OptionInput["kind"], stated: Readonly<Record<string, string>>): string | boolean {
  if (kind === "checkbox") return name in stated ? stated[name] === "true" : absent === true;
  return stated[name] ?? (Object.keys(stated).length ? "" : String(INITIAL[name] ?? ""));
}

/** The inputs of a form: those that are always visible, and the others in the table's order. stated: texts of inputs, by option. */
export function inputsOf(options: OptionField[], stated: Readonly<Record<string, string>> = {}): { common: OptionInput[]; more: OptionInput[] } {
  const place = (option: OptionField) => COMMON.indexOf(option.name);
  const common = options.filter((option) => place(option) >= 0).sort((a, b) => place(a) - place(b));
  const make = (option: OptionField) => inputOf(option, stated);
  return { common: common.map(make), more: options.filter((option) => place(option) < 0).map(make) };
}

/** A limit with all of its digits: JSON's numbers round the largest of 64 bits up to 2^63. */
function limitOf(limit: number): bigint | number {
  return Math.abs(limit) > Number.MAX_SAFE_INTEGER ? BigInt.asIntN(64, BigInt(limit) - (limit > 0 ? 1n : 0n)) : limit;
}

function rangeOf({ minimum, maximum, above_minimum: above }: OptionField): string {
  if (minimum === null) return maximum === null ? "" : tr(", {maximum} at most", { maximum });
  if (maximum === null) return above ? tr(", more than {minimum}", { minimum }) : tr(", {minimum} or more", { minimum });
  const range = { minimum: String(limitOf(minimum)), maximum: String(limitOf(maximum)) };
  return above ? tr(", more than {minimum} and at most {maximum}", range) : tr(" from {minimum} to {maximum}", range);
}

function parseNumber(input: OptionInput, text: string): number | string {
  const { option, label, kind } = input;
  const value = Number(text);
  const { minimum, maximum } = option;
  const inside =
    (minimum === null || (option.above_minimum ? value > minimum : value >= minimum)) && (maximum === null || value <= maximum);
  if (!(option.type === "int" ? INTEGER : NUMBER).test(text) || !Number.isFinite(value) || !inside) {
    const said = { label, range: rangeOf(option) };
    const whole = option.type === "int";
    throw new OptionError(option.name, whole ? tr("{label} must be a whole number{range}", said) : tr("{label} must be a number{range}", said));
  }
  return kind === "digits" ? String(BigInt(text.replace(/^\+/, ""))) : value;
}

/** The texts of lines, in which \n, \t and \\ stand for a line break, a tab and a backslash. Empty lines are no texts. */
function parseLines(text: string): string[] {
  const meant: Record<string, string> = { "\\n": "\n", "\\t": "\t", "\\\\": "\\" };
  const lines = text.split(/\r?\n/).filter((line) => line !== "");
  return lines.map((line) => line.replace(/\\[nt\\]/g, (escape) => meant[escape]!));
}

function parsePairs({ option, label }: OptionInput, text: string): Record<string, number> {
  const pairs: Record<string, number> = {};
  for (const pair of text.replace(/\s*=\s*/g, "=").split(/[\s,;]+/).filter(Boolean)) {
    const [token, value, ...rest] = pair.split("=");
    if (rest.length || !/^\d{1,15}$/.test(token!) || !NUMBER.test(value ?? "")) {
      throw new OptionError(option.name, tr("{label} is written as TOKEN=NUMBER, such as 50256=-100; not {pair}", { label, pair }));
    }
    const id = String(Number(token));
    if (id in pairs) throw new OptionError(option.name, tr("{label} names token {id} twice: give it one number", { label, id }));
    pairs[id] = Number(value);
  }
  return pairs;
}

/**
 * The value of an input, or undefined where it is empty: the option then has its default.
 *
 * @throws OptionError if the option does not take it
 */
export function parseInput(input: OptionInput, raw: string | boolean): OptionValue | undefined {
  if (typeof raw === "boolean") return raw === input.option.default ? undefined : raw;
  if (input.kind === "text") return raw === "" ? undefined : raw;
  if (input.kind === "lines") {
    const texts = parseLines(raw);
    return texts.length ? texts : undefined;
  }
  if (raw.trim() === "") return undefined;
  return input.kind === "pairs" ? parsePairs(input, raw) : parseNumber(input, raw.trim());
}

/**
 * The options of a request: the fields that are not at their defaults.
 *
 * @param read gives the content of an option's input: its text, or whether it is checked
 * @throws OptionError at the first input with a value that its option does not take
 */
export function optionsOf(inputs: OptionInput[], read: (input: OptionInput) => string | boolean): Record<string, OptionValue> {
  const values = inputs.map((input) => [input.option.name, parseInput(input, read(input))] as const);
  return Object.fromEntries(values.filter((pair): pair is readonly [string, OptionValue] => pair[1] !== undefined));
}
