// Splitting text into the words that BPE merges within, as GPT-2's pattern does (src/pellucid/text/split_pattern.py), with the
// characters that Python's encoder knows (`classes.ts`), whatever version of Unicode the browser has.

import { LETTERS, NUMBERS, WHITE_SPACE } from "./classes.ts";

/** A set of characters as the inside of a class of a regular expression. */
function classOf(lines: readonly string[]): string {
  let at = 0;
  const borders = lines.flatMap((line) => line.split(" ")).map((word) => (at += parseInt(word, 36)));
  let inside = "";
  for (let i = 0; i < borders.length; i += 2) {
    const [first, last] = [borders[i]!, borders[i + 1]! - 1];
    inside += `\\u{${first.toString(16)}}` + (last > first ? `-\\u{${last.toString(16)}}` : "");
  }
  return inside;
}

const [letter, number, space] = [LETTERS, NUMBERS, WHITE_SPACE].map(classOf);
// R50K_SPLIT with its classes written out: no alternative can match another way, so it needs no possessive quantifiers.
const SPLIT = new RegExp(
  `'(?:[sdmt]|ll|ve|re)| ?[${letter}]+| ?[${number}]+| ?[^${space}${letter}${number}]+|[${space}]+$|[${space}]+(?![^${space}])|[${space}]`,
  "gu",
);

export const SPACES = new RegExp(`[${space}]`, "u");

/** The words of a text; joined they are the text. */
export function splitWords(text: string): string[] {
  return text.match(SPLIT) ?? [];
}
