// Tokens shown to people: nothing invisible, nothing half decoded. The same labels as src/pellucid/text/pieces.py.

const SIGNS: Record<string, string> = { " ": "·", "\n": "↵", "\t": "⇥", "\r": "\\r" };
const UNSEEN = /[\p{C}\p{Z}]/u; // control, format, unassigned, private; separators

/** A token's bytes as a label on which everything can be seen. */
export function piece(bytes: Uint8Array): string {
  let label = "";
  for (let at = 0; at < bytes.length; ) {
    const length = wholeCharacter(bytes, at);
    label += length ? visible(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(at, at + length))) : escaped(bytes[at]!);
    at += length || 1;
  }
  return label;
}

function visible(character: string): string {
  const sign = SIGNS[character];
  if (sign !== undefined) return sign;
  if (!UNSEEN.test(character)) return character;
  const code = character.codePointAt(0)!;
  if (code < 0x80) return escaped(code);
  return code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
}

function escaped(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, "0")}`;
}

/** How many bytes the character at a place has, 0 where there is no whole one in UTF-8 (RFC 3629, section 4). */
function wholeCharacter(bytes: Uint8Array, at: number): number {
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
