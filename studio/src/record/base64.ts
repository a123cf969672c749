// Bytes from base64, as a page's document holds what is not text.

import { RecordError } from "./bytes.ts";

const DAMAGED = "what this page holds is damaged: get the file again";
const [PADDING, NONE] = ["=".charCodeAt(0), 255];
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const VALUES = new Uint8Array(256).fill(NONE); // by character, six bits
for (let value = 0; value < ALPHABET.length; value++) VALUES[ALPHABET.charCodeAt(value)] = value;

/** What newer browsers have for this: several times as fast. */
type Native = (text: string, options: { lastChunkHandling: "strict" }) => Uint8Array<ArrayBuffer>;
const native = (Uint8Array as unknown as { fromBase64?: Native }).fromBase64;

/** The bytes of a text. Errors: `RecordError` for a text that is not base64. */
export function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  if (!native) return decode(new TextEncoder().encode(base64));
  try {
    return native.call(Uint8Array, base64, { lastChunkHandling: "strict" });
  } catch {
    throw new RecordError(DAMAGED);
  }
}

/** The bytes of a text's ASCII characters, written over these. Errors: `RecordError` for characters that are not base64. */
export function decode(letters: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const { length } = letters;
  const padding = letters[length - 1] !== PADDING ? 0 : letters[length - 2] === PADDING ? 2 : 1;
  let invalid = length % 4;
  let at = 0;
  for (let start = 0; start < length; start += 4) {
    const last = start + 4 === length ? padding : 0;
    const [a, b] = [VALUES[letters[start]!]!, VALUES[letters[start + 1]!]!];
    const c = last === 2 ? 0 : VALUES[letters[start + 2]!]!;
    const d = last ? 0 : VALUES[letters[start + 3]!]!;
    invalid |= (a | b | c | d) & 192;
    letters[at++] = (a << 2) | (b >> 4);
    letters[at++] = (b << 4) | (c >> 2);
    letters[at++] = (c << 6) | d;
  }
  if (invalid) throw new RecordError(DAMAGED);
  return letters.subarray(0, at - padding);
}
