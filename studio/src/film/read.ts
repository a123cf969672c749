// A film's file, read and checked: what passes here can be drawn, and nothing in it can become markup or a request.

import { Keys } from "./keys.ts";
import type { Ease, Key } from "./keys.ts";
import type { Caption, Command, Gradient, Letters, Matrix, Node, Segment, Shows } from "./types.ts";

const VERSION = 1;
const LARGEST = 1e6; // no coordinate is larger: two decimals then survive in a double
const COMMANDS = { M: 2, L: 2, Q: 4, C: 6, Z: 0 } as const;
const TRUTHS = ["derived", "replayed", "measured", "given"];

/** What a film's file cannot be read for, in one line. */
export class FilmError extends Error {}

type Told = Record<string, unknown>;

/** What a film holds; `Film` adds what it can do. */
export interface Contents {
  readonly title: string;
  readonly alt: string;
  readonly notes: readonly string[];
  readonly width: number;
  readonly height: number;
  readonly background: string;
  readonly segments: readonly Segment[];
  readonly captions: readonly Caption[];
  readonly matrices: readonly Matrix[];
  readonly palettes: ReadonlyMap<string, Uint8Array>;
  readonly nodes: readonly Node[];
  readonly letters: Letters | null;
}

function need(right: boolean, what: string): asserts right {
  if (!right) throw new FilmError(`this film cannot be shown: ${what}; write it again`);
}

const isTold = (value: unknown): value is Told => typeof value === "object" && value !== null && !Array.isArray(value);
const isNumber = (value: unknown): value is number => typeof value === "number" && Math.abs(value) <= LARGEST; // not NaN
const isString = (value: unknown): value is string => typeof value === "string";
const isColour = (value: unknown): value is string => isString(value) && /^#[0-9a-f]{6}$/.test(value);
const isLength = (value: unknown) => isNumber(value) && value >= 0;
const isGradient = (value: unknown) =>
  isTold(value) && list(value.gradient, "gradient").every(isColour) && [0, 45, 90].includes(value.angle as number);

function list(value: unknown, what: string): unknown[] {
  need(Array.isArray(value), `${what} is not a list`);
  return value;
}

// kind of an attribute: the test of one value; whether it can lie between two keys
const KINDS: Record<string, [test: (value: unknown) => boolean, between: boolean]> = {
  number: [isNumber, true],
  length: [isLength, true],
  fraction: [(value) => isNumber(value) && value >= 0 && value <= 1, true],
  colour: [isColour, true],
  paint: [(value) => value === null || isColour(value), true],
  string: [isString, false],
};

type Attributes = Record<string, readonly [kind: string, otherwise?: unknown]>;
const BOX: Attributes = { x: ["number"], y: ["number"], w: ["length"], h: ["length"] };
const SEEN: Attributes = { opacity: ["fraction", 1] };
const PAINT: Attributes = {
  fill: ["fill", null], stroke: ["paint", null], stroke_width: ["length", 1], dash: ["dash", []], ...SEEN,
}; // prettier-ignore
const SHARED: Attributes = { id: ["id", ""], label: ["string", ""], shows: ["shows", null] };
const NODES: Record<string, Attributes> = {
  rect: { ...BOX, rx: ["length", 0], ...PAINT },
  text: {
    x: ["number"], y: ["number"], string: ["string"], size: ["length", 16], weight: ["weight", 400],
    family: ["family", "sans"], anchor: ["anchor", "start"], fill: ["colour", "#1d2430"], ...SEEN,
  }, // prettier-ignore
  path: { d: ["commands"], draw: ["fraction", 1], ...PAINT },
  image: { ...BOX, matrix: ["matrix"], palette: ["palette"], ...SEEN },
  group: { children: ["children"], x: ["number", 0], y: ["number", 0], scale: ["length", 1], ...SEEN },
  clip: { ...BOX, children: ["children"] },
};
const CHOICES: Record<string, readonly unknown[]> = {
  weight: [400, 600],
  family: ["sans", "mono"],
  anchor: ["start", "middle", "end"],
};

/** What a file or its parsed JSON holds. Errors: anything that is not a film of this version. */
export function contents(source: unknown): Contents {
  const told: unknown = isString(source) ? parsed(source) : source;
  if (!isTold(told) || told.format !== "pellucid-film") throw new FilmError("this is no film");
  if (told.version !== VERSION) {
    throw new FilmError(`this film has version ${String(told.version)}: this player shows version ${VERSION}; update it`);
  }
  const { title, alt, width, height, background } = told;
  need(isString(title) && isString(alt) && isColour(background), "title, alt or background is missing");
  need(isNumber(width) && isNumber(height) && width > 0 && height > 0, "it has no size");
  const notes = list(told.notes, "notes");
  need(notes.every(isString), "a note is no text");
  const matrices = list(told.matrices, "matrices").map(matrix);
  need(isTold(told.palettes), "palettes are missing");
  const palettes = new Map(Object.entries(told.palettes).map(([name, digits]) => [name, palette(digits)]));
  const reader = new NodeReader(matrices.length, palettes);
  return {
    title, alt, notes, width, height, background,
    segments: segments(list(told.segments, "segments")),
    captions: list(told.captions, "captions").map(caption),
    matrices, palettes,
    nodes: list(told.nodes, "nodes").map((node) => reader.node(node)),
    letters: letters(told),
  }; // prettier-ignore
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (problem) {
    throw new FilmError(`this is no film: not JSON (${String(problem)})`);
  }
}

/** The letters of a film or of several, `null` where it holds none. */
export function letters(told: unknown): Letters | null {
  if (!isTold(told) || told.glyphs === undefined) return null;
  need(isNumber(told.em) && isTold(told.glyphs), "its letters are damaged");
  return { em: told.em, glyphs: told.glyphs as Letters["glyphs"] };
}

function bytes(base64: unknown): Uint8Array {
  need(isString(base64), "a matrix has no data");
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function matrix(told: unknown): Matrix {
  need(isTold(told) && isNumber(told.rows) && isNumber(told.columns), "a matrix has no size");
  const data = bytes(told.data);
  need(data.length > 0 && data.length === told.rows * told.columns, "a matrix is not as large as it says");
  return { rows: told.rows, columns: told.columns, data };
}

function palette(digits: unknown): Uint8Array {
  need(isString(digits) && /^[0-9a-f]{1536}$/.test(digits), "a palette has not 256 colours");
  return Uint8Array.from({ length: 768 }, (_, i) => parseInt(digits.slice(2 * i, 2 * i + 2), 16));
}

function segments(told: unknown[]): Segment[] {
  let at = 0;
  const found = told.map((value): Segment => {
    need(isTold(value) && isString(value.name), "a segment has no name");
    const { name, start, end } = value;
    need(isNumber(start) && isNumber(end) && start === at && end > start, `the segment ${name} has no time`);
    const rests = list(value.rests, "rests").map((rest): [number, number] => {
      const [from, to] = list(rest, "a rest");
      need(isNumber(from) && isNumber(to), `a rest of ${name} has no time`);
      return [from, to];
    });
    need(rests.length > 0, `the segment ${name} never rests`);
    at = end;
    return { name, start, end, rests };
  });
  need(found.length > 0, "it has no segment");
  return found;
}

function caption(told: unknown): Caption {
  need(isTold(told) && isNumber(told.start) && isNumber(told.end) && isString(told.text), "a caption is damaged");
  return { start: told.start, end: told.end, text: told.text };
}

class NodeReader {
  constructor(
    readonly matrices: number,
    readonly palettes: ReadonlyMap<string, unknown>,
  ) {}

  node(told: unknown): Node {
    need(isTold(told) && isString(told.kind) && Object.hasOwn(NODES, told.kind), "a node has no known kind");
    const { kind, ...rest } = told;
    const attributes: Attributes = { ...NODES[kind as string], ...SHARED };
    const read: Told = { kind };
    for (const key of Object.keys(rest)) need(Object.hasOwn(attributes, key), `a ${String(kind)} has no attribute ${key}`);
    for (const [key, [type, otherwise]] of Object.entries(attributes)) {
      const value = Object.hasOwn(rest, key) ? rest[key] : otherwise;
      need(value !== undefined, `a ${String(kind)} has no ${key}`);
      read[key] = this.attribute(type, value, `${String(kind)} ${String(rest.id ?? "")}`.trim() + `.${key}`);
    }
    return read as unknown as Node; // the tables above are the types of types.ts
  }

  private attribute(type: string, value: unknown, where: string): unknown {
    switch (type) {
      case "children":
        return list(value, where).map((child) => this.node(child));
      case "commands":
        return commands(list(value, where), where);
      case "dash":
        need(list(value, where).every((part) => isNumber(part) && part > 0), `${where} is wrong`);
        return value;
      case "shows":
        return value === null ? null : shows(value, where);
      case "id":
        need(isString(value), `${where} is no text`);
        return value;
      case "palette":
        need(isString(value) && this.palettes.has(value), `${where} is not in the file`);
        return value;
      case "matrix":
        return timed(value, (n) => Number.isInteger(n) && (n as number) >= 0 && (n as number) < this.matrices, false, where);
      case "fill":
        if (isTold(value) && !("keys" in value)) {
          need(isGradient(value) && list(value.gradient, where).length > 1, `${where} is no gradient`);
          return value as unknown as Gradient;
        }
        return timed(value, ...KINDS.paint!, where);
    }
    if (Object.hasOwn(CHOICES, type)) {
      need(CHOICES[type]!.includes(value), `${where} is none of ${CHOICES[type]!.join(", ")}`);
      return value;
    }
    return timed(value, ...KINDS[type]!, where);
  }
}

/** A constant or keys, each value right, in order of time. */
function timed(value: unknown, right: (value: unknown) => boolean, between: boolean, where: string): unknown {
  if (!isTold(value)) {
    need(right(value), `${where} is wrong`);
    return value;
  }
  let last = -1;
  const points = list(value.keys, where).map((point): Key<unknown> => {
    const [time, at, ease] = list(point, where);
    need(isNumber(time) && time >= 0 && time > last, `the keys of ${where} are not in order of time`);
    need(right(at), `${where} is wrong at ${time} s`);
    need(["hold", "linear", "move"].includes(ease as string) && (between || ease === "hold"), `${where} has an unknown ease`);
    last = time;
    return [time, at, ease as Ease];
  });
  need(points.length > 0, `${where} has no key`);
  return new Keys(points);
}

function commands(told: unknown[], where: string): Command[] {
  const read = told.map((value): Command => {
    const [name, ...numbers] = list(value, where);
    need(isString(name) && Object.hasOwn(COMMANDS, name), `${where} has an unknown command`);
    need(numbers.length === COMMANDS[name as keyof typeof COMMANDS] && numbers.every(isNumber), `${where} has wrong numbers`);
    return [name as Command[0], ...(numbers as number[])];
  });
  need(read[0]?.[0] === "M", `${where} does not begin with a move`);
  return read;
}

function shows(told: unknown, where: string): Shows {
  need(isTold(told) && isString(told.chunk) && TRUTHS.includes(told.truth as string), `${where} is damaged`);
  const { chunk, step = null } = told;
  const index = list(told.index, where);
  need(index.every(Number.isInteger) && (step === null || Number.isInteger(step)), `${where} has no whole numbers`);
  return { chunk, index: index as number[], step: step as number | null, truth: told.truth as Shows["truth"] };
}
