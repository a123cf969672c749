// The panels of one step in `tokens`: the model and what it reads, the distribution and its cut, the draw
// (src/pellucid/draw/figures/tokens_panels.py).

import type { Command, Shows } from "../../film/types.ts";
import { fixed } from "../../formatting.ts";
import { plural, tr } from "../../language.ts";
import { type Font, HEADING, MONO, SANS } from "../font.ts";
import { cacheOf, type GenerationStep, isGreedy, sourceOf, spansOf, takenOf, timeOf } from "../generated.ts";
import { Box, paragraph } from "../marks.ts";
import { group, type Node, path, rect, shows, text, type Value } from "../nodes.ts";
import { inBytes, inSeconds, percent } from "../numbers.ts";
import * as palette from "../palette.ts";
import { centred, measured, model } from "../parts.ts";
import type { Pieces } from "../pieces.ts";
import type { Sheet } from "../sheet.ts";
import { animate, type Change, type Transition } from "../timeline.ts";

const NONE = palette.PAPER;

/** The background of a panel. */
export function panel(box: Box): Node {
  return rect(box.x, box.y, box.w, box.h, { rx: 8, fill: palette.PANEL });
}

export function heading(font: Font, words: string, box: Box, sheet: Sheet): Node {
  return text(box.x + sheet.pad / 2, box.y + 1.5 * sheet.size, font.fit(words, box.w - sheet.pad, sheet.size, HEADING), sheet.size, HEADING);
}

/** The model, the tokens that it reads in this step, its time and its cache: upright on a screen, two columns on a phone. */
export function modelPanel(font: Font, step: GenerationStep, name: string, box: Box, sheet: Sheet): Node[] {
  const { size, small } = sheet;
  const inner = sheet.pad / 2;
  const phase = step.number === 0 ? tr("prefill") : tr("decode");
  const many = plural(step.read, "reads {count} token", "reads {count} tokens at once");
  const cached = step.number === 0 ? tr("nothing in the cache yet") : tr("{count} more are in the cache", { count: step.context.length - 1 });
  const time = (x: number, y: number) => measured(font, x, y, inSeconds(step.seconds), size, timeOf(step));
  if (!sheet.wide) {
    const [x, y, wide] = [box.x + inner + 108, box.y + 4, box.w - 2 * inner - 108];
    return [
      model(font, box.x + inner, box.y + 8, 96, box.h - 16, name, size),
      text(x, y + size, tr("{name}: {value}", { name: phase, value: many }), size, HEADING),
      text(x, y + size + 16, font.fit(cached, wide, small), small, SANS, { fill: palette.QUIET }),
      time(x, y + size + 33),
      ...cacheBar(step, new Box(x, y + size + 33 + 7, wide, 0), small),
    ];
  }
  const [x, wide] = [box.x + inner, box.w - 2 * inner];
  const nodes = [model(font, x, box.y + 12, wide, 64, name, size), text(x, box.y + 96 + size, phase, size, HEADING)];
  const reads = tr("{reads}; {cached}", { reads: many, cached });
  const [lines, y] = paragraph(font, reads, x, box.y + 96 + 1.6 * size, wide, small, { fill: palette.QUIET });
  nodes.push(...lines, time(x, y + 1.6 * size), ...cacheBar(step, new Box(x, y + 3.1 * size, wide, 0), small));
  const low = y + (3.1 * size + 3.2 * small);
  return [...nodes, ...positionSquares(step, new Box(x, low, wide, box.bottom - inner - low), small)];
}

/** The bytes in the cache after this step, as a bar whose full length are those after the last. */
function cacheBar(step: GenerationStep, box: Box, size: number): Node[] {
  const label = tr("an evicting cache of {positions} positions: {bytes:,} bytes; after the last step {last:,}", {
    positions: step.context.length, bytes: step.cache, last: step.cacheLast,
  }); // prettier-ignore
  const about = { label, shows: cacheOf(step) };
  const long = step.cacheLast ? (box.w * step.cache) / step.cacheLast : 0;
  return [
    text(box.x, box.y + size, tr("evicting cache {bytes}", { bytes: inBytes(step.cache) }), size, SANS, about),
    rect(box.x, box.y + 1.45 * size, box.w, 0.7 * size, { rx: 2, fill: palette.PAPER, stroke: palette.LINE }),
    rect(box.x, box.y + 1.45 * size, long, 0.7 * size, { rx: 2, fill: palette.FOLLOWED, ...about }),
  ];
}

function stateName(state: number): string {
  if (state === 1) return tr("computed in this step");
  return state === 2 ? tr("in the cache") : tr("in the cache; in some blocks no later query can read it");
}

/** A square for each position: filled where it was computed in this step, hollow where keys and values are cached. */
function positionSquares(step: GenerationStep, box: Box, size: number): Node[] {
  const [side, gap] = [11, 3];
  const [across, down] = [Math.floor((box.w + gap) / (side + gap)), Math.floor((box.h - 1.6 * size + gap) / (side + gap))];
  const count = step.positions.length;
  const hidden = Math.max(0, count - across * down);
  const words = hidden
    ? tr("{shown} of {count} positions, {new} new", { shown: across * down, count, new: step.read })
    : plural(count, "{count} position", "{count} positions, {new} new", { new: step.read });
  const squares = step.positions.slice(hidden).map((state, i) => {
    const [x, y] = [box.x + (i % across) * (side + gap), box.y + 1.6 * size + Math.floor(i / across) * (side + gap)];
    const label = tr("position {position}: {state}", { position: hidden + i, state: stateName(state) });
    const fill = state === 1 ? palette.FOLLOWED : palette.PAPER;
    const dash = state === 3 ? [2, 2] : [];
    return rect(x + 0.5, y + 0.5, side - 1, side - 1, { rx: 2, fill, stroke: palette.FOLLOWED, dash, label, shows: shows("generation/cells", [step.number]) });
  });
  return [text(box.x, box.y + size, words, size, SANS), ...squares];
}

/** When the bars grow, when the cut is made (null: there is none), when the drawn token is marked. */
export interface Moments {
  read: Transition;
  cut: Transition | null;
  draw: Transition;
}

/** The likeliest tokens with their probabilities as bars; what the cut leaves of them; the one that was drawn. */
export function distribution(font: Font, step: GenerationStep, pieces: Pieces, box: Box, sheet: Sheet, count: number, { read, cut, draw }: Moments): Node[] {
  const { size, small } = sheet;
  const inner = sheet.pad / 2;
  const rows = rowsOf(step, count);
  const [left, right] = [box.x + inner, box.right - inner];
  const numberWidth = font.width("<0.01%", small);
  const first = cut ? right - numberWidth - 10 : right;
  const wordWidth = (right - left) * 0.29;
  const barLeft = left + wordWidth + 6;
  const [room, full] = [first - numberWidth - 6 - barLeft, Math.max(...rows.map(({ p, share }) => Math.max(p, share)))];
  const length = (value: number) => (full ? (room * value) / full : 0);
  const headY = box.y + 1.5 * size + 1.5 * small;
  const head = { anchor: "end", fill: palette.QUIET } as const;
  const nodes = [
    heading(font, tr("how likely is each next token?"), box, sheet),
    text(first, headY, cut ? tr("model") : tr("probability"), small, SANS, head),
  ];
  if (cut) nodes.push(text(right, headY, isGreedy(step) ? tr("taken") : tr("drawn"), small, SANS, { ...head, opacity: animate(0, [cut, 1]) }));
  const [top, low] = [headY + 0.5 * small, box.bottom - 2.1 * small];
  const pitch = (low - top) / count;
  const thick = Math.min(pitch * 0.72, 22);
  rows.forEach(({ rank, token, p, share }, i) => {
    const y = top + i * pitch + (pitch - thick) / 2;
    const [mine, gone] = [token === step.drawn, step.cut !== "" && share === 0];
    const base = centred(y, thick, small);
    const about = { label: tr("{name}: {value}", { name: pieces.shown(token), value: rank }), shows: rowSource(step, token, "topk_logprobs") };
    const chosen: Change<string>[] = mine ? [[draw, palette.OUTPUT, "settle"]] : [];
    const faded = (colour: string): Change<string>[] => (cut && gone ? [[cut, colour]] : []);
    const ink = animate<string>(palette.INK, ...faded(palette.QUIET), ...chosen);
    const fill = animate<string>(palette.LIKELY, ...faded(palette.LINE), ...chosen);
    const ends: Change<number>[] = cut ? [[cut, length(gone ? p : share), "move"]] : [];
    const word = font.fit(pieces.shown(token), wordWidth, small, MONO);
    nodes.push(
      text(left + wordWidth, base, word, small, MONO, { anchor: "end", fill: ink, ...about }),
      rect(barLeft, y, animate(0, [read, length(p), "move"], ...ends), thick, { rx: 2, fill, ...about }),
      text(first, base, percent(p), small, SANS, { anchor: "end", fill: ink, ...about }),
    );
    if (!cut) return;
    const after = { anchor: "end", fill: ink, opacity: animate(0, [cut, 1]), label: about.label, shows: rowSource(step, token, "topk_shares") } as const;
    nodes.push(text(right, base, gone ? tr("cut") : percent(share), small, SANS, after));
  });
  const rest = 1 - rows.reduce((sum, { p }) => sum + p, 0);
  const others = step.vocabulary - rows.length;
  const words = others ? tr("{count:,} others: {p}", { count: others, p: percent(Math.max(rest, 0)) }) : tr("no others");
  const leftOver = tr("{kept:,} of {tokens:,} left", { kept: step.kept, tokens: step.vocabulary });
  const inFull = tr("{name}: {value}", { name: step.cut, value: leftOver });
  const later = font.width(inFull, small) <= right - left ? inFull : leftOver; // the caption says it in full
  const changing = cut ? animate(words, [cut, later]) : words;
  nodes.push(text(left, box.bottom - 0.8 * small, changing, small, SANS, { fill: palette.QUIET, shows: sourceOf(step, cut ? "kept" : "topk_logprobs") }));
  return nodes;
}

interface Row {
  rank: string;
  token: number;
  p: number;
  share: number;
}

/** The likeliest tokens; the drawn one is the last where it is not among them. */
function rowsOf(step: GenerationStep, count: number): Row[] {
  const rows = step.listed.map(([token, p, share], i): Row => ({ rank: tr("number {place} of {tokens:,}", { place: i + 1, tokens: step.vocabulary }), token, p, share }));
  const shown = rows.slice(0, count);
  if (shown.some(({ token }) => token === step.drawn)) return shown;
  const found = rows.find(({ token }) => token === step.drawn);
  const share = step.span ? step.span[1] - step.span[0] : 0;
  const beyond = { rank: tr("not among the {count} likeliest", { count: rows.length }), token: step.drawn, p: step.p, share };
  return [...rows.slice(0, count - 1), found ?? beyond];
}

/** Where the number of a token stands: in a list, or, for a drawn token that is not listed, in a chunk of its own. */
function rowSource(step: GenerationStep, token: number, chunk: "topk_logprobs" | "topk_shares"): Shows {
  const place = step.listed.findIndex(([listed]) => listed === token);
  return place < 0 ? sourceOf(step, chunk === "topk_logprobs" ? "drawn_logprobs" : "drawn_span") : sourceOf(step, chunk, place);
}

/** The line from 0 to 1 with the needle at u, and below it the drawn token's part of the line, enlarged to its width. */
export function drawLine(font: Font, step: GenerationStep, pieces: Pieces, box: Box, sheet: Sheet, draw: Transition): Node[] {
  const { size, small } = sheet;
  const inner = sheet.pad / 2;
  const [start, end] = [box.x + inner, box.right - inner];
  if (isGreedy(step)) {
    const words = tr("nothing is drawn by chance: at temperature 0 the {taken} is taken", { taken: takenOf(step) });
    const [lines] = paragraph(font, words, start, box.y + 2.2 * size, end - start, small, { fill: palette.QUIET });
    return [heading(font, tr("the choice"), box, sheet), ...lines];
  }
  const nodes = [
    heading(font, tr("the draw"), box, sheet),
    text(end, box.y + 1.5 * size, `u = ${fixed(step.draw, 4)}`, size, SANS, {
      anchor: "end", fill: palette.FOLLOWED, opacity: animate(0, [draw, 1]),
      label: tr("the draw, a hash of seed and position: {draw!r}", { draw: step.draw }), shows: sourceOf(step, "draw"),
    }), // prettier-ignore
  ];
  if (!step.span) {
    const [lines] = paragraph(font, tr("where the token lies on the line: not in this record"), start, box.y + 2.2 * size, end - start, small, {});
    return [...nodes, ...lines];
  }
  const [left, right] = [start + small, end - small];
  const [wide, high] = [right - left, sheet.wide ? 24 : 16];
  const y = box.y + (sheet.wide ? 2.4 * size + 16 : 2 * size + 12);
  nodes.push(rect(left, y, wide, high, { fill: palette.PAPER, stroke: palette.LINE }));
  for (const [token, from, to] of spansOf(step)) {
    const mine = token === step.drawn;
    const fill: Value<string> = mine ? animate<string>(palette.LIKELY, [draw, palette.OUTPUT_FILL, "settle"]) : palette.LIKELY;
    const stroke: Value<string> = mine ? animate<string>(NONE, [draw, palette.OUTPUT, "settle"]) : NONE;
    const label = tr("{token}: from {start:.4f} to {end:.4f}", { token: pieces.shown(token), start: from, end: to });
    const source = mine ? sourceOf(step, "drawn_span") : rowSource(step, token, "topk_shares");
    nodes.push(rect(left + wide * from, y, Math.max(wide * (to - from), 1), high, { fill, stroke, label, shows: source }));
  }
  nodes.push(
    text(left - 4, centred(y, high, small), "0", small, SANS, { anchor: "end", fill: palette.QUIET }),
    text(right + 4, centred(y, high, small), "1", small, SANS, { fill: palette.QUIET }),
    ...larger(step, step.span, new Box(left, y, wide, high), sheet, draw),
  );
  const tip: Command[] = [["M", 0, 0], ["L", -6, -11], ["L", 6, -11], ["Z"]]; // prettier-ignore
  const hair: Command[] = [["M", 0, 0], ["L", 0, high]]; // prettier-ignore
  const needle = [path(tip, { fill: palette.FOLLOWED }), path(hair, { stroke: palette.FOLLOWED, stroke_width: 2 })];
  const x = animate(left, [draw, left + wide * step.draw, "move"]);
  return [...nodes, group(needle, { x, y, label: `u = ${fixed(step.draw, 6)}`, shows: sourceOf(step, "draw") })];
}

/** The drawn token's part of the line, enlarged to the line's width, with its ends in numbers. */
function larger(step: GenerationStep, [start, end]: readonly [number, number], line: Box, sheet: Sheet, draw: Transition): Node[] {
  const { small } = sheet;
  const y = line.bottom + (sheet.wide ? 30 : 18);
  const [a, b] = [line.x + line.w * start, line.x + line.w * end];
  const wedge: Command[] = [["M", a, line.bottom], ["L", b, line.bottom], ["L", line.right, y], ["L", line.x, y], ["Z"]]; // prettier-ignore
  const at = line.x + (line.w * (step.draw - start)) / (end - start);
  const low = y + line.h + 1.2 * small;
  const source = sourceOf(step, "drawn_span");
  const inside = [
    rect(line.x, y, line.w, line.h, { fill: palette.OUTPUT_FILL, stroke: palette.OUTPUT, shows: source }),
    path([["M", at, y], ["L", at, y + line.h]], { stroke: palette.FOLLOWED, stroke_width: 2, shows: sourceOf(step, "draw") }), // prettier-ignore
    text(line.x, low, fixed(start, 4), small, SANS, { fill: palette.QUIET, shows: source }),
    text(line.right, low, fixed(end, 4), small, SANS, { anchor: "end", fill: palette.QUIET, shows: source }),
  ];
  return [path(wedge, { fill: palette.OUTPUT_FILL, opacity: animate(0, [draw, 0.4, "settle"]) }), group(inside, { opacity: animate(0, [draw, 1, "settle"]) })];
}
