// `embedding`: one position from its token to the next one: the token's row, the position's, their sum, and the way back
// (src/pellucid/draw/figures/embedding.py).

import { fixed } from "../../formatting.ts";
import { counted, joined, listed, tr } from "../../language.ts";
import type { FilmFile } from "../../wire.ts";
import type { EmbeddingView } from "../embedding_view.ts";
import { type Font, MONO, SANS } from "../font.ts";
import { footerOf } from "../generated.ts";
import { Box, legend, Matrices } from "../marks.ts";
import { given, group, type Node, rect, shows, text } from "../nodes.ts";
import { percent, threeDigits } from "../numbers.ts";
import * as palette from "../palette.ts";
import { arrow, centred, model, token, tokenWidth } from "../parts.ts";
import { Sheet } from "../sheet.ts";
import { animate, Timeline, type Transition } from "../timeline.ts";
import { cellsOf, vector } from "../vectors.ts";
import { outputPanel, sizeOf } from "./embedding_output.ts";
import { heading, panel } from "./panels.ts";

const FIRST_NUMBERS = 3; // that are written beside a vector
const EMBEDDING = "generation/embedding/";

/** The boxes of the picture, from top to bottom: the input's panel, the similar tokens', the model, the output's panel. */
interface Places {
  into: Box;
  similar: Box;
  model: Box;
  out: Box;
}

function placesOf(sheet: Sheet): Places {
  const low = sheet.bottom - 6;
  if (sheet.wide) return { into: new Box(24, 62, 604, 168), similar: new Box(640, 62, 296, 168), model: new Box(24, 244, 912, 30), out: new Box(24, 290, 912, low - 290) };
  return { into: new Box(12, 46, 336, 126), similar: new Box(12, 178, 336, 84), model: new Box(12, 276, 336, 28), out: new Box(12, 318, 336, low - 318) };
}

/** The film of one position. */
export function embedding(view: EmbeddingView, font: Font, width: number): FilmFile {
  const [sheet, timeline, matrices] = [new Sheet(width), new Timeline(), new Matrices()];
  const places = placesOf(sheet);
  const [word, out] = [view.pieces.shown(view.token), view.pieces.shown(view.drawn)];
  const { model: of, position } = view;
  const row = { word, token: view.token, numbers: view.tokenVector.length };
  const [take, add] = timeline.segment(
    tr("A token becomes a vector"),
    [0.6, 2.4, tr("“{word}” is token {token:,}: a row of {numbers:,} numbers, learned in training.", row)],
    [0.6, 2.4, tr("The row of position {position:,} is added: it tells where in the text the token stands.", { position })],
  );
  const [compare] = timeline.segment(tr("Similar tokens"), [0.6, 4.4, similarWords(view)]);
  const [compute, normed] = timeline.segment(
    tr("Through the blocks"),
    [1, 2, tr("{blocks} add to the vector what they read and compute: the figure stack opens them.", { blocks: counted(of.pattern.length, "block") })],
    [0.4, 2, tr("The final LayerNorm brings it to scale: this is what the model has to say here.")],
  );
  const [multiply, soften, draw] = timeline.segment(
    tr("A vector becomes a token"),
    [0.6, 2.4, tr("Its product with the row of each of {count:,} tokens is that token's logit. The largest:", { count: of.vocabulary })],
    [0.6, 2, tr("Softmax turns logits into probabilities.")],
    [0.6, 2, tr("“{word}” comes out, which had a probability of {p}.", { word: out, p: percent(view.drawnP) })],
  );
  const nodes = [
    ...inputPanel(view, font, matrices, places.into, sheet, take!, add!),
    ...similarPanel(view, font, places.similar, sheet, compare!),
    ...throughTheModel(view, font, places, sheet, compute!),
    ...outputPanel(view, font, matrices, places.out, sheet, { normed: normed!, multiply: multiply!, soften: soften!, draw: draw! }),
  ];
  const said = { title: tr("From token to vector and back"), footer: footerOf(of), alt: altOf(view), notes: notesOf(view) };
  return sheet.film(font, said, nodes, timeline, false);
}

function similarWords(view: EmbeddingView): string {
  if (!view.nearest.length) return tr("There is no other token to compare it with.");
  return tr("Tokens whose rows point in a similar direction, by the cosine of the angle: {near}.", { near: near(view, 3) });
}

/** The tokens with the largest cosines. */
function near(view: EmbeddingView, most = view.nearest.length): string {
  return listed(view.nearest.slice(0, most).map(([id, value]) => tr("“{token}” {number}", { token: view.pieces.shown(id), number: cosine(value) })));
}

const cosine = (value: number): string => fixed(value, 2).replaceAll("-", "−");

/** The token's row, the position's, and their sum, each as a vector of coloured cells. */
function inputPanel(view: EmbeddingView, font: Font, matrices: Matrices, box: Box, sheet: Sheet, take: Transition, add: Transition): Node[] {
  const most = sizeOf(view.tokenVector, view.positionVector, view.sum);
  const [high, gap, words] = sheet.wide ? [26, 9, 148] : [19, 6, 92];
  const { small, size } = sheet;
  const [x, y] = [box.x + sheet.pad / 2, box.y + (sheet.wide ? 2.2 : 2) * size];
  const room = box.w - sheet.pad - words - (sheet.wide ? 178 : 0);
  const { position } = view;
  const [ofToken, ofPosition] = [shows(`${EMBEDDING}token`), shows(`${EMBEDDING}position`)];
  const rows = [
    { values: view.tokenVector, string: "", source: ofToken, opacity: animate(0, [take, 1]), label: tr("the row of {token} in the token matrix (wte)", { token: view.pieces.described(view.token) }) },
    { values: view.positionVector, string: tr("+ position {position:,}", { position }), source: ofPosition, opacity: animate(0, [add, 1]), label: tr("row {position:,} of the position matrix (wpe)", { position }) },
    { values: view.sum, string: sheet.wide ? tr("= enters block 1") : tr("= sum"), source: ofToken, opacity: animate(0, [add, 1, "settle"]), label: tr("the sum, which enters block 1") },
  ]; // prettier-ignore
  const nodes = [panel(box), heading(font, tr("Two rows are added"), box, sheet)];
  rows.forEach(({ values, string, source, opacity, label }, i) => {
    const top = y + i * (high + gap);
    const place = new Box(x + words, top, room, high);
    const base = centred(top, high, small);
    if (string) nodes.push(text(x, base, font.fit(string, words - 8, small), small, SANS, { opacity, shows: source }));
    else nodes.push(followedToken(view, font, x, top, high, words - 8, sheet));
    nodes.push(...vector(matrices, values, place, most, { label, shows: source, opacity }));
    if (sheet.wide) nodes.push(text(place.right + 10, base, firstNumbers(font, values, small), small, MONO, { opacity, shows: source }));
  });
  const scale = new Box(x + words, y + 3 * (high + gap), room, sheet.wide ? 7 : 5);
  return [...nodes, ...legend("diverging", matrices, scale, small, `−${threeDigits(most)}`, threeDigits(most), "0")];
}

/** The first numbers of a vector as text. */
function firstNumbers(font: Font, values: readonly number[], size: number): string {
  const numbers = values.slice(0, FIRST_NUMBERS).map((value) => fixed(value, 3).replaceAll("-", "−"));
  return font.fit(numbers.join(", ") + (values.length > FIRST_NUMBERS ? " …" : ""), 166, size, MONO);
}

function followedToken(view: EmbeddingView, font: Font, x: number, y: number, high: number, room: number, { size }: Sheet): Node {
  const word = view.pieces.shown(view.token);
  return token(font, word, high, size, "followed", Math.min(tokenWidth(font, word, size), room), {
    x, y, label: tr("position {position}: {token}", { position: view.position, token: view.pieces.described(view.token) }),
    shows: given("generation/prompt_ids", view.position),
  }); // prettier-ignore
}

/** The tokens with the largest cosines, each with its cosine, in a few columns. */
function similarPanel(view: EmbeddingView, font: Font, box: Box, sheet: Sheet, compare: Transition): Node[] {
  const [across, high, gap, down] = sheet.wide ? [2, 22, 8, 4] : [3, 18, 5, 2];
  const { small } = sheet;
  const wide = (box.w - sheet.pad) / across;
  const number = font.width("−0.00", small) + 10;
  const found = view.nearest.slice(0, across * down).flatMap(([id, value], i) => {
    const [x, y] = [box.x + sheet.pad / 2 + Math.floor(i / down) * wide, box.y + 2.3 * sheet.size + (i % down) * (high + gap)];
    const word = view.pieces.shown(id);
    const w = Math.min(tokenWidth(font, word, small), wide - number);
    const about = { x, y, label: view.pieces.described(id), shows: shows(`${EMBEDDING}nearest_ids`, [i]) };
    return [
      token(font, word, high, small, "plain", w, about),
      text(x + w + 5, centred(y, high, small), cosine(value), small, SANS, { shows: shows(`${EMBEDDING}nearest_cosines`, [i]) }),
    ];
  });
  return [panel(box), heading(font, tr("Similar rows"), box, sheet), group(found, { opacity: animate(0, [compare, 1]) })];
}

/** The model as a bar between the panels, along which the vector moves. */
function throughTheModel(view: EmbeddingView, font: Font, places: Places, sheet: Sheet, compute: Transition): Node[] {
  const box = places.model;
  const name = tr("{name}: {value}", { name: view.model.name, value: counted(view.model.pattern.length, "block") });
  const x = places.into.x + (sheet.wide ? 148 : 92) + sheet.pad / 2 + 60;
  const above = sheet.wide ? places.into.bottom : places.similar.bottom;
  const y = animate(above + 1, [compute, places.out.y - 7, "move"]);
  return [
    model(font, box.x, box.y, box.w, box.h, name, sheet.size),
    arrow(x, above + 2, x, box.y - 1, palette.FOLLOWED, 7),
    arrow(x, box.bottom + 2, x, places.out.y - 1, palette.FOLLOWED, 7),
    rect(x - 14, y, 28, 6, { rx: 3, fill: palette.FOLLOWED, opacity: animate(0, [compute, 1], [compute, 0, "settle"]) }),
  ];
}

function altOf(view: EmbeddingView): string {
  const { pieces, model: of } = view;
  const likely = listed(view.candidates.map(({ token: id, product, p }) =>
    tr("“{token}” product {product}, {p}", { token: pieces.shown(id), product: threeDigits(product), p: percent(p) }).replaceAll("-", "−"),
  )); // prettier-ignore
  const blocks = counted(of.pattern.length, "block");
  const parts = [
    tr("Position {position} of a text read by {name}: “{word}” is token {token}, a row of {numbers} numbers, to which the row of the position is added.", {
      position: view.position, name: of.name, word: pieces.shown(view.token), token: view.token, numbers: view.tokenVector.length,
    }),
  ]; // prettier-ignore
  if (view.nearest.length) parts.push(tr("Tokens with similar rows, by cosine: {near}.", { near: near(view) }));
  parts.push(tr("After {blocks} the output vector's products with the tokens' rows are largest for {likely}.", { blocks, likely }));
  return joined([...parts, tr("“{word}” comes out, with a probability of {p}.", { word: pieces.shown(view.drawn), p: percent(view.drawnP) })]);
}

function notesOf(view: EmbeddingView): string[] {
  const notes = [tr("A vector is drawn row by row, its first number at the upper left. Of {products:,} products the {shown} of the likeliest tokens are shown.", { products: view.model.vocabulary, shown: view.candidates.length })];
  const averaged = Math.max(...[view.tokenVector, view.output].map((values) => cellsOf(values.length)[2]));
  if (averaged > 1) notes.push(tr("Each cell is the mean of {averaged} numbers.", { averaged }));
  notes.push(
    tr("Probabilities are the model's own, at temperature 1 and before any cut; the figure tokens shows the cut and the draw."),
    tr("What the blocks do is not shown here: the figures stack and xray open them."),
  );
  return notes;
}
