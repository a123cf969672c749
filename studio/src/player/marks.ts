// The marks of a picture: what each one shows, in text, and its box. Pure functions.

import type { Film } from "../film/film.ts";
import type { Typesetter } from "../film/text.ts";
import type { Primitive, Shows, Truth } from "../film/types.ts";
import type { Words } from "./words.ts";

/** What a tooltip says of a mark. */
export interface TooltipText {
  readonly label: string;
  /** The string or value on the picture, where the label does not contain it. */
  readonly value: string;
  /** Provenance: the chunk of the record, the index in it and the step; "" where the film states none. */
  readonly source: string;
  readonly truth: Truth | null;
}

/** In the film's units. */
export type Box = readonly [x: number, y: number, w: number, h: number];

/** Consecutive primitives with the same label and provenance, which are selected together. */
export interface Mark {
  readonly text: TooltipText;
  readonly box: Box;
  readonly nodes: readonly number[];
}

/** The tooltip of a primitive; null where it has neither label nor provenance. */
export function tooltipText(primitive: Primitive, words: Words): TooltipText | null {
  const { label, shows } = primitive;
  if (!label && !shows) return null;
  const text = primitive.kind === "text" ? primitive.string : "";
  const value = text && !label.includes(text) ? text : "";
  return { label, value, source: shows ? sourceText(shows, words) : "", truth: shows?.truth ?? null };
}

/** The same as one line, for screen readers. */
export function asSentence({ label, value, source, truth }: TooltipText, words: Words): string {
  return [label, value, source, truth && words.truth[truth]].filter(Boolean).join("; ");
}

/** Where a number comes from: "attention[0,3], step 5". */
function sourceText(shows: Shows, words: Words): string {
  const index = shows.index.length ? `[${shows.index.join(",")}]` : "";
  return `${shows.chunk}${index}${shows.step === null ? "" : `, ${words.step(shows.step)}`}`;
}

/** A cell of an image: the stored value as text, and its box. */
export interface Cell {
  readonly text: string;
  readonly box: Box;
}

/** The cell of an image at a point of the picture, in the film's units; null where there is none. */
export function cellAt(film: Film, primitive: Primitive, x: number, y: number, words: Words): Cell | null {
  if (primitive.kind !== "image") return null;
  const { rows, columns, data } = film.matrices[primitive.matrix]!;
  const [cellWidth, cellHeight] = [primitive.w / columns, primitive.h / rows];
  const [column, row] = [Math.floor((x - primitive.x) / cellWidth), Math.floor((y - primitive.y) / cellHeight)];
  if (row < 0 || row >= rows || column < 0 || column >= columns) return null;
  const text = words.cell(row, column, data[row * columns + column]!);
  return { text, box: [primitive.x + column * cellWidth, primitive.y + row * cellHeight, cellWidth, cellHeight] };
}

/** The visible part of a primitive's bounding box. */
function boundingBox(primitive: Primitive, typesetter: Typesetter): Box {
  let [x, y, w, h] = unclippedBox(primitive, typesetter);
  if (primitive.clip) {
    const [left, top, width, height] = primitive.clip;
    const [right, bottom] = [Math.min(x + w, left + width), Math.min(y + h, top + height)];
    [x, y] = [Math.max(x, left), Math.max(y, top)];
    [w, h] = [Math.max(0, right - x), Math.max(0, bottom - y)];
  }
  return [x, y, w, h];
}

function unclippedBox(primitive: Primitive, typesetter: Typesetter): Box {
  if (primitive.kind === "text") {
    const { left, width } = typesetter.layOut(primitive);
    return [left, primitive.y - primitive.size * 0.95, width, primitive.size * 1.25];
  }
  if (primitive.kind !== "path") return [primitive.x, primitive.y, primitive.w, primitive.h];
  const numbers = primitive.d.flatMap(([, ...rest]) => rest); // a curve lies within its control points
  const [xs, ys] = [numbers.filter((_, i) => i % 2 === 0), numbers.filter((_, i) => i % 2 === 1)];
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  return [left, top, Math.max(...xs) - left, Math.max(...ys) - top];
}

/** The marks of a display list, in paint order. */
export function marksOf(list: readonly Primitive[], typesetter: Typesetter, words: Words): Mark[] {
  const marks: (Mark & { key: string })[] = [];
  for (const primitive of list) {
    const text = tooltipText(primitive, words);
    if (!text) continue;
    const key = JSON.stringify([primitive.label, primitive.shows]);
    const box = boundingBox(primitive, typesetter);
    const last = marks.at(-1);
    if (last?.key === key) {
      const joined = { ...text, value: last.text.value || text.value };
      marks[marks.length - 1] = { key, text: joined, box: union(last.box, box), nodes: [...last.nodes, primitive.node] };
    } else {
      marks.push({ key, text, box, nodes: [primitive.node] });
    }
  }
  return marks;
}

function union(a: Box, b: Box): Box {
  const [x, y] = [Math.min(a[0], b[0]), Math.min(a[1], b[1])];
  return [x, y, Math.max(a[0] + a[2], b[0] + b[2]) - x, Math.max(a[1] + a[3], b[1] + b[3]) - y];
}
