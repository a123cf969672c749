// Widths of texts, and texts cut to a width: src/pellucid/draw/film/font.py.

import { graphemes } from "../text/graphemes.ts";
import type { PageDrawing } from "../wire.ts";
import { Alphabet, type Face } from "./letters.ts";

const EM = 1000;
const ELLIPSIS = "…";
const NARROWEST = 200; // of a character, in thousandths of the size: less than any has
const NOT_FIRST = "、。，．：；！？）】》」』〉］｝”’…·,.:;!?)]}%"; // does not begin a line after a wide character
const NOT_LAST = "（【《「『〈［｛“‘([{"; // does not end a line before a wide character
export const CAP_HEIGHT = 0.73; // of the size: what a line of text takes above its baseline, for centring it in a box
export const SANS: Face = { family: "sans", weight: 400 };

export const HEADING: Face = { family: "sans", weight: 600 };
export const MONO: Face = { family: "mono", weight: 400 };

/** What a page draws with: the fonts, which measure texts, and the colours of palettes. */
export class Font {
  readonly alphabet: Alphabet;
  /** By name: 256 colours. */
  readonly palettes: Readonly<Record<string, readonly string[]>>;

  constructor(readonly page: PageDrawing) {
    this.alphabet = new Alphabet(page);
    const coloursOf = (digits: string) => (digits.match(/.{6}/g) ?? []).map((colour) => `#${colour}`);
    this.palettes = Object.fromEntries(Object.entries(page.palettes).map(([name, digits]) => [name, coloursOf(digits)]));
  }

  /** The colour of a share from 0 to 1 in a palette. */
  shade(name: string, share: number): string {
    return this.palettes[name]![Math.trunc(share * 255 + 0.5)]!;
  }

  /** The width of a text, in the unit of `size`. */
  width(text: string, size: number, face: Face = SANS): number {
    return (this.alphabet.advance(text, face) * size) / EM;
  }

  /** The text, or as much of its start as fits `width` with an ellipsis; "" where not even the ellipsis fits. */
  fit(text: string, width: number, size: number, face: Face = SANS): string {
    const most = Math.trunc((width * EM) / size / NARROWEST) + 2;
    const clusters = graphemes(text.slice(0, 32 * most)).slice(0, most);
    const start = clusters.join("");
    if (start.length === text.length && this.width(text, size, face) <= width) return text;
    let count = clusters.length;
    while (count && this.width(clusters.slice(0, count).join(""), size, face) > width) count--;
    for (; count >= 0; count--) {
      const shorter = clusters.slice(0, count).join("").trimEnd() + ELLIPSIS;
      if (this.width(shorter, size, face) <= width) return shorter;
    }
    return "";
  }

  /** The text in lines no wider than `width`, broken at spaces and beside wide characters, or inside a word that is too wide. */
  wrap(text: string, width: number, size: number, face: Face = SANS): string[] {
    const done: string[] = [];
    let rest = text.split(/\s+/).filter(Boolean).join(" ");
    while (rest) {
      const most = Math.trunc((width * EM) / size / NARROWEST) + 2;
      const clusters = graphemes(rest.slice(0, 32 * most)).slice(0, most);
      let count = clusters.length;
      while (count > 1 && this.width(clusters.slice(0, count).join(""), size, face) > width) count--;
      const end = clusters.slice(0, this.breakOf(clusters, count)).join("").length;
      done.push(rest.slice(0, end).trimEnd());
      rest = rest.slice(end).trimStart();
    }
    return done;
  }

  /** After how many clusters a line ends that holds at most so many: the last place where it may, else `most`. */
  private breakOf(clusters: readonly string[], most: number): number {
    if (most === clusters.length) return most;
    for (let count = most; count > 0; count--) {
      const [before, after] = [clusters[count - 1]!, clusters[count]!];
      const wide = this.alphabet.isWide(before) || this.alphabet.isWide(after);
      if (before === " " || after === " " || (wide && !NOT_FIRST.includes(after) && !NOT_LAST.includes(before))) return count;
    }
    return most;
  }
}
