// The lower panel of `embedding`: the output vector, its products with the rows of the likeliest tokens, softmax, the draw
// (src/pellucid/draw/figures/embedding_output.py).

import { fixed } from "../../formatting.ts";
import { tr } from "../../language.ts";
import type { EmbeddingView } from "../embedding_view.ts";
import { type Font, MONO, SANS } from "../font.ts";
import { Box, type Matrices } from "../marks.ts";
import { type Node, path, rect, shows, text } from "../nodes.ts";
import { percent } from "../numbers.ts";
import * as palette from "../palette.ts";
import { centred, token, tokenWidth } from "../parts.ts";
import type { Sheet } from "../sheet.ts";
import { animate, type Transition } from "../timeline.ts";
import { vector } from "../vectors.ts";
import { heading, panel } from "./panels.ts";

const OUTPUT = "generation/output/";
const STEPS = "generation/steps/";

/** When the output vector, the products, the probabilities and the drawn token appear. */
export interface Moments {
  normed: Transition;
  multiply: Transition;
  soften: Transition;
  draw: Transition;
}

/** The columns of a candidate's row: token, its row's cells, product (right edge), bar, percent (left edge); a row's height. */
interface Columns {
  token: Box;
  cells: Box;
  product: number;
  bar: Box;
  percent: number;
  high: number;
}

function columnsOf(box: Box, { wide, pad }: Sheet): Columns {
  const x = box.x + pad / 2;
  if (wide) return { token: new Box(x, 0, 104, 22), cells: new Box(x + 148, 0, 290, 18), product: x + 520, bar: new Box(x + 536, 0, 104, 14), percent: x + 648, high: 25 };
  return { token: new Box(x, 0, 86, 19), cells: new Box(x + 92, 0, 96, 15), product: x + 236, bar: new Box(x + 242, 0, 36, 11), percent: x + 282, high: 26 };
}

/** The largest size of some numbers; 1 where all are 0. */
export const sizeOf = (...vectors: readonly (readonly number[])[]): number =>
  vectors.reduce((most, vector) => vector.reduce((size, x) => Math.max(size, Math.abs(x)), most), 0) || 1;

/** The output vector, a row for each of the likeliest tokens, and the drawn token. */
export function outputPanel(view: EmbeddingView, font: Font, matrices: Matrices, box: Box, sheet: Sheet, when: Moments): Node[] {
  const columns = columnsOf(box, sheet);
  const { small, size } = sheet;
  let y = box.y + (sheet.wide ? 2.1 : 2.2) * size;
  const about = { opacity: animate(0, [when.normed, 1]), shows: shows(`${OUTPUT}vector`) };
  const label = tr("the output vector: the followed position after the last block and the final LayerNorm");
  const name = font.fit(tr("output vector"), columns.cells.x - columns.token.x - 6, small);
  const nodes = [
    panel(box),
    heading(font, tr("From vector to token"), box, sheet),
    text(columns.token.x, centred(y, 18, small), name, small, SANS, about),
    ...vector(matrices, view.output, new Box(columns.cells.x, y, columns.cells.w, 18), sizeOf(view.output), { ...about, label }),
  ];
  y += 18 + (sheet.wide ? 0.4 : 0.6) * size;
  nodes.push(...headings(columns, y, sheet, when));
  y += 1.5 * small;
  view.candidates.forEach((_, i) => nodes.push(...candidate(view, font, matrices, i, y + i * columns.high, columns, sheet, when)));
  if (sheet.wide) return [...nodes, ...drawn(view, font, new Box(columns.percent + 64, box.y, box.right - columns.percent - 76, box.h), sheet, when)];
  const low = y + 5 * columns.high + 4;
  return [...nodes, ...drawn(view, font, new Box(box.x + 6, low, box.w - 12, box.bottom - low), sheet, when)];
}

/** The names of the columns. */
function headings(columns: Columns, y: number, { wide, small }: Sheet, when: Moments): Node[] {
  const base = y + small;
  const product = { fill: palette.QUIET, opacity: animate(0, [when.multiply, 1]) };
  const [times, equals] = wide ? [tr("× the token's row"), tr("= product")] : [tr("× its row"), tr("= logit")];
  const found = [text(columns.product, base, equals, small, SANS, { anchor: "end", ...product }), text(columns.cells.x, base, times, small, SANS, product)];
  if (wide) found.push(text(columns.bar.x, base, tr("probability"), small, SANS, { fill: palette.QUIET, opacity: animate(0, [when.soften, 1]) }));
  return found;
}

/** One of the likeliest tokens: its row of the token matrix, the product with the output vector, its probability. */
function candidate(view: EmbeddingView, font: Font, matrices: Matrices, i: number, y: number, columns: Columns, sheet: Sheet, when: Moments): Node[] {
  const one = view.candidates[i]!;
  const size = sheet.small;
  const most = sizeOf(...view.candidates.map(({ row }) => row));
  const [word, middle] = [view.pieces.shown(one.token), y + columns.high / 2];
  const [multiplied, softened] = [animate(0, [when.multiply, 1]), animate(0, [when.soften, 1])];
  const [row, p] = [shows(`${OUTPUT}rows`, [i]), shows(`${STEPS}topk_logprobs`, [0, i])];
  const fully = Math.max(...view.candidates.map((other) => other.p));
  const described = view.pieces.described(one.token);
  const { token: box, cells, bar } = columns;
  const base = middle + 0.36 * size;
  return [
    token(font, word, box.h, size, "plain", Math.min(tokenWidth(font, word, size), box.w), {
      x: box.x, y: middle - box.h / 2, label: described, shows: shows(`${STEPS}topk_ids`, [0, i]), opacity: multiplied,
    }),
    ...vector(matrices, one.row, new Box(cells.x, middle - cells.h / 2, cells.w, cells.h), most, {
      label: tr("the row of {token} in the token matrix", { token: described }), shows: row, opacity: multiplied,
    }),
    text(columns.product, base, fixed(one.product, 2).replaceAll("-", "−"), size, MONO, {
      anchor: "end", opacity: multiplied, shows: row,
      label: tr("the product of the output vector and the row of {token}, added up: its logit", { token: described }),
    }),
    rect(bar.x, middle - bar.h / 2, fully ? (bar.w * one.p) / fully : 0, bar.h, { rx: 2, fill: palette.LIKELY, opacity: softened, label: percent(one.p), shows: p }),
    text(columns.percent, base, percent(one.p), size, SANS, { opacity: softened, shows: p }),
  ]; // prettier-ignore
}

/** The token that comes out, how it was chosen, and its probability: on a screen one below the other, else in a row. */
function drawn(view: EmbeddingView, font: Font, box: Box, sheet: Sheet, when: Moments): Node[] {
  const { small, size, wide: onScreen } = sheet;
  const opacity = animate(0, [when.draw, 1]);
  const word = view.pieces.shown(view.drawn);
  const how = Number.isNaN(view.draw) ? tr("temperature 0: the likeliest") : tr("the draw {draw:.4f} gives", { draw: view.draw });
  const [draw, p, id] = ["draw", "drawn_logprobs", "drawn_ids"].map((name) => shows(STEPS + name, [0])) as [ReturnType<typeof shows>, ReturnType<typeof shows>, ReturnType<typeof shows>];
  const [wide, high] = [Math.min(tokenWidth(font, word, size), box.w - 8), onScreen ? 28 : 22];
  const y = box.y + Math.max(0, (box.h - high) / 2);
  const x = onScreen ? box.middle - wide / 2 : box.right - wide - 56;
  const out = token(font, word, high, size, "output", wide, { x, y, opacity, label: view.pieces.described(view.drawn), shows: id });
  if (onScreen) {
    return [
      path([["M", box.x - 8, box.y + 14], ["L", box.x - 8, box.bottom - 14]], { stroke: palette.LINE }),
      text(box.middle, y - 10, font.fit(how, box.w, small), small, SANS, { anchor: "middle", fill: palette.QUIET, opacity, shows: draw }),
      text(box.middle, y + high + 1.5 * small, percent(view.drawnP), small, SANS, { anchor: "middle", opacity, shows: p }),
      out,
    ]; // prettier-ignore
  }
  const base = centred(y, high, small);
  return [
    text(box.x + 6, base, font.fit(how, box.w - 68 - wide, small), small, SANS, { fill: palette.QUIET, opacity, shows: draw }),
    text(box.right - 48, base, percent(view.drawnP), small, SANS, { opacity, shows: p }),
    out,
  ];
}
