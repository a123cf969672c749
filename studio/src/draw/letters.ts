// Outlines of the bundled fonts, as Python wrote them into the page, and texts as runs of them and of what a reader's own fonts draw
// in a known width: src/pellucid/draw/film/glyphs.py and text_runs.py.

import type { Family, Letters, TextRun } from "../film/types.ts";
import { graphemes, isEmoji, isMark, ZWJ, ZWNJ } from "../text/graphemes.ts";
import type { PageDrawing } from "../wire.ts";

const MOST_MARKS = 4; // on one character: more would be drawn over the lines around
const LONGEST = 4000; // the length of a character
const [WIDE, EMOJI, OTHER, MARK] = [1000, 1300, 640, 300] as const;
const LENGTHS = [[0x590, 0x5ff, 600], [0x600, 0x6ff, 550], [0x750, 0x77f, 550], [0x8a0, 0x8ff, 550], [0xfb50, 0xfeff, 550]] as const; // prettier-ignore
const UNSEEN = /^[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/u; // a font draws nothing for these, or nothing that is agreed on
const BLANK = /^\p{Zs}/u;
const RIGHT_TO_LEFT = /^[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}\p{Script=Adlam}]/u;
const BLANK_ADVANCE = 500; // of a space that no font holds
const [NARROW_BOX, WIDE_BOX] = [820, 1500] as const; // byte boxes with room for two bytes, and for four
const [MARGIN, FRAME, PAD, BYTE_GAP] = [50, 40, 40, 130] as const;
const ROWS = [415, -45] as const; // baselines of a byte box's two rows

export interface Face {
  family: Family;
  weight: 400 | 600;
}

export const nameOf = ({ family, weight }: Face): string => `${family}-${weight}`;

/** A grapheme cluster that the bundled families lack. */
interface Cluster {
  text: string;
  length: number;
  rightToLeft: boolean;
  chinese: boolean;
}

type Run = string | { text: string; advance: number; length: number; rightToLeft: boolean };

export class Alphabet {
  private readonly chinese: ReadonlySet<string>;
  private readonly outlined: ReadonlySet<string>;
  private readonly encoder = new TextEncoder();

  constructor(private readonly page: PageDrawing) {
    this.chinese = new Set(page.chinese);
    this.outlined = new Set(Object.keys(page.glyphs["sans-400"]!));
  }

  /** Whether every character of a text is an outline of its own: then its width is the sum of their advances. */
  isPlain(text: string): boolean {
    for (const character of text) if (!this.outlined.has(character)) return false;
    return true;
  }

  /** The width of a text, in thousandths of its size. */
  advance(text: string, face: Face): number {
    if (this.isPlain(text)) return Array.from(text).reduce((sum, key) => sum + this.glyphAdvance(key, face), 0);
    return this.runs(text, face).reduce((sum, run) => sum + (typeof run === "string" ? this.glyphAdvance(run, face) : run.advance), 0);
  }

  /** What some texts are drawn with, by face. */
  lettersOf(texts: ReadonlyMap<string, { face: Face; strings: ReadonlySet<string> }>): Pick<Letters, "glyphs" | "runs"> {
    const glyphs: Record<string, Record<string, [number, string]>> = {};
    const runs: Record<string, Record<string, TextRun[]>> = {};
    for (const [name, { face, strings }] of texts) {
      const keys = new Set<string>();
      for (const string of strings) {
        if (this.isPlain(string)) {
          for (const character of string) keys.add(character);
          continue;
        }
        const found = this.runs(string, face);
        for (const run of found) if (typeof run === "string") keys.add(run);
        (runs[name] ??= {})[string] = found.map((run) => (typeof run === "string" ? run : [run.text, run.advance, run.length, run.rightToLeft]));
      }
      glyphs[name] = Object.fromEntries([...keys].map((key) => [key, [this.glyphAdvance(key, face), this.outline(key, face)]]));
    }
    return { glyphs, runs };
  }

  private glyphAdvance(key: string, face: Face): number {
    const found = this.page.glyphs[nameOf(face)]![key];
    if (found) return found[0];
    return this.isBlank(key) ? BLANK_ADVANCE : this.boxAdvance(key);
  }

  private outline(key: string, face: Face): string {
    const found = this.page.glyphs[nameOf(face)]![key];
    return found ? found[1] : this.isBlank(key) ? "" : this.byteBox(key, face);
  }

  private isBlank(key: string): boolean {
    return BLANK.test(key) && Array.from(key).length === 1;
  }

  private boxAdvance(text: string): number {
    return this.encoder.encode(text).length <= 2 ? NARROW_BOX : WIDE_BOX;
  }

  /** A frame with the UTF-8 bytes of a text in two rows of hexadecimal digits; those without room are cut, with an ellipsis. */
  private byteBox(text: string, { weight }: Face): string {
    const bytes = this.encoder.encode(text);
    const width = this.boxAdvance(text);
    const { advance, paths } = this.page.digits[`mono-${weight}`]!;
    const inside = width - 2 * (MARGIN + FRAME + PAD);
    const most = 2 * Math.max(1, Math.floor((inside + BYTE_GAP) / (2 * advance + BYTE_GAP)));
    const words = Array.from(bytes.subarray(0, most), (byte) => byte.toString(16).padStart(2, "0").toUpperCase());
    if (bytes.length > most) words[words.length - 1] = "…";
    const half = (words.length + 1) >> 1;
    const row = (row: readonly string[], y: number) => {
      let x = (width - row.length * (2 * advance + BYTE_GAP) + BYTE_GAP) / 2;
      return row.map((word) => {
        const start = x + ((2 - word.length) * advance) / 2;
        x += 2 * advance + BYTE_GAP;
        return Array.from(word, (digit, i) => moved(paths[digit]!, Math.floor(start + i * advance + 0.5), y)).join("");
      });
    };
    return [frameOf(width), ...row(words.slice(0, half), ROWS[0]), ...row(words.slice(half), ROWS[1])].join("");
  }

  /** The runs of a text, in the order in which they stand from left to right. */
  private runs(text: string, face: Face): Run[] {
    const items = graphemes(text).flatMap((cluster) => this.items(cluster));
    const done: Run[] = [];
    for (let at = 0; at < items.length; ) {
      const item = items[at]!;
      if (typeof item === "string") {
        done.push(item);
        at++;
        continue;
      }
      const end = this.endOf(items, at);
      const parts = items.slice(at, end);
      const length = parts.reduce((sum, part) => sum + (typeof part === "string" ? this.glyphAdvance(part, face) : part.length), 0);
      const joined = parts.map((part) => (typeof part === "string" ? part : part.text)).join("");
      const advance = item.chinese ? length : Math.max(length, this.boxAdvance(joined));
      done.push({ text: joined, advance, length, rightToLeft: item.rightToLeft });
      at = end;
    }
    return done;
  }

  /** Where a run ends: at another kind; spaces and punctuation between two right-to-left parts belong to their run. */
  private endOf(items: readonly (string | Cluster)[], start: number): number {
    const first = items[start] as Cluster;
    let end = start + 1;
    for (let at = end; at < items.length; at++) {
      const item = items[at]!;
      if (typeof item === "string") {
        if (!first.rightToLeft || !this.outlined.has(item) || /[\p{L}\p{N}]/u.test(item)) break;
      } else if (item.rightToLeft !== first.rightToLeft || item.chinese !== first.chinese) break;
      else end = at + 1;
    }
    return end;
  }

  /** A grapheme cluster as keys of outlines, or as a part of a run. */
  private items(cluster: string): (string | Cluster)[] {
    let characters = Array.from(cluster);
    if (characters.length > 1) {
      cluster = cluster.normalize("NFC");
      characters = Array.from(cluster);
      if (this.isPlain(cluster)) return characters;
      if (characters.length > 1 && (characters.filter(isMark).length > MOST_MARKS || unseen(cluster))) return characters.length === 2 ? characters : [cluster];
    }
    const chinese = cluster >= "\u2000" && characters.length === 1 && this.chinese.has(cluster);
    if (this.outlined.has(cluster) || unseen(cluster) || (BLANK.test(cluster) && !chinese)) return [cluster];
    if (chinese) return [{ text: cluster, length: WIDE, rightToLeft: false, chinese }];
    const length = this.clusterLength(cluster, characters);
    if (length > LONGEST) return [cluster];
    const code = cluster.codePointAt(0)!;
    const rightToLeft = (code >= 0x590 && code <= 0x8a0) || RIGHT_TO_LEFT.test(cluster);
    return [{ text: cluster, length, rightToLeft, chinese }];
  }

  /** As how wide a text a reader's font is expected to draw a cluster. */
  private clusterLength(cluster: string, characters: readonly string[]): number {
    if (isEmoji(cluster)) return EMOJI;
    if (this.isBroad(cluster)) return WIDE;
    return Math.max(MARK, characters.reduce((sum, character) => sum + characterLength(character), 0));
  }

  /** Whether a cluster is as wide as two letters. */
  isWide(cluster: string): boolean {
    return this.isBroad(cluster) || isEmoji(cluster);
  }

  /** Whether its first character is, by Unicode's East_Asian_Width. */
  private isBroad(cluster: string): boolean {
    const code = cluster.codePointAt(0)!;
    return this.page.wide.some(([first, last]) => code >= first! && code <= last!);
  }
}

/** Whether a font draws nothing for a character, or what is drawn is not agreed on; also a mark without its letter. */
function unseen(character: string): boolean {
  const code = character.codePointAt(0)!;
  return UNSEEN.test(character) || isMark(character) || (code & 0xfffe) === 0xfffe || (code >= 0xfdd0 && code <= 0xfdef);
}

function characterLength(character: string): number {
  if (/^[\p{Mn}\p{Me}]/u.test(character) || character === ZWJ || character === ZWNJ) return 0;
  if (/^\p{Mc}/u.test(character)) return MARK;
  const code = character.codePointAt(0)!;
  return LENGTHS.find(([first, last]) => code >= first && code <= last)?.[2] ?? OTHER;
}

function frameOf(width: number): string {
  const [left, right, bottom, top] = [MARGIN, width - MARGIN, -140, 810];
  const [wide, high] = [right - left, top - bottom];
  const [inner, deep] = [wide - 2 * FRAME, high - 2 * FRAME]; // the hole runs the other way round
  return `M${left} ${bottom}v${high}h${wide}v${-high}zM${left + FRAME} ${bottom + FRAME}h${inner}v${deep}h${-inner}z`;
}

/** An outline elsewhere: only the first command of each of its contours is absolute. */
function moved(path: string, x: number, y: number): string {
  return path.replace(/M(-?\d+) (-?\d+)/g, (_, px: string, py: string) => `M${Number(px) + x} ${Number(py) + y}`);
}
