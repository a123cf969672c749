// The nodes of a film as its file holds them: an attribute that has its default is left out (src/pellucid/draw/film/nodes.py and
// film_json.py). Lengths are in the film's own units; y goes down.

import type { Ease } from "../film/keyframes.ts";
import type { Anchor, Command, Gradient, Shows, Truth } from "../film/types.ts";
import type { FilmMatrix } from "../wire.ts";
import type { Face } from "./letters.ts";

/** A value by time: each is [seconds, value, how it is reached from the one before]. */
export interface Keys<T> {
  keys: [number, T, Ease][];
}
export type Value<T> = T | Keys<T>;
export type Node = Record<string, unknown>;

/** What every node may have, and what those that are painted may have. */
export interface Rest {
  id?: string;
  label?: Value<string>;
  shows?: Shows | undefined;
  opacity?: Value<number>;
}
export interface Paint extends Rest {
  fill?: Value<string> | Gradient | null;
  stroke?: Value<string> | null;
  stroke_width?: Value<number>;
  dash?: readonly number[];
}

const INK = "#1d2430";
const DEFAULTS: Record<string, Record<string, unknown>> = {
  rect: { rx: 0, fill: null, stroke: null, stroke_width: 1, opacity: 1 },
  text: { size: 16, weight: 400, family: "sans", anchor: "start", fill: INK, opacity: 1 },
  path: { fill: null, stroke: null, stroke_width: 1, opacity: 1, draw: 1 },
  image: { opacity: 1 },
  group: { x: 0, y: 0, scale: 1, opacity: 1 },
};

function node(kind: string, attributes: Record<string, unknown>): Node {
  const defaults: Record<string, unknown> = { id: "", label: "", ...DEFAULTS[kind] };
  const stated = Object.entries(attributes).filter(([name, value]) => {
    return value !== undefined && !(name in defaults && value === defaults[name]) && !(name === "dash" && !(value as unknown[]).length);
  });
  return { kind, ...Object.fromEntries(stated) };
}

export function rect(x: Value<number>, y: Value<number>, w: Value<number>, h: Value<number>, rest: Paint & { rx?: Value<number> } = {}): Node {
  return node("rect", { x, y, w, h, ...rest });
}

export interface TextStyle extends Rest {
  anchor?: Anchor;
  fill?: Value<string>;
}

/** One line of text; y is its baseline, x its start, middle or end as `anchor` says. */
export function text(x: Value<number>, y: Value<number>, string: Value<string>, size: number, face: Face, rest: TextStyle = {}): Node {
  return node("text", { x, y, string, size, weight: face.weight, family: face.family, ...rest });
}

export function path(d: readonly Command[], rest: Paint = {}): Node {
  return node("path", { d, ...rest });
}

/** An image of a matrix; the film's file holds each once, by number (`Sheet.film`). */
export function image(matrix: Value<FilmMatrix>, palette: string, x: number, y: number, w: number, h: number, rest: Rest = {}): Node {
  return node("image", { matrix, palette, x, y, w, h, ...rest });
}

export interface Placing extends Rest {
  x?: Value<number>;
  y?: Value<number>;
  scale?: Value<number>;
}

/** Nodes that move, grow and fade together. */
export function group(children: readonly Node[], rest: Placing = {}): Node {
  return node("group", { children, ...rest });
}

export const gradient = (colours: readonly string[]): Gradient => ({ gradient: colours, angle: 45 });

/** Where in a record the number behind a mark stands, and how far it can be trusted. */
export function shows(chunk: string, index: readonly number[] = [], truth: Truth = "derived", step: number | null = null): Shows {
  return { chunk, index, step, truth };
}

export const given = (chunk: string, ...index: number[]): Shows => shows(chunk, index, "given");

/** Every node in paint order, groups before their children. */
export function* walk(nodes: readonly Node[]): Generator<Node> {
  for (const one of nodes) {
    yield one;
    if (one.children) yield* walk(one.children as Node[]);
  }
}
