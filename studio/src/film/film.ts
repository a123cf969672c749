// A film: a picture as a pure function of time.

import { Keyframes } from "./keyframes.ts";
import { parseFilm } from "./read.ts";
import { displayList } from "./resolve.ts";
import type { FilmContents } from "./read.ts";
import type { Leaf, Node, Primitive, Segment } from "./types.ts";

export interface Film extends FilmContents {}

/** A film that was read from its file. */
export class Film {
  /** In seconds. */
  readonly duration: number;
  /** When something changes, in seconds: [from, to] of each movement, [t, t] of each jump; ordered by start. */
  readonly changes: readonly (readonly [number, number])[];
  /** The nodes that paint, indexed by `Primitive.node`. */
  readonly leaves: readonly Leaf[];

  constructor(contents: FilmContents) {
    Object.assign(this, contents);
    this.duration = contents.segments.at(-1)!.end;
    this.leaves = [...leaves(contents.nodes)];
    this.changes = [...changes(contents.nodes)].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  }

  /** The display list at t seconds (`docs/film.md`). Errors: a time outside the film. */
  at(t: number): Primitive[] {
    if (!(t >= 0 && t <= this.duration)) {
      throw new RangeError(`this film lasts from 0 to ${this.duration} s: there is no picture at ${t} s`);
    }
    return displayList(this.nodes, t);
  }

  /** The caption at t seconds; "" for none. */
  captionAt(t: number): string {
    const last = t >= this.duration;
    return this.captions.find((c) => (c.start <= t && t < c.end) || (last && c.end >= this.duration))?.text ?? "";
  }

  /** The segment at t seconds; the last one at the film's end. */
  segmentAt(t: number): Segment {
    return this.segments.find((segment) => t < segment.end) ?? this.segments.at(-1)!;
  }

  /** The start of each segment's last rest, in seconds: what is shown with reduced motion. */
  stills(): number[] {
    return this.segments.map((segment) => segment.rests.at(-1)![0]);
  }

  /** Indices of the matrices that a node shows, in order of time. */
  matricesOf(node: number): number[] {
    const leaf = this.leaves[node];
    if (leaf?.kind !== "image") return [];
    return leaf.matrix instanceof Keyframes ? [...new Set(leaf.matrix.points.map((point) => point[1]))] : [leaf.matrix];
  }

  /** Whether the pictures at two times, and at all times between, are equal. */
  unchanged(from: number, to: number): boolean {
    const [a, b] = from <= to ? [from, to] : [to, from];
    if (a === b) return true;
    // A jump at a is already visible at a; a movement is visible from its start on.
    return !this.changes.some(([start, end]) => (start === end ? a < start && start <= b : start < b && end > a));
  }
}

function* changes(nodes: readonly Node[]): Generator<[number, number]> {
  for (const node of nodes) {
    for (const value of Object.values(node)) if (value instanceof Keyframes) yield* value.changes();
    if ("children" in node) yield* changes(node.children);
  }
}

function* leaves(nodes: readonly Node[]): Generator<Leaf> {
  for (const node of nodes) {
    if ("children" in node) yield* leaves(node.children);
    else yield node;
  }
}

/** Reads a film from JSON text or parsed JSON. Errors: `FilmError` for anything else. */
export function readFilm(source: unknown): Film {
  return new Film(parseFilm(source));
}
