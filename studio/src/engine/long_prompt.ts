// A prompt that is too long for a model: the end of it that fits, as src/pellucid/serve/studio/long_prompt.py finds it.

import { RefusedError } from "../record/bytes.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { SamplingOptions } from "./options.ts";

const SPACE = "\\t-\\r\\x1c- \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"; // as Python's \s has it
const WORD = new RegExp(`(?<=[${SPACE}])[^${SPACE}]`, "u");
const SPACES = new RegExp(`^[${SPACE}]+`, "u");
const LONGEST_WORD = 40; // characters: where the next word begins later, the text is of a script without spaces

/** The error of a refused request, with the end of its prompt that fits, if the prompt is too long and an end of it would fit. */
export function withFitting(error: Error, prompt: string, { max_tokens: drawn }: SamplingOptions, context: number, tokenizer: Tokenizer): Error {
  const end = fittingEnd(prompt, Math.min(context, context + 1 - drawn), tokenizer);
  return end === "" || end === prompt ? error : new RefusedError(error.message, end);
}

/** The end of a text that is at most `room` tokens, as a prompt, from the start of a word on; "" where there is none. */
export function fittingEnd(text: string, room: number, tokenizer: Tokenizer): string {
  const ids = tokenizer.encodePrompt(text);
  if (ids.length <= room) return text;
  let end = room > 0 ? wholeCharacters(tokenizer.decodeBytes(ids.slice(-room))) : "";
  while (end) {
    const characters = [...end].slice(0, LONGEST_WORD);
    const word = WORD.exec(characters.join(""));
    end = end.slice(word ? word.index : characters[0]!.length).replace(SPACES, "");
    if (tokenizer.encodePrompt(end).length <= room) return end;
  }
  return "";
}

/** The text of bytes that end with a whole character, from their first whole one on. */
function wholeCharacters(bytes: Uint8Array): string {
  const start = bytes.findIndex((byte) => (byte & 0xc0) !== 0x80);
  return start < 0 ? "" : new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(start));
}
