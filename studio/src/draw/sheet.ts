// The sheet that every figure is drawn on: a title above, a footer below, room between; one for screens, one for phones
// (src/pellucid/draw/components/sheet.py). And the film's file, made from what stands on it.

import { rounded } from "../film/keyframes.ts";
import { tr } from "../language.ts";
import type { FilmFile, FilmMatrix, PageDrawing } from "../wire.ts";
import { type Font, HEADING, SANS } from "./font.ts";
import { type Face, nameOf } from "./letters.ts";
import { given, group, type Keys, type Node, path, text, type Value, walk } from "./nodes.ts";
import * as palette from "./palette.ts";
import { clock, CLOCK_GAP } from "./parts.ts";
import type { Timeline } from "./timeline.ts";

export const NARROW_HEIGHT = 640;
const TURNS = 720; // a picture less wide than this is laid out for a phone
export const PROVENANCE = given("provenance");

/** What a figure says of itself beside its picture. */
export interface Words {
  title: string;
  /** The model in two lines. */
  footer: readonly [string, string];
  /** The picture described in words, made from the data. */
  alt: string;
  /** What is simplified. */
  notes: readonly string[];
}

/** Lengths in the sheet's own units; what is not described here is as in Python. */
export class Sheet {
  readonly wide: boolean;
  readonly w: number;
  readonly h: number;
  readonly pad: number;
  readonly size: number;
  readonly small: number;
  readonly big: number;
  readonly top: number;
  readonly bottom: number;

  /** narrowHeight: of a phone's sheet. */
  constructor(readonly width: number, narrowHeight = NARROW_HEIGHT) {
    this.wide = width >= TURNS;
    [this.w, this.h, this.pad, this.size, this.small, this.big] = this.wide ? [960, 540, 24, 14, 12, 20] : [360, narrowHeight, 12, 12, 11, 15];
    this.top = this.wide ? 62 : 40;
    this.bottom = this.h - (this.wide ? 38 : 46);
  }

  get left(): number {
    return this.pad;
  }

  get right(): number {
    return this.w - this.pad;
  }

  get room(): number {
    return this.w - 2 * this.pad;
  }

  /**
   * The finished film of nodes in the sheet's units.
   *
   * measured: whether any number on it was measured, so that the footer explains the clock.
   */
  film(font: Font, { title, footer, alt, notes }: Words, nodes: readonly Node[], timeline: Timeline, measured = true): FilmFile {
    const scale = this.width / this.w;
    const heading = text(this.pad, this.pad + this.big, title, this.big, HEADING);
    const all = [group([heading, ...nodes, ...this.footer(font, footer, measured)], { scale })];
    const { matrices, palettes } = numbered(all, font.page.palettes);
    return {
      format: "pellucid-film", version: 1, title, width: rounded(this.width), height: rounded(this.h * scale), background: palette.PAPER,
      alt, notes: [...notes], segments: timeline.segments(), captions: timeline.captions(), matrices, palettes, nodes: all,
    }; // prettier-ignore
  }

  private footer(font: Font, model: readonly [string, string], measured: boolean): Node[] {
    const { small, size } = this;
    const line = this.bottom + 8;
    const lines = this.wide ? [model.join(" · ")] : model;
    const bases = lines.map((_, i) => line + 1.5 * small * (i + 1));
    const mark = tr("measured");
    const taken = font.width(mark, small) + small * (1 + CLOCK_GAP);
    const free = lines.findLastIndex((words) => font.width(words, small) + size + taken <= this.room);
    const beside = free < 0 ? lines.length - 1 : free;
    const words = lines.map((words, i) => {
      const shown = font.fit(words, this.room - (measured && i === beside ? taken + size : 0), small);
      return text(this.left, bases[i]!, shown, small, SANS, { fill: palette.QUIET, shows: PROVENANCE });
    });
    const rule = path([["M", this.left, line], ["L", this.right, line]], { stroke: palette.LINE }); // prettier-ignore
    if (!measured) return [rule, ...words];
    return [
      rule,
      ...words,
      clock(this.right - taken, bases[beside]! - 0.86 * small, small),
      text(this.right, bases[beside]!, mark, small, SANS, { anchor: "end", fill: palette.QUIET }),
    ];
  }
}

/** Puts numbers in place of the matrices that images show, in paint order, each matrix once. */
function numbered(nodes: readonly Node[], known: PageDrawing["palettes"]): Pick<FilmFile, "matrices" | "palettes"> {
  const numbers = new Map<FilmMatrix, number>();
  const names = new Set<string>();
  const numberOf = (matrix: FilmMatrix) => numbers.get(matrix) ?? (numbers.set(matrix, numbers.size), numbers.size - 1);
  for (const node of walk(nodes)) {
    if (node.kind !== "image") continue;
    names.add(node.palette as string);
    const shown = node.matrix as Value<FilmMatrix>;
    node.matrix = "keys" in shown ? { keys: shown.keys.map(([time, matrix, ease]) => [time, numberOf(matrix), ease]) } : numberOf(shown);
  }
  return { matrices: [...numbers.keys()], palettes: Object.fromEntries([...names].sort().map((name) => [name, known[name]!])) };
}

/** The film with what its texts are drawn with, as its file holds it. */
export function withLetters(film: FilmFile, font: Font): FilmFile {
  const texts = new Map<string, { face: Face; strings: Set<string> }>();
  for (const node of walk(film.nodes)) {
    if (node.kind !== "text") continue;
    const face = { family: node.family ?? "sans", weight: node.weight ?? 400 } as Face;
    const found = texts.get(nameOf(face)) ?? { face, strings: new Set() };
    texts.set(nameOf(face), found);
    const string = node.string as string | Keys<string>;
    for (const one of typeof string === "string" ? [string] : string.keys.map(([, value]) => value)) found.strings.add(one);
  }
  const { glyphs, runs } = font.alphabet.lettersOf(texts);
  return { ...film, em: font.page.em, glyphs, text_runs: runs } as FilmFile;
}
