// `context`: the window of numbered positions, how full it is, and which positions each block reads at a step
// (src/pellucid/draw/figures/context.py).

import { counted, joined, listed, tr } from "../../language.ts";
import type { FilmFile } from "../../wire.ts";
import { type ContextView, countOf, newestIn, type PatternRow, tokenSource } from "../context_view.ts";
import { type Font, SANS } from "../font.ts";
import { footerOf, patternName } from "../generated.ts";
import { Box, Matrices } from "../marks.ts";
import { given, group, type Node, path, rect, shows, text } from "../nodes.ts";
import { percent } from "../numbers.ts";
import * as palette from "../palette.ts";
import { centred, token, tokenWidth } from "../parts.ts";
import { LinearScale } from "../scale.ts";
import { PROVENANCE, Sheet } from "../sheet.ts";
import { animate, type Change, Timeline, type Transition } from "../timeline.ts";
import { key, strips } from "./context_strips.ts";

const MOST_ROWS = 3; // of tokens over their positions: where one row has no room for whole words, they take turns

/** The film of a context window. */
export function context(view: ContextView, font: Font, width: number): FilmFile {
  const [sheet, timeline] = [new Sheet(width), new Timeline()];
  const zoomWords = tr("The part in use, enlarged: a cell for each position, a row for each kind of attention.");
  const [fill, zoom] = timeline.segment(tr("The window"), [0.8, 2.2, windowWords(view)], [0.6, 2.4, zoomWords]);
  const [look] = timeline.segment(tr("What a block can read"), [0.6, 4.8, readingWords(view)]);
  let later: Transition[] = [];
  if (view.steps.length > 1) {
    const pace = 9 / (view.steps.length - 1);
    const saying = laterWords(view);
    later = timeline.segment(tr("Token after token"), ...view.steps.slice(1).map(() => [0.3, Math.min(pace, 2) - 0.3, saying] as const));
  }
  const [end] = timeline.segment(tr("What no later query can read"), [0.4, 5, unreadableWords(view)]);
  const moves = [look!, ...later];
  const box = new Box(sheet.left, sheet.top + (sheet.wide ? 1.6 : 3) * sheet.small, sheet.room, 16);
  const below = new Box(sheet.left, box.bottom + (sheet.wide ? 34 : 30), sheet.room, 0);
  const zoomed = Math.min(view.context, view.positions + Math.max(1, Math.floor(view.positions / 8))); // those in use, a few free ones
  const rows = tokenRows(view, font, below.w / zoomed, sheet);
  const top = below.y + rowHeight(sheet) * Math.max(rows, 1) + (sheet.wide ? 8 : 7);
  const nodes = [
    ...windowNodes(view, font, box, sheet, fill!, moves),
    ...lensLines(view, box, below, zoomed, zoom!),
    ...(rows ? tokenNodes(view, font, below, zoomed, rows, sheet, moves) : newestNodes(view, font, below, zoomed, sheet, moves)),
    ...strips(view, font, new Matrices(), new Box(sheet.left, top, sheet.room, sheet.bottom - 24 - top), zoomed, sheet, moves, end!),
    ...key(view, font, sheet),
  ];
  const said = { title: tr("The context window"), footer: footerOf(view.model), alt: altOf(view), notes: notesOf(view, zoomed) };
  return sheet.film(font, said, nodes, timeline, false);
}

/** The whole window as a bar of numbered positions, filled as far as tokens have come. */
function windowNodes(view: ContextView, font: Font, box: Box, sheet: Sheet, fill: Transition, moves: readonly Transition[]): Node[] {
  const scale = new LinearScale(0, view.context, box.x, box.right);
  const prompt = scale.place(view.prompt) - box.x;
  const answer = view.steps.map((step, i): Change<number> => [moves[i]!, scale.place(newestIn(view, step) + 1) - box.x - prompt, "move"]);
  const small = sheet.small;
  const nodes = [
    rect(box.x, box.y, box.w, box.h, { rx: 3, fill: palette.PANEL, stroke: palette.LINE, label: tr("{count:,} positions", { count: view.context }), shows: PROVENANCE }),
    rect(box.x, box.y, animate(0, [fill, prompt, "move"]), box.h, {
      fill: palette.INPUT, label: tr("the prompt: {positions}", { positions: counted(view.prompt, "position") }), shows: given("generation/prompt_ids"),
    }),
    rect(box.x + prompt, box.y, animate(0, ...answer), box.h, { fill: palette.OUTPUT, label: tr("the answer"), shows: shows("generation/steps/drawn_ids") }),
  ]; // prettier-ignore
  if (!sheet.wide) {
    const used = tr("a window of {positions}", { positions: counted(view.context, "position") });
    nodes.push(text(box.x, box.y - 1.85 * small, used, small, SANS, { shows: PROVENANCE }));
  }
  for (const [value, words] of scale.wholeTicks(font, small)) {
    const x = scale.place(value);
    const anchor = x - box.x < 12 ? "start" : box.right - x < 12 ? "end" : "middle";
    nodes.push(text(x, box.y - 0.4 * small, words, small, SANS, { anchor, fill: palette.QUIET }));
  }
  return nodes;
}

/** Two lines from the window's used part down to the strips that show it enlarged. */
function lensLines(view: ContextView, box: Box, below: Box, zoomed: number, zoom: Transition): Node[] {
  if (zoomed === view.context) return [];
  const right = box.x + (box.w * zoomed) / view.context;
  const low = below.y - 4;
  const style = { stroke: palette.FOLLOWED, opacity: animate(0, [zoom, 1]), dash: [3, 3] };
  return [path([["M", box.x, box.bottom], ["L", box.x, low]], style), path([["M", right, box.bottom], ["L", below.right, low]], style)]; // prettier-ignore
}

/** From one row of tokens to the next. */
const rowHeight = (sheet: Sheet): number => (sheet.wide ? 24 : 21);

/** In how many rows all tokens stand whole over their positions; 0 where they have no room. */
function tokenRows(view: ContextView, font: Font, cell: number, sheet: Sheet): number {
  const widest = Math.max(...view.ids.slice(0, view.positions).map((id) => tokenWidth(font, view.pieces.shown(id), sheet.small)));
  for (let rows = 1; rows <= MOST_ROWS; rows++) if (widest <= rows * cell - 2) return rows;
  return 0;
}

/** The tokens over their positions, in one row or taking turns in a few, each with a line down to its position. */
function tokenNodes(view: ContextView, font: Font, below: Box, zoomed: number, rows: number, sheet: Sheet, moves: readonly Transition[]): Node[] {
  const [cell, row, size] = [below.w / zoomed, rowHeight(sheet), sheet.small];
  const [lines, boxes]: [Node[], Node[]] = [[], []];
  for (let position = 0; position < view.positions; position++) {
    const came = view.steps.findIndex((step) => newestIn(view, step) >= position);
    const opacity = position < view.prompt ? 1 : animate(0, [moves[came]!, 1]);
    const word = view.pieces.shown(view.ids[position]!);
    const own = tokenWidth(font, word, size);
    const wide = rows === 1 ? Math.max(own, cell - 2) : own;
    const middle = below.x + (position + 0.5) * cell;
    const x = Math.min(Math.max(middle - wide / 2, below.x), below.right - wide);
    const y = below.y + (position % rows) * row;
    lines.push(path([["M", middle, y + row - 2], ["L", middle, below.y + rows * row + 2]], { stroke: palette.LINE, opacity })); // prettier-ignore
    const about = { x, y, opacity, label: positionWords(view, position), shows: tokenSource(view, position) };
    boxes.push(token(font, word, row - 2, size, position < view.prompt ? "input" : "output", wide, about));
  }
  return [...lines, ...boxes];
}

/** The newest token alone, with its position's number, over its place. */
function newestNodes(view: ContextView, font: Font, below: Box, zoomed: number, sheet: Sheet, moves: readonly Transition[]): Node[] {
  const [cell, high, size, most] = [below.w / zoomed, rowHeight(sheet) - 2, sheet.small, sheet.wide ? 110 : 80];
  return view.steps.map((step, i) => {
    const position = newestIn(view, step);
    const middle = below.x + (position + 0.5) * cell;
    const [word, number] = [view.pieces.shown(view.ids[position]!), tr("position {position}", { position })];
    const [w, named] = [Math.min(tokenWidth(font, word, size), most), font.width(number, size) + 0.6 * size];
    const x = Math.min(Math.max(middle - w / 2, below.x), below.right - w);
    const next: Change<number>[] = i + 1 < moves.length ? [[moves[i + 1]!, 0]] : [];
    const [source, left] = [tokenSource(view, position), x - named >= below.x];
    const style = { anchor: left ? "end" : "start", fill: palette.QUIET, shows: source } as const;
    const beside = text(left ? x - 0.6 * size : x + w + 0.6 * size, centred(below.y, high, size), number, size, SANS, style);
    const stem = path([["M", middle, below.y + high], ["L", middle, below.y + high + 4]], { stroke: palette.QUIET }); // prettier-ignore
    const about = { x, y: below.y, label: positionWords(view, position), shows: source };
    const box = token(font, word, high, size, position < view.prompt ? "followed" : "output", w, about);
    return group([beside, stem, box], { opacity: animate(0, [moves[i]!, 1], ...next) });
  });
}

/** A position with its token. */
function positionWords({ pieces, ids }: ContextView, position: number): string {
  return tr("position {position}: {token}", { position, token: pieces.described(ids[position]!) });
}

function windowWords(view: ContextView): string {
  const used = newestIn(view, view.steps.at(-1)!) + 1;
  return tr("The window has {positions}. The prompt takes the first {prompt:,}, the answer the next ones: {used:,} in all, {share} of it.", {
    positions: counted(view.context, "position"), prompt: view.prompt, used, share: percent(used / view.context),
  }); // prettier-ignore
}

function readingWords(view: ContextView): string {
  const newest = newestIn(view, view.steps[0]!);
  const reads = listed(view.rows.slice(0, 3).map((row) => tr("{pattern} reads {count:,}", { pattern: patternName(row.pattern), count: countOf(row.reads[0]!) })));
  return tr("To draw the first token, the query of position {newest:,} looks back: of {positions:,} positions {reads}.", { newest, positions: newest + 1, reads });
}

function laterWords({ steps, totalSteps }: ContextView): string {
  const parts = [tr("Each drawn token takes the next position and becomes the query.")];
  if (steps.length < totalSteps) parts.push(tr("{shown} of {later} later steps are shown.", { shown: steps.length - 1, later: totalSteps - 1 }));
  return joined(parts);
}

function unreadableWords({ rows }: ContextView): string {
  const lost = rows.filter((row) => row.unreadable.at(-1)!.includes(true));
  if (lost.length) {
    const named = lost.map((row) => tr("{count:,} in {pattern}", { count: countOf(row.unreadable.at(-1)!), pattern: patternName(row.pattern) }));
    return tr("Positions that no later query can read any more: {lost}. An evicting cache would drop them.", { lost: listed(named) });
  }
  if (rows.every(({ pattern }) => pattern === "dense")) return tr("Dense attention reads every position before it: all can still be read.");
  return tr("So far every position can still be read by a later query, in every block.");
}

function rowName({ pattern, blocks }: PatternRow): string {
  return tr("{pattern} ({blocks})", { pattern: patternName(pattern), blocks: counted(blocks.length, "block") });
}

function altOf(view: ContextView): string {
  const newest = newestIn(view, view.steps.at(-1)!);
  const last = listed(view.rows.map((row) => tr("{pattern} {count:,}", { pattern: rowName(row), count: countOf(row.reads.at(-1)!) })));
  const reads = tr("In the last step the query of position {newest:,} reads: {last}.", { newest, last });
  return joined([windowWords(view), readingWords(view), reads, unreadableWords(view)]);
}

function notesOf(view: ContextView, zoomed: number): string[] {
  const notes = [
    tr("What a block reads follows from its attention pattern; the weight that each position gets is in the figure xray."),
    tr("A square is the whole window (at most its first 2,048 positions), in tiles: a row is a query, a column a position that it can read."),
    tr("All positions stay in this program's cache; what no later query can read is what an evicting cache would drop."),
  ];
  if (view.otherPatterns) notes.push(tr("{patterns} of this model are not shown.", { patterns: counted(view.otherPatterns, "more attention pattern") }));
  if (zoomed < view.context) notes.push(tr("The strips show positions 0 to {last:,} of {positions:,}; the others are free.", { last: zoomed - 1, positions: view.context }));
  return notes;
}
