// `stack`: block after block at one position: what attention and MLP add, where the answer is decided, time and parameters
// (src/pellucid/draw/figures/stack.py). A row for the embedding and one for each block, the first at the bottom.

import { thousands } from "../../formatting.ts";
import { counted, joined, listed, tr } from "../../language.ts";
import type { FilmFile } from "../../wire.ts";
import { type Font, MONO, SANS } from "../font.ts";
import { footerOf } from "../generated.ts";
import { group, type Keys, type Node, rect, shows, text } from "../nodes.ts";
import { inSeconds, percent, threeDigits } from "../numbers.ts";
import * as palette from "../palette.ts";
import { token, tokenWidth } from "../parts.ts";
import { Sheet } from "../sheet.ts";
import { decidedIn, lensSource, type StackView, writeSource } from "../stack_view.ts";
import { animate, Timeline, type Transition, visibleFrom } from "../timeline.ts";
import { bars, column, narrowHeight, rowNames, StackRows, times, words } from "./stack_columns.ts";

const JUMPS = 9; // in which the vector climbs
const WRITES = [palette.SERIES[0], palette.SERIES[1]] as const;

/** The film of a position's way up the blocks. */
export function stack(view: StackView, font: Font, width: number): FilmFile {
  const count = view.blocks.length;
  const [sheet, timeline] = [new Sheet(width, narrowHeight(count + 1)), new Timeline()];
  const [, climb] = timeline.segment(
    tr("Up the blocks"),
    [0, 1.6, tr("The vector of “{token}” enters block 1.", { token: view.pieces.shown(view.token) })],
    [2.2, 3, writesWords(view)],
  );
  const [decide] = timeline.segment(tr("Where it is decided"), [0.6, 5.4, decidedWords(view)]);
  const [cost] = timeline.segment(tr("What a block costs"), [0.4, 5, costWords(view)]);
  const rows = new StackRows(count + 1, sheet);
  const appear = Array.from({ length: count + 1 }, (_, row) => reached(climb!, row, count + 1));
  const nodes = [
    ...rowNames(view, font, rows, sheet),
    marker(rows, climb!),
    ...writes(view, rows, sheet, appear),
    group(times(view, font, rows, sheet), { opacity: animate(0, [cost!, 1]) }),
    ...lens(view, font, rows, sheet, decide!),
    ...followed(view, font, sheet),
  ];
  const said = { title: tr("Up the stack of blocks"), footer: footerOf(view.model), alt: altOf(view), notes: notesOf(view) };
  return sheet.film(font, said, nodes, timeline, view.blocks.some(({ seconds }) => seconds !== null));
}

/** The opacity of a row: it appears when the vector has climbed to it, in a few jumps. */
function reached({ start, settled }: Transition, row: number, rows: number): Keys<number> {
  const jumps = Math.min(JUMPS, rows);
  const at = start + ((settled - start) * Math.floor((row * jumps) / rows)) / Math.max(jumps - 1, 1);
  return { keys: at ? [[0, 0, "hold"], [at, 1, "hold"]] : [[0, 1, "hold"]] }; // prettier-ignore
}

/** The position being followed: a purple line that grows from the embedding up to the last block. */
function marker({ marker: box, high }: StackRows, climb: Transition): Node {
  const [top, tall] = [animate(box.bottom - high, [climb, box.y, "move"]), animate(high, [climb, box.h, "move"])];
  return rect(box.x, top, box.w, tall, { rx: 2, fill: palette.FOLLOWED });
}

/** The token that enters and the one that comes out, in the upper right corner. */
function followed(view: StackView, font: Font, sheet: Sheet): Node[] {
  const [size, high, y, most] = [sheet.small, sheet.wide ? 22 : 18, sheet.wide ? 20 : 36, sheet.wide ? 130 : 100];
  const [answer, word] = [view.pieces.shown(view.answer), view.pieces.shown(view.token)];
  const [after, before] = [answer, word].map((piece) => Math.min(tokenWidth(font, piece, size), most)) as [number, number];
  const right = sheet.right;
  const out = { label: view.pieces.described(view.answer), shows: shows("generation/steps/drawn_ids", [0]) };
  const into = {
    label: tr("position {position}: {token}", { position: view.position, token: view.pieces.described(view.token) }),
    shows: shows("generation/prompt_ids", [view.position], "given"),
  };
  return [
    token(font, answer, high, size, "output", after, { x: right - after, y, ...out }),
    text(right - after - 8, y + high * 0.68, "→", size, SANS, { anchor: "end", fill: palette.QUIET }),
    token(font, word, high, size, "followed", before, { x: right - after - 28 - before, y, ...into }),
  ];
}

/** What attention and MLP add, and on a screen the length of the vector, on one scale for what is added. */
function writes(view: StackView, rows: StackRows, sheet: Sheet, opacities: Keys<number>[]): Node[] {
  const full = Math.max(...view.blocks.flatMap(({ attention, mlp }) => [attention, mlp]));
  const nodes = (["attention", "mlp"] as const).flatMap((part, i) => {
    const title = [sheet.wide ? tr("attention adds") : tr("attention"), sheet.wide ? tr("MLP adds") : tr("MLP")][i]!;
    return bars(column(part, sheet), rows, sheet, {
      title, values: [null, ...view.blocks.map((block) => block[part])], fill: WRITES[i]!, full, words: threeDigits,
      shows: (row) => writeSource(view, part, row - 1), opacities,
    }); // prettier-ignore
  });
  if (!sheet.wide) return nodes;
  const lengths = view.levels.map(({ length }) => length);
  const length = bars(column("length", sheet), rows, sheet, {
    title: tr("vector's length"), values: lengths, fill: palette.FOLLOWED, full: Math.max(...lengths), words: threeDigits,
    shows: (row) => shows(`generation/block_inputs/${row}`, [view.position]), opacities,
  }); // prettier-ignore
  return [...nodes, ...length];
}

/** The answer's probability and rank at each level, and the likeliest token there. */
function lens(view: StackView, font: Font, rows: StackRows, sheet: Sheet, decide: Transition): Node[] {
  const { levels } = view;
  const opacity = visibleFrom(decide);
  const shares = levels.map(({ p }) => p);
  const nodes = bars(column("p", sheet), rows, sheet, {
    title: sheet.wide ? tr("answer's share") : tr("answer"), values: shares, fill: palette.OUTPUT, full: Math.max(...shares), words: percent,
    shows: (row) => lensSource(view, "next_logprobs", row), opacities: levels.map(() => opacity),
  }); // prettier-ignore
  if (sheet.wide) {
    const labels = levels.map(({ rank }) => tr("{tokens} likelier than the answer", { tokens: counted(rank, "token") }));
    const strings = levels.map(({ rank }) => thousands(rank + 1));
    nodes.push(...words(font, column("rank", sheet), rows, sheet, { title: tr("rank"), strings, face: SANS, shows: (row) => lensSource(view, "next_ranks", row), opacity, labels }));
  }
  const likeliest = {
    title: tr("likeliest"), strings: levels.map((level) => view.pieces.shown(level.likeliest)), face: MONO, opacity,
    shows: (row: number) => lensSource(view, "ids", row, 0), strong: levels.map((level) => level.likeliest === view.answer),
    labels: levels.map((level) => tr("{name}: {value}", { name: view.pieces.described(level.likeliest), value: percent(level.likeliestP) })),
  }; // prettier-ignore
  nodes.push(...words(font, column("likeliest", sheet), rows, sheet, likeliest));
  const decided = decidedIn(view);
  if (decided !== null) nodes.push(decidedFrame(view, rows, sheet, decided, opacity));
  return nodes;
}

/** A frame around the levels at which the answer is the likeliest. */
function decidedFrame(view: StackView, rows: StackRows, sheet: Sheet, decided: number, opacity: Keys<number>): Node {
  const [left, right] = [column("p", sheet).x - 5, column("likeliest", sheet).right + 3];
  const [top, low] = [rows.top(view.levels.length - 1), rows.top(decided) + rows.high];
  const answer = view.pieces.shown(view.answer);
  const label = decided
    ? tr("from block {block} on, “{token}” is the likeliest token", { block: decided, token: answer })
    : tr("from the embedding on, “{token}” is the likeliest token", { token: answer });
  return rect(left, top - 1, right - left, low - top + 2, { rx: 4, stroke: palette.OUTPUT, stroke_width: 1.5, opacity, label });
}

function writesWords({ blocks }: StackView): string {
  const most = (part: "attention" | "mlp") => blocks.reduce((best, block, i) => (block[part] > blocks[best]![part] ? i : best), 0);
  const [one, other] = [most("attention"), most("mlp")];
  return tr("Each block adds to it what attention reads and what its MLP computes. Most is added by attention of {one} ({by_one}) and the MLP of {other} ({by_other}).", {
    one: tr("block {number}", { number: one + 1 }), other: tr("block {number}", { number: other + 1 }),
    by_one: threeDigits(blocks[one]!.attention), by_other: threeDigits(blocks[other]!.mlp),
  }); // prettier-ignore
}

function decidedWords(view: StackView): string {
  const [answer, last, decided] = [view.pieces.shown(view.answer), view.levels.at(-1)!, decidedIn(view)];
  const values = { answer, p: percent(last.p) };
  if (decided === null) {
    return tr("“{answer}” was drawn, though after the last block its rank is {rank:,}: {p} against {most} for “{likeliest}”.", {
      ...values, rank: last.rank + 1, most: percent(last.likeliestP), likeliest: view.pieces.shown(last.likeliest),
    }); // prettier-ignore
  }
  if (decided === 0) return tr("“{answer}” is the likeliest token at every level, from the embedding on; at the end with {p}.", values);
  return tr("From block {block} on, “{answer}” is the likeliest token; at the end with {p}.", { ...values, block: decided });
}

function costWords({ blocks, blockParameters: each, model }: StackView): string {
  const total = model.parameters;
  const share = total ? percent(Math.min(1, (blocks.length * each) / total)) : "0%";
  const parts = [tr("Each block has {each:,} parameters. Of the model's {total:,} parameters {share} are in its {blocks}.", { each, blocks: counted(blocks.length, "block"), share, total })];
  const seconds = blocks.reduce((sum, block) => sum + (block.seconds ?? 0), 0);
  if (seconds) parts.push(tr("Reading the prompt took {time} in all of them.", { time: inSeconds(seconds) }));
  return joined(parts);
}

function altOf(view: StackView): string {
  const [word, answer, count] = [view.pieces.shown(view.token), view.pieces.shown(view.answer), view.levels.length];
  const chosen = [...new Set([Math.max(1, Math.floor(count / 3)), Math.floor((2 * count) / 3), count - 1])].sort((a, b) => a - b);
  const after = listed(chosen.map((level) => {
    const { likeliest, likeliestP, p } = view.levels[level]!;
    return tr("{level} “{likeliest}” is likeliest ({most}) and “{answer}” has {p}", {
      level: level ? tr("after block {number}", { number: level }) : tr("embedding"), answer, likeliest: view.pieces.shown(likeliest), most: percent(likeliestP), p: percent(p),
    });
  })); // prettier-ignore
  const climbs = tr("“{word}” at position {position} climbs {blocks} of {name}; “{answer}” comes out.", {
    word, position: view.position, blocks: counted(view.blocks.length, "block"), name: view.model.name, answer,
  }); // prettier-ignore
  return joined([climbs, writesWords(view), tr("By the raw logit lens, {after}.", { after }), decidedWords(view)]);
}

function notesOf({ blocks }: StackView): string[] {
  const notes = [
    tr("The raw logit lens: the last LayerNorm and the token matrix on the vector after each block, as if the blocks above did nothing. It is biased at low levels, and nothing is fitted here."),
    tr("Lengths are L2 norms. What is added is one vector for attention, over all heads, and one for the MLP; they partly cancel, so that the vector's length is not their sum."),
    tr("Blocks are counted from 1, and a block's row shows the vector after it. The record counts them from 0."),
  ];
  if (blocks.some(({ seconds }) => seconds !== null)) notes.push(tr("The time of a block is that of all positions of the prompt together, in the first step."));
  return notes;
}
