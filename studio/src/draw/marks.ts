// Marks that several figures draw: rows of tokens, paragraphs, a small chart of bars; and `Box`, a place
// (src/pellucid/draw/components/marks.py and columns.py).

import type { Shows } from "../film/types.ts";
import { tr } from "../language.ts";
import type { FilmMatrix } from "../wire.ts";
import { type Font, HEADING, SANS } from "./font.ts";
import { image, type Node, path, rect, text, type TextStyle, type Value } from "./nodes.ts";
import * as palette from "./palette.ts";
import { measured, type Role, token, tokenWidth } from "./parts.ts";
import type { Pieces } from "./pieces.ts";

const LEADING = 1.35; // from line to line of a paragraph, of its size
const [MOST_GAP, WIDEST] = [3, 40]; // between two bars of a chart; a bar

/** A rectangle on the sheet. */
export class Box {
  constructor(readonly x: number, readonly y: number, readonly w: number, readonly h: number) {}

  get right(): number {
    return this.x + this.w;
  }

  get bottom(): number {
    return this.y + this.h;
  }

  get middle(): number {
    return this.x + this.w / 2;
  }
}

export const earlier = (count: number): string => tr("… {count} earlier", { count });

/** Places for the boxes of tokens, row by row, the newest always shown: a place for each, and how many of the first have none. */
export function flow(font: Font, strings: readonly string[], x: number, y: number, width: number, h: number, size: number, rows: number, gap = 4): [(Box | null)[], number] {
  const widths = strings.map((string) => Math.min(tokenWidth(font, string, size), width));
  const most = Math.trunc((rows * (width + gap)) / (Math.min(...widths) + gap)); // boxes that have room at all
  for (let hidden = Math.max(0, strings.length - most - 1); ; hidden++) {
    const places: (Box | null)[] = Array<null>(hidden).fill(null);
    let [at, row] = [x + (hidden ? font.width(earlier(hidden), size) + gap : 0), 0];
    for (const w of widths.slice(hidden)) {
      if (at > x && at + w > x + width + 1e-9) [at, row] = [x, row + 1];
      places.push(new Box(at, y + row * (h + gap), w, h));
      at += w + gap;
    }
    if (row < rows) return [places, hidden];
  }
}

/** A token of a row: its id, its place (from `flow`; without one it is left out), and what it is. */
export interface PlacedToken {
  id: number;
  place: Box | null;
  role: Role;
  source: Shows;
  opacity?: Value<number>;
}

/** Tokens in their boxes, with a line under those that only together are a character. */
export function tokenBoxes(font: Font, pieces: Pieces, tokens: readonly PlacedToken[], size: number): Node[] {
  const nodes = tokens.flatMap(({ id, place, role, source, opacity }) => {
    if (!place) return [];
    const about = { label: pieces.described(id), shows: source, ...(opacity === undefined ? {} : { opacity }) };
    return [token(font, pieces.shown(id), place.h, size, role, place.w, { x: place.x, y: place.y, ...about })];
  });
  for (const [start, end, together] of pieces.characters(tokens.map(({ id }) => id))) {
    const row = tokens.slice(start, end).filter(({ place }) => place);
    const ys = [...new Set(row.map(({ place }) => place!.y))].sort((a, b) => a - b);
    for (const y of ys) {
      const line = row.filter(({ place }) => place!.y === y);
      const [first, last] = [line[0]!.place!, line.at(-1)!];
      const low = first.bottom + 1.5;
      const label = tr("together the text {text!r}", { text: together });
      const over = last.opacity === undefined ? {} : { opacity: last.opacity };
      nodes.push(path([["M", first.x + 2, low], ["L", last.place!.right - 2, low]], { stroke: palette.QUIET, stroke_width: 1.5, label, ...over })); // prettier-ignore
    }
  }
  return nodes;
}

/** The matrices of one film: equal ones are one object. */
export class Matrices {
  private readonly known = new Map<string, FilmMatrix>();

  /** Whole numbers from 0 to 255 in rows, each an index into a palette. */
  of(rows: readonly (readonly number[])[]): FilmMatrix {
    const data = btoa(rows.map((row) => row.map((code) => String.fromCharCode(code)).join("")).join(""));
    const key = `${rows.length} ${data}`;
    const found = this.known.get(key) ?? { rows: rows.length, columns: rows[0]!.length, data };
    this.known.set(key, found);
    return found;
  }
}

/** All colours of a palette side by side, below them the numbers of its ends and middle. */
export function legend(name: string, matrices: Matrices, box: Box, size: number, low: string, high: string, middle: string): Node[] {
  const y = box.bottom + 1.15 * size;
  const matrix = matrices.of([Array.from({ length: name === "diverging" ? 255 : 256 }, (_, i) => i + (name === "diverging" ? 1 : 0))]);
  const number = (x: number, words: string, anchor: "start" | "middle" | "end") => text(x, y, words, size, SANS, { anchor, fill: palette.QUIET });
  return [
    image(matrix, name, box.x, box.y, box.w, box.h),
    rect(box.x, box.y, box.w, box.h, { stroke: palette.LINE }),
    number(box.x, low, "start"),
    number(box.right, high, "end"),
    number(box.middle, middle, "middle"),
  ];
}

/** A text in lines no wider than `width`, from y down; and the position below the last. */
export function paragraph(font: Font, string: string, x: number, y: number, width: number, size: number, style: TextStyle): [Node[], number] {
  const lines = font.wrap(string, width, size);
  const nodes = lines.map((line, i) => text(x, y + (i * LEADING + 1) * size, line, size, SANS, style));
  return [nodes, y + lines.length * LEADING * size];
}

export interface Columns {
  values: readonly number[];
  title: string;
  words: (value: number) => string;
  shows: (i: number) => Shows;
  fills: readonly string[];
  opacities: readonly Value<number>[];
}

/** Upright bars, one a step, as high as their values; the largest value is written above them. */
export function columns(font: Font, box: Box, size: number, { values, title, words, shows, fills, opacities }: Columns): Node[] {
  const [top, low] = [box.y + 1.9 * size, box.bottom - 1.5 * size];
  const most = values.indexOf(Math.max(...values));
  const greatest = tr("at most {value}", { value: words(values[most]!) });
  const clocked = shows(most).truth === "measured";
  const taken = font.width(greatest, size) + (clocked ? 1.3 * size : 0);
  const style = { anchor: "end", fill: palette.QUIET } as const;
  const nodes = [
    text(box.x, box.y + size, font.fit(title, box.w - taken - size, size, HEADING), size, HEADING),
    clocked ? measured(font, box.right, box.y + size, greatest, size, shows(most), style) : text(box.right, box.y + size, greatest, size, SANS, { ...style, shows: shows(most) }),
  ];
  const step = box.w / values.length;
  const thick = Math.min(step - Math.min(MOST_GAP, step * 0.25), WIDEST);
  values.forEach((value, i) => {
    const high = values[most]! ? ((low - top) * value) / values[most]! : 0;
    const label = tr("step {step}: {value}", { step: i + 1, value: words(value) });
    const x = box.x + i * step + (step - thick) / 2;
    nodes.push(rect(x, low - high, thick, high, { rx: 1, fill: fills[i]!, label, shows: shows(i), opacity: opacities[i]! }));
  });
  nodes.push(path([["M", box.x, low], ["L", box.right, low]], { stroke: palette.QUIET })); // prettier-ignore
  nodes.push(text(box.x, low + 1.25 * size, tr("step {step}", { step: 1 }), size, SANS, { fill: palette.QUIET }));
  if (values.length > 1) nodes.push(text(box.right, low + 1.25 * size, String(values.length), size, SANS, style));
  return nodes;
}
