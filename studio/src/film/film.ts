// A film: a picture as a pure function of time.

import { Keys } from "./keys.ts";
import { contents } from "./read.ts";
import { displayList } from "./resolve.ts";
import type { Contents } from "./read.ts";
import type { Leaf, Node, Primitive, Segment } from "./types.ts";

export interface Film extends Contents {}

/** A film read from its file. */
export class Film {
  readonly duration: number;
  /** When something changes: [from, to] of each movement, [t, t] of each jump; in order of their beginning. */
  readonly changes: readonly (readonly [number, number])[];

  /** The nodes that paint, by `Primitive.node`. */
  readonly painting: readonly Leaf[];

  constructor(told: Contents) {
    Object.assign(this, told);
    this.duration = told.segments.at(-1)!.end;
    this.painting = [...painting(told.nodes)];
    this.changes = [...changes(told.nodes)].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  }

  /** The display list at t seconds (`docs/film.md`). Errors: a time outside the film. */
  at(t: number): Primitive[] {
    if (!(t >= 0 && t <= this.duration)) {
      throw new RangeError(`this film lasts from 0 to ${this.duration} s: there is no picture at ${t} s`);
    }
    return displayList(this.nodes, t);
  }

  /** What is to be read at t seconds; "" for nothing. */
  captionAt(t: number): string {
    const last = t >= this.duration;
    return this.captions.find((c) => (c.start <= t && t < c.end) || (last && c.end >= this.duration))?.text ?? "";
  }

  /** The segment that t seconds lie in; the last one at the very end. */
  segmentAt(t: number): Segment {
    return this.segments.find((segment) => t < segment.end) ?? this.segments.at(-1)!;
  }

  /** One time a segment, the start of its last rest: what is shown instead of motion to those who ask for less of it. */
  stills(): number[] {
    return this.segments.map((segment) => segment.rests.at(-1)![0]);
  }

  /** The numbers of all matrices that a node shows, in order of time. */
  matricesOf(node: number): number[] {
    const leaf = this.painting[node];
    if (leaf?.kind !== "image") return [];
    return leaf.matrix instanceof Keys ? [...new Set(leaf.matrix.points.map((point) => point[1]))] : [leaf.matrix];
  }

  /** Whether the pictures at two times, and all between, are the same. */
  rests(from: number, to: number): boolean {
    const [a, b] = from <= to ? [from, to] : [to, from];
    if (a === b) return true;
    // A jump at a itself is already seen at a; a movement changes what is seen from its beginning on.
    return !this.changes.some(([start, end]) => (start === end ? a < start && start <= b : start < b && end > a));
  }
}

function* changes(nodes: readonly Node[]): Generator<[number, number]> {
  for (const node of nodes) {
    for (const value of Object.values(node)) if (value instanceof Keys) yield* value.changes();
    if ("children" in node) yield* changes(node.children);
  }
}

function* painting(nodes: readonly Node[]): Generator<Leaf> {
  for (const node of nodes) {
    if ("children" in node) yield* painting(node.children);
    else yield node;
  }
}

/** The film of a JSON text or of what it parses to. Errors: `FilmError` for anything else. */
export function readFilm(source: unknown): Film {
  return new Film(contents(source));
}
