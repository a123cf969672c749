// Evaluates a film's nodes at a time: a display list of primitives in paint order, in absolute coordinates.
//
// Python's implementation gives the same bits (`tests/golden/film_at.json`).

import { rounded, valueAt } from "./keyframes.ts";
import type { Animated } from "./keyframes.ts";
import type { ClipNode, Command, Drawn, GroupNode, Leaf, Node, PathNode, Primitive, RectNode, Shows } from "./types.ts";

const CHORDS = 16; // line segments for a curve of a partially drawn path

type ClipSides = readonly [left: number, top: number, right: number, bottom: number];

/** What a node inherits from its groups: origin and scale, opacity, clip, label and provenance. */
interface Inherited {
  readonly x: number;
  readonly y: number;
  readonly scale: number;
  readonly opacity: number;
  readonly clip: ClipSides | null;
  readonly label: string;
  readonly shows: Shows | null;
}

const ROOT: Inherited = { x: 0, y: 0, scale: 1, opacity: 1, clip: null, label: "", shows: null };

/** The number of nodes that paint: groups and clips do not. */
function countLeaves(nodes: readonly Node[]): number {
  return nodes.reduce((sum, node) => sum + ("children" in node ? countLeaves(node.children) : 1), 0);
}

/** The primitives at t seconds, in paint order. */
export function displayList(nodes: readonly Node[], t: number): Primitive[] {
  const list: Primitive[] = [];
  resolve(nodes, t, ROOT, 0, list);
  return list;
}

/** Appends the primitives of some nodes to a list. number: of the first that paints. Returns the number after the last. */
function resolve(nodes: readonly Node[], t: number, inherited: Inherited, number: number, list: Primitive[]): number {
  for (const node of nodes) {
    if ("children" in node) {
      const inner = inheritedBy(node, t, inherited);
      number = inner ? resolve(node.children, t, inner, number, list) : number + countLeaves(node.children);
      continue;
    }
    const drawn = draw(node, t, inherited);
    if (drawn) {
      const opacity = rounded(inherited.opacity * valueAt(node.opacity, t));
      if (opacity > 0) {
        const label = valueAt(node.label, t) || inherited.label;
        const shows = node.shows ?? inherited.shows;
        list.push({ ...drawn, opacity, clip: clipOf(inherited), node: number, id: node.id, label, shows });
      }
    }
    number += 1;
  }
  return number;
}

/** What the children of a group or clip inherit; null where none is visible. */
function inheritedBy(node: GroupNode | ClipNode, t: number, inherited: Inherited): Inherited | null {
  let x = inherited.x + inherited.scale * valueAt(node.x, t);
  let y = inherited.y + inherited.scale * valueAt(node.y, t);
  const label = valueAt(node.label, t) || inherited.label;
  const shows = node.shows ?? inherited.shows;
  if (node.kind === "group") {
    const scale = inherited.scale * valueAt(node.scale, t);
    const opacity = inherited.opacity * valueAt(node.opacity, t);
    return scale > 0 && opacity > 0 ? { x, y, scale, opacity, clip: inherited.clip, label, shows } : null;
  }
  let right = x + inherited.scale * valueAt(node.w, t);
  let bottom = y + inherited.scale * valueAt(node.h, t);
  if (inherited.clip) {
    x = Math.max(x, inherited.clip[0]);
    y = Math.max(y, inherited.clip[1]);
    right = Math.min(right, inherited.clip[2]);
    bottom = Math.min(bottom, inherited.clip[3]);
  }
  if (rounded(right - x) <= 0 || rounded(bottom - y) <= 0) return null;
  return { ...inherited, clip: [x, y, right, bottom], label, shows };
}

function clipOf({ clip }: Inherited): [number, number, number, number] | null {
  if (!clip) return null;
  const [left, top, right, bottom] = clip;
  return [rounded(left), rounded(top), rounded(right - left), rounded(bottom - top)];
}

/** The attributes of a node's kind; null where nothing is visible. */
function draw(node: Leaf, t: number, inherited: Inherited): Drawn | null {
  const length = (value: Animated<number>) => rounded(inherited.scale * valueAt(value, t));
  const toX = (value: Animated<number>) => rounded(inherited.x + inherited.scale * valueAt(value, t));
  const toY = (value: Animated<number>) => rounded(inherited.y + inherited.scale * valueAt(value, t));
  switch (node.kind) {
    case "rect": {
      const [w, h] = [length(node.w), length(node.h)];
      if (!w || !h) return null;
      return { kind: "rect", x: toX(node.x), y: toY(node.y), w, h, rx: length(node.rx), ...paint(node, t, inherited) };
    }
    case "text": {
      const [string, size] = [valueAt(node.string, t), length(node.size)];
      if (!string || !size) return null;
      const { weight, family, anchor } = node;
      const fill = valueAt(node.fill, t);
      return { kind: "text", x: toX(node.x), y: toY(node.y), string, size, weight, family, anchor, fill };
    }
    case "path": {
      const fraction = valueAt(node.draw, t);
      const commands = fraction >= 1 ? node.d : partialPath(node.d, fraction);
      if (!commands.length) return null;
      const d = commands.map(([name, ...numbers]): Command => [name, ...numbers.map((n, i) => (i % 2 ? toY(n) : toX(n)))]);
      return { kind: "path", d, ...paint(node, t, inherited) };
    }
    case "image": {
      const [w, h] = [length(node.w), length(node.h)];
      if (!w || !h) return null;
      return { kind: "image", x: toX(node.x), y: toY(node.y), w, h, matrix: valueAt(node.matrix, t), palette: node.palette };
    }
  }
}

function paint(node: RectNode | PathNode, t: number, inherited: Inherited) {
  return {
    fill: valueAt(node.fill, t),
    stroke: valueAt(node.stroke, t),
    stroke_width: rounded(inherited.scale * valueAt(node.stroke_width, t)),
    dash: node.dash.map((part) => rounded(inherited.scale * part)),
  };
}

type Point = readonly [x: number, y: number];

/** The first part of a path, as moves and lines (curves as chords). fraction: of its length; 0 gives no command. */
function partialPath(d: readonly Command[], fraction: number): Command[] {
  const lines = flatten(d);
  let total = 0;
  for (const [, from, to] of lines) total += distance(from, to);
  let left = fraction * total;
  const done: Command[] = [];
  for (const [starts, from, to] of lines) {
    if (left <= 0) break;
    if (starts) done.push(["M", ...from]);
    const length = distance(from, to);
    if (length > left) {
      done.push(["L", ...lerp(from, to, left / length)]);
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

function lerp(a: Point, b: Point, fraction: number): Point {
  return [a[0] + (b[0] - a[0]) * fraction, a[1] + (b[1] - a[1]) * fraction];
}

/** The line segments of a path: [whether a new stroke starts, from, to]. */
function flatten(d: readonly Command[]): [boolean, Point, Point][] {
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

/** The point at parameter u of a Bézier curve, by de Casteljau's algorithm. */
function onCurve(curve: readonly Point[], u: number): Point {
  while (curve.length > 1) curve = curve.slice(1).map((to, i) => lerp(curve[i]!, to, u));
  return curve[0]!;
}
