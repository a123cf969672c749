// The words of this field that the pages use, each with its meaning and where its numbers stand. One table for each language,
// from which docs/glossary.md and docs/glossary.zh-CN.md are generated, too (`python tools/glossary.py`).

import { currentCode } from "../language.ts";
import en from "./en.json";
import zh from "./zh.json";

/** A word that is explained. Parts of `stands` between backquotes are names of files, chunks or keys. */
export interface Entry {
  id: string;
  word: string;
  /** Other forms of it, and words for the same thing. */
  also: string[];
  meaning: string;
  /** Where its numbers stand. */
  stands: string;
}

interface Glossary {
  entries: readonly Entry[];
  byId: ReadonlyMap<string, Entry>;
  byForm: ReadonlyMap<string, Entry>;
  any: RegExp;
}

const TABLES: Record<string, readonly Entry[]> = { zh };
const made = new Map<string, Glossary>();

/** The words in the page's language; in English where a language lacks one. */
export function glossary(): readonly Entry[] {
  return current().entries;
}

/** The entry of an id. */
export function entryOf(id: string): Entry {
  const found = current().byId.get(id);
  if (!found) throw new RangeError(`the glossary has no ${id}`);
  return found;
}

/** The words of the table that occur in a text, each once, in the table's order. */
export function wordsIn(text: string): Entry[] {
  const { entries, byForm, any } = current();
  const found = new Set(Array.from(text.matchAll(any), ([form]) => byForm.get(form.toLowerCase())!));
  return entries.filter((entry) => found.has(entry));
}

/** A text cut at its backquotes: [plain, name, plain, name, ...]. */
export function partsOf(text: string): string[] {
  return text.split("`");
}

function current(): Glossary {
  const code = currentCode();
  let found = made.get(code);
  if (!found) made.set(code, (found = of(TABLES[code] ?? [])));
  return found;
}

function of(table: readonly Entry[]): Glossary {
  const translated = new Map(table.map((entry) => [entry.id, entry]));
  const entries = en.map((entry) => translated.get(entry.id) ?? entry);
  const byForm = new Map(entries.flatMap((entry) => [entry.word, ...entry.also].map((form) => [form.toLowerCase(), entry] as const)));
  const forms = [...byForm.keys()].sort((a, b) => b.length - a.length).map(pattern);
  return { entries, byId: new Map(entries.map((entry) => [entry.id, entry])), byForm, any: new RegExp(forms.join("|"), "giu") };
}

/** Matches a form as a whole word. Han characters have no borders; but one alone is a word only where none stands before it. */
function pattern(form: string): string {
  const plain = form.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  if (/^\p{Script=Han}$/u.test(form)) return `(?<!\\p{Script=Han})${plain}`;
  const start = /^\p{Script=Han}/u.test(form) ? "" : "(?<![\\p{Script=Latin}\\p{N}_/-])";
  const end = /\p{Script=Han}$/u.test(form) ? "" : "(?![\\p{Script=Latin}\\p{N}_/-])";
  return start + plain + end;
}
