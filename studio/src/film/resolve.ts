// From nodes and a time to a display list: plain primitives in paint order, with nothing left to decide.
//
// The second of two: Python's `draw/resolve.py` gives the same bits (`tests/golden/film_at.json`).

import { now, rounded } from "./keys.ts";
import type { Timed } from "./keys.ts";
import type { ClipNode, Command, Drawn, GroupNode, Leaf, Node, PathNode, Primitive, RectNode, Shows } from "./types.ts";

const CHORDS = 16; // a curve of a line that is still growing is drawn as so many straight pieces

type Sides = readonly [left: number, top: number, right: number, bottom: number];

/** What a node inherits: where its origin stands, its scale, opacity and clip, and whose label and truth it has. */
interface Place {
  readonly x: number;
  readonly y: number;
  readonly scale: number;
  readonly opacity: number;
  readonly clip: Sides | null;
  readonly label: string;
  readonly shows: Shows | null;
}

const START: Place = { x: 0, y: 0, scale: 1, opacity: 1, clip: null, label: "", shows: null };

/** How many nodes paint something: groups and clips only hold others. */
export function leaves(nodes: readonly Node[]): number {
  return nodes.reduce((sum, node) => sum + ("children" in node ? leaves(node.children) : 1), 0);
}

/** The primitives at t seconds, in paint order. */
export function displayList(nodes: readonly Node[], t: number): Primitive[] {
  const list: Primitive[] = [];
  resolve(nodes, t, START, 0, list);
  return list;
}

/** Adds the primitives of some nodes, the first of which that paints has this number; returns the number after the last. */
function resolve(nodes: readonly Node[], t: number, place: Place, number: number, list: Primitive[]): number {
  for (const node of nodes) {
    if ("children" in node) {
      const inner = inside(node, t, place);
      number = inner ? resolve(node.children, t, inner, number, list) : number + leaves(node.children);
      continue;
    }
    const drawn = draw(node, t, place);
    if (drawn) {
      const opacity = rounded(place.opacity * now(node.opacity, t));
      if (opacity > 0) {
        const label = now(node.label, t) || place.label;
        list.push({ ...drawn, opacity, clip: clipOf(place), node: number, id: node.id, label, shows: node.shows ?? place.shows });
      }
    }
    number += 1;
  }
  return number;
}

/** Where the children of a group or clip stand; null where none can be seen. */
function inside(node: GroupNode | ClipNode, t: number, place: Place): Place | null {
  let x = place.x + place.scale * now(node.x, t);
  let y = place.y + place.scale * now(node.y, t);
  const label = now(node.label, t) || place.label;
  const shows = node.shows ?? place.shows;
  if (node.kind === "group") {
    const scale = place.scale * now(node.scale, t);
    const opacity = place.opacity * now(node.opacity, t);
    return scale > 0 && opacity > 0 ? { x, y, scale, opacity, clip: place.clip, label, shows } : null;
  }
  let right = x + place.scale * now(node.w, t);
  let bottom = y + place.scale * now(node.h, t);
  if (place.clip) {
    x = Math.max(x, place.clip[0]);
    y = Math.max(y, place.clip[1]);
    right = Math.min(right, place.clip[2]);
    bottom = Math.min(bottom, place.clip[3]);
  }
  if (rounded(right - x) <= 0 || rounded(bottom - y) <= 0) return null;
  return { ...place, clip: [x, y, right, bottom], label, shows };
}

function clipOf({ clip }: Place): [number, number, number, number] | null {
  if (!clip) return null;
  const [left, top, right, bottom] = clip;
  return [rounded(left), rounded(top), rounded(right - left), rounded(bottom - top)];
}

/** What is particular to the kind of node; null where nothing can be seen. */
function draw(node: Leaf, t: number, place: Place): Drawn | null {
  const length = (value: Timed<number>) => rounded(place.scale * now(value, t));
  const across = (value: Timed<number>) => rounded(place.x + place.scale * now(value, t));
  const down = (value: Timed<number>) => rounded(place.y + place.scale * now(value, t));
  switch (node.kind) {
    case "rect": {
      const [w, h] = [length(node.w), length(node.h)];
      if (!w || !h) return null;
      return { kind: "rect", x: across(node.x), y: down(node.y), w, h, rx: length(node.rx), ...paint(node, t, place) };
    }
    case "text": {
      const [string, size] = [now(node.string, t), length(node.size)];
      if (!string || !size) return null;
      const { weight, family, anchor } = node;
      return { kind: "text", x: across(node.x), y: down(node.y), string, size, weight, family, anchor, fill: now(node.fill, t) };
    }
    case "path": {
      const share = now(node.draw, t);
      const commands = share >= 1 ? node.d : cut(node.d, share);
      if (!commands.length) return null;
      const d = commands.map(([name, ...numbers]): Command => [name, ...numbers.map((n, i) => (i % 2 ? down(n) : across(n)))]);
      return { kind: "path", d, ...paint(node, t, place) };
    }
    case "image": {
      const [w, h] = [length(node.w), length(node.h)];
      if (!w || !h) return null;
      return { kind: "image", x: across(node.x), y: down(node.y), w, h, matrix: now(node.matrix, t), palette: node.palette };
    }
  }
}

function paint(node: RectNode | PathNode, t: number, place: Place) {
  return {
    fill: now(node.fill, t),
    stroke: now(node.stroke, t),
    stroke_width: rounded(place.scale * now(node.stroke_width, t)),
    dash: node.dash.map((part) => rounded(place.scale * part)),
  };
}

type Point = readonly [x: number, y: number];

/** The first `draw` of a path's length, as moves and straight lines, curves as chords; nothing if that is 0. */
export function cut(d: readonly Command[], draw: number): Command[] {
  const lines = straight(d);
  let total = 0;
  for (const [, from, to] of lines) total += distance(from, to);
  let left = draw * total;
  const done: Command[] = [];
  for (const [starts, from, to] of lines) {
    if (left <= 0) break;
    if (starts) done.push(["M", ...from]);
    const length = distance(from, to);
    if (length > left) {
      done.push(["L", ...toward(from, to, left / length)]);
      return done;
    }
    left -= length;
    done.push(["L", ...to]);
  }
  return done;
}

function distance(a: Point, b: Point): number {
  const [x, y] = [b[0] - a[0], b[1] - a[1]];
  return Math.sqrt(x * x + y * y);
}

function toward(a: Point, b: Point, share: number): Point {
  return [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share];
}

/** The straight pieces of a path: whether a new stroke starts here, from, to. */
function straight(d: readonly Command[]): [boolean, Point, Point][] {
  const lines: [boolean, Point, Point][] = [];
  let [here, first]: [Point, Point] = [
    [0, 0],
    [0, 0],
  ];
  let starts = true;
  for (const [name, ...numbers] of d) {
    const points: Point[] = [];
    for (let i = 0; i < numbers.length; i += 2) points.push([numbers[i]!, numbers[i + 1]!]);
    if (name === "M") {
      here = first = points[0]!;
      starts = true;
      continue;
    }
    let ends: Point[] = points;
    if (name === "Z") ends = [first];
    else if (name !== "L") {
      const curve = [here, ...points];
      ends = [];
      for (let i = 1; i < CHORDS; i += 1) ends.push(onCurve(curve, i / CHORDS));
      ends.push(curve.at(-1)!);
    }
    for (const to of ends) {
      lines.push([starts, here, to]);
      here = to;
      starts = false;
    }
  }
  return lines;
}

/** A point of a Bézier curve by de Casteljau's construction. */
function onCurve(curve: readonly Point[], u: number): Point {
  while (curve.length > 1) curve = curve.slice(1).map((to, i) => toward(curve[i]!, to, u));
  return curve[0]!;
}
