// Printable labels of tokens, equal to those of src/pellucid/text/pieces.py.

const SIGNS: Record<string, string> = { " ": "·", "\n": "↵", "\t": "⇥", "\r": "\\r" };
const INVISIBLE = /[\p{C}\p{Z}]/u; // control, format, unassigned, private; separators

/** A token's bytes as a label: white space and control characters as signs, incomplete UTF-8 as escapes. */
export function piece(bytes: Uint8Array): string {
  const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  let label = "";
  for (let at = 0; at < bytes.length; ) {
    const length = characterLength(bytes, at);
    label += length ? visible(utf8.decode(bytes.subarray(at, at + length))) : escaped(bytes[at]!);
    at += length || 1;
  }
  return label;
}

function visible(character: string): string {
  const sign = SIGNS[character];
  if (sign !== undefined) return sign;
  if (!INVISIBLE.test(character)) return character;
  const code = character.codePointAt(0)!;
  if (code < 0x80) return escaped(code);
  return code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
}

function escaped(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, "0")}`;
}

/** The number of bytes of the UTF-8 character at an index; 0 where there is no complete one (RFC 3629, section 4). */
function characterLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!;
  if (first < 0x80) return 1;
  const length = first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xf0 && first < 0xf5 ? 4 : 0;
  if (!length || at + length > bytes.length) return 0;
  for (let i = 1; i < length; i++) if ((bytes[at + i]! & 0xc0) !== 0x80) return 0;
  const second = bytes[at + 1]!;
  if ((first === 0xe0 && second < 0xa0) || (first === 0xed && second > 0x9f)) return 0;
  if ((first === 0xf0 && second < 0x90) || (first === 0xf4 && second > 0x8f)) return 0;
  return length;
}
