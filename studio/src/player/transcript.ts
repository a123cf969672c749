// The film as text: the caption, the notes on what is simplified, the transcript, and the picture's texts for screen readers.

import type { Film } from "../film/film.ts";
import type { Primitive } from "../film/types.ts";
import { html, setText } from "./dom.ts";
import type { Words } from "./words.ts";

export class Transcript {
  /** The transcript: a link to each segment, with its captions. */
  readonly element: HTMLElement;
  /** The caption, in a box with room for the longest one, so that nothing moves when it changes. */
  readonly captions = html("div", { class: "captions" });
  readonly notes = html("details");
  /** The texts on the picture, which are outlines there. */
  readonly pictureTexts = html("ul", { class: "unseen" });
  private readonly caption = html("p", { class: "caption", "aria-live": "polite" });
  private readonly notesSummary = html("summary");
  private readonly body = html("div");

  /** seek: called with a time in seconds when a segment is chosen. */
  constructor(
    private readonly words: Words,
    private readonly seek: (t: number) => void,
  ) {
    this.element = html("details", {}, html("summary", {}, words.transcript), this.body);
  }

  /** Shows the texts of a film. */
  setFilm(film: Film): void {
    const { words } = this;
    const notes = film.notes.map((note) => html("p", { class: "quiet note" }, note));
    setText(this.notesSummary, words.simplified(notes.length));
    this.notes.replaceChildren(this.notesSummary, ...notes);
    this.notes.hidden = !notes.length;
    this.notes.open = notes.length === 1;
    const items = film.segments.map((segment) => {
      const captions = film.captions.filter((c) => c.start < segment.end && c.end > segment.start).map((c) => c.text);
      const jump = html("button", { type: "button" }, segment.name);
      jump.onclick = () => this.seek(segment.rests.at(-1)![0]);
      return html("li", {}, jump, ` ${words.span(segment.start, segment.end)}: ${captions.join(" ") || words.silent}`);
    });
    this.body.replaceChildren(html("p", {}, film.alt), html("ol", {}, ...items));
    const sizers = film.captions.map((c) => html("p", { "aria-hidden": "true" }, c.text));
    this.captions.replaceChildren(...sizers, this.caption);
    this.captions.hidden = !sizers.length;
  }

  setCaption(text: string): void {
    setText(this.caption, text);
  }

  /** Lists the texts of a picture. */
  setPictureTexts(drawn: readonly (Primitive | undefined)[]): void {
    const texts = drawn.flatMap((p) => (p?.kind === "text" ? [p.string] : []));
    const key = JSON.stringify(texts);
    if (this.pictureTexts.dataset.key === key) return;
    this.pictureTexts.dataset.key = key;
    this.pictureTexts.replaceChildren(...texts.map((text) => html("li", {}, text)));
  }
}
