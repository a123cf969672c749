// What a film is made of, as read from its file, and what a picture of it is made of. `docs/film.md` says what each means.

import type { Timed } from "./keys.ts";

export type Truth = "derived" | "replayed" | "measured" | "given";

/** Where the number behind a mark comes from. */
export interface Shows {
  readonly chunk: string;
  readonly index: readonly number[];
  readonly step: number | null;
  readonly truth: Truth;
}

export interface Gradient {
  readonly gradient: readonly string[];
  readonly angle: 0 | 45 | 90;
}

export type Fill = string | Gradient | null;
export type Command = readonly ["M" | "L" | "Q" | "C" | "Z", ...number[]];
export type Family = "sans" | "mono";
export type Anchor = "start" | "middle" | "end";

interface Shared {
  readonly id: string;
  readonly label: Timed<string>;
  readonly shows: Shows | null;
}

interface Painted {
  readonly fill: Timed<Fill>;
  readonly stroke: Timed<string | null>;
  readonly stroke_width: Timed<number>;
  readonly dash: readonly number[];
  readonly opacity: Timed<number>;
}

interface Boxed {
  readonly x: Timed<number>;
  readonly y: Timed<number>;
  readonly w: Timed<number>;
  readonly h: Timed<number>;
}

export interface RectNode extends Shared, Painted, Boxed {
  readonly kind: "rect";
  readonly rx: Timed<number>;
}

export interface TextNode extends Shared {
  readonly kind: "text";
  readonly x: Timed<number>;
  readonly y: Timed<number>;
  readonly string: Timed<string>;
  readonly size: Timed<number>;
  readonly weight: 400 | 600;
  readonly family: Family;
  readonly anchor: Anchor;
  readonly fill: Timed<string>;
  readonly opacity: Timed<number>;
}

export interface PathNode extends Shared, Painted {
  readonly kind: "path";
  readonly d: readonly Command[];
  readonly draw: Timed<number>;
}

export interface ImageNode extends Shared, Boxed {
  readonly kind: "image";
  readonly matrix: Timed<number>;
  readonly palette: string;
  readonly opacity: Timed<number>;
}

export interface GroupNode extends Shared {
  readonly kind: "group";
  readonly children: readonly Node[];
  readonly x: Timed<number>;
  readonly y: Timed<number>;
  readonly scale: Timed<number>;
  readonly opacity: Timed<number>;
}

export interface ClipNode extends Shared, Boxed {
  readonly kind: "clip";
  readonly children: readonly Node[];
}

export type Leaf = RectNode | TextNode | PathNode | ImageNode;
export type Node = Leaf | GroupNode | ClipNode;

/** Whole numbers from 0 to 255 in rows, each an index into a palette. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Uint8Array;
}

export interface Segment {
  readonly name: string;
  readonly start: number;
  readonly end: number;
  readonly rests: readonly (readonly [number, number])[];
}

export interface Caption {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** Advances and outlines of letters: "family-weight" -> character -> [advance, path data], in units of 1/em, y upwards. */
export interface Letters {
  readonly em: number;
  readonly glyphs: Readonly<Record<string, Readonly<Record<string, readonly [number, string]>>>>;
}

// The display list.

interface Placed {
  readonly opacity: number;
  readonly clip: readonly [number, number, number, number] | null;
  readonly node: number;
  readonly id: string;
  readonly label: string;
  readonly shows: Shows | null;
}

interface Paint {
  readonly fill: Fill;
  readonly stroke: string | null;
  readonly stroke_width: number;
  readonly dash: readonly number[];
}

interface Box {
  readonly x: number;
  readonly y: number;
  readonly w: number;
  readonly h: number;
}

export type DrawnRect = { readonly kind: "rect"; readonly rx: number } & Box & Paint;
export type DrawnPath = { readonly kind: "path"; readonly d: readonly Command[] } & Paint;
export type DrawnImage = { readonly kind: "image"; readonly matrix: number; readonly palette: string } & Box;
export interface DrawnText {
  readonly kind: "text";
  readonly x: number;
  readonly y: number;
  readonly string: string;
  readonly size: number;
  readonly weight: 400 | 600;
  readonly family: Family;
  readonly anchor: Anchor;
  readonly fill: string;
}

export type Drawn = DrawnRect | DrawnText | DrawnPath | DrawnImage;
export type Primitive = Drawn & Placed;
