// Lays out text: glyph outlines that the film holds, and runs of the reader's fonts in the widths that the film states.

import { formatNumber, rounded } from "./keyframes.ts";
import type { DrawnText, Letters, TextRun } from "./types.ts";

/** The reader's fonts: those of `FONTS` in src/pellucid/draw/backends/svg.py. */
export const FONTS =
  "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'PingFang SC', 'Hiragino Sans GB', 'Microsoft YaHei', " +
  "'Noto Sans SC', 'Noto Sans CJK SC', 'Source Han Sans SC', 'WenQuanYi Micro Hei', 'Droid Sans Fallback', " +
  "'Apple Color Emoji', 'Segoe UI Emoji', 'Noto Color Emoji', sans-serif";

/** A run that the reader's fonts draw: around its middle x, as wide as `length`, in the film's units. */
export interface ReaderText {
  readonly text: string;
  readonly x: number;
  readonly length: number;
  readonly rightToLeft: boolean;
}

/**
 * A text as an outline in font units, with the SVG transform that places it, and the texts that the reader's fonts draw; left and
 * width in the film's units.
 */
export interface TextLayout {
  readonly d: string;
  readonly transform: string;
  readonly left: number;
  readonly width: number;
  readonly texts: readonly ReaderText[];
}

/** The same of a text of any size at any place, in font units. */
interface Outline {
  readonly d: string;
  readonly advance: number;
  readonly texts: readonly { run: Exclude<TextRun, string>; at: number }[];
}

export class Typesetter {
  private readonly outlines = new Map<string, Outline>();

  constructor(readonly letters: Letters) {}

  layOut(text: DrawnText): TextLayout {
    const { d, advance, texts } = this.outline(text.string, `${text.family}-${text.weight}`);
    const { em } = this.letters;
    const width = (advance * text.size) / em;
    const start = text.x - { start: 0, middle: width / 2, end: width }[text.anchor];
    const left = rounded(start);
    const scale = formatNumber(text.size / em);
    const placed = texts.map(({ run: [string, wide, length, rightToLeft], at }) => {
      const x = rounded(start + ((at + wide / 2) * text.size) / em);
      return { text: string, x, length: rounded((length * text.size) / em), rightToLeft };
    });
    return { d, transform: `translate(${left} ${text.y})scale(${scale} -${scale})`, left, width, texts: placed };
  }

  /** The outline of a whole text. Each contour starts with an absolute move, which is shifted by its glyph's offset. */
  private outline(string: string, face: string): Outline {
    const key = `${face} ${string}`;
    let made = this.outlines.get(key);
    if (!made) {
      let [d, advance] = ["", 0];
      const texts: Outline["texts"][number][] = [];
      for (const run of this.runs(string, face)) {
        if (typeof run !== "string") {
          texts.push({ run, at: advance });
          advance += run[1];
          continue;
        }
        const letter = this.letters.glyphs[face]?.[run];
        if (!letter) throw new Error(`the film does not hold the letter ${JSON.stringify(run)} of ${face}`);
        const at = advance;
        d += letter[1].replace(/M(-?\d+)/g, (_, x: string) => `M${Number(x) + at}`);
        advance += letter[0];
      }
      made = { d, advance, texts };
      this.outlines.set(key, made);
    }
    return made;
  }

  /** The runs of a text: those that the film states, else its characters. */
  private runs(string: string, face: string): Iterable<TextRun> {
    const stated = this.letters.runs[face];
    return stated && Object.hasOwn(stated, string) ? stated[string]! : string;
  }
}
