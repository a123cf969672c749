// Reads and checks a film's file. What passes can be drawn, and contains nothing that could act as markup or start a request.

import { Keyframes } from "./keyframes.ts";
import type { Ease, Keyframe } from "./keyframes.ts";
import type { Caption, Command, Gradient, Letters, Matrix, Node, Segment, Shows, TextRun } from "./types.ts";

const VERSION = 1;
const MAX_NUMBER = 1e6; // two decimals of a coordinate are then exact enough in a double
const COMMANDS = { M: 2, L: 2, Q: 4, C: 6, Z: 0 } as const;
const EASES = ["hold", "linear", "move"];
const TRUTHS = ["derived", "replayed", "measured", "given", "estimated"];

/** A file that is not a film of this version; the message says why. */
export class FilmError extends Error {}

type JsonObject = Record<string, unknown>;

/** The contents of a film's file; `Film` adds methods. */
export interface FilmContents {
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

function check(valid: boolean, problem: string): asserts valid {
  if (!valid) throw new FilmError(`this film cannot be shown: ${problem}; write it again`);
}

const isObject = (value: unknown): value is JsonObject => typeof value === "object" && value !== null && !Array.isArray(value);
const isNumber = (value: unknown): value is number => typeof value === "number" && Math.abs(value) <= MAX_NUMBER; // not NaN
const isString = (value: unknown): value is string => typeof value === "string";
const isColour = (value: unknown): value is string => isString(value) && /^#[0-9a-f]{6}$/.test(value);
const isIndex = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0;
const isLength = (value: unknown) => isNumber(value) && value >= 0;
const isGradient = (value: unknown) =>
  isObject(value) && list(value.gradient, "gradient").every(isColour) && [0, 45, 90].includes(value.angle as number);

function list(value: unknown, what: string): unknown[] {
  check(Array.isArray(value), `${what} is not a list`);
  return value;
}

// By type of an attribute: the test of a value, and whether it can be interpolated between keyframes.
const TYPES: Record<string, [test: (value: unknown) => boolean, interpolated: boolean]> = {
  number: [isNumber, true],
  length: [isLength, true],
  fraction: [(value) => isNumber(value) && value >= 0 && value <= 1, true],
  colour: [isColour, true],
  paint: [(value) => value === null || isColour(value), true],
  string: [isString, false],
};

type Attributes = Record<string, readonly [type: string, otherwise?: unknown]>; // otherwise: the default; none: required
const BOX: Attributes = { x: ["number"], y: ["number"], w: ["length"], h: ["length"] };
const OPACITY: Attributes = { opacity: ["fraction", 1] };
const PAINT: Attributes = {
  fill: ["fill", null], stroke: ["paint", null], stroke_width: ["length", 1], dash: ["dash", []], ...OPACITY,
}; // prettier-ignore
const SHARED: Attributes = { id: ["id", ""], label: ["string", ""], shows: ["shows", null] };
const NODES: Record<string, Attributes> = {
  rect: { ...BOX, rx: ["length", 0], ...PAINT },
  text: {
    x: ["number"], y: ["number"], string: ["string"], size: ["length", 16], weight: ["weight", 400],
    family: ["family", "sans"], anchor: ["anchor", "start"], fill: ["colour", "#1d2430"], ...OPACITY,
  }, // prettier-ignore
  path: { d: ["commands"], draw: ["fraction", 1], ...PAINT },
  image: { ...BOX, matrix: ["matrix"], palette: ["palette"], ...OPACITY },
  group: { children: ["children"], x: ["number", 0], y: ["number", 0], scale: ["length", 1], ...OPACITY },
  clip: { ...BOX, children: ["children"] },
};
const CHOICES: Record<string, readonly unknown[]> = {
  weight: [400, 600],
  family: ["sans", "mono"],
  anchor: ["start", "middle", "end"],
};

/** Reads JSON text or parsed JSON. Errors: `FilmError` for anything but a film of this version. */
export function parseFilm(source: unknown): FilmContents {
  const file: unknown = isString(source) ? parseJson(source) : source;
  if (!isObject(file) || file.format !== "pellucid-film") throw new FilmError("this is no film");
  if (file.version !== VERSION) {
    throw new FilmError(`this film has version ${String(file.version)}: this player shows version ${VERSION}; update it`);
  }
  const { title, alt, width, height, background } = file;
  check(isString(title) && isString(alt) && isColour(background), "title, alt or background is missing");
  check(isNumber(width) && isNumber(height) && width > 0 && height > 0, "it has no size");
  const notes = list(file.notes, "notes");
  check(notes.every(isString), "a note is no text");
  const matrices = list(file.matrices, "matrices").map(parseMatrix);
  check(isObject(file.palettes), "palettes are missing");
  const palettes = new Map(Object.entries(file.palettes).map(([name, digits]) => [name, parsePalette(digits)]));
  const reader = new NodeReader(matrices.length, palettes);
  return {
    title, alt, notes, width, height, background,
    segments: parseSegments(list(file.segments, "segments")),
    captions: list(file.captions, "captions").map(parseCaption),
    matrices, palettes,
    nodes: list(file.nodes, "nodes").map((node) => reader.node(node)),
    letters: parseLetters(file),
  }; // prettier-ignore
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (problem) {
    throw new FilmError(`this is no film: not JSON (${String(problem)})`);
  }
}

/** The glyphs and runs of a film or of a page with several; null where it holds none. */
export function parseLetters(file: unknown): Letters | null {
  if (!isObject(file) || file.glyphs === undefined) return null;
  const { em, glyphs, text_runs: runs = {} } = file;
  check(isNumber(em) && isObject(glyphs) && isObject(runs), "its letters are damaged");
  for (const texts of Object.values(runs)) {
    check(isObject(texts), "its runs are damaged");
    for (const found of Object.values(texts)) check(list(found, "runs").every(isRun), "a run is damaged");
  }
  return { em, glyphs: glyphs as Letters["glyphs"], runs: runs as Letters["runs"] };
}

function isRun(run: unknown): run is TextRun {
  if (isString(run)) return true;
  if (!Array.isArray(run) || run.length !== 4) return false;
  const [text, advance, length, rightToLeft] = run as unknown[];
  return isString(text) && isLength(advance) && isLength(length) && typeof rightToLeft === "boolean";
}

function decodeBase64(base64: unknown): Uint8Array {
  check(isString(base64), "a matrix has no data");
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function parseMatrix(json: unknown): Matrix {
  check(isObject(json) && isNumber(json.rows) && isNumber(json.columns), "a matrix has no size");
  const data = decodeBase64(json.data);
  check(data.length > 0 && data.length === json.rows * json.columns, "a matrix is not as large as it says");
  return { rows: json.rows, columns: json.columns, data };
}

function parsePalette(digits: unknown): Uint8Array {
  check(isString(digits) && /^[0-9a-f]{1536}$/.test(digits), "a palette has not 256 colours");
  return Uint8Array.from({ length: 768 }, (_, i) => parseInt(digits.slice(2 * i, 2 * i + 2), 16));
}

function parseSegments(values: unknown[]): Segment[] {
  let at = 0;
  const found = values.map((value): Segment => {
    check(isObject(value) && isString(value.name), "a segment has no name");
    const { name, start, end } = value;
    check(isNumber(start) && isNumber(end) && start === at && end > start, `the segment ${name} has no time`);
    const rests = list(value.rests, "rests").map((rest): [number, number] => {
      const [from, to] = list(rest, "a rest");
      check(isNumber(from) && isNumber(to), `a rest of ${name} has no time`);
      return [from, to];
    });
    check(rests.length > 0, `the segment ${name} never rests`);
    at = end;
    return { name, start, end, rests };
  });
  check(found.length > 0, "it has no segment");
  return found;
}

function parseCaption(json: unknown): Caption {
  check(isObject(json) && isNumber(json.start) && isNumber(json.end) && isString(json.text), "a caption is damaged");
  return { start: json.start, end: json.end, text: json.text };
}

class NodeReader {
  constructor(
    readonly matrices: number,
    readonly palettes: ReadonlyMap<string, unknown>,
  ) {}

  node(json: unknown): Node {
    check(isObject(json) && isString(json.kind) && Object.hasOwn(NODES, json.kind), "a node has no known kind");
    const { kind, ...rest } = json;
    const attributes: Attributes = { ...NODES[kind as string], ...SHARED };
    const read: JsonObject = { kind };
    for (const key of Object.keys(rest)) check(Object.hasOwn(attributes, key), `a ${String(kind)} has no attribute ${key}`);
    for (const [key, [type, otherwise]] of Object.entries(attributes)) {
      const value = Object.hasOwn(rest, key) ? rest[key] : otherwise;
      check(value !== undefined, `a ${String(kind)} has no ${key}`);
      read[key] = this.attribute(type, value, `${String(kind)} ${String(rest.id ?? "")}`.trim() + `.${key}`);
    }
    return read as unknown as Node; // the tables above state the types of types.ts
  }

  private attribute(type: string, value: unknown, where: string): unknown {
    switch (type) {
      case "children":
        return list(value, where).map((child) => this.node(child));
      case "commands":
        return parseCommands(list(value, where), where);
      case "dash":
        check(list(value, where).every((part) => isNumber(part) && part > 0), `${where} is wrong`);
        return value;
      case "shows":
        return value === null ? null : parseShows(value, where);
      case "id":
        check(isString(value), `${where} is no text`);
        return value;
      case "palette":
        check(isString(value) && this.palettes.has(value), `${where} is not in the file`);
        return value;
      case "matrix":
        return parseAnimated(value, (n) => isIndex(n) && n < this.matrices, false, where);
      case "fill":
        if (isObject(value) && !("keys" in value)) {
          check(isGradient(value) && list(value.gradient, where).length > 1, `${where} is no gradient`);
          return value as unknown as Gradient;
        }
        return parseAnimated(value, ...TYPES.paint!, where);
    }
    if (Object.hasOwn(CHOICES, type)) {
      check(CHOICES[type]!.includes(value), `${where} is none of ${CHOICES[type]!.join(", ")}`);
      return value;
    }
    return parseAnimated(value, ...TYPES[type]!, where);
  }
}

/** A constant or keyframes. test: of each value. Errors: a value fails it, or keyframes are out of order. */
function parseAnimated(value: unknown, test: (value: unknown) => boolean, interpolated: boolean, where: string): unknown {
  if (!isObject(value)) {
    check(test(value), `${where} is wrong`);
    return value;
  }
  let last = -1;
  const points = list(value.keys, where).map((point): Keyframe<unknown> => {
    const [time, at, ease] = list(point, where);
    check(isNumber(time) && time >= 0 && time > last, `the keys of ${where} are not in order of time`);
    check(test(at), `${where} is wrong at ${time} s`);
    check(EASES.includes(ease as string) && (interpolated || ease === "hold"), `${where} has an unknown ease`);
    last = time;
    return [time, at, ease as Ease];
  });
  check(points.length > 0, `${where} has no key`);
  return new Keyframes(points);
}

function parseCommands(values: unknown[], where: string): Command[] {
  const read = values.map((value): Command => {
    const [name, ...numbers] = list(value, where);
    check(isString(name) && Object.hasOwn(COMMANDS, name), `${where} has an unknown command`);
    check(numbers.length === COMMANDS[name as keyof typeof COMMANDS] && numbers.every(isNumber), `${where} has wrong numbers`);
    return [name as Command[0], ...(numbers as number[])];
  });
  check(read[0]?.[0] === "M", `${where} does not begin with a move`);
  return read;
}

function parseShows(json: unknown, where: string): Shows {
  check(isObject(json) && isString(json.chunk) && TRUTHS.includes(json.truth as string), `${where} is damaged`);
  const { chunk, step = null } = json;
  const index = list(json.index, where);
  check(index.every(Number.isInteger) && (step === null || Number.isInteger(step)), `${where} has no whole numbers`);
  return { chunk, index: index as number[], step: step as number | null, truth: json.truth as Shows["truth"] };
}
