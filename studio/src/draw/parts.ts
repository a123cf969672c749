// Small parts that several figures share: a token's box, an arrow, a model's box, the clock of a measured number
// (src/pellucid/draw/components/parts.py).

import type { Command, Shows } from "../film/types.ts";
import { CAP_HEIGHT, type Font, HEADING, MONO, SANS } from "./font.ts";
import { gradient, group, type Node, path, type Placing, rect, text, type TextStyle, type Value } from "./nodes.ts";
import * as palette from "./palette.ts";

const PAD = 0.5; // of the text's size, on either side of a token's text
export const CLOCK_GAP = 0.3; // of the text's size, between a measured number and its clock
const KAPPA = 0.5523; // a quarter circle as a cubic curve

export type Role = "input" | "output" | "followed" | "plain";
const FILLS: Record<Role, readonly [pale: string, strong: string]> = {
  input: [palette.INPUT_FILL, palette.INPUT],
  output: [palette.OUTPUT_FILL, palette.OUTPUT],
  followed: [palette.FOLLOWED_FILL, palette.FOLLOWED],
  plain: [palette.PANEL, palette.UNTRAINED],
};

/** The baseline that puts one line of text in the middle of a box from y to y + h. */
export const centred = (y: number, h: number, size: number): number => y + (h + size * CAP_HEIGHT) / 2;

function circle(x: number, y: number, r: number): Command[] {
  const k = r * KAPPA;
  return [
    ["M", x + r, y], ["C", x + r, y + k, x + k, y + r, x, y + r], ["C", x - k, y + r, x - r, y + k, x - r, y],
    ["C", x - r, y - k, x - k, y - r, x, y - r], ["C", x + k, y - r, x + r, y - k, x + r, y], ["Z"],
  ]; // prettier-ignore
}

/** The mark of a measured number: a clock face in a square of side `size` with its upper left corner at (x, y). */
export function clock(x: number, y: number, size: number, colour: string = palette.QUIET): Node {
  const [cx, cy, r] = [x + size / 2, y + size / 2, size * 0.42];
  const hands: Command[] = [["M", cx, cy - r * 0.62], ["L", cx, cy], ["L", cx + r * 0.5, cy + r * 0.3]]; // prettier-ignore
  return path([...circle(cx, cy, r), ...hands], { stroke: colour, stroke_width: Math.max(1, size * 0.09) });
}

/** A measured number with a clock left of it; the anchor holds for both together. */
export function measured(font: Font, x: number, y: number, string: string, size: number, source: Shows, { anchor = "start", ...style }: TextStyle & { fill?: string } = {}): Node {
  const extra = size * (1 + CLOCK_GAP);
  const width = font.width(string, size) + extra;
  const left = x - { start: 0, middle: width / 2, end: width }[anchor];
  const mark = clock(left, y - (size * (1 + CAP_HEIGHT)) / 2, size, style.fill ?? palette.INK);
  return group([mark, text(left + extra, y, string, size, SANS, style)], { shows: source });
}

/** How wide the box of a token is. */
export const tokenWidth = (font: Font, piece: string, size: number): number => Math.max(font.width(piece, size, MONO), size * 0.6) + 2 * PAD * size;

/** A token in its box, in the place that `rest` names; the text is cut to fit w. */
export function token(font: Font, piece: string, h: number, size: number, role: Role, w: number, rest: Placing): Node {
  const [fill, stroke] = FILLS[role];
  const shown = font.fit(piece, w - PAD * size, size, MONO);
  const box = rect(0, 0, w, h, { rx: Math.min(6, h / 4), fill, stroke });
  const words = shown ? [text(w / 2, centred(0, h, size), shown, size, MONO, { anchor: "middle" })] : [];
  return group([box, ...words], rest);
}

/** A tick or a cross in a disc around (x, y). */
export function verdict(x: number, y: number, right: boolean, label: string, opacity: Value<number>): Node[] {
  const sign: Command[] = right
    ? [["M", x - 2.6, y], ["L", x - 0.7, y + 2], ["L", x + 2.8, y - 2.2]]
    : [["M", x - 2, y - 2], ["L", x + 2, y + 2], ["M", x + 2, y - 2], ["L", x - 2, y + 2]]; // prettier-ignore
  return [
    path(circle(x, y, 5.5), { fill: right ? palette.INPUT : palette.UNTRAINED, opacity, label }),
    path(sign, { stroke: palette.PAPER, stroke_width: 1.4, opacity, label }),
  ];
}

/** A trained model as a box. */
export function model(font: Font, x: number, y: number, w: number, h: number, title: string, size: number): Node {
  const box = rect(0, 0, w, h, { rx: 10, fill: gradient(palette.TRAINED), stroke: palette.FOLLOWED, stroke_width: 1.5 });
  const words = text(w / 2, centred(0, h, size), font.fit(title, w - size, size, HEADING), size, HEADING, { anchor: "middle" });
  return group([box, words], { x, y });
}

/** A straight arrow from (x0, y0) to (x1, y1). */
export function arrow(x0: number, y0: number, x1: number, y1: number, colour: string = palette.QUIET, head = 9, rest: Placing = {}): Node {
  const length = Math.sqrt((x1 - x0) ** 2 + (y1 - y0) ** 2);
  const [ux, uy] = [(x1 - x0) / length, (y1 - y0) / length];
  const [bx, by, half] = [x1 - ux * head, y1 - uy * head, head * 0.45];
  const line = path([["M", x0, y0], ["L", bx, by]], { stroke: colour, stroke_width: 2 }); // prettier-ignore
  const tip: Command[] = [["M", x1, y1], ["L", bx - uy * half, by + ux * half], ["L", bx + uy * half, by - ux * half], ["Z"]]; // prettier-ignore
  return group([line, path(tip, { fill: colour })], rest);
}
