// The note that tells what a mark is: at the pointer, or beside the mark that the keyboard has reached.

import type { Film } from "../film/film.ts";
import type { Primitive } from "../film/types.ts";
import { html, say, svg } from "./dom.ts";
import type { Box, Told } from "./told.ts";
import type { Words } from "./words.ts";

const GAP = 12; // pixels between what is pointed at and the note

export class Tip {
  readonly element: HTMLElement;
  private readonly label = html("p");
  private readonly value = html("p", { class: "value" });
  private readonly source = html("p", { class: "source" });
  private readonly truth = html("p", { class: "source" });
  private readonly truthWords = html("span");
  private readonly clock: SVGSVGElement;

  constructor(
    private readonly stage: HTMLElement,
    private readonly words: Words,
  ) {
    const stroke = { fill: "none", stroke: "currentColor", "stroke-width": "1.5", "stroke-linecap": "round" };
    const [face, hands] = [svg("circle", { cx: "8", cy: "8", r: "6.7", ...stroke }), svg("path", { d: "M8 4v4l3 2", ...stroke })];
    this.clock = svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true", class: "clock-mark" }, face, hands);
    this.truth.append(this.clock, this.truthWords);
    this.element = html("div", { class: "tip", role: "tooltip", hidden: "" }, this.label, this.value, this.source, this.truth);
  }

  get shown(): boolean {
    return !this.element.hidden;
  }

  hide(): void {
    this.element.hidden = true;
  }

  /** Says what is known of a mark. cell: what an image holds where the pointer is, "" for nothing. */
  tell(told: Told, cell = ""): void {
    const value = [told.value, cell].filter(Boolean).join("\n");
    for (const [element, text] of [[this.label, told.label], [this.value, value], [this.source, told.source]] as const) {
      say(element, text);
      element.hidden = !text;
    } // prettier-ignore
    this.truth.hidden = !told.truth;
    if (told.truth) {
      say(this.truthWords, this.words.truth[told.truth]);
      this.clock.toggleAttribute("hidden", told.truth !== "measured");
    }
    this.element.hidden = false;
  }

  /** The same in one line, for screen readers. */
  static line(told: Told, words: Words): string {
    return [told.label, told.value, told.source, told.truth && words.truth[told.truth]].filter(Boolean).join("; ");
  }

  /** Places the note below a box (pixels in the stage), above it where there is no room below, and inside of the stage. */
  place([x, y, , h]: Box): void {
    const { offsetWidth: wide, offsetHeight: high } = this.element;
    const below = y + h + GAP;
    const top = below + high + 4 <= this.stage.clientHeight ? below : Math.max(4, y - high - GAP);
    this.element.style.left = `${Math.max(4, Math.min(x, this.stage.clientWidth - wide - 4))}px`;
    this.element.style.top = `${top}px`;
  }
}

/** The cell of an image at a point of the picture (in the film's units): what is stored there in words, and its box. */
export function cellAt(film: Film, primitive: Primitive, x: number, y: number, words: Words): { says: string; box: Box } | null {
  if (primitive.kind !== "image") return null;
  const { rows, columns, data } = film.matrices[primitive.matrix]!;
  const [wide, high] = [primitive.w / columns, primitive.h / rows];
  const [column, row] = [Math.floor((x - primitive.x) / wide), Math.floor((y - primitive.y) / high)];
  if (row < 0 || row >= rows || column < 0 || column >= columns) return null;
  const says = words.cell(row, column, data[row * columns + column]!);
  return { says, box: [primitive.x + column * wide, primitive.y + row * high, wide, high] };
}
