// What a mark says when it is pointed at, and where it stands. Pure.

import type { Typesetter } from "../film/text.ts";
import type { Primitive, Shows, Truth } from "../film/types.ts";
import type { Words } from "./words.ts";

export interface Told {
  readonly label: string;
  /** What is written or stored there, where the label does not say it. */
  readonly value: string;
  /** The chunk of the record, the place in it and the step; "" where nothing is known. */
  readonly source: string;
  readonly truth: Truth | null;
}

export type Box = readonly [x: number, y: number, w: number, h: number];

/** A mark that can be read: primitives that follow one another and say the same. */
export interface Mark {
  readonly told: Told;
  readonly box: Box;
  readonly nodes: readonly number[];
}

/** What a primitive says; null where nothing stands behind it. */
export function told(primitive: Primitive, words: Words): Told | null {
  const { label, shows } = primitive;
  if (!label && !shows) return null;
  const text = primitive.kind === "text" ? primitive.string : "";
  const value = text && !label.includes(text) ? text : "";
  return { label, value, source: shows ? source(shows, words) : "", truth: shows?.truth ?? null };
}

/** "attention[0,3], step 5" */
export function source(shows: Shows, words: Words): string {
  const index = shows.index.length ? `[${shows.index.join(",")}]` : "";
  return `${shows.chunk}${index}${shows.step === null ? "" : `, ${words.step(shows.step)}`}`;
}

/** The box around a primitive, as far as its clip lets it be seen. */
export function bounds(primitive: Primitive, typesetter: Typesetter): Box {
  let [x, y, w, h] = unclipped(primitive, typesetter);
  if (primitive.clip) {
    const [left, top, wide, high] = primitive.clip;
    const [right, bottom] = [Math.min(x + w, left + wide), Math.min(y + h, top + high)];
    [x, y] = [Math.max(x, left), Math.max(y, top)];
    [w, h] = [Math.max(0, right - x), Math.max(0, bottom - y)];
  }
  return [x, y, w, h];
}

function unclipped(primitive: Primitive, typesetter: Typesetter): Box {
  if (primitive.kind === "text") {
    const { left, width } = typesetter.set(primitive);
    return [left, primitive.y - primitive.size * 0.95, width, primitive.size * 1.25];
  }
  if (primitive.kind !== "path") return [primitive.x, primitive.y, primitive.w, primitive.h];
  const numbers = primitive.d.flatMap(([, ...rest]) => rest); // control points hold the curve between them
  const [xs, ys] = [numbers.filter((_, i) => i % 2 === 0), numbers.filter((_, i) => i % 2 === 1)];
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  return [left, top, Math.max(...xs) - left, Math.max(...ys) - top];
}

/** The marks of a picture in paint order. */
export function marks(list: readonly Primitive[], typesetter: Typesetter, words: Words): Mark[] {
  const found: (Mark & { key: string })[] = [];
  for (const primitive of list) {
    const says = told(primitive, words);
    if (!says) continue;
    const key = JSON.stringify([primitive.label, primitive.shows]);
    const box = bounds(primitive, typesetter);
    const last = found.at(-1);
    if (last?.key === key) {
      const value = last.told.value || says.value;
      found[found.length - 1] = { key, told: { ...says, value }, box: around(last.box, box), nodes: [...last.nodes, primitive.node] };
    } else {
      found.push({ key, told: says, box, nodes: [primitive.node] });
    }
  }
  return found;
}

function around(a: Box, b: Box): Box {
  const [x, y] = [Math.min(a[0], b[0]), Math.min(a[1], b[1])];
  return [x, y, Math.max(a[0] + a[2], b[0] + b[2]) - x, Math.max(a[1] + a[3], b[1] + b[3]) - y];
}
