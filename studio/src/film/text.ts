// Lays out text with the glyph outlines that a film holds: the same everywhere, without a font.

import { formatNumber, rounded } from "./keyframes.ts";
import type { DrawnText, Letters } from "./types.ts";

/** A text as an outline in font units, with the SVG transform that places it; left and width in the film's units. */
export interface TextLayout {
  readonly d: string;
  readonly transform: string;
  readonly left: number;
  readonly width: number;
}

export class Typesetter {
  private readonly outlines = new Map<string, { d: string; advance: number }>();

  constructor(readonly letters: Letters) {}

  layOut(text: DrawnText): TextLayout {
    const { d, advance } = this.outline(text.string, `${text.family}-${text.weight}`);
    const width = (advance * text.size) / this.letters.em;
    const left = rounded(text.x - { start: 0, middle: width / 2, end: width }[text.anchor]);
    const scale = formatNumber(text.size / this.letters.em);
    return { d, transform: `translate(${left} ${text.y})scale(${scale} -${scale})`, left, width };
  }

  /** The outline of a whole text. Each contour starts with an absolute move, which is shifted by its glyph's offset. */
  private outline(string: string, face: string): { d: string; advance: number } {
    const key = `${face} ${string}`;
    let made = this.outlines.get(key);
    if (!made) {
      let [d, advance] = ["", 0];
      for (const character of string) {
        const letter = this.letters.glyphs[face]?.[character];
        if (!letter) throw new Error(`the film does not hold the letter ${JSON.stringify(character)} of ${face}`);
        const at = advance;
        d += letter[1].replace(/M(-?\d+)/g, (_, x: string) => `M${Number(x) + at}`);
        advance += letter[0];
      }
      made = { d, advance };
      this.outlines.set(key, made);
    }
    return made;
  }
}
