// The tooltip of a mark: at the pointer, or beside the mark that the keyboard has selected.

import { html, setText, svg } from "./dom.ts";
import type { Box, TooltipText } from "./marks.ts";
import type { Words } from "./words.ts";

const GAP = 12; // pixels between the mark and the tooltip
const MARGIN = 4; // pixels between the tooltip and the edge of the stage

export class Tooltip {
  readonly element: HTMLElement;
  private readonly label = html("p");
  private readonly value = html("p", { class: "value" });
  private readonly source = html("p", { class: "source" });
  private readonly truth = html("p", { class: "source" });
  private readonly truthText = html("span");
  private readonly clock: SVGSVGElement;

  /** stage: the element that the tooltip stays inside of. */
  constructor(
    private readonly stage: HTMLElement,
    private readonly words: Words,
  ) {
    const stroke = { fill: "none", stroke: "currentColor", "stroke-width": "1.5", "stroke-linecap": "round" };
    const face = svg("circle", { cx: "8", cy: "8", r: "6.7", ...stroke });
    const hands = svg("path", { d: "M8 4v4l3 2", ...stroke });
    this.clock = svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true", class: "clock-mark" }, face, hands);
    this.truth.append(this.clock, this.truthText);
    this.element = html("div", { class: "tip", role: "tooltip", hidden: "" }, this.label, this.value, this.source, this.truth);
  }

  get shown(): boolean {
    return !this.element.hidden;
  }

  hide(): void {
    this.element.hidden = true;
  }

  /** Shows the text of a mark. cell: text of the image cell at the pointer, "" for none. */
  show({ label, value, source, truth }: TooltipText, cell = ""): void {
    const values = [value, cell].filter(Boolean).join("\n");
    for (const [element, text] of [[this.label, label], [this.value, values], [this.source, source]] as const) {
      setText(element, text);
      element.hidden = !text;
    } // prettier-ignore
    this.truth.hidden = !truth;
    if (truth) {
      setText(this.truthText, this.words.truth[truth]);
      this.clock.toggleAttribute("hidden", truth !== "measured");
    }
    this.element.hidden = false;
  }

  /** Places the tooltip below a box (pixels in the stage), or above it where there is no room; always inside of the stage. */
  position([x, y, , h]: Box): void {
    const { offsetWidth, offsetHeight } = this.element;
    const below = y + h + GAP;
    const top = below + offsetHeight + MARGIN <= this.stage.clientHeight ? below : Math.max(MARGIN, y - offsetHeight - GAP);
    this.element.style.left = `${Math.max(MARGIN, Math.min(x, this.stage.clientWidth - offsetWidth - MARGIN))}px`;
    this.element.style.top = `${top}px`;
  }
}
