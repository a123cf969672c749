// The grid of `xray`: the positions and levels that have room, the places of their cells, the legend, and the arcs of attention
// (src/pellucid/draw/figures/xray_grid.py and xray_attention.py).

import type { Command } from "../../film/types.ts";
import { listed, tr } from "../../language.ts";
import { type Font, HEADING, SANS } from "../font.ts";
import { patternName } from "../generated.ts";
import { Box, legend, Matrices } from "../marks.ts";
import { type Node, path, rect, shows, text } from "../nodes.ts";
import { percent } from "../numbers.ts";
import * as palette from "../palette.ts";
import { centred } from "../parts.ts";
import type { Sheet } from "../sheet.ts";
import { animate, type Transition } from "../timeline.ts";
import { DROPPED, followedOf, type XrayView } from "../xray_view.ts";

const [COLUMNS_WIDE, COLUMNS_NARROW] = [16, 6]; // positions that are shown
const ROWS = 13; // levels that are shown
const LEAST = 0.01; // a smaller weight has no arc
const [THICKEST, DEEPEST] = [9, 56]; // an arc, and how far it goes below the tokens

export const titleOf = (): string => tr("X-ray of an answer");

export class XrayGrid {
  /** Those shown, in order; levels lowest first. */
  readonly positions: readonly number[];
  readonly levels: readonly number[];
  /** Places of the tokens below and above the cells, by position. */
  readonly ins = new Map<number, Box>();
  readonly outs = new Map<number, Box>();
  private readonly cells = new Map<string, Box>();

  /** The positions around the end of the prompt and the levels for which the sheet has room. */
  constructor(readonly view: XrayView, readonly sheet: Sheet) {
    const [total, count] = [view.words[0]!.length, view.words.length];
    const most = sheet.wide ? COLUMNS_WIDE : COLUMNS_NARROW;
    const first = total <= most ? 0 : Math.max(0, Math.min(view.prompt - 1 - Math.floor(most / 3), total - most));
    this.positions = Array.from({ length: Math.min(total, first + most) - first }, (_, i) => first + i);
    this.levels = Array.from({ length: Math.min(count, ROWS) }, (_, i) => (count <= ROWS ? i : Math.floor((i * (count - 1)) / (ROWS - 1))));
    const [label, gap] = sheet.wide ? [72, 7] : [34, 5];
    const [left, top] = [sheet.left + label, sheet.top + (sheet.wide ? 14 : 36)];
    const [out, into, below] = sheet.wide ? [26, 26, 64] : [22, 22, 76];
    const pitch = Math.min((sheet.right - left + gap) / this.positions.length, 150);
    const room = sheet.bottom - 6 - below - into - 8 - (top + out + 8);
    const high = Math.min(room / this.levels.length, sheet.wide ? 72 : 64);
    this.positions.forEach((position, place) => {
      const [x, wide] = [left + place * pitch, pitch - gap];
      this.outs.set(position, new Box(x, top, wide, out));
      this.levels.forEach((level, row) => {
        this.cells.set(`${level} ${position}`, new Box(x, top + out + 8 + (this.levels.length - 1 - row) * high, wide, high - 3));
      });
      this.ins.set(position, new Box(x, top + out + 8 + this.levels.length * high + 5, wide, into));
    });
  }

  cell(level: number, position: number): Box {
    return this.cells.get(`${level} ${position}`)!;
  }

  /** The steps after the first whose position is shown. */
  get laterSteps(): number[] {
    return Array.from({ length: Math.max(0, this.view.steps - 1) }, (_, i) => i + 1).filter((step) => this.ins.has(followedOf(this.view) + step));
  }

  /** Whether any position that is shown falls out of what a block can still read. */
  get drops(): boolean {
    return this.view.states.some((step) => step.some((block) => this.positions.some((position) => block[position] === DROPPED)));
  }

  /** The lowest of the levels shown from which on the likeliest token is that of the last level. */
  decidedAt(position: number): number {
    const { words } = this.view;
    let since = this.levels.at(-1)!;
    for (const level of this.levels.toReversed()) {
      if (words[level]![position] !== words.at(-1)![position]) break;
      since = level;
    }
    return since;
  }
}

/** Which part of the record is shown, and what colours, frames and dashes mean. */
export function head(grid: XrayGrid, font: Font): Node[] {
  const { view, sheet } = grid;
  const [positions, levels] = [view.words[0]!.length, view.words.length];
  const parts: string[] = [];
  if (grid.positions.length < positions) parts.push(tr("positions {first} to {last} of {positions}", { first: grid.positions[0]!, last: grid.positions.at(-1)!, positions }));
  if (grid.levels.length < levels) parts.push(tr("{shown} of {levels} levels", { shown: grid.levels.length, levels }));
  const [wide, y] = sheet.wide ? [190, 26] : [160, sheet.top + 2];
  const nodes = legend("sequential", new Matrices(), new Box(sheet.right - wide, y, wide, 9), sheet.small, "0", "100%", tr("probability"));
  const quiet = { fill: palette.QUIET };
  if (sheet.wide) {
    const after = sheet.left + font.width(titleOf(), sheet.big, HEADING) + 20;
    nodes.push(text(after, sheet.pad + sheet.big, listed(parts), sheet.small, SANS, quiet));
    return [...nodes, ...key(grid, font, 62)];
  }
  parts.forEach((part, i) => nodes.push(text(sheet.left, sheet.top + 10 + 15 * i, part, sheet.small, SANS, quiet)));
  return [...nodes, ...key(grid, font, sheet.bottom - 2)];
}

/** How a cell looks in each of its states, in one line of text with its baseline at y. */
function key(grid: XrayGrid, font: Font, y: number): Node[] {
  const { sheet } = grid;
  const middle = font.shade("sequential", 0.35);
  const swatches: [word: string, fill: string | null, stroke: string, thick: number, dash: number[]][] = [
    [tr("computed"), middle, middle, 1, []], [tr("kept"), null, middle, 2.5, []], [tr("decided"), null, palette.OUTPUT, 2, []],
  ]; // prettier-ignore
  // A phone has no room for five: the caption says it.
  if (sheet.wide || !grid.drops) swatches.push([tr("no block yet"), palette.UNTRAINED_FILL, palette.UNTRAINED_FILL, 1, []]);
  if (grid.drops) swatches.splice(2, 0, [tr("not read again"), null, palette.UNTRAINED, 1, [2, 3]]);
  let x = sheet.left;
  return swatches.flatMap(([word, fill, stroke, thick, dash]) => {
    const at = x;
    x += 21 + font.width(word, sheet.small) + (sheet.wide ? 18 : 10);
    return [
      rect(at + 1, y - 10, 15, 11, { rx: 2, fill, stroke, stroke_width: thick, dash }),
      text(at + 21, y, word, sheet.small, SANS, { fill: palette.QUIET }),
    ];
  });
}

/** The names of the rows, with the attention pattern of each block where there is room. */
export function rowNames(grid: XrayGrid, font: Font): Node[] {
  const { sheet } = grid;
  const position = grid.positions[0]!;
  const name = (box: Box, word: string, under = "", label = ""): Node[] => {
    const two = under !== "" && sheet.wide && box.h >= 30;
    const base = centred(box.y, box.h, sheet.small) - (two ? 7 : 0);
    const first = text(sheet.left, base, word, sheet.small, SANS, { fill: palette.QUIET, label });
    return two ? [first, text(sheet.left, base + 14, under, sheet.small, SANS, { fill: palette.QUIET })] : [first];
  };
  const { wide } = sheet;
  const levels = grid.levels.flatMap((level) => {
    const box = grid.cell(level, position);
    if (level === 0) return name(box, wide ? tr("embedding") : tr("emb."), "", tr("the token's and the position's vector, before any block"));
    const pattern = grid.view.model.pattern[level - 1]!;
    const width = /^banded\((\d+)\)$/.exec(pattern)?.[1];
    const band = width === undefined ? font.fit(patternName(pattern), 68, sheet.small) : tr("band {width}", { width });
    const label = tr("after block {number} ({pattern})", { number: level, pattern: patternName(pattern) });
    return name(box, wide ? tr("block {number}", { number: level }) : tr("b {number}", { number: level }), band, label);
  });
  return [
    ...name(grid.outs.get(position)!, wide ? tr("comes out") : tr("out")),
    ...name(grid.ins.get(position)!, wide ? tr("goes in") : tr("in")),
    ...levels,
  ];
}

/** Arcs from the followed position's token to those that it attends to, as thick as the weight, with the weight below. */
export function arcs(grid: XrayGrid, font: Font, attend: Transition): Node[] {
  const { view, sheet, ins } = grid;
  const { attention } = view;
  const position = followedOf(view);
  const box = ins.get(position)!;
  const size = sheet.small;
  const deep = Math.min(sheet.bottom - (sheet.wide ? 10 : 20) - 1.7 * size - box.bottom, DEEPEST);
  const low = box.bottom + deep + 1.7 * size;
  const there = animate(0, [attend, 1]);
  if (!attention) return [text(sheet.left, low, tr("attention: not in this record"), size, SANS, { fill: palette.QUIET, opacity: there })];
  const { block, heads, weights } = attention;
  const followed = { fill: palette.FOLLOWED, opacity: there };
  const number = block + 1;
  const nodes = [text(sheet.left, low, sheet.wide ? tr("block {number}", { number }) : tr("b {number}", { number }), size, SANS, followed)];
  if (sheet.wide) nodes.push(text(sheet.left, low - 15, tr("looks at"), size, SANS, followed));
  const source = shows(`generation/attention/${block}`); // a mean over all its heads: the label says of which place
  const widest = Math.max(...grid.positions.map((key) => Math.abs(ins.get(key)!.middle - box.middle)));
  weights.forEach((weight, key) => {
    const place = ins.get(key);
    if (!place) return;
    const label = tr("position {query} to position {key}: {weight}, mean of {heads} heads", { query: position, key, weight: percent(weight), heads });
    if (weight >= LEAST) {
      const y = box.bottom + 2;
      const far = Math.abs(place.middle - box.middle);
      const depth = 10 + (2 * deep - 18) * (widest ? far / widest : 0);
      const d: Command[] = key === position
        ? [["M", box.middle - 7, y], ["Q", box.middle, y + 22, box.middle + 7, y]]
        : [["M", box.middle, y], ["Q", (box.middle + place.middle) / 2, y + depth, place.middle, y]]; // prettier-ignore
      const grown = animate(0, [attend, 1, "move"]);
      nodes.push({ ...path(d, { stroke: palette.FOLLOWED, stroke_width: Math.max(1, THICKEST * weight), opacity: 0.75, label, shows: source }), draw: grown });
    }
    nodes.push(text(place.middle, low, percent(weight), size, SANS, { anchor: "middle", ...followed, label, shows: source }));
  });
  const before = weights.reduce((sum, weight, key) => (ins.has(key) ? sum : sum + weight), 0);
  const words = tr("positions not shown: {weight}", { weight: percent(before) });
  if (grid.positions[0]! > 0 && sheet.right - font.width(words, size) > box.right + 8)
    nodes.push(text(sheet.right, low, words, size, SANS, { anchor: "end", ...followed, shows: source }));
  return nodes;
}
