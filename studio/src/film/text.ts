// How wide a text is and its outline, from the letters that travel with a film: the same everywhere, no font needed.

import { fine, rounded } from "./keys.ts";
import type { DrawnText, Letters } from "./types.ts";

/** Where and how a text stands: its outline in units of 1/em, and the transform that places it. */
export interface SetText {
  readonly d: string;
  readonly transform: string;
  readonly left: number;
  readonly width: number;
}

export class Typesetter {
  private readonly known = new Map<string, { d: string; advance: number }>();

  constructor(readonly letters: Letters) {}

  set(text: DrawnText): SetText {
    const { d, advance } = this.outline(text.string, `${text.family}-${text.weight}`);
    const width = (advance * text.size) / this.letters.em;
    const left = rounded(text.x - { start: 0, middle: width / 2, end: width }[text.anchor]);
    const scale = fine(text.size / this.letters.em);
    return { d, transform: `translate(${left} ${text.y})scale(${scale} -${scale})`, left, width };
  }

  /** One outline for a whole text. Each contour begins with an absolute move, which takes the letter's place along. */
  private outline(string: string, face: string): { d: string; advance: number } {
    const key = `${face} ${string}`;
    let made = this.known.get(key);
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
      this.known.set(key, made);
    }
    return made;
  }
}
