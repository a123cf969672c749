// `overview`, the article's first picture: a prompt goes in, the blocks light up in their order, an answer comes out
// (src/pellucid/draw/figures/overview.py).

import { counted, joined, listed, plural, tr } from "../../language.ts";
import type { FilmFile } from "../../wire.ts";
import { type Font, HEADING, SANS } from "../font.ts";
import { Box, earlier, flow, type PlacedToken, tokenBoxes } from "../marks.ts";
import { given, gradient, group, type Keys, type Node, rect, shows, text } from "../nodes.ts";
import { endOf, inSeconds, percent, startOf, threeDigits } from "../numbers.ts";
import * as palette from "../palette.ts";
import { arrow, centred, measured, token, tokenWidth } from "../parts.ts";
import { PROVENANCE, Sheet } from "../sheet.ts";
import { animate, Timeline, type Transition } from "../timeline.ts";
import { footerOf, type Generated, patternName, TIMES } from "../generated.ts";
import { heading, panel } from "./panels.ts";

const JUMPS = 9; // in which the blocks light up while the prompt is read
const ONE_BY_ONE = 10; // groups in which the answer's tokens appear
const [LIT, DARK] = [palette.FOLLOWED, palette.PAPER];

interface Panels {
  prompt: Box;
  model: Box;
  answer: Box;
}

function panelsOf(sheet: Sheet): Panels {
  const [top, low] = [sheet.top, sheet.bottom - 6];
  if (sheet.wide) return { prompt: new Box(24, top, 240, low - top), model: new Box(304, top, 200, low - top), answer: new Box(544, top, 392, low - top) };
  return { prompt: new Box(12, 44, 336, 112), model: new Box(12, 178, 336, 110), answer: new Box(12, 310, 336, low - 310) };
}

/** The film of an answer from outside. */
export function overview(view: Generated, font: Font, width: number): FilmFile {
  const [sheet, timeline] = [new Sheet(width), new Timeline()];
  const places = panelsOf(sheet);
  const [enter, read] = timeline.segment(
    tr("The prompt goes in"),
    [0.8, 1.6, tr("The prompt: {tokens}.", { tokens: counted(view.prompt.length, "token") })],
    [1.6, 2.4, readingWords(view)],
  ) as [Transition, Transition];
  const groups = groupsOf(view.answer.length);
  const saying = tr("Each step gives one token, and reads it in the next step. Below a token: its probability in the model.");
  const pace = 8 / groups.length;
  const writes = timeline.segment(tr("The answer comes out"), ...groups.map(() => [0.3 * pace, 0.7 * pace, saying] as const));
  const [whole] = timeline.segment(tr("All of it"), [0, 5, totalWords(view)]) as [Transition];
  const when = writes.flatMap((transition, i) => Array<Transition>(groups[i]!).fill(transition));
  const nodes = [
    ...promptNodes(view, font, places.prompt, sheet),
    ...modelNodes(view, font, places.model, sheet, read, writes),
    ...answerNodes(view, font, places.answer, sheet, when),
    ...arrows(places, sheet, enter, writes[0]!),
    ...times(view, font, places.model, sheet, read, whole),
  ];
  const words = { title: tr("A prompt goes in, an answer comes out"), footer: footerOf(view.model), alt: altOf(view, font), notes: notes() };
  return sheet.film(font, words, nodes, timeline);
}

/** The tokens of the answer in a few groups, as equal as can be; the first token alone. */
function groupsOf(count: number): number[] {
  const groups = Math.min(count, ONE_BY_ONE);
  return Array.from({ length: groups }, (_, i) => Math.floor((count * (i + 1)) / groups) - Math.floor((count * i) / groups));
}

function promptNodes(view: Generated, font: Font, box: Box, sheet: Sheet): Node[] {
  const [size, high] = sheet.wide ? [14, 26] : [12, 21];
  const pad = sheet.pad / 2;
  const top = box.y + 2.2 * sheet.size;
  const rows = Math.floor((box.bottom - pad - top + 4) / (high + 4));
  const left = box.x + pad;
  const words = view.prompt.map((id) => view.pieces.shown(id));
  const [places, hidden] = flow(font, words, left, top, box.w - 2 * pad, high, size, rows);
  const tokens = view.prompt.map((id, i): PlacedToken => ({ id, place: places[i]!, role: "input", source: given("generation/prompt_ids", i) }));
  const boxes = tokenBoxes(font, view.pieces, tokens, size);
  if (hidden) boxes.push(text(left, centred(top, high, size), earlier(hidden), size, SANS, { fill: palette.QUIET }));
  return [panel(box), heading(font, tr("Prompt"), box, sheet), ...boxes];
}

/** The model with a bar for each block: lit from the first to the last while the prompt is read, then all at each step. */
function modelNodes(view: Generated, font: Font, box: Box, sheet: Sheet, read: Transition, writes: readonly Transition[]): Node[] {
  const { pattern } = view.model;
  const count = pattern.length;
  const label = tr("{name}: {value}", { name: view.model.name, value: counted(count, "block") });
  const name = font.fit(label, box.w - sheet.size, sheet.size, HEADING);
  const nodes = [
    rect(box.x, box.y, box.w, box.h, { rx: 10, fill: gradient(palette.TRAINED), stroke: palette.FOLLOWED, stroke_width: 1.5 }),
    text(box.middle, box.y + 1.5 * sheet.size, name, sheet.size, HEADING, { anchor: "middle", label, shows: PROVENANCE }),
  ];
  const inner = blockArea(box, sheet);
  const jumps = Math.min(JUMPS, count);
  const pitch = (sheet.wide ? inner.h : inner.w) / count;
  const thick = Math.max(pitch * 0.72, Math.min(pitch, 1));
  for (let block = 0; block < count; block++) {
    const place = sheet.wide // the first at the bottom, or from left to right
      ? new Box(inner.x, inner.bottom - (block + 1) * pitch + (pitch - thick) / 2, inner.w, thick)
      : new Box(inner.x + block * pitch + (pitch - thick) / 2, inner.y, thick, inner.h);
    const named = patternName(pattern[block]!);
    const about = { label: tr("{block} ({pattern})", { block: tr("block {number}", { number: block + 1 }), pattern: named }), shows: PROVENANCE };
    const jump = Math.floor((block * jumps) / count);
    const [fill, ink] = [lights(jump, jumps, read, writes, LIT, DARK), lights(jump, jumps, read, writes, DARK, palette.INK)];
    nodes.push(rect(place.x, place.y, place.w, place.h, { rx: Math.min(3, thick / 3), fill, ...about }));
    const words = blockWords(font, block, about.label, place, sheet);
    if (words) nodes.push(text(place.middle, centred(place.y, place.h, sheet.small), words, sheet.small, SANS, { anchor: "middle", fill: ink, ...about }));
  }
  return nodes;
}

/** A block's name on its bar, with its attention pattern where both have room; "" where not even its number has. */
function blockWords(font: Font, block: number, name: string, place: Box, sheet: Sheet): string {
  if (place.h < 1.2 * sheet.small) return "";
  const number = block + 1;
  const each = [name, tr("block {number}", { number }), tr("b {number}", { number }), String(number)];
  return each.find((words) => font.width(words, sheet.small) + 6 <= place.w) ?? "";
}

/** Where the blocks of the model stand. */
function blockArea(box: Box, sheet: Sheet): Box {
  return sheet.wide ? new Box(box.x + 24, box.y + 40, box.w - 48, box.h - 40 - 74) : new Box(box.x + 14, box.y + 28, box.w - 28, box.h - 28 - 34);
}

/** A colour of a block: lit at its turn while the prompt is read, and in each step after that while the step moves. */
function lights(jump: number, jumps: number, read: Transition, writes: readonly Transition[], lit: string, dark: string): Keys<string> {
  const span = (read.settled - read.start) / jumps;
  const points: [number, string][] = [[0, dark], [read.start + jump * span, lit], [read.start + (jump + 1) * span, dark]]; // prettier-ignore
  for (const { start, settled } of writes.slice(1)) points.push([start, lit], [settled, dark]);
  return { keys: points.map(([time, colour]) => [time, colour, "hold"]) };
}

/** The answer's tokens, each with its probability below it. */
function answerNodes(view: Generated, font: Font, box: Box, sheet: Sheet, when: readonly Transition[]): Node[] {
  const [size, high] = sheet.wide ? [14, 24] : [12, 20];
  const { small } = sheet;
  const pad = sheet.pad / 2;
  const [top, row] = [box.y + 2.2 * sheet.size, high + 1.5 * small];
  const chances = view.probabilities.map(percent);
  const words = view.answer.map((id) => view.pieces.shown(id));
  const widest = words.map((word, i) => (tokenWidth(font, word, size) >= font.width(chances[i]!, small) + 4 ? word : "0".repeat(chances[i]!.length)));
  const rows = Math.floor((box.bottom - 6 - top + 4) / (row + 4));
  const [places, hidden] = flow(font, widest, box.x + pad, top, box.w - 2 * pad, row, size, rows, 5);
  const nodes = [panel(box), heading(font, tr("Answer"), box, sheet)];
  if (hidden) nodes.push(text(box.x + pad, centred(top, high, size), earlier(hidden), size, SANS, { fill: palette.QUIET }));
  places.forEach((place, i) => {
    if (!place) return;
    const opacity = animate(0, [when[i]!, 1, "settle"]);
    const p = view.probabilities[i]!;
    const w = Math.min(tokenWidth(font, words[i]!, size), place.w);
    const source = shows("generation/steps/drawn_logprobs", [i]);
    const label = tr("{token}, step {step}: {time} measured", { token: view.pieces.described(view.answer[i]!), step: i + 1, time: inSeconds(view.seconds[i]!) });
    const shade = font.shade("sequential", Math.min(p, 1));
    nodes.push(
      token(font, words[i]!, high, size, "output", w, { x: place.middle - w / 2, y: place.y, opacity, label, shows: shows("generation/steps/drawn_ids", [i]) }),
      rect(place.x, place.y + high + 1.5 * small - 2, place.w, 3, { rx: 1, fill: shade, stroke: palette.LINE, stroke_width: 0.5, opacity, shows: source }),
      text(place.middle, place.y + high + 1.05 * small, chances[i]!, small, SANS, { anchor: "middle", fill: palette.QUIET, opacity, shows: source }),
    );
  });
  return nodes;
}

/** From the prompt to the model, and from the model to the answer, each when it is its turn. */
function arrows(places: Panels, sheet: Sheet, enter: Transition, write: Transition): Node[] {
  const [into, out] = [enter, write].map((transition) => ({ opacity: animate(0, [transition, 1]) }));
  if (sheet.wide) {
    const y = places.model.y + places.model.h / 2;
    return [
      arrow(places.prompt.right + 4, y, places.model.x - 4, y, palette.INPUT, 9, into),
      arrow(places.model.right + 4, y, places.answer.x - 4, y, palette.OUTPUT, 9, out),
    ];
  }
  const x = places.model.middle;
  return [
    arrow(x, places.prompt.bottom + 3, x, places.model.y - 3, palette.INPUT, 8, into),
    arrow(x, places.model.bottom + 3, x, places.answer.y - 3, palette.OUTPUT, 8, out),
  ];
}

/** The measured times, in the lower part of the model's box. */
function times(view: Generated, font: Font, box: Box, sheet: Sheet, read: Transition, whole: Transition): Node[] {
  const { small } = sheet;
  const { seconds } = view;
  const lines = [{ words: tr("prompt {time}", { time: inSeconds(seconds[0]!) }), source: shows(TIMES, [0], "measured"), when: read }];
  if (seconds.length > 1) {
    const mean = sum(seconds.slice(1)) / (seconds.length - 1);
    lines.push({ words: tr("a token {time}", { time: inSeconds(mean) }), source: shows(TIMES, [], "measured"), when: whole });
  }
  return lines.map(({ words, source, when }, i) => {
    const [x, y] = sheet.wide ? [box.middle, box.bottom - 46 + i * 1.7 * small] : [box.x + box.w * (i === 0 ? 0.27 : 0.73), box.bottom - 12];
    return group([measured(font, x, y, words, small, source, { anchor: "middle" })], { opacity: animate(0, [when, 1, "settle"]) });
  });
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

function readingWords({ prompt, model, seconds }: Generated): string {
  return plural(
    prompt.length,
    "It goes through {blocks}, one block after the other, in {time} (measured).",
    "All {count:,} go through {blocks}, one block after the other, in {time} (measured).",
    { blocks: counted(model.pattern.length, "block"), time: inSeconds(seconds[0]!) },
  );
}

function totalWords({ prompt, answer, seconds, model }: Generated): string {
  const values = { read: counted(prompt.length, "token"), written: answer.length, time: inSeconds(sum(seconds)), model: model.fingerprint };
  const later = sum(seconds.slice(1));
  if (!later) return tr("{read} read and {written:,} written in {time} (measured), by the model {model}.", values);
  return tr("{read} read and {written:,} written in {time} (measured): {rate} tokens a second after the first, by the model {model}.", { ...values, rate: threeDigits((seconds.length - 1) / later) });
}

function altOf(view: Generated, { alphabet }: Font): string {
  const prompt = endOf(alphabet, view.pieces.sentence(view.prompt));
  const answer = startOf(alphabet, view.pieces.sentence(view.answer));
  const first = listed(view.answer.slice(0, 8).map((id, i) => tr("“{token}” {number}", { token: view.pieces.shown(id), number: percent(view.probabilities[i]!) })));
  const given = tr("{name} is given “{prompt}” and answers “{answer}”. The tokens with their probabilities: {first}.", {
    name: view.model.name, prompt, answer, first: view.answer.length > 8 ? `${first} …` : first,
  }); // prettier-ignore
  return joined([given, readingWords(view), totalWords(view)]);
}

function notes(): string[] {
  return [
    tr("Blocks light up in their true order while the prompt is read; in later steps they do, too, but are shown at once."),
    tr("A probability is the model's own, at temperature 1 and before any cut. The film's pace is not that of the model: the times are written."),
    tr("What happens in the model is opened by the figures embedding, stack, context and xray."),
  ];
}
