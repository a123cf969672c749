// Inspection of the picture: the pointer and the keyboard select a mark, and a tooltip says what it shows.

import type { Film } from "../film/film.ts";
import { html, setText } from "./dom.ts";
import { type Mark, asSentence, cellAt, marksOf, tooltipText } from "./marks.ts";
import type { Picture, PictureCache } from "./picture.ts";
import { Tooltip } from "./tooltip.ts";
import type { Words } from "./words.ts";

export class Inspector {
  readonly tooltip: Tooltip;
  /** Announces the mark that the keyboard selects to screen readers. */
  readonly announcement = html("p", { class: "unseen", "aria-live": "polite" });
  private pointer: { x: number; y: number; node: number } | null = null; // position in the stage, in pixels
  private selected: Mark | null = null; // by keyboard

  /** stage: the element that holds the picture. signal: ends listening. */
  constructor(
    private readonly stage: HTMLElement,
    private readonly film: () => Film,
    private readonly pictures: PictureCache,
    private readonly words: Words,
    signal: AbortSignal,
  ) {
    this.tooltip = new Tooltip(stage, words);
    for (const type of ["pointermove", "pointerdown"] as const) {
      stage.addEventListener(type, (event) => this.onPointer(event), { signal });
    }
    const onLeave = (event: PointerEvent) => {
      if (event.pointerType !== "touch") this.leavePointer(); // a finger leaves before its user reads
    };
    stage.addEventListener("pointerleave", onLeave, { signal });
    stage.addEventListener("blur", () => this.deselect(), { signal });
  }

  /** Selects the next mark (1) or the previous one (-1). */
  select(by: 1 | -1): void {
    this.leavePointer();
    const picture = this.picture();
    const marks = this.marks(picture);
    if (!marks.length) return;
    const { selected } = this;
    const here = selected ? marks.findIndex((mark) => mark.nodes.includes(selected.nodes[0]!)) : -1;
    const next = marks[here < 0 ? (by > 0 ? 0 : marks.length - 1) : (here + by + marks.length) % marks.length]!;
    this.showMark(next, picture);
    setText(this.announcement, asSentence(next.text, this.words));
  }

  /** Hides the tooltip. Returns whether there was one. */
  dismiss(): boolean {
    if (!this.tooltip.shown) return false;
    this.leavePointer();
    this.deselect();
    return true;
  }

  /** Follows a picture that was redrawn: its marks may have moved, changed or gone. newLayout: it shows another film. */
  refresh(picture: Picture, newLayout: boolean): void {
    if (this.pointer) this.showPointed();
    const { selected } = this;
    if (!selected) return;
    const same = this.marks(picture).find((mark) => mark.nodes.includes(selected.nodes[0]!));
    if (same && !newLayout) this.showMark(same, picture);
    else this.deselect();
  }

  private picture(): Picture {
    return this.pictures.get(this.film());
  }

  private marks(picture: Picture): Mark[] {
    return marksOf(picture.drawn.filter((p) => p !== undefined), this.pictures.typesetter(this.film()), this.words);
  }

  /** Pixels of the page in a unit of the film. */
  private scale(): number {
    return this.stage.clientWidth / this.film().width;
  }

  private onPointer(event: PointerEvent): void {
    const node = this.picture().nodeOf(event.composedPath()[0]);
    if (node === null) return this.leavePointer();
    this.deselect();
    const box = this.stage.getBoundingClientRect();
    const [left, top] = [box.left + this.stage.clientLeft, box.top + this.stage.clientTop];
    this.pointer = { x: event.clientX - left, y: event.clientY - top, node };
    this.showPointed();
  }

  private leavePointer(): void {
    if (!this.pointer) return;
    this.pointer = null;
    this.picture().highlight(null);
    this.tooltip.hide();
  }

  private showPointed(): void {
    const { x, y, node } = this.pointer!;
    const picture = this.picture();
    const primitive = picture.drawn[node];
    const text = primitive && tooltipText(primitive, this.words);
    if (!text) return this.leavePointer();
    const scale = this.scale();
    const cell = cellAt(this.film(), primitive, x / scale, y / scale, this.words);
    picture.highlight(cell?.box ?? null, 0);
    this.tooltip.show(text, cell?.text);
    this.tooltip.position([x, y, 0, 0]);
  }

  private showMark(mark: Mark, picture: Picture): void {
    this.selected = mark;
    const scale = this.scale();
    const [x, y, w, h] = mark.box;
    picture.highlight(mark.box);
    this.tooltip.show(mark.text);
    this.tooltip.position([x * scale, y * scale, w * scale, h * scale]);
  }

  private deselect(): void {
    if (!this.selected) return;
    this.selected = null;
    for (const picture of this.pictures.all()) picture.highlight(null);
    this.tooltip.hide();
  }
}
