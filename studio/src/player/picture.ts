// A display list as SVG. Each node of the film keeps its element; only attributes that change are set.

import { bitmapUrl } from "../film/bitmap.ts";
import type { Film } from "../film/film.ts";
import { fine } from "../film/keys.ts";
import type { Typesetter } from "../film/text.ts";
import type { Command, Fill, Gradient, Primitive } from "../film/types.ts";
import { svg } from "./dom.ts";
import type { Box } from "./told.ts";

type Attributes = Record<string, string | null>;

const CORNERS = { 0: ["1", "0"], 45: ["1", "1"], 90: ["0", "1"] } as const; // where a gradient ends, in its shape's box
const REACH = 12; // how wide a thin line is to the pointer, in the film's units

/** What stands for a node: <g data-node> (or <svg>, where it is clipped), in it the mark, and an area to point at. */
interface Slot {
  readonly outer: SVGGElement | SVGSVGElement;
  readonly mark: SVGGraphicsElement;
  readonly area: SVGGraphicsElement | null;
  readonly set: Map<Element, Attributes>;
  readonly pictures: Map<number, SVGImageElement>; // of an image: one element for each matrix, of which one is shown
  hidden: boolean;
}

export class Picture {
  readonly svg: SVGSVGElement;
  /** What is drawn now, by node. */
  readonly drawn: (Primitive | undefined)[];
  private readonly slots: (Slot | undefined)[];
  private readonly marks = svg("g");
  private readonly defs = svg("defs");
  private readonly frame = svg("rect", { class: "frame", fill: "none", "pointer-events": "none", display: "none" });
  private readonly gradients = new Map<string, string>();
  private readonly urls = new Map<string, string>();

  /** prefix: begins every id, of which no other picture in the same tree may have one. */
  constructor(
    readonly film: Film,
    private readonly typesetter: Typesetter,
    private readonly prefix: string,
  ) {
    const { width, height, background } = film;
    this.slots = new Array<Slot | undefined>(film.painting.length);
    this.drawn = new Array<Primitive | undefined>(film.painting.length);
    const paper = svg("rect", { width: `${width}`, height: `${height}`, fill: background });
    const view = { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": film.alt || film.title };
    this.svg = svg("svg", view, this.defs, paper, this.marks, this.frame);
  }

  /** Shows a display list of the film. */
  draw(list: readonly Primitive[]): void {
    const seen = new Set<number>();
    for (const primitive of list) {
      seen.add(primitive.node);
      const before = this.drawn[primitive.node];
      if (before && same(before, primitive)) continue; // most of a picture stands still
      this.drawn[primitive.node] = primitive;
      const slot = (this.slots[primitive.node] ??= this.slot(primitive));
      this.update(slot, primitive);
      if (slot.hidden) slot.outer.removeAttribute("display");
      slot.hidden = false;
    }
    this.slots.forEach((slot, node) => {
      if (!slot || slot.hidden || seen.has(node)) return;
      slot.outer.setAttribute("display", "none");
      slot.hidden = true;
      this.drawn[node] = undefined;
    });
  }

  /** The node that an element belongs to. */
  nodeOf(target: EventTarget | null | undefined): number | null {
    const outer = target instanceof Element ? target.closest("[data-node]") : null;
    return outer && this.marks.contains(outer) ? Number(outer.getAttribute("data-node")) : null;
  }

  /** Draws a frame around a box, or none. pad: how far outside, in the film's units. */
  point(box: Box | null, pad = 3): void {
    if (!box) return this.frame.setAttribute("display", "none");
    const [x, y, w, h] = box;
    const place = { x: x - pad, y: y - pad, width: w + 2 * pad, height: h + 2 * pad };
    for (const [name, value] of Object.entries(place)) this.frame.setAttribute(name, fine(value));
    this.frame.removeAttribute("display");
  }

  private slot(primitive: Primitive): Slot {
    const about = { "data-node": `${primitive.node}`, ...(primitive.id ? { "data-id": primitive.id } : {}) };
    const outer = primitive.clip ? svg("svg", { ...about, overflow: "hidden" }) : svg("g", about);
    const mark = primitive.kind === "rect" ? svg("rect") : primitive.kind === "image" ? svg("g") : svg("path");
    const area = primitive.kind === "text" ? svg("rect", { fill: "none" }) : primitive.kind === "path" ? svg("path", { fill: "none" }) : null;
    outer.append(mark, ...(area ? [area] : []));
    const after = this.slots.slice(primitive.node + 1).find((slot) => slot !== undefined);
    this.marks.insertBefore(outer, after?.outer ?? null);
    return { outer, mark, area, set: new Map(), pictures: new Map(), hidden: false };
  }

  private update(slot: Slot, primitive: Primitive): void {
    const { outer, mark, area } = slot;
    const told = Boolean(primitive.label || primitive.shows);
    const line = primitive.kind === "path" && !primitive.fill;
    const pointer = { "pointer-events": told ? (line ? "stroke" : "all") : "none" }; // else what lies below is pointed at
    if (primitive.clip) {
      const [x, y, w, h] = primitive.clip.map(String) as [string, string, string, string];
      this.apply(slot, outer, { x, y, width: w, height: h, viewBox: `${x} ${y} ${w} ${h}`, ...pointer });
    } else {
      this.apply(slot, outer, pointer);
    }
    const opacity = { opacity: primitive.opacity < 1 ? String(primitive.opacity) : null };
    switch (primitive.kind) {
      case "rect": {
        const { x, y, w, h, rx } = primitive;
        const box = { x: `${x}`, y: `${y}`, width: `${w}`, height: `${h}`, rx: rx ? `${rx}` : null };
        return this.apply(slot, mark, { ...box, ...this.paint(primitive), ...opacity });
      }
      case "path": {
        const d = pathData(primitive.d);
        const round = primitive.stroke && !primitive.dash.length ? "round" : null;
        const joins = { "stroke-linejoin": round, "stroke-linecap": round };
        this.apply(slot, mark, { d, ...this.paint(primitive), ...joins, ...opacity });
        const width = String(Math.max(REACH, primitive.stroke_width));
        return this.apply(slot, area!, told && line ? { d, "stroke-width": width, stroke: "transparent" } : { d: null });
      }
      case "text": {
        const { d, transform, left, width } = this.typesetter.set(primitive);
        this.apply(slot, mark, { d, transform, fill: primitive.fill, "data-text": primitive.string, ...opacity });
        const { y, size } = primitive;
        const place = { x: fine(left), y: fine(y - size * 0.95), width: fine(width), height: fine(size * 1.25) };
        return this.apply(slot, area!, told ? place : { width: null, height: null });
      }
      case "image": {
        this.apply(slot, mark, opacity);
        const { x, y, w, h, matrix, palette } = primitive;
        if (!slot.pictures.has(matrix)) this.load(slot, primitive.node, palette);
        for (const [number, image] of slot.pictures) {
          const box = { x: `${x}`, y: `${y}`, width: `${w}`, height: `${h}` };
          this.apply(slot, image, number === matrix ? { ...box, display: null } : { display: "none" });
        }
      }
    }
  }

  /** One element for each matrix that an image ever shows: a change is then at once, with nothing to decode. */
  private load(slot: Slot, node: number, palette: string): void {
    for (const matrix of this.film.matricesOf(node)) {
      const key = `${palette} ${matrix}`;
      const href = this.urls.get(key) ?? bitmapUrl(this.film.matrices[matrix]!, this.film.palettes.get(palette)!);
      this.urls.set(key, href);
      const image = svg("image", { preserveAspectRatio: "none", href, "data-matrix": `${matrix}`, class: "cells" });
      slot.pictures.set(matrix, image);
      slot.mark.append(image);
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
      const [x2, y2] = CORNERS[angle];
      const stops = colours.map((c, i) => svg("stop", { offset: fine(i / (colours.length - 1)), "stop-color": c }));
      this.defs.append(svg("linearGradient", { id, x1: "0", y1: "0", x2, y2 }, ...stops));
      this.gradients.set(key, id);
    }
    return id;
  }

  private apply(slot: Slot, element: Element, attributes: Attributes): void {
    let before = slot.set.get(element);
    if (!before) slot.set.set(element, (before = {}));
    for (const [name, value] of Object.entries(attributes)) {
      if (before[name] === value || (value === null && !(name in before))) continue;
      if (value === null) element.removeAttribute(name);
      else element.setAttribute(name, value);
      before[name] = value;
    }
  }
}

/** Whether two primitives of one node are alike. What a film holds as an object (a gradient, shows) is the same object. */
function same(a: Primitive, b: Primitive): boolean {
  const [one, other] = [a as unknown as Record<string, unknown>, b as unknown as Record<string, unknown>];
  for (const key in one) if (!alike(one[key], other[key])) return false;
  return true;
}

function alike(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((part, i) => alike(part, b[i]));
}

/** Commands as SVG path data. */
export function pathData(d: readonly Command[]): string {
  return d.map(([name, ...numbers]) => name + numbers.join(" ")).join("");
}
