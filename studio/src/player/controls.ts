// The controls below the picture: time slider with clock, play button, step buttons, speed.

import { html, setText, svg } from "./dom.ts";
import type { Playback } from "./playback.ts";
import type { Words } from "./words.ts";

const SPEEDS = [0.25, 0.5, 1, 2];

export class Controls {
  readonly element: HTMLElement;
  readonly slider: HTMLInputElement;
  /** Says that only stills are shown; hidden unless the system asks for reduced motion. */
  readonly motionNote: HTMLElement;
  private readonly playButton = html("button", { class: "play", type: "button" });
  private readonly clock = html("span", { class: "clock" });
  private readonly speedBox: HTMLSelectElement;

  /** signal: ends listening. */
  constructor(
    private readonly words: Words,
    private readonly playback: Playback,
    signal: AbortSignal,
  ) {
    this.slider = html("input", { type: "range", "aria-label": words.time, step: "0.01", min: "0" });
    const speeds = SPEEDS.map((speed) => html("option", { value: `${speed}` }, `${speed}×`));
    this.speedBox = html("select", { "aria-label": words.speed }, ...speeds);
    this.speedBox.value = "1";
    this.motionNote = html("p", { class: "quiet calm" }, words.calm);
    const back = html("button", { type: "button", class: "back", "aria-label": words.back }, icon("M3 2h2v12H3zM14 2v12L6 8z"));
    const on = html("button", { type: "button", class: "on", "aria-label": words.on }, icon("M11 2h2v12h-2zM2 2v12l8-6z"));
    this.element = html("div", { class: "controls", role: "group", "aria-label": words.controls });
    this.element.append(html("div", { class: "time" }, this.slider, this.clock), this.playButton, back, on, this.speedBox);
    this.playButton.addEventListener("click", () => playback.toggle(), { signal });
    back.addEventListener("click", () => playback.step(-1), { signal });
    on.addEventListener("click", () => playback.step(1), { signal });
    this.slider.addEventListener("input", () => this.scrub(), { signal });
  }

  /** The chosen playback speed: seconds of the film in a second. */
  get speed(): number {
    return Number(this.speedBox.value);
  }

  /** Adapts to the film's length. With reduced motion the slider selects a still by its number. */
  layOut(): void {
    const { film, reducedMotion } = this.playback;
    this.slider.max = String(reducedMotion ? film.segments.length - 1 : film.duration);
    this.slider.step = reducedMotion ? "1" : "0.01";
    this.playButton.hidden = this.speedBox.hidden = reducedMotion;
    this.motionNote.hidden = !reducedMotion;
  }

  /** Shows the current time. */
  update(): void {
    const { words } = this;
    const { film, time, playing, reducedMotion } = this.playback;
    setText(this.playButton, playing ? words.pause : words.play);
    const { name } = film.segmentAt(time);
    let text = words.at(time.toFixed(1), film.duration.toFixed(1));
    let value = time;
    if (reducedMotion) {
      const stills = film.stills();
      value = Math.max(0, stills.findLastIndex((still) => still <= time));
      text = words.still(value + 1, stills.length, name);
    }
    this.slider.value = String(value);
    this.slider.setAttribute("aria-valuetext", reducedMotion ? text : `${text}, ${name}`);
    setText(this.clock, text);
  }

  private scrub(): void {
    const value = Number(this.slider.value);
    this.playback.seek(this.playback.reducedMotion ? this.playback.film.stills()[value]! : value);
  }
}

function icon(d: string): SVGSVGElement {
  return svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d }));
}
