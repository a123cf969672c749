// Grapheme clusters: the characters that a reader sees, by the rules of src/pellucid/text/graphemes.py (UAX #29). What a character is
// comes from the browser's Unicode, which may be another version than Python's.

export const [ZWNJ, ZWJ, EMOJI_STYLE] = ["\u200c", "\u200d", "\ufe0f"];
const MARK = /^\p{M}/u;
const MARKS_OR_TONES = /[\p{M}\u{1f3fb}-\u{1f3ff}]/u;
const PICTURE = /^[\xa9\xae\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299\u{1f000}-\u{1f1e5}\u{1f200}-\u{1f3fa}\u{1f400}-\u{1faff}]/u;
const CONTROL = /^[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u;
const FORMAT = /^\p{Cf}/u;
const VIRAMAS = "\u094d\u09cd\u0acd\u0b4d\u0c4d\u0d4d"; // join consonants in the scripts from Devanagari to Malayalam
const EXTENDING = "\u200c\u200d\u0e33\u0eb3\uff9e\uff9f"; // neither marks by category, nor characters of their own
const PRINTABLE = /^(?:[^\p{C}\p{Z}]| )*$/u;

/** The grapheme clusters of a text, in order; joined they are the text. */
export function graphemes(text: string): string[] {
  const found: string[] = [];
  let cluster: string[] = [];
  for (const character of text) {
    if (cluster.length && !joins(cluster, character)) {
      found.push(cluster.join(""));
      cluster = [];
    }
    cluster.push(character);
  }
  return cluster.length ? [...found, cluster.join("")] : found;
}

export const isMark = (character: string): boolean => MARK.test(character);

/** Whether a cluster is shown as an emoji: a flag, a pictograph of the upper planes, or one with emoji style. */
export function isEmoji(cluster: string): boolean {
  const first = cluster.codePointAt(0)!;
  return cluster.includes(EMOJI_STYLE!) || (first >= 0x1f000 && first <= 0x1faff);
}

/** Whether every character of a text is printable, as Python's `str.isprintable` says it. */
export const isPrintable = (text: string): boolean => PRINTABLE.test(text);

const between = (code: number, first: number, last: number): boolean => code >= first && code <= last;

/** Whether there is no boundary between a cluster and the character after it (rules GB3 to GB13). */
function joins(cluster: readonly string[], character: string): boolean {
  const last = cluster.at(-1)!;
  const code = character.codePointAt(0)!;
  if (code < 0x300 && character !== "\n") return PICTURE.test(character) && afterJoinedPicture(cluster);
  if (last === "\r" || character === "\n") return last === "\r" && character === "\n";
  if (isControl(last) || isControl(character)) return false;
  if (isMark(character) || EXTENDING.includes(character) || between(code, 0x1f3fb, 0x1f3ff) || between(code, 0xe0020, 0xe007f)) return true;
  if (between(code, 0x1f1e6, 0x1f1ff)) return cluster.length === 1 && between(last.codePointAt(0)!, 0x1f1e6, 0x1f1ff); // two are a flag
  if (PICTURE.test(character) && afterJoinedPicture(cluster)) return true;
  if (between(code, 0x1100, 0x11ff) || between(code, 0xa960, 0xa97c) || between(code, 0xac00, 0xd7fb)) return syllableGoesOn(last.codePointAt(0)!, code);
  return between(code, 0x900, 0xd7f) && /^\p{Lo}/u.test(character) && afterVirama(cluster);
}

function isControl(character: string): boolean {
  if (!FORMAT.test(character)) return CONTROL.test(character);
  return character !== ZWJ && character !== ZWNJ && !between(character.codePointAt(0)!, 0xe0020, 0xe007f);
}

/** Whether a cluster ends with a picture, marks of it, and a joiner. */
function afterJoinedPicture(cluster: readonly string[]): boolean {
  if (cluster.at(-1) !== ZWJ) return false;
  const before = cluster.slice(0, -1).findLast((character) => !MARKS_OR_TONES.test(character));
  return before !== undefined && PICTURE.test(before);
}

/** Whether a cluster ends with a consonant, a virama and nothing but marks and joiners in between and after it. */
function afterVirama(cluster: readonly string[]): boolean {
  for (const character of cluster.toReversed()) {
    if (VIRAMAS.includes(character)) return /^\p{Lo}/u.test(cluster[0]!);
    if (character !== ZWJ && !/^\p{Mn}/u.test(character)) return false;
  }
  return false;
}

/** Rules GB6 to GB8: parts of one Hangul syllable. */
function syllableGoesOn(before: number, code: number): boolean {
  if (between(before, 0x1100, 0x115f) || between(before, 0xa960, 0xa97c))
    return between(code, 0x1100, 0x11a7) || between(code, 0xa960, 0xa97c) || between(code, 0xac00, 0xd7a3) || between(code, 0xd7b0, 0xd7c6);
  const vowel = between(code, 0x1160, 0x11a7) || between(code, 0xd7b0, 0xd7c6);
  const final = between(code, 0x11a8, 0x11ff) || between(code, 0xd7cb, 0xd7fb);
  if (between(before, 0xac00, 0xd7a3)) return final || (vowel && (before - 0xac00) % 28 === 0);
  const inVowel = between(before, 0x1160, 0x11a7) || between(before, 0xd7b0, 0xd7c6);
  const inFinal = between(before, 0x11a8, 0x11ff) || between(before, 0xd7cb, 0xd7fb);
  return (inVowel && (vowel || final)) || (inFinal && final);
}
