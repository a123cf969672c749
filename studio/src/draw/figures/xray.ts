// `xray`: the logit lens of every position block by block, what the KV cache holds, and each drawn token fed back
// (src/pellucid/draw/figures/xray.py).

import type { Command } from "../../film/types.ts";
import { joined, listed, plural, tr } from "../../language.ts";
import type { FilmFile } from "../../wire.ts";
import { type Font, MONO } from "../font.ts";
import { footerOf } from "../generated.ts";
import { type Node, path, rect, shows, text, type Value } from "../nodes.ts";
import { endOf, percent, startOf } from "../numbers.ts";
import * as palette from "../palette.ts";
import { centred, token, verdict } from "../parts.ts";
import { Sheet } from "../sheet.ts";
import { animate, type Change, Timeline, type Transition } from "../timeline.ts";
import { CACHED, DROPPED, drawnSource, followedOf, rightOutputs, stepOf, tokenSource, type XrayView } from "../xray_view.ts";
import { arcs, head, rowNames, titleOf, XrayGrid } from "./xray_grid.ts";

const RISES = 7; // jumps in which the prompt rises

/** When the prompt rises and its output appears, attention is shown, each drawn token is fed back, and all is shown. */
interface Moments {
  rise: Transition;
  out: Transition;
  attend: Transition;
  feeds: Map<number, Transition>; // by step
  whole: Transition;
}

/** A transition that takes no time, for a value that jumps at that time. */
const instant = (seconds: number): Transition => ({ start: seconds, settled: seconds, end: seconds, caption: "" });

/** The film of a generation. */
export function xray(view: XrayView, font: Font, width: number): FilmFile {
  const [sheet, timeline] = [new Sheet(width), new Timeline()];
  const grid = new XrayGrid(view, sheet);
  const moments = onTimeline(grid, timeline);
  const nodes = [
    ...head(grid, font),
    ...rowNames(grid, font),
    followed(grid),
    ...grid.positions.flatMap((position) => column(grid, font, position, moments)),
    ...grid.laterSteps.flatMap((step) => fedBack(grid, step, moments)),
    ...arcs(grid, font, moments.attend),
  ];
  const words = { title: titleOf(), footer: footerOf(view.model), alt: altOf(grid, font), notes: notesOf(grid) };
  return sheet.film(font, words, nodes, timeline, false);
}

function onTimeline(grid: XrayGrid, timeline: Timeline): Moments {
  const { view } = grid;
  const heard = [tr("Only the last position is listened to: “{token}” comes out. The others' outputs are not used.", { token: view.pieces.shown(view.ids[view.prompt]!) })];
  if (view.prompt > 1) heard.push(tr("Of what they say, {right} of {others} would have been right.", { right: rightOutputs(view), others: view.prompt - 1 }));
  const rising = tr("All positions rise together through {blocks} blocks. In each cell: what would be said next there. Grey: before the first block, where it is no prediction yet.", { blocks: view.words.length - 1 });
  const prompt = plural(view.prompt, "The prompt: {count} token, each at its own position.", "The prompt: {count} tokens, each at its own position.");
  const [, rise, out] = timeline.segment(tr("The prompt is read"), [0, 1.2, prompt], [1.4, 2, rising], [0, 2.6, joined(heard)]);
  const [attend] = timeline.segment(tr("Attention"), [0.8, 4.2, attentionWords(view)]);
  const feeds = new Map<number, Transition>();
  const shown = grid.laterSteps;
  if (shown.length) {
    const pace = Math.min(1.2, 8.4 / shown.length);
    const caption = tr("Each token drawn is fed back as the next input. Only that position is computed: the keys and values of the others are kept (hollow). Shown: {shown} of {steps} further steps.", {
      shown: shown.length, steps: view.steps - 1,
    }); // prettier-ignore
    const parts = timeline.segment(tr("The answer is fed back"), ...shown.map(() => [pace * 0.4, pace * 0.6, caption] as const));
    shown.forEach((step, i) => feeds.set(step, parts[i]!));
  }
  const [whole] = timeline.segment(tr("When each was decided"), [0, 5, decidedWords(grid)]);
  return { rise: rise!, out: out!, attend: attend!, feeds, whole: whole! };
}

/** When a cell appears, in seconds. */
function computedAt(grid: XrayGrid, { rise, feeds }: Moments, position: number, row: number): number {
  const step = stepOf(grid.view, position);
  if (step) return feeds.get(step)!.settled;
  const jumps = Math.min(RISES, grid.levels.length);
  const jump = Math.floor((row * jumps) / grid.levels.length);
  return rise.start + ((rise.settled - rise.start) * jump) / Math.max(jumps - 1, 1);
}

/** The band behind the followed position. */
function followed(grid: XrayGrid): Node {
  const [into, out] = [grid.ins.get(followedOf(grid.view))!, grid.outs.get(followedOf(grid.view))!];
  return rect(into.x - 3, out.y - 3, into.w + 6, into.bottom - out.y + 6, { rx: 6, fill: palette.FOLLOWED_FILL });
}

/** A position: its token below, its cells, the token that comes out above. */
function column(grid: XrayGrid, font: Font, position: number, moments: Moments): Node[] {
  const { view, sheet } = grid;
  const box = grid.ins.get(position)!;
  const role = position === followedOf(view) ? "followed" : position < view.prompt ? "input" : "output";
  const feed = moments.feeds.get(stepOf(view, position));
  const about = {
    x: box.x, y: box.y, opacity: feed?.start ? animate(0, [feed, 1]) : 1, id: `in-${position}`, shows: tokenSource(view, position),
    label: tr("position {position}: {token}", { position, token: view.pieces.described(view.ids[position]!) }),
  }; // prettier-ignore
  return [
    token(font, view.pieces.shown(view.ids[position]!), box.h, sheet.small, role, box.w, about),
    ...grid.levels.flatMap((level, row) => cell(grid, font, level, position, row, moments)),
    ...output(grid, font, position, moments),
  ];
}

/** The token above a position: the drawn one, or for a position whose output is not used the likeliest, right or wrong. */
function output(grid: XrayGrid, font: Font, position: number, { feeds, out }: Moments): Node[] {
  const { view } = grid;
  const [box, step, first] = [grid.outs.get(position)!, stepOf(view, position), followedOf(view)];
  const opacity = animate(0, [step ? instant(feeds.get(step)!.settled) : out, 1]);
  const used = position >= first;
  const [next, id] = [view.ids[position + 1]!, used ? view.ids[position + 1]! : view.words.at(-1)![position]!];
  const source = used ? drawnSource(position - first) : shows("generation/lens/ids", [view.words.length - 1, position, 0]);
  const label = tr("out of position {position}: {token}", { position, token: view.pieces.described(id) });
  const about = { x: box.x, y: box.y, opacity, label, shows: source };
  const above = token(font, view.pieces.shown(id), box.h, grid.sheet.small, used ? "output" : "plain", box.w, about);
  if (used) return [above];
  const [right, truth] = [id === next, { token: view.pieces.shown(next) }];
  const words = right ? tr("right: the next token is {token}", truth) : tr("wrong: the next token is {token}", truth);
  return [above, ...verdict(box.right - 2, box.y + 1, right, words, opacity)];
}

/** One level of one position: filled where it is computed, hollow in later steps, dashed where the cache has dropped it. */
function cell(grid: XrayGrid, font: Font, level: number, position: number, row: number, moments: Moments): Node[] {
  const { view, sheet } = grid;
  const box = grid.cell(level, position);
  const [word, odds] = [view.words[level]![position]!, view.odds[level]![position]!];
  // Before any block the lens names tokens with similar rows: no prediction, and not coloured like one.
  const paint = level ? font.shade("sequential", Math.min(odds, 1)) : palette.UNTRAINED_FILL;
  const inkOnPaint = level ? palette.inkOn(paint) : palette.QUIET;
  const fills: Change<string>[] = [];
  const strokes: Change<string>[] = [];
  const inks: Change<string>[] = [];
  const drops: Change<number>[] = [];
  for (const [step, transition] of moments.feeds) {
    if (step <= stepOf(view, position)) continue;
    const dropped = (level ? view.states[step]![level - 1]![position] : CACHED) === DROPPED;
    fills.push([transition, palette.PAPER]);
    strokes.push([transition, dropped ? palette.LINE : paint]);
    inks.push([transition, dropped ? palette.QUIET : palette.INK]);
    drops.push([transition, dropped ? 1 : 0]);
  }
  const { whole } = moments;
  const where = level ? tr("after block {number}", { number: level }) : tr("embedding, before any block");
  const about = {
    label: tr("position {position}, {level}: {token}, {p}", { position, level: where, token: view.pieces.described(word), p: percent(odds) }),
    shows: shows("generation/lens/logprobs", [level, position, 0]),
  };
  const there: Value<number> = animate(0, [instant(computedAt(grid, moments, position, row)), 1]);
  const inner = [box.x + 1.25, box.y + 1.25, box.w - 2.5, box.h - 2.5] as const;
  const fill = animate<string>(paint, ...fills, [whole, paint]);
  const stroke = animate<string>(paint, ...strokes, [whole, paint]);
  const nodes = [rect(...inner, { rx: 2, fill, stroke, stroke_width: 2.5, opacity: there, ...about })];
  if (drops.some(([, value]) => value)) {
    const gone = animate(0, ...drops, [whole, 0]);
    nodes.push(rect(...inner, { rx: 2, fill: palette.PAPER, stroke: palette.UNTRAINED, dash: [2, 3], opacity: gone }));
  }
  const shown = font.fit(view.pieces.shown(word), box.w - 4, sheet.small, MONO);
  if (shown) {
    const ink = animate<string>(inkOnPaint, ...inks, [whole, inkOnPaint]);
    nodes.push(text(box.middle, centred(box.y + box.h / 2, 0, sheet.small), shown, sheet.small, MONO, { anchor: "middle", fill: ink, opacity: there, ...about }));
  }
  if (level === grid.decidedAt(position)) nodes.push(rect(box.x, box.y, box.w, box.h, { rx: 3, stroke: palette.OUTPUT, stroke_width: 2, opacity: animate(0, [whole, 1]) }));
  return nodes;
}

/** The way of a drawn token from the top of one position to the foot of the next. */
function fedBack(grid: XrayGrid, step: number, { feeds }: Moments): Node[] {
  const position = followedOf(grid.view) + step;
  const [out, into] = [grid.outs.get(position - 1), grid.ins.get(position)!];
  if (!out) return [];
  const [x, low, high] = [(out.right + into.x) / 2, into.y + into.h / 2, out.y + out.h / 2];
  const way: Command[] = [["M", out.right, high], ["L", x, high], ["L", x, low], ["L", into.x, low]]; // prettier-ignore
  const tip: Command[] = [["M", into.x, low], ["L", into.x - 3.5, low - 4], ["L", into.x - 3.5, low + 4], ["Z"]]; // prettier-ignore
  const opacity = animate(0, [feeds.get(step)!, 1]);
  return [path(way, { stroke: palette.OUTPUT, stroke_width: 1.5, opacity }), path(tip, { fill: palette.OUTPUT, opacity })];
}

function attentionWords(view: XrayView): string {
  const { attention } = view;
  if (!attention) return tr("Attention is not in this record.");
  const { weights, block, heads } = attention;
  const top = [...weights.keys()].sort((a, b) => weights[b]! - weights[a]!).slice(0, 3);
  const seen = listed(top.map((key) => tr("“{token}” {number}", { token: view.pieces.shown(view.ids[key]!), number: percent(weights[key]!) })));
  return tr("In {block} the position of “{token}” looks at {seen} (mean of {heads} heads).", {
    block: tr("block {number}", { number: block + 1 }), token: view.pieces.shown(view.ids[followedOf(view)]!), seen, heads,
  }); // prettier-ignore
}

function decidedWords(grid: XrayGrid): string {
  const position = followedOf(grid.view);
  const [block, word] = [grid.decidedAt(position), grid.view.pieces.shown(grid.view.words.at(-1)![position]!)];
  const where = block
    ? tr("At the followed position that is “{token}”, from block {block} on.", { token: word, block })
    : tr("At the followed position that is “{token}”, from its embedding on.", { token: word });
  return joined([tr("Framed: from there on up the lens names the token that the last block finds likeliest."), where]);
}

function altOf(grid: XrayGrid, { alphabet }: Font): string {
  const { view } = grid;
  const position = followedOf(view);
  const prompt = endOf(alphabet, view.pieces.sentence(view.ids.slice(0, view.prompt)));
  const answer = startOf(alphabet, view.pieces.sentence(view.ids.slice(view.prompt)));
  const levels = grid.levels.filter((level) => level > 0);
  const column = listed(levels.map((level) => tr("{level} “{token}” {p}", {
    level: tr("after block {number}", { number: level }), token: view.pieces.shown(view.words[level]![position]!), p: percent(view.odds[level]![position]!),
  }))); // prettier-ignore
  const parts = [
    tr("A grid of {positions} positions by {levels} levels of {name}, which continues “{prompt}” with “{answer}”. Each cell names the likeliest next token there.", {
      positions: grid.positions.length, levels: grid.levels.length, name: view.model.name, prompt, answer,
    }), // prettier-ignore
    tr("At the position of the last prompt token: {column}.", { column }),
  ];
  if (view.prompt > 1) parts.push(tr("Of the {others} outputs before it, which are not used, {right} name the next token.", { others: view.prompt - 1, right: rightOutputs(view) }));
  if (view.attention) parts.push(attentionWords(view));
  return joined(parts);
}

function notesOf(grid: XrayGrid): string[] {
  const { view, positions, levels } = grid;
  const notes = [
    tr("The raw logit lens: the last LayerNorm and the token matrix on the stream at each level, as if the blocks above did nothing. It is biased at low levels, and nothing is fitted here."),
    tr("The lowest row is grey: no block has read or computed anything there. Its words are no predictions, but the tokens whose rows of the token matrix have the largest products with the position's own vector."),
    tr("A hollow cell's keys and values are kept, not computed again; its word was recorded when it was computed."),
  ];
  const total = view.words[0]!.length;
  if (positions.length < total) notes.push(tr("Positions {first} to {last} of {positions} are shown; no other is.", { first: positions[0]!, last: positions.at(-1)!, positions: total }));
  if (levels.length < view.words.length) {
    const named = listed(levels.map((level) => (level ? String(level) : tr("the embedding"))));
    notes.push(tr("Of {blocks} blocks these are shown: {named}.", { blocks: view.words.length - 1, named }));
  }
  if (grid.drops)
    notes.push(tr("No later query of its block can read a dashed cell's keys and values. The runner keeps them all the same, so that a beginning can be used again; an evicting cache would drop them."));
  notes.push(tr("Attention is the mean over the heads, of the block in which one position, other than itself and the first, is looked at most; other blocks and heads are not shown."));
  return notes;
}
