// `tokens`: an answer written token by token: the distribution, its cut by the sampling options, the draw, the token fed back
// (src/pellucid/draw/figures/tokens.py). The first steps are shown one by one, all of them together at the end.

import type { Command } from "../../film/types.ts";
import { joined, listed, plural, tr } from "../../language.ts";
import type { FilmFile } from "../../wire.ts";
import { type Font, MONO, SANS } from "../font.ts";
import { ALLOCATED, cacheOf, footerOf, type Generated, type GenerationStep, isGreedy, sourceOf, takenOf, takesLikeliest, timeOf, tokenSource } from "../generated.ts";
import { Box, type Columns, columns, earlier, flow, type PlacedToken, tokenBoxes } from "../marks.ts";
import { group, type Node, path, rect, text, type Value } from "../nodes.ts";
import { endOf, inBytes, inSeconds, percent, startOf } from "../numbers.ts";
import * as palette from "../palette.ts";
import { arrow, centred, measured, token, tokenWidth } from "../parts.ts";
import { Sheet } from "../sheet.ts";
import { animate, Timeline, type Transition, visibleDuring } from "../timeline.ts";
import { distribution, drawLine, modelPanel, panel } from "./panels.ts";

const IN_FULL = 3; // steps that are shown one by one
const AT_ONCE = 10; // jumps in which the others appear at the end

/** The film of an answer. */
export function tokens(view: Generated, font: Font, width: number): FilmFile {
  const [sheet, timeline] = [new Sheet(width), new Timeline()];
  const nodes = view.steps.slice(0, IN_FULL).map((step) => oneStep(view, font, step, sheet, timeline));
  nodes.push(allSteps(view, font, sheet, timeline));
  const words = { title: tr("Writing, token by token"), footer: footerOf(view.model), alt: altOf(view, font), notes: notesOf(view) };
  return sheet.film(font, words, nodes, timeline);
}

/** One step in four transitions: read, cut, draw, back; without the cut where there is none. */
function oneStep(view: Generated, font: Font, step: GenerationStep, sheet: Sheet, timeline: Timeline): Node {
  const transitions = timeline.segment(tr("Step {step}", { step: step.number + 1 }), ...sayings(view, step));
  const [read, draw, back] = [transitions[0]!, transitions.at(-2)!, transitions.at(-1)!];
  const cut = transitions.length > 3 ? transitions[1]! : null;
  const { nodes, slot } = contextNodes(view, font, step, sheet, back);
  let [boxes, shownCount, chosenY]: [Box[], number, number] = [[], 7, 0];
  if (sheet.wide) {
    const top = Math.max(slot.bottom + 22, 150);
    const high = sheet.bottom - 6 - top;
    boxes = [new Box(24, top, 196, high), new Box(236, top, 344, high), new Box(596, top, 340, high)];
    for (const i of [0, 1]) nodes.push(arrow(boxes[i]!.right + 2, top + 44, boxes[i + 1]!.x - 2, top + 44, palette.QUIET, 8));
    [shownCount, chosenY] = [10, top + 168];
  } else {
    const top = Math.max(slot.bottom + 10, 108);
    boxes = [new Box(12, top, 336, 86), new Box(12, top + 94, 336, 204), new Box(12, top + 306, 336, sheet.bottom - 6 - top - 306)];
    chosenY = top + 306 + 124;
  }
  const [first, second, third] = boxes as [Box, Box, Box];
  nodes.push(
    ...boxes.map(panel),
    ...modelPanel(font, step, view.model.name, first, sheet),
    ...distribution(font, step, view.pieces, second, sheet, shownCount, { read, cut, draw }),
    ...drawLine(font, step, view.pieces, third, sheet, draw),
    ...chosen(view, font, step, third, isGreedy(step) ? third.y + 84 : chosenY, slot, sheet, draw, back),
  );
  return group(nodes, { opacity: visibleDuring(transitions), id: `step-${step.number + 1}` });
}

/** The transitions of a step: seconds of movement, seconds of rest, caption. */
function sayings(view: Generated, step: GenerationStep): [number, number, string][] {
  const word = view.pieces.shown(step.drawn);
  let [kind, phase] = [tr("prefill"), tr("the prompt goes through the model")];
  if (step.number) [kind, phase] = [tr("decode"), tr("only the newest token goes through the model; the keys and values of the others are in its cache")];
  else if (step.read > 1) phase = tr("all {count} tokens of the prompt go through the model at once", { count: step.read });
  const begins = tr("Step {step} of {steps}, {kind}: {phase}.", { step: step.number + 1, steps: view.steps.length, kind, phase });
  const greedy = isGreedy(step);
  const drawing = greedy
    ? tr("The {taken} is “{word}”: it is taken.", { taken: takenOf(step), word })
    : tr("The draw u = {draw:.4f} lies in the part of the line that belongs to “{word}”.", { draw: step.draw, word });
  const joins = tr("“{word}” had a probability of {p}. It joins the tokens: the model reads it next.", { word, p: percent(step.p) });
  return [
    [0.6, 1.9, begins],
    ...(step.cut ? [[0.6, 1.6, leftWords(step)] as [number, number, string]] : []),
    [greedy ? 0 : 0.8, 1.6, drawing],
    [0.6, 1.6, joins],
  ];
}

/** What the cut leaves. */
function leftWords(step: GenerationStep): string {
  const cut = step.cut.charAt(0).toUpperCase() + step.cut.slice(1);
  const tokens = step.vocabulary;
  if (!isGreedy(step)) return tr("{cut}: {kept:,} of {tokens:,} tokens are left to draw from.", { cut, kept: step.kept, tokens });
  if (takesLikeliest(step)) return tr("Temperature 0: of {tokens:,} tokens only the likeliest is left.", { tokens });
  return tr("{cut}: of {tokens:,} tokens only one is left.", { cut, tokens }); // penalties or biases came first
}

/** The size of a token's box, and of its text. */
const boxSize = (sheet: Sheet): readonly [high: number, size: number] => (sheet.wide ? [26, 14] : [21, 12]);

/** The tokens so far in two rows at most, and the empty place of the next one. */
function contextNodes(view: Generated, font: Font, step: GenerationStep, sheet: Sheet, back: Transition): { nodes: Node[]; slot: Box } {
  const ids = [...step.context, step.drawn];
  const [high, size] = boxSize(sheet);
  const top = sheet.top + 18;
  const [places, hidden] = flow(font, ids.map((id) => view.pieces.shown(id)), sheet.left, top, sheet.room, high, size, 2);
  const slot = places.at(-1)!;
  const nodes = [
    text(sheet.left, sheet.top + 10, plural(step.context.length, "{count} token so far", "{count} tokens so far"), sheet.small, SANS, { fill: palette.QUIET }),
    ...earlierWords(hidden, sheet.left, top, high, size),
    ...tokenBoxes(font, view.pieces, step.context.map((id, i) => placed(view, id, i, places[i]!)), size),
    rect(slot.x, slot.y, slot.w, slot.h, { rx: 6, fill: palette.PAPER, stroke: palette.OUTPUT, dash: [4, 3] }),
    text(slot.middle, centred(slot.y, slot.h, size), "?", size, MONO, { anchor: "middle", fill: palette.OUTPUT, opacity: animate(1, [back, 0]) }),
  ];
  return { nodes, slot };
}

function placed(view: Generated, id: number, i: number, place: Box | null): PlacedToken {
  return { id, place, role: i < view.prompt.length ? "input" : "output", source: tokenSource(view, i) };
}

function earlierWords(count: number, x: number, y: number, high: number, size: number): Node[] {
  return count ? [text(x, centred(y, high, size), earlier(count), size, SANS, { fill: palette.QUIET })] : [];
}

/** The drawn token, its probability, and its way back to the others. */
function chosen(view: Generated, font: Font, step: GenerationStep, box: Box, y: number, slot: Box, sheet: Sheet, draw: Transition, back: Transition): Node[] {
  const [size, small] = sheet.wide ? [14, 12] : [12, 11];
  const word = view.pieces.shown(step.drawn);
  const high = slot.h;
  const wide = Math.min(tokenWidth(font, word, size), 130);
  const left = box.middle - wide / 2;
  const words = tr("probability {p}, its logarithm {logarithm:.2f}", { p: percent(step.p), logarithm: step.logprob }).replaceAll("-", "−");
  const there = animate(0, [draw, 1, "settle"]);
  const edge = sheet.right + (sheet.wide ? 10 : 6);
  const [turn, end] = [slot.bottom + (sheet.wide ? 12 : 5), slot.bottom + 1];
  const way: Command[] = [["M", left + wide, y + high / 2], ["L", edge, y + high / 2], ["L", edge, turn], ["L", slot.middle, turn], ["L", slot.middle, end + 3]]; // prettier-ignore
  const tip: Command[] = [["M", slot.middle, end], ["L", slot.middle - 4.5, end + 6], ["L", slot.middle + 4.5, end + 6], ["Z"]]; // prettier-ignore
  const fed = animate(0, [back, 1]);
  const about = { opacity: there, label: tr("token {token}", { token: step.drawn }), shows: sourceOf(step, "drawn_ids") };
  return [
    text(box.middle, y + high + 1.5 * small, words, small, SANS, { anchor: "middle", opacity: there, shows: sourceOf(step, "drawn_logprobs") }),
    path(way, { stroke: palette.OUTPUT, stroke_width: 1.5, dash: [5, 3], opacity: fed }),
    path(tip, { fill: palette.OUTPUT, opacity: fed }),
    rect(left, y, wide, high, { rx: 6, fill: palette.PAPER, stroke: palette.OUTPUT, dash: [4, 3], opacity: fed }),
    token(font, word, high, size, "output", wide, { x: animate(left, [back, slot.x, "move"]), y: animate(y, [back, slot.y, "move"]), ...about }),
  ];
}

/** Every token, and three numbers of every step. */
function allSteps(view: Generated, font: Font, sheet: Sheet, timeline: Timeline): Node {
  const { steps } = view;
  const [read, written] = [view.prompt.length, steps.length];
  const oneByOne = Math.min(IN_FULL, written);
  const jumps = jumpsOf(written - oneByOne);
  const total = steps.reduce((sum, step) => sum + step.seconds, 0);
  const summary = tr("All {written} steps: {read} tokens read, {written} written in {time} (measured).", { written, read, time: inSeconds(total) });
  const held = tr("An evicting cache would hold {bytes} of keys and values at the end.", { bytes: inBytes(steps.at(-1)!.cache) });
  const saying = joined([summary, held]);
  const transitions = timeline.segment(tr("All steps"), ...jumps.map(() => [0.25, 0.05, saying] as const), [0, 4, saying]);
  const when: Value<number>[] = Array<number>(oneByOne).fill(1);
  jumps.forEach((count, i) => when.push(...Array<Value<number>>(count).fill(animate(0, [transitions[i]!, 1]))));
  const ids = [...view.prompt, ...view.answer];
  const [high, size] = boxSize(sheet);
  const top = sheet.top + 18;
  const [places, hidden] = flow(font, ids.map((id) => view.pieces.shown(id)), sheet.left, top, sheet.room, high, size, sheet.wide ? 4 : 6);
  const boxes = ids.map((id, i) => ({ ...placed(view, id, i, places[i]!), opacity: i < read ? 1 : when[i - read]! }));
  const nodes = [
    text(sheet.left, sheet.top + 10, tr("{read} tokens read, {written} written", { read, written }), sheet.small, SANS, { fill: palette.QUIET }),
    ...earlierWords(hidden, sheet.left, top, high, size),
    ...allocated(view, font, sheet),
    ...tokenBoxes(font, view.pieces, boxes, size),
  ];
  const below = Math.max(...places.map((box) => box?.bottom ?? 0)) + 14;
  const common = { opacities: when };
  const charts: Columns[] = [
    { ...common, values: steps.map(({ p }) => p), title: tr("probability of the token"), words: percent,
      shows: (i) => sourceOf(steps[i]!, "drawn_logprobs"), fills: Array<string>(written).fill(palette.OUTPUT) },
    { ...common, values: steps.map(({ seconds }) => seconds), title: tr("time (first: prefill)"), words: inSeconds,
      shows: (i) => timeOf(steps[i]!), fills: [palette.INPUT, ...Array<string>(written - 1).fill(palette.OUTPUT)] },
    { ...common, values: steps.map(({ cache }) => cache), title: tr("evicting cache would hold"), words: inBytes,
      shows: (i) => cacheOf(steps[i]!), fills: Array<string>(written).fill(palette.FOLLOWED) },
  ]; // prettier-ignore
  charts.forEach((chart, i) => {
    const box = chartBox(i, below, sheet);
    nodes.push(panel(box), ...columns(font, new Box(box.x + 12, box.y + 8, box.w - 24, box.h - 14), sheet.small, chart));
  });
  return group(nodes, { opacity: animate(0, [transitions[0]!, 1]), id: "all-steps" });
}

/** The bytes that the runner allocated for the sequence, where the record has them. */
function allocated({ cacheBytes }: Generated, font: Font, sheet: Sheet): Node[] {
  if (cacheBytes === null) return [];
  const words = tr("the runner's cache: {bytes}", { bytes: inBytes(cacheBytes) });
  return [measured(font, sheet.right, sheet.top + 10, words, sheet.small, ALLOCATED, { fill: palette.QUIET, anchor: "end" })];
}

function chartBox(i: number, top: number, sheet: Sheet): Box {
  const gap = sheet.wide ? 14 : 8;
  const low = sheet.bottom - 6;
  if (sheet.wide) {
    const wide = (sheet.room - 2 * gap) / 3;
    return new Box(sheet.left + i * (wide + gap), top, wide, Math.min(low - top, 320));
  }
  const high = Math.min((low - top - 2 * gap) / 3, 150);
  return new Box(sheet.left, top + i * (high + gap), sheet.room, high);
}

/** So many tokens in a few jumps, as equal as can be. */
function jumpsOf(count: number): number[] {
  const most = Math.min(count, AT_ONCE);
  return Array.from({ length: most }, (_, i) => Math.floor((count * (i + 1)) / most) - Math.floor((count * i) / most));
}

function altOf(view: Generated, { alphabet }: Font): string {
  const prompt = endOf(alphabet, view.pieces.sentence(view.prompt));
  const answer = startOf(alphabet, view.pieces.sentence(view.answer));
  const parts = [tr("{name} continues “{prompt}” with “{answer}”, token by token.", { name: view.model.name, prompt, answer })];
  for (const step of view.steps.slice(0, IN_FULL)) {
    const top = listed(step.listed.slice(0, 3).map(([id, p]) => tr("“{token}” {number}", { token: view.pieces.shown(id), number: percent(p) })));
    parts.push(tr("Step {step}: likeliest {top}.", { step: step.number + 1, top }));
    const values = { p: percent(step.p), time: inSeconds(step.seconds) };
    if (isGreedy(step)) parts.push(tr("The {taken} is taken ({p}), {time}.", { taken: takenOf(step), ...values }));
    else parts.push(tr("The draw {draw:.4f} falls on “{word}” ({p}), {time}.", { draw: step.draw, word: view.pieces.shown(step.drawn), ...values }));
  }
  const held = inBytes(view.steps.at(-1)!.cache);
  return joined([...parts, tr("After {steps} steps an evicting cache would hold {bytes}.", { steps: view.steps.length, bytes: held })]);
}

function notesOf({ steps, model, valueBytes }: Generated): string[] {
  const notes = [tr("The record lists the {listed} likeliest of {tokens:,} tokens a step; the bars show some of them.", { listed: steps[0]!.listed.length, tokens: model.vocabulary })];
  if (!isGreedy(steps[0]!))
    notes.push(tr("On the line from 0 to 1 tokens lie side by side in the order of their ids, each as wide as its probability; where the record does not list all that were left, only the drawn token's place on it is known."));
  notes.push(
    tr("An evicting cache's bytes follow from the shape: two vectors of {width} numbers of {bytes} bytes in each of {blocks} blocks for each position; where a band ends, no later query can read what lies before it. The runner keeps every position, so that a beginning can be used again.", {
      width: model.width, bytes: valueBytes, blocks: model.pattern.length,
    }), // prettier-ignore
    tr("The model's box stands for all its blocks: the figure xray opens it."),
  );
  if (steps.length > IN_FULL)
    notes.push(tr("The first {shown} of {steps} steps are shown one by one; the others appear together at the end.", { shown: IN_FULL, steps: steps.length }));
  return notes;
}
