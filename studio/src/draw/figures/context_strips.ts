// The strips and masks of `context`: for each attention pattern, which positions are read, and which no longer can be
// (src/pellucid/draw/figures/context_strips.py).

import type { Command } from "../../film/types.ts";
import { thousands } from "../../formatting.ts";
import { counted, listed, tr } from "../../language.ts";
import { type ContextView, countOf, newestIn, pairsOf, type PatternRow } from "../context_view.ts";
import { type Font, HEADING, SANS } from "../font.ts";
import { patternName } from "../generated.ts";
import { Box, type Matrices } from "../marks.ts";
import { image, type Node, path, rect, shows, text } from "../nodes.ts";
import * as palette from "../palette.ts";
import { PROVENANCE, type Sheet } from "../sheet.ts";
import { animate, type Transition } from "../timeline.ts";

const [FREE, THERE, READ] = [0, 70, 190] as const; // codes of the sequential palette: no token yet, not read, read
const NO_LONGER = 170; // of the grey palette
const TALLEST = 34;
const [LEAST_MASK, LARGEST_MASK] = [56, 150] as const;

/** A name, a strip of positions and a thin strip of those that no later query can read, for each pattern. */
export function strips(view: ContextView, font: Font, matrices: Matrices, box: Box, zoomed: number, sheet: Sheet, moves: readonly Transition[], end: Transition): Node[] {
  const pitch = Math.min((box.h - 2 * sheet.small) / view.rows.length, sheet.wide ? 74 : 72);
  const low = box.y + view.rows.length * pitch;
  return [
    ...view.rows.flatMap((row, i) => strip(view, font, matrices, row, new Box(box.x, box.y + i * pitch, box.w, pitch), zoomed, sheet, moves, end)),
    ...numbers(font, zoomed, new Box(box.x, low, box.w, 0), sheet),
    ...masks(view, font, matrices, new Box(box.x, low + 1.6 * sheet.small, box.w, box.bottom - low - 1.6 * sheet.small), sheet),
  ];
}

/** The whole window of each pattern as a square, query by key, where there is room for squares. */
function masks(view: ContextView, font: Font, matrices: Matrices, box: Box, sheet: Sheet): Node[] {
  const [size, gap, across] = [sheet.small, 16, view.rows.length];
  const said = sheet.wide ? 0 : 4.3 * size; // what a square means stands below it on a phone
  const room = (box.w - (across - 1) * gap) / across;
  const side = Math.min(box.h - 1.7 * size - said, room, LARGEST_MASK);
  if (side < LEAST_MASK) return [];
  const wide = Math.min(room, 300);
  return view.rows.flatMap((row, i) => {
    const [x, y] = [box.x + i * (wide + gap), box.y + 1.5 * size];
    const [total, pattern] = [pairsOf(row, view.context), patternName(row.pattern)];
    const label = tr("the whole window of {pattern}: {pairs:,} pairs of query and key", { pattern, pairs: total });
    const title = font.fit(tr("{pattern}, whole window", { pattern }), wide, size, HEADING);
    const codes = row.mask.map((tiles) => tiles.map((share) => Math.floor(share * 255 + 0.5)));
    const nodes = [
      text(x, box.y + size, title, size, HEADING, { label, shows: PROVENANCE }),
      image(matrices.of(codes), "sequential", x, y, side, side, { label, shows: PROVENANCE }),
      rect(x, y, side, side, { stroke: palette.LINE }),
    ];
    if (sheet.wide && wide - side <= 90) return nodes;
    const lines = [tr("{count:,} pairs", { count: total }), tr("down: queries"), tr("across: positions")];
    const [left, first] = sheet.wide ? [x + side + 10, y] : [x, y + side + 0.4 * size];
    const style = { fill: palette.QUIET, label };
    return [...nodes, ...lines.map((line, j) => text(left, first + (1 + 1.35 * j) * size, font.fit(line, wide - (left - x), size), size, SANS, style))];
  });
}

function strip(view: ContextView, font: Font, matrices: Matrices, row: PatternRow, place: Box, zoomed: number, sheet: Sheet, moves: readonly Transition[], end: Transition): Node[] {
  const size = sheet.small;
  const [pattern, blocks] = [patternName(row.pattern), blockNames(row.blocks)];
  const counts = row.reads.map((reads, i) => tr("reads {count:,} of {all:,}", { count: countOf(reads), all: newestIn(view, view.steps[i]!) + 1 }));
  const changing = animate("", ...counts.map((count, i) => [moves[i]!, count] as const));
  const widest = Math.max(...counts.map((count) => font.width(count, size, HEADING)));
  const y = place.y + size;
  const box = new Box(place.x, y + 0.5 * size, place.w, Math.min(place.h - 1.5 * size - 14, TALLEST));
  const free = Array<number>(zoomed).fill(FREE);
  const before = [...Array<number>(view.prompt).fill(THERE), ...free.slice(view.prompt)];
  const stripOf = (reads: readonly boolean[], step: number) => {
    const found = reads.slice(0, newestIn(view, step) + 1).map((read): number => (read ? READ : THERE));
    return matrices.of([[...found, ...Array<number>(zoomed - found.length).fill(FREE)]]);
  };
  const matrix = animate(matrices.of([before]), ...row.reads.map((reads, i) => [moves[i]!, stripOf(reads, view.steps[i]!)] as const));
  const gone = row.unreadable.map((lost) => matrices.of([[...lost.map((one) => (one ? NO_LONGER : 0)), ...Array<number>(zoomed - lost.length).fill(0)]]));
  const thin = animate(matrices.of([free]), ...gone.map((codes, i) => [moves[i]!, codes] as const));
  const label = tr("what the newest query reads in {blocks}, by the pattern {pattern}", { blocks, pattern });
  const nodes = [
    text(place.x, y, font.fit(`${pattern} · ${blocks}`, place.w - widest - size, size, HEADING), size, HEADING, { label, shows: PROVENANCE }),
    text(place.right, y, changing, size, SANS, { anchor: "end", fill: palette.FOLLOWED, shows: PROVENANCE }),
    image(matrix, "sequential", box.x, box.y, box.w, box.h, { label, shows: PROVENANCE }),
    rect(box.x, box.y, box.w, box.h, { stroke: palette.LINE }),
  ];
  const cell = box.w / zoomed;
  if (cell >= 6) {
    const lines: Command[] = []; // between positions
    for (let i = 1; i < zoomed; i++) lines.push(["M", box.x + i * cell, box.y], ["L", box.x + i * cell, box.bottom]);
    nodes.push(path(lines, { stroke: palette.PAPER, stroke_width: cell < 16 ? 1 : 2 }));
  }
  if (row.unreadable.some((lost) => lost.includes(true))) {
    const words = tr("no later query can read {positions} in {blocks}", { positions: counted(countOf(row.unreadable.at(-1)!), "position"), blocks });
    nodes.push(
      image(thin, "grey", box.x, box.bottom + 2, box.w, 4, { label: words, shows: shows("generation/cells") }),
      rect(box.x, box.bottom + 2, box.w, 4, { stroke: palette.UNTRAINED, opacity: animate(0, [end, 1]) }),
    );
  }
  return nodes;
}

/** Some blocks in words: block 3; blocks 1, 3, 5; blocks 1, 3 … 95. */
function blockNames(blocks: readonly number[]): string {
  const [first, last] = [blocks[0]! + 1, blocks.at(-1)! + 1];
  if (blocks.length === 1) return tr("block {number}", { number: first });
  const named = (some: readonly number[]) => listed(some.map((block) => String(block + 1)));
  if (blocks.length <= 6) return tr("blocks {numbers}", { numbers: named(blocks) });
  if (last - first === blocks.length - 1) return tr("blocks {first} to {last}", { first, last });
  return tr("blocks {numbers}", { numbers: `${named(blocks.slice(0, 2))} … ${last}` });
}

/** The numbers of the first and the last position of a strip, and of one in the middle. */
function numbers(font: Font, zoomed: number, line: Box, { small: size }: Sheet): Node[] {
  const nodes: Node[] = [];
  let taken = line.x - size;
  for (const position of [...new Set([0, Math.floor(zoomed / 2), zoomed - 1])].sort((a, b) => a - b)) {
    const words = thousands(position);
    const anchor = position === 0 ? "start" : position === zoomed - 1 ? "end" : "middle";
    const x = { start: line.x, end: line.right, middle: line.x + (position + 0.5) * (line.w / zoomed) }[anchor];
    const w = font.width(words, size);
    const left = { start: x, end: x - w, middle: x - w / 2 }[anchor];
    if (left < taken + size) continue;
    nodes.push(text(x, line.y + 0.4 * size, words, size, SANS, { anchor, fill: palette.QUIET }));
    taken = left + w;
  }
  return nodes;
}

/** What the colours of the cells mean, in one line above the footer. */
export function key(view: ContextView, font: Font, sheet: Sheet): Node[] {
  const colours = font.palettes.sequential!;
  const swatches: [string, string][] = [[tr("read now"), colours[READ]!], [tr("not read"), colours[THERE]!], [tr("free"), colours[FREE]!]]; // prettier-ignore
  if (view.rows.some((row) => row.unreadable.some((lost) => lost.includes(true)))) swatches.push([tr("never again"), font.palettes.grey![NO_LONGER]!]);
  let x = sheet.left;
  const y = sheet.bottom - 2;
  return swatches.flatMap(([word, fill]) => {
    const at = x;
    x += 20 + font.width(word, sheet.small) + (sheet.wide ? 18 : 10);
    return [rect(at, y - 10, 15, 11, { rx: 2, fill, stroke: palette.LINE }), text(at + 20, y, word, sheet.small, SANS, { fill: palette.QUIET })];
  });
}
