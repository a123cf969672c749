// The language of texts that people read, as in src/pellucid/languages: English stands in the code, and another language is one
// file, of which the build puts the texts that this code has into the bundle (`tables.mjs`).

import tables from "pellucid:tables";
import { format } from "./formatting.ts";

export { format, thousands } from "./formatting.ts";

export type Values = Readonly<Record<string, string | number>>;

export const ENGLISH = "en";
/** The codes of the languages, English first. */
export const LANGUAGES: readonly string[] = [ENGLISH, ...Object.keys(tables).sort()];

/** A language: the functions that give texts in it. A text without a translation is in English. */
export class Language {
  private readonly table: Readonly<Record<string, string>>;

  constructor(readonly code: string) {
    this.table = Object.hasOwn(tables, code) ? tables[code]! : {};
  }

  /**
   * A text in this language.
   *
   * text: in English, as a literal, so that `tools/strings.py` finds it. values: of its placeholders, {name} or, with thousands
   * separators, {name:,}, or in another of Python's formats (`formatting`); without any the text is taken as it is.
   */
  readonly tr = (text: string, values?: Values): string => {
    const found = (Object.hasOwn(this.table, text) && this.table[text]) || text;
    return values ? format(found, values) : found;
  };

  /** A text about a count: the first one for 1, else the second. */
  readonly plural = (count: number, one: string, many: string, values: Values = {}): string =>
    this.tr(count === 1 ? one : many, { count, ...values });

  /** A count with its noun, a literal that takes an s in the plural. */
  readonly counted = (count: number, noun: string): string => this.tr(`{count:,} ${noun}${count === 1 ? "" : "s"}`, { count });
}

/** The language that an element is in, by the nearest `lang` (zh for zh-Hans); English where there is none of it. */
export function languageOf(element: Element): Language {
  const code = (element.closest("[lang]")?.getAttribute("lang") ?? "").split("-")[0]!.toLowerCase();
  return new Language(LANGUAGES.includes(code) ? code : ENGLISH);
}

/** The first of some languages (`navigator.languages`) that there is; null where there is none of them. */
export function firstOf(languages: readonly string[]): Language | null {
  const code = languages.map((one) => one.split("-")[0]!.toLowerCase()).find((one) => LANGUAGES.includes(one));
  return code === undefined ? null : new Language(code);
}

// Of the page: the studio has one language for all of it. The player has one for each film.
let current = new Language(ENGLISH);

/** Makes a language the page's. */
export function setLanguage(language: Language): void {
  current = language;
}

/** The code of the page's language. */
export function currentCode(): string {
  return current.code;
}

/** A text in the page's language: see `Language`. */
export const tr = (text: string, values?: Values): string => current.tr(text, values);
export const plural = (count: number, one: string, many: string, values?: Values): string => current.plural(count, one, many, values);
export const counted = (count: number, noun: string): string => current.counted(count, noun);

/** Texts in a row, each translated already: "a, b, c". */
export const listed = (items: readonly string[]): string => items.join(tr(", "));

/** Sentences one after the other, each translated already. */
export const joined = (sentences: readonly string[]): string =>
  sentences.reduce((text, sentence) => tr("{text} {sentence}", { text, sentence }));

/** What stands between two parts of a sentence. */
export const comma = (): string => tr("{first}, {second}", { first: "", second: "" });

/** The text itself: marks an English literal that is translated where it is shown, such as a row of a table. */
export const mark = (text: string): string => text;
