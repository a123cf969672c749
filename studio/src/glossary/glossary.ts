// The words of this field that the pages use, each with its meaning and where its numbers stand. One table for one language:
// en.json, from which docs/glossary.md is generated, too (`python tools/glossary.py`).

import table from "./en.json";

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

export const GLOSSARY: readonly Entry[] = table;

const BY_ID = new Map(GLOSSARY.map((entry) => [entry.id, entry]));
const BY_FORM = new Map(GLOSSARY.flatMap((entry) => [entry.word, ...entry.also].map((form) => [form.toLowerCase(), entry] as const)));
const FORMS = [...BY_FORM.keys()].sort((a, b) => b.length - a.length).map((form) => form.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
const ANY = new RegExp(`(?<![\\p{L}\\p{N}_/-])(?:${FORMS.join("|")})(?![\\p{L}\\p{N}_/-])`, "giu");

/** The entry of an id. */
export function entryOf(id: string): Entry {
  const found = BY_ID.get(id);
  if (!found) throw new RangeError(`the glossary has no ${id}`);
  return found;
}

/** The words of the table that occur in a text, each once, in the table's order. */
export function wordsIn(text: string): Entry[] {
  const found = new Set(Array.from(text.matchAll(ANY), ([form]) => BY_FORM.get(form.toLowerCase())!));
  return GLOSSARY.filter((entry) => found.has(entry));
}

/** A text cut at its backquotes: [plain, name, plain, name, ...]. */
export function partsOf(text: string): string[] {
  return text.split("`");
}
