// The nodes of a film and the primitives of a display list. `docs/film.md` describes each.

import type { Animated } from "./keyframes.ts";

export type Truth = "derived" | "replayed" | "measured" | "given" | "estimated";

/** Provenance of the value that a mark shows. */
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
  readonly label: Animated<string>;
  readonly shows: Shows | null;
}

interface Painted {
  readonly fill: Animated<Fill>;
  readonly stroke: Animated<string | null>;
  readonly stroke_width: Animated<number>;
  readonly dash: readonly number[];
  readonly opacity: Animated<number>;
}

interface Boxed {
  readonly x: Animated<number>;
  readonly y: Animated<number>;
  readonly w: Animated<number>;
  readonly h: Animated<number>;
}

export interface RectNode extends Shared, Painted, Boxed {
  readonly kind: "rect";
  readonly rx: Animated<number>;
}

export interface TextNode extends Shared {
  readonly kind: "text";
  readonly x: Animated<number>;
  readonly y: Animated<number>;
  readonly string: Animated<string>;
  readonly size: Animated<number>;
  readonly weight: 400 | 600;
  readonly family: Family;
  readonly anchor: Anchor;
  readonly fill: Animated<string>;
  readonly opacity: Animated<number>;
}

export interface PathNode extends Shared, Painted {
  readonly kind: "path";
  readonly d: readonly Command[];
  readonly draw: Animated<number>;
}

export interface ImageNode extends Shared, Boxed {
  readonly kind: "image";
  readonly matrix: Animated<number>;
  readonly palette: string;
  readonly opacity: Animated<number>;
}

export interface GroupNode extends Shared {
  readonly kind: "group";
  readonly children: readonly Node[];
  readonly x: Animated<number>;
  readonly y: Animated<number>;
  readonly scale: Animated<number>;
  readonly opacity: Animated<number>;
}

export interface ClipNode extends Shared, Boxed {
  readonly kind: "clip";
  readonly children: readonly Node[];
}

export type Leaf = RectNode | TextNode | PathNode | ImageNode;
export type Node = Leaf | GroupNode | ClipNode;

/** Palette indices (0 to 255), row by row. */
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

/** A run of a text: the key of a glyph, or text for the reader's fonts: [text, advance, length, whether it is right to left]. */
export type TextRun = string | readonly [text: string, advance: number, length: number, rightToLeft: boolean];

/**
 * What texts are drawn with, in font units (`em` per em). Glyphs by "family-weight" and character: [advance, outline as path data with
 * y upwards]. Runs by "family-weight" and text, of the texts that are not drawn character by character.
 */
export interface Letters {
  readonly em: number;
  readonly glyphs: Readonly<Record<string, Readonly<Record<string, readonly [number, string]>>>>;
  readonly runs: Readonly<Record<string, Readonly<Record<string, readonly TextRun[]>>>>;
}

// Primitives of a display list.

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
