// The columns of `stack`: bars and words with a row for each level (src/pellucid/draw/figures/stack_columns.py).

import type { Shows } from "../../film/types.ts";
import { tr } from "../../language.ts";
import { type Font, HEADING, SANS } from "../font.ts";
import { patternName } from "../generated.ts";
import type { Face } from "../letters.ts";
import { Box } from "../marks.ts";
import { type Node, path, rect, shows, text, type Value } from "../nodes.ts";
import { inSeconds } from "../numbers.ts";
import * as palette from "../palette.ts";
import { CLOCK_GAP, measured } from "../parts.ts";
import { NARROW_HEIGHT, type Sheet } from "../sheet.ts";
import { BLOCK_TIMES, type StackView } from "../stack_view.ts";

const TALLEST = 56; // of a row
const HEADINGS = 104; // below which the rows begin
const FOOT = 52; // of a phone's sheet, from the rows down
// Left edge and width of each column, in the units of the sheet.
const WIDE = {
  attention: [150, 116], mlp: [280, 116], length: [410, 96], p: [524, 120], rank: [654, 52], likeliest: [712, 104], time: [832, 104],
} as const; // prettier-ignore
const NARROW = { attention: [64, 46], mlp: [120, 46], length: [0, 0], p: [174, 44], rank: [0, 0], likeliest: [224, 56], time: [290, 58] } as const;

/** The height of a phone's sheet for so many rows: no more than they need. */
export const narrowHeight = (rows: number): number => Math.min(NARROW_HEIGHT, HEADINGS + rows * TALLEST + FOOT);

/** The column of that name: its left edge and its width; its height is that of the rows. */
export function column(name: keyof typeof WIDE, sheet: Sheet): Box {
  const [x, w] = (sheet.wide ? WIDE : NARROW)[name];
  return new Box(x, 0, w, 0);
}

/** The rows, level 0 at the bottom. */
export class StackRows {
  readonly low: number;
  readonly high: number;
  /** Where the followed position is drawn. */
  readonly marker: Box;
  private readonly every: number; // of how many one is written out, for text's room

  constructor(readonly count: number, sheet: Sheet) {
    this.low = sheet.bottom - 6;
    this.high = Math.min((this.low - HEADINGS) / count, TALLEST);
    this.every = Math.max(1, Math.ceil((1.25 * sheet.small) / this.high));
    this.marker = new Box(sheet.wide ? 132 : 54, this.low - count * this.high, 5, count * this.high);
  }

  /** The upper edge of a row. */
  top(row: number): number {
    return this.low - (row + 1) * this.high;
  }

  /** Whether a row is written out: the first, the last, and between them as many as have room. */
  written(row: number): boolean {
    const last = this.count - 1;
    return row === last || (row % this.every === 0 && (row === 0 || last - row >= this.every));
  }

  /** The baseline of a row's text. */
  base(row: number, size: number): number {
    return this.top(row) + this.high / 2 + 0.36 * size;
  }
}

/** The embedding and the blocks, with each block's attention pattern where there is room. */
export function rowNames(view: StackView, font: Font, rows: StackRows, sheet: Sheet): Node[] {
  const size = sheet.small;
  const nodes: Node[] = [];
  for (let row = 0; row < rows.count; row++) {
    if (!rows.written(row)) continue;
    let [name, label, under] = [sheet.wide ? tr("embedding") : tr("emb."), tr("the token's and the position's vector, before any block"), ""];
    if (row) {
      const { pattern } = view.blocks[row - 1]!;
      const width = /^banded\((\d+)\)$/.exec(pattern)?.[1];
      name = sheet.wide ? tr("block {number}", { number: row }) : tr("b {number}", { number: row });
      label = tr("after block {number} ({pattern})", { number: row, pattern: patternName(pattern) });
      under = width === undefined ? patternName(pattern) : tr("band {width}", { width });
    }
    const two = under !== "" && sheet.wide && rows.high >= 2.6 * size;
    const room = rows.marker.x - sheet.left - 6;
    const base = rows.base(row, size) - (two ? 0.6 * size : 0);
    const about = { fill: palette.QUIET, label };
    nodes.push(text(sheet.left, base, font.fit(name, room, size), size, SANS, about));
    if (two) nodes.push(text(sheet.left, base + 1.2 * size, font.fit(under, room, size), size, SANS, about));
  }
  return [...nodes, path([["M", rows.marker.right + 4, rows.low], ["L", sheet.right, rows.low]], { stroke: palette.LINE })]; // prettier-ignore
}

export interface Bars {
  title: string;
  /** One a row; null for none. */
  values: readonly (number | null)[];
  fill: string;
  /** The value of a bar as wide as the column. */
  full: number;
  words: (value: number) => string;
  shows: (row: number) => Shows;
  opacities: readonly Value<number>[];
}

/** A horizontal bar for each row, from the column's left edge; above them the title and the largest value. */
export function bars(place: Box, rows: StackRows, sheet: Sheet, { title, values, fill, full, words, shows, opacities }: Bars): Node[] {
  const size = sheet.small;
  const largest = Math.max(...values.map((value) => value ?? -Infinity));
  const most = values.indexOf(largest);
  const top = rows.top(rows.count - 1);
  const nodes = [
    titleNode(title, place, top, size),
    text(place.x, top - 6, `≤ ${words(largest)}`, size, SANS, { fill: palette.QUIET, shows: shows(most), opacity: opacities[most]! }),
  ];
  const thick = Math.min(rows.high * 0.72, 16);
  values.forEach((value, row) => {
    if (value === null) return;
    const y = rows.top(row) + (rows.high - thick) / 2;
    const long = full ? (place.w * value) / full : 0;
    nodes.push(rect(place.x, y, long, thick, { rx: Math.min(2, thick / 3), fill, opacity: opacities[row]!, label: words(value), shows: shows(row) }));
  });
  return nodes;
}

export interface Words {
  title: string;
  strings: readonly string[];
  face: Face;
  shows: (row: number) => Shows;
  opacity: Value<number>;
  /** In full, for hover. */
  labels: readonly string[];
  /** Which rows are written in the output's colour. */
  strong?: readonly boolean[];
}

/** A word for each row that has room for it. */
export function words(font: Font, place: Box, rows: StackRows, sheet: Sheet, { title, strings, face, shows, opacity, labels, strong }: Words): Node[] {
  const size = sheet.small;
  const nodes = [titleNode(title, place, rows.top(rows.count - 1), size)];
  strings.forEach((string, row) => {
    if (!rows.written(row)) return;
    const fill = strong?.[row] ? palette.OUTPUT : row ? palette.INK : palette.QUIET;
    nodes.push(text(place.x, rows.base(row, size), font.fit(string, place.w, size, face), size, face, { fill, opacity, label: labels[row]!, shows: shows(row) }));
  });
  return nodes;
}

/** The time of each block while the prompt was read, as a number, and that of all together above. */
export function times(view: StackView, font: Font, rows: StackRows, sheet: Sheet): Node[] {
  const seconds = view.blocks.flatMap(({ seconds: time }) => (time === null ? [] : [time]));
  if (!seconds.length) return [];
  const [size, place, top] = [sheet.small, column("time", sheet), rows.top(rows.count - 1)];
  const clocked = (y: number, said: string, ...index: number[]) => {
    const wide = font.width(said, size) + (1 + CLOCK_GAP) * size;
    return measured(font, Math.min(place.x, sheet.right - wide), y, said, size, shows(BLOCK_TIMES, [0, ...index], "measured"), { fill: palette.QUIET });
  };
  const total = seconds.reduce((sum, time) => sum + time, 0);
  const nodes = [titleNode(tr("time"), place, top, size), clocked(top - 6, tr("{time} in all", { time: inSeconds(total) }))];
  view.blocks.forEach(({ seconds: time }, block) => {
    if (time !== null && rows.written(block + 1)) nodes.push(clocked(rows.base(block + 1, size), inSeconds(time), block));
  });
  return nodes;
}

function titleNode(title: string, place: Box, top: number, size: number): Node {
  return text(place.x, top - 6 - 1.35 * size, title, size, HEADING);
}
