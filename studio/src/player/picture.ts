// Draws display lists as SVG. Each node of the film keeps its element; only attributes that change are set.

import { bitmapUrl } from "../film/bitmap.ts";
import type { Film } from "../film/film.ts";
import { formatNumber } from "../film/keyframes.ts";
import { FONTS, type ReaderText, Typesetter } from "../film/text.ts";
import type { Command, DrawnText, Fill, Gradient, Letters, Primitive } from "../film/types.ts";
import { setText, svg } from "./dom.ts";
import type { Box } from "./marks.ts";

type Attributes = Record<string, string | null>;

const GRADIENT_ENDS = { 0: ["1", "0"], 45: ["1", "1"], 90: ["0", "1"] } as const; // [x2, y2] by angle, in the shape's box
const MIN_POINTER_WIDTH = 12; // of a thin line, in the film's units

/** The elements of a node: <g data-node> (or <svg>, where it is clipped) with the mark and an area for the pointer. */
interface NodeElements {
  readonly outer: SVGGElement | SVGSVGElement;
  readonly mark: SVGGraphicsElement;
  readonly area: SVGGraphicsElement | null;
  readonly attributes: Map<Element, Attributes>; // as they were set last
  readonly texts: SVGTextElement[]; // of a text node: what the reader's fonts draw
  readonly images: Map<number, SVGImageElement>; // of an image node, by matrix; one is shown
  hidden: boolean;
}

export class Picture {
  readonly svg: SVGSVGElement;
  /** The primitive that is drawn for each node; undefined where it is not visible. */
  readonly drawn: (Primitive | undefined)[];
  private readonly elements: (NodeElements | undefined)[];
  private readonly marks = svg("g");
  private readonly defs = svg("defs");
  private readonly frame = svg("rect", { class: "frame", fill: "none", "pointer-events": "none", display: "none" });
  private readonly gradients = new Map<string, string>();
  private readonly urls = new Map<string, string>();

  /** prefix: of every id; must be unique within the document or shadow tree. */
  constructor(
    readonly film: Film,
    private readonly typesetter: Typesetter,
    private readonly prefix: string,
  ) {
    const { width, height, background } = film;
    this.elements = new Array<NodeElements | undefined>(film.leaves.length);
    this.drawn = new Array<Primitive | undefined>(film.leaves.length);
    const paper = svg("rect", { width: `${width}`, height: `${height}`, fill: background });
    const view = { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": film.alt || film.title, "font-family": FONTS };
    this.svg = svg("svg", view, this.defs, paper, this.marks, this.frame);
  }

  /** Draws a display list of the film. */
  draw(list: readonly Primitive[]): void {
    const seen = new Set<number>();
    for (const primitive of list) {
      seen.add(primitive.node);
      const before = this.drawn[primitive.node];
      if (before && equalPrimitives(before, primitive)) continue; // most nodes do not change
      this.drawn[primitive.node] = primitive;
      const elements = (this.elements[primitive.node] ??= this.create(primitive));
      this.update(elements, primitive);
      if (elements.hidden) elements.outer.removeAttribute("display");
      elements.hidden = false;
    }
    this.elements.forEach((elements, node) => {
      if (!elements || elements.hidden || seen.has(node)) return;
      elements.outer.setAttribute("display", "none");
      elements.hidden = true;
      this.drawn[node] = undefined;
    });
  }

  /** The node that an element belongs to. */
  nodeOf(target: EventTarget | null | undefined): number | null {
    const outer = target instanceof Element ? target.closest("[data-node]") : null;
    return outer && this.marks.contains(outer) ? Number(outer.getAttribute("data-node")) : null;
  }

  /** Draws a frame around a box; null removes it. pad: its distance from the box, in the film's units. */
  highlight(box: Box | null, pad = 3): void {
    if (!box) return this.frame.setAttribute("display", "none");
    const [x, y, w, h] = box;
    const place = { x: x - pad, y: y - pad, width: w + 2 * pad, height: h + 2 * pad };
    for (const [name, value] of Object.entries(place)) this.frame.setAttribute(name, formatNumber(value));
    this.frame.removeAttribute("display");
  }

  private create(primitive: Primitive): NodeElements {
    const about = { "data-node": `${primitive.node}`, ...(primitive.id ? { "data-id": primitive.id } : {}) };
    const outer = primitive.clip ? svg("svg", { ...about, overflow: "hidden" }) : svg("g", about);
    const mark = primitive.kind === "rect" ? svg("rect") : primitive.kind === "image" ? svg("g") : svg("path");
    const shape = primitive.kind === "text" ? "rect" : primitive.kind === "path" ? "path" : null;
    const area = shape && svg(shape, { fill: "none" });
    outer.append(mark, ...(area ? [area] : []));
    const after = this.elements.slice(primitive.node + 1).find((one) => one !== undefined);
    this.marks.insertBefore(outer, after?.outer ?? null);
    return { outer, mark, area, attributes: new Map(), texts: [], images: new Map(), hidden: false };
  }

  private update(elements: NodeElements, primitive: Primitive): void {
    const { outer, mark, area } = elements;
    const described = Boolean(primitive.label || primitive.shows);
    const line = primitive.kind === "path" && !primitive.fill;
    const events = described ? (line ? "stroke" : "all") : "none"; // "none": the pointer reaches the nodes below
    const pointer = { "pointer-events": events };
    if (primitive.clip) {
      const [x, y, w, h] = primitive.clip.map(String) as [string, string, string, string];
      this.apply(elements, outer, { x, y, width: w, height: h, viewBox: `${x} ${y} ${w} ${h}`, ...pointer });
    } else {
      this.apply(elements, outer, pointer);
    }
    const opacity = { opacity: primitive.opacity < 1 ? String(primitive.opacity) : null };
    switch (primitive.kind) {
      case "rect": {
        const { x, y, w, h, rx } = primitive;
        const box = { x: `${x}`, y: `${y}`, width: `${w}`, height: `${h}`, rx: rx ? `${rx}` : null };
        return this.apply(elements, mark, { ...box, ...this.paint(primitive), ...opacity });
      }
      case "path": {
        const d = pathData(primitive.d);
        const round = primitive.stroke && !primitive.dash.length ? "round" : null;
        const joins = { "stroke-linejoin": round, "stroke-linecap": round };
        this.apply(elements, mark, { d, ...this.paint(primitive), ...joins, ...opacity });
        const width = String(Math.max(MIN_POINTER_WIDTH, primitive.stroke_width));
        const reach = { d, "stroke-width": width, stroke: "transparent" };
        return this.apply(elements, area!, described && line ? reach : { d: null });
      }
      case "text": {
        const { d, transform, left, width, texts } = this.typesetter.layOut(primitive);
        this.apply(elements, mark, { d, transform, fill: primitive.fill, "data-text": primitive.string, ...opacity });
        this.updateTexts(elements, primitive, texts, opacity);
        const box = { x: left, y: primitive.y - primitive.size * 0.95, width, height: primitive.size * 1.25 };
        const place = Object.fromEntries(Object.entries(box).map(([name, value]) => [name, formatNumber(value)]));
        return this.apply(elements, area!, described ? place : { width: null, height: null });
      }
      case "image": {
        this.apply(elements, mark, opacity);
        const { x, y, w, h, matrix, palette } = primitive;
        if (!elements.images.has(matrix)) this.createImages(elements, primitive.node, palette);
        for (const [number, image] of elements.images) {
          const box = { x: `${x}`, y: `${y}`, width: `${w}`, height: `${h}` };
          this.apply(elements, image, number === matrix ? { ...box, display: null } : { display: "none" });
        }
      }
    }
  }

  /** Draws the runs of a text that the reader's fonts draw. */
  private updateTexts(
    elements: NodeElements,
    { y, size, weight, fill }: DrawnText,
    texts: readonly ReaderText[],
    opacity: Attributes,
  ): void {
    while (elements.texts.length > texts.length) elements.texts.pop()!.remove();
    texts.forEach(({ text, x, length, rightToLeft }, i) => {
      let element = elements.texts[i];
      if (!element) {
        element = svg("text", { "text-anchor": "middle", lengthAdjust: "spacingAndGlyphs", "unicode-bidi": "isolate" });
        elements.texts.push(element);
        elements.outer.insertBefore(element, elements.area);
      }
      setText(element, text);
      const bold = weight === 400 ? null : "700"; // where a font has no weight 600, browsers draw it bold from 700 on
      const place = { x: `${x}`, y: `${y}`, "font-size": `${size}`, "font-weight": bold };
      const direction = rightToLeft ? "rtl" : "ltr";
      this.apply(elements, element, { ...place, textLength: `${length}`, direction, fill, ...opacity });
    });
  }

  /** Creates an element for each matrix that an image node ever shows: nothing is decoded while the film plays. */
  private createImages(elements: NodeElements, node: number, palette: string): void {
    for (const matrix of this.film.matricesOf(node)) {
      const key = `${palette} ${matrix}`;
      const href = this.urls.get(key) ?? bitmapUrl(this.film.matrices[matrix]!, this.film.palettes.get(palette)!);
      this.urls.set(key, href);
      const image = svg("image", { preserveAspectRatio: "none", href, "data-matrix": `${matrix}`, class: "cells" });
      elements.images.set(matrix, image);
      elements.mark.append(image);
    }
  }

  private paint(primitive: { fill: Fill; stroke: string | null; stroke_width: number; dash: readonly number[] }): Attributes {
    const { fill, stroke, stroke_width: width, dash } = primitive;
    return {
      fill: fill === null ? "none" : typeof fill === "string" ? fill : `url(#${this.gradient(fill)})`,
      stroke,
      "stroke-width": stroke && width !== 1 ? String(width) : null,
      "stroke-dasharray": stroke && dash.length ? dash.join(" ") : null,
    };
  }

  private gradient({ gradient: colours, angle }: Gradient): string {
    const key = `${colours.join(" ")} ${angle}`;
    let id = this.gradients.get(key);
    if (!id) {
      id = `${this.prefix}g${this.gradients.size}`;
      const [x2, y2] = GRADIENT_ENDS[angle];
      const stops = colours.map((c, i) => svg("stop", { offset: formatNumber(i / (colours.length - 1)), "stop-color": c }));
      this.defs.append(svg("linearGradient", { id, x1: "0", y1: "0", x2, y2 }, ...stops));
      this.gradients.set(key, id);
    }
    return id;
  }

  private apply(elements: NodeElements, element: Element, attributes: Attributes): void {
    let before = elements.attributes.get(element);
    if (!before) elements.attributes.set(element, (before = {}));
    for (const [name, value] of Object.entries(attributes)) {
      if (before[name] === value || (value === null && !(name in before))) continue;
      if (value === null) element.removeAttribute(name);
      else element.setAttribute(name, value);
      before[name] = value;
    }
  }
}

/** Whether two primitives of one node are equal. Objects of the film (a gradient, shows) are compared by identity. */
function equalPrimitives(a: Primitive, b: Primitive): boolean {
  const [one, other] = [a as unknown as Record<string, unknown>, b as unknown as Record<string, unknown>];
  for (const key in one) if (!equal(one[key], other[key])) return false;
  return true;
}

function equal(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((part, i) => equal(part, b[i]));
}

/** Path commands as SVG path data. */
function pathData(d: readonly Command[]): string {
  return d.map(([name, ...numbers]) => name + numbers.join(" ")).join("");
}

/** The pictures of a player's films, and the typesetters for their glyphs; each is made when it is first needed. */
export class PictureCache {
  private readonly pictures = new Map<Film, Picture>();
  private readonly typesetters = new Map<Letters, Typesetter>();

  /** letters: used instead of the films' own. prefix: of the pictures' ids. */
  constructor(
    private readonly letters: Letters | null,
    private readonly prefix: string,
  ) {}

  get(film: Film): Picture {
    let picture = this.pictures.get(film);
    if (!picture) {
      picture = new Picture(film, this.typesetter(film), `${this.prefix}${this.pictures.size}-`);
      picture.svg.setAttribute("class", "picture");
      this.pictures.set(film, picture);
    }
    return picture;
  }

  /** Errors: there are no glyphs for this film. */
  typesetter(film: Film): Typesetter {
    const letters = this.letters ?? film.letters;
    if (!letters) throw new Error("this film holds no letters: write it with to_json(glyphs=True)");
    const typesetter = this.typesetters.get(letters) ?? new Typesetter(letters);
    this.typesetters.set(letters, typesetter);
    return typesetter;
  }

  all(): Iterable<Picture> {
    return this.pictures.values();
  }
}
