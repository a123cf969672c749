// A film in a page: its picture at a time, and what changes that time. The picture is a pure function of the time; the
// browser's frames only move it on. Nothing plays by itself.

import { Film, readFilm } from "../film/film.ts";
import { Typesetter } from "../film/text.ts";
import type { Letters } from "../film/types.ts";
import { html, say, svg } from "./dom.ts";
import { Picture } from "./picture.ts";
import { STYLE } from "./style.ts";
import { Tip, cellAt } from "./tip.ts";
import { marks, told } from "./told.ts";
import type { Mark } from "./told.ts";
import { ENGLISH } from "./words.ts";
import type { Words } from "./words.ts";

export interface Options {
  /** The same film laid out for narrow places: with as many segments, which may take other times. */
  readonly narrow?: unknown;
  /** Below this width of the player in pixels the narrow film is shown; 640 by default, or the wide film's own width. */
  readonly narrowBelow?: number;
  /** The letters of several films at once; by default each film's own. */
  readonly letters?: Letters | null;
  /** Seconds, of the layout that fits, at which it stands at first; by default the last still. */
  readonly t?: number;
  /** Whether keys work wherever the focus is: for a page that holds one film and little else. */
  readonly pageKeys?: boolean;
  readonly words?: Partial<Words>;
  /** Told of each time that is shown. */
  readonly onTime?: (t: number) => void;
}

const NARROW_BELOW = 640;
const SPEEDS = [0.25, 0.5, 1, 2];
const NUDGE = 0.25; // seconds that an arrow key moves the slider
const LONGEST_FRAME = 0.25; // seconds: a page that was hidden goes on from where it was
const LARGEST_SCALE = 1.5; // a film is shown at most so much larger than it is

let players = 0; // on this page: numbers the ids, so that no two are alike even where shadow trees do not part them

/**
 * Shows a film in an element, in place of what is there.
 *
 * film: a `Film`, a film's JSON, or what it parses to, with its letters (`to_json(glyphs=True)`) or with `options.letters`.
 * Errors: `FilmError` for what is no film; the element is then left as it was.
 */
export function play(element: Element, film: unknown, options: Options = {}): Player {
  const read = (source: unknown) => (source instanceof Film ? source : readFilm(source));
  const narrow = options.narrow === undefined || options.narrow === null ? null : read(options.narrow);
  return new Player(element, read(film), narrow, options);
}

export class Player {
  readonly host = html("div");
  /** How often a picture was drawn. */
  draws = 0;
  private readonly words: Words;
  private readonly prefix: string;
  private readonly pictures = new Map<Film, Picture>();
  private readonly listening = new AbortController();
  private readonly resizing: ResizeObserver;
  private readonly calm = matchMedia("(prefers-reduced-motion: reduce)");
  private readonly typesetters = new Map<Letters, Typesetter>();

  private readonly stage: HTMLElement;
  private readonly tip: Tip;
  private readonly heard = html("p", { class: "unseen", "aria-live": "polite" });
  private readonly texts = html("ul", { class: "unseen" });
  private readonly captions = html("div", { class: "captions" });
  private readonly caption = html("p", { class: "caption", "aria-live": "polite" });
  private readonly playButton = html("button", { class: "play", type: "button" });
  private readonly slider: HTMLInputElement;
  private readonly clock = html("span", { class: "clock" });
  private readonly speedBox: HTMLSelectElement;
  private readonly calmNote: HTMLElement;
  private readonly notes = html("details");
  private readonly notesSummary = html("summary");
  private readonly transcript = html("div");
  private readonly root: HTMLElement;

  private current: Film;
  private time: number;
  private frame = 0; // of requestAnimationFrame; 0 while paused
  private last: number | null = null;
  private shown: { film: Film; t: number } | null = null;
  private pointer: { x: number; y: number; node: number } | null = null;
  private mark: Mark | null = null; // that the keyboard has reached

  constructor(
    element: Element,
    private readonly wide: Film,
    private readonly narrow: Film | null,
    private readonly options: Options,
  ) {
    if (narrow && narrow.segments.length !== wide.segments.length) {
      throw new RangeError("the two layouts of a film must have as many segments");
    }
    const words = (this.words = { ...ENGLISH, ...options.words });
    for (const film of narrow ? [wide, narrow] : [wide]) this.lettersOf(film);
    this.prefix = `pellucid-${(players += 1)}-`;
    this.stage = html("div", { class: "stage", tabindex: "0", role: "group", "aria-label": words.picture });
    this.tip = new Tip(this.stage, words);
    this.slider = html("input", { type: "range", "aria-label": words.time, step: "0.01", min: "0" });
    const speeds = SPEEDS.map((speed) => html("option", { value: `${speed}` }, `${speed}×`));
    this.speedBox = html("select", { "aria-label": words.speed }, ...speeds);
    this.speedBox.value = "1";
    this.calmNote = html("p", { class: "quiet calm" }, words.calm);
    const back = html("button", { type: "button", class: "back", "aria-label": words.back }, icon("M3 2h2v12H3zM14 2v12L6 8z"));
    const on = html("button", { type: "button", class: "on", "aria-label": words.on }, icon("M11 2h2v12h-2zM2 2v12l8-6z"));
    const controls = html("div", { class: "controls", role: "group", "aria-label": words.controls });
    controls.append(html("div", { class: "time" }, this.slider, this.clock), this.playButton, back, on, this.speedBox);
    const probe = html("div"); // as wide as the player, and never higher than nothing: its height cannot change its width
    this.root = html("div", { class: "player", role: "group", "aria-label": wide.title, "aria-roledescription": words.film });
    const transcript = html("details", {}, html("summary", {}, words.transcript), this.transcript);
    this.root.append(this.stage, this.heard, this.texts, this.captions, controls, this.calmNote, this.notes, transcript);
    this.host.attachShadow({ mode: "open" }).append(html("style", {}, STYLE), probe, this.root);

    this.listen("click", this.playButton, () => this.toggle());
    this.listen("click", back, () => this.step(-1));
    this.listen("click", on, () => this.step(1));
    this.listen("input", this.slider, () => this.scrub());
    this.listen("keydown", this.root, (event) => this.key(event as KeyboardEvent));
    if (options.pageKeys) this.listen("keydown", document, (event) => this.pageKey(event as KeyboardEvent));
    for (const type of ["pointermove", "pointerdown"]) this.listen(type, this.stage, (event) => this.hover(event as PointerEvent));
    this.listen("pointerleave", this.stage, (event) => {
      if ((event as PointerEvent).pointerType !== "touch") this.unhover(); // a finger leaves, and then reads
    });
    this.listen("blur", this.stage, () => this.unmark());
    this.listen("change", this.calm, () => this.adapt());

    element.replaceChildren(this.host);
    this.current = this.fitting(this.host.clientWidth);
    this.time = Math.min(Math.max(options.t ?? this.current.stills().at(-1)!, 0), this.current.duration);
    this.adapt();
    this.resizing = new ResizeObserver(([entry]) => this.resize(entry!.contentRect.width));
    this.resizing.observe(probe);
  }

  /** Seconds. */
  get t(): number {
    return this.time;
  }

  /** What is shown: the wide or the narrow film. */
  get film(): Film {
    return this.current;
  }

  get playing(): boolean {
    return this.frame !== 0;
  }

  /** Plays from where it stands; from the start where nothing more would change. Not where the system asks for less motion. */
  play(): void {
    if (this.playing || this.calm.matches) return;
    const { current: film, time: t } = this;
    if (t >= film.stills().at(-1)! && film.captionAt(t) === film.captionAt(film.duration)) this.time = 0;
    this.last = null;
    this.frame = requestAnimationFrame((stamp) => this.tick(stamp));
    this.show();
  }

  pause(): void {
    if (this.frame) cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.show();
  }

  toggle(): void {
    if (this.playing) this.pause();
    else this.play();
  }

  /** Pauses at a time; outside of the film, at its nearer end. */
  seek(t: number): void {
    this.time = Math.min(Math.max(t, 0), this.current.duration);
    this.pause();
  }

  /** Pauses at the next still (1) or the one before (-1). */
  step(by: 1 | -1): void {
    const stills = this.current.stills();
    const next = by > 0 ? stills.find((t) => t > this.time) : stills.findLast((t) => t < this.time);
    this.seek(next ?? (by > 0 || this.calm.matches ? this.time : 0));
  }

  /** Takes the player out of the page. */
  dispose(): void {
    if (this.frame) cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.listening.abort();
    this.resizing.disconnect();
    this.host.remove();
  }

  private listen(type: string, target: EventTarget, heard: (event: Event) => void): void {
    target.addEventListener(type, heard, { signal: this.listening.signal });
  }

  private tick(stamp: number): void {
    if (!this.host.isConnected) return this.pause();
    const passed = this.last === null ? 0 : Math.min((stamp - this.last) / 1000, LONGEST_FRAME);
    this.last = stamp;
    this.time = Math.min(this.time + passed * Number(this.speedBox.value), this.current.duration);
    if (this.time >= this.current.duration) return this.pause();
    this.frame = requestAnimationFrame((next) => this.tick(next));
    this.show();
  }

  // What is shown.

  private show(): void {
    const [film, t] = [this.current, this.time];
    const picture = this.picture(film);
    if (this.shown?.film !== film) this.stage.replaceChildren(picture.svg, this.tip.element);
    if (this.shown?.film !== film || !film.rests(this.shown.t, t)) {
      picture.draw(film.at(t));
      this.draws += 1;
      this.refresh(picture);
    }
    this.shown = { film, t };
    say(this.caption, film.captionAt(t));
    say(this.playButton, this.playing ? this.words.pause : this.words.play);
    this.tellTime();
    if (!this.playing) this.tellTexts(picture);
    this.options.onTime?.(t);
  }

  private tellTime(): void {
    const { words, current: film, time: t } = this;
    const { name } = film.segmentAt(t);
    let said = words.at(t.toFixed(1), film.duration.toFixed(1));
    let value = t;
    if (this.calm.matches) {
      const stills = film.stills();
      value = Math.max(0, stills.findLastIndex((still) => still <= t));
      said = words.still(value + 1, stills.length, name);
    }
    this.slider.value = String(value);
    this.slider.setAttribute("aria-valuetext", this.calm.matches ? said : `${said}, ${name}`);
    say(this.clock, said);
  }

  /** The texts of the picture as text, for those who do not see outlines; not while it moves. */
  private tellTexts(picture: Picture): void {
    const texts = picture.drawn.flatMap((p) => (p?.kind === "text" ? [p.string] : []));
    const told = JSON.stringify(texts);
    if (this.texts.dataset.told === told) return;
    this.texts.dataset.told = told;
    this.texts.replaceChildren(...texts.map((text) => html("li", {}, text)));
  }

  private picture(film: Film): Picture {
    let picture = this.pictures.get(film);
    if (!picture) {
      picture = new Picture(film, this.lettersOf(film), `${this.prefix}${this.pictures.size}-`);
      picture.svg.setAttribute("class", "picture");
      this.pictures.set(film, picture);
    }
    return picture;
  }

  private lettersOf(film: Film): Typesetter {
    const letters = this.options.letters ?? film.letters;
    if (!letters) throw new Error("this film holds no letters: write it with to_json(glyphs=True)");
    const made = this.typesetters.get(letters) ?? new Typesetter(letters);
    this.typesetters.set(letters, made);
    return made;
  }

  private tellWords(): void {
    const { words, current: film } = this;
    const notes = film.notes.map((note) => html("p", { class: "quiet note" }, note));
    say(this.notesSummary, words.simplified(notes.length));
    this.notes.replaceChildren(this.notesSummary, ...notes);
    this.notes.hidden = !notes.length;
    this.notes.open = notes.length === 1;
    const lines = film.segments.map((segment) => {
      const said = film.captions.filter((c) => c.start < segment.end && c.end > segment.start).map((c) => c.text);
      const jump = html("button", { type: "button" }, segment.name);
      jump.onclick = () => this.seek(segment.rests.at(-1)![0]);
      return html("li", {}, jump, ` ${words.span(segment.start, segment.end)}: ${said.join(" ") || words.silent}`);
    });
    this.transcript.replaceChildren(html("p", {}, film.alt), html("ol", {}, ...lines));
  }

  // Motion, and the width.

  /** Follows the system's wish for less motion, also while the player runs. */
  private adapt(): void {
    const calm = this.calm.matches;
    const stills = this.current.stills();
    if (calm) this.time = stills.findLast((t) => t <= this.time) ?? stills[0]!;
    this.fit();
    this.playButton.hidden = this.speedBox.hidden = calm;
    this.calmNote.hidden = !calm;
    this.pause();
  }

  private resize(width: number): void {
    const film = this.fitting(width);
    if (film === this.current) return;
    this.time = sameMoment(this.current, this.time, film);
    this.current = film;
    this.fit();
    this.show();
  }

  private fitting(width: number): Film {
    const below = this.options.narrowBelow ?? Math.min(NARROW_BELOW, this.wide.width);
    return this.narrow && width > 0 && width < below ? this.narrow : this.wide;
  }

  /** What depends on the layout: its times, its largest width, and room for its longest caption, so that nothing jumps. */
  private fit(): void {
    this.slider.max = String(this.calm.matches ? this.current.segments.length - 1 : this.current.duration);
    this.slider.step = this.calm.matches ? "1" : "0.01";
    this.tellWords();
    const sizers = this.current.captions.map((c) => html("p", { "aria-hidden": "true" }, c.text));
    this.captions.replaceChildren(...sizers, this.caption);
    this.captions.hidden = !sizers.length;
    this.root.style.maxWidth = `${this.current.width * LARGEST_SCALE}px`;
  }

  // Pointer and keyboard.

  private scrub(): void {
    const value = Number(this.slider.value);
    this.seek(this.calm.matches ? this.current.stills()[value]! : value);
  }

  private hover(event: PointerEvent): void {
    const node = this.picture(this.current).nodeOf(event.composedPath()[0]);
    if (node === null) return this.unhover();
    this.unmark();
    const box = this.stage.getBoundingClientRect();
    this.pointer = { x: event.clientX - box.left - this.stage.clientLeft, y: event.clientY - box.top - this.stage.clientTop, node };
    this.tellPointed();
  }

  private unhover(): void {
    if (!this.pointer) return;
    this.pointer = null;
    this.picture(this.current).point(null);
    this.tip.hide();
  }

  /** How many pixels of the page a unit of the film takes. */
  private scale(): number {
    return this.stage.clientWidth / this.current.width;
  }

  private tellPointed(): void {
    const { x, y, node } = this.pointer!;
    const primitive = this.picture(this.current).drawn[node];
    const says = primitive && told(primitive, this.words);
    if (!says) return this.unhover();
    const scale = this.scale();
    const cell = cellAt(this.current, primitive, x / scale, y / scale, this.words);
    this.picture(this.current).point(cell?.box ?? null, 0);
    this.tip.tell(says, cell?.says);
    this.tip.place([x, y, 0, 0]);
  }

  /** Goes to the next mark (1) or the one before (-1) by keyboard. */
  private move(by: 1 | -1): void {
    this.unhover();
    const picture = this.picture(this.current);
    const list = marks(picture.drawn.filter((p) => p !== undefined), this.lettersOf(this.current), this.words);
    if (!list.length) return;
    const here = this.mark ? list.findIndex((mark) => mark.nodes.includes(this.mark!.nodes[0]!)) : -1;
    const next = here < 0 ? (by > 0 ? 0 : list.length - 1) : (here + by + list.length) % list.length;
    this.tellMark(list[next]!, picture);
    say(this.heard, Tip.line(this.mark!.told, this.words));
  }

  private tellMark(mark: Mark, picture: Picture): void {
    this.mark = mark;
    const scale = this.scale();
    const [x, y, w, h] = mark.box;
    picture.point(mark.box);
    this.tip.tell(mark.told);
    this.tip.place([x * scale, y * scale, w * scale, h * scale]);
  }

  private unmark(): void {
    if (!this.mark) return;
    this.mark = null;
    for (const picture of this.pictures.values()) picture.point(null);
    this.tip.hide();
  }

  /** What is pointed at may have moved, changed or gone. */
  private refresh(picture: Picture): void {
    if (this.pointer) this.tellPointed();
    if (!this.mark) return;
    const list = marks(picture.drawn.filter((p) => p !== undefined), this.lettersOf(this.current), this.words);
    const same = list.find((mark) => mark.nodes.includes(this.mark!.nodes[0]!));
    if (same && this.shown?.film === this.current) this.tellMark(same, picture);
    else this.unmark();
  }

  private key(event: KeyboardEvent): void {
    const target = event.composedPath()[0];
    if (event.ctrlKey || event.altKey || event.metaKey || !this.obey(event.key, target)) return;
    event.preventDefault();
    event.stopPropagation(); // a notebook has keys of its own
  }

  private pageKey(event: KeyboardEvent): void {
    const nowhere = event.target === document.body || event.target === document.documentElement;
    if (nowhere && !event.defaultPrevented) this.key(event);
  }

  /** Does what a key asks for; false for a key that is not ours here. */
  private obey(key: string, target: EventTarget | undefined): boolean {
    const tag = target instanceof Element ? target.localName : "";
    if (key === "Escape") {
      if (!this.tip.shown) return false;
      this.unhover();
      this.unmark();
      return true;
    }
    if (tag === "select" || (key === " " && (tag === "button" || tag === "summary"))) return false;
    const vertical = key === "ArrowUp" || key === "ArrowDown";
    if (target === this.slider && !this.calm.matches && (vertical || key === "ArrowLeft" || key === "ArrowRight")) {
      this.seek(this.time + (key === "ArrowRight" || key === "ArrowUp" ? NUDGE : -NUDGE));
      return true;
    }
    if (vertical) {
      if (target === this.slider) this.step(key === "ArrowUp" ? 1 : -1);
      else if (target === this.stage) this.move(key === "ArrowDown" ? 1 : -1);
      else return false;
      return true;
    }
    const actions: Record<string, () => void> = {
      " ": () => this.toggle(),
      ArrowLeft: () => this.step(-1),
      ArrowRight: () => this.step(1),
      Home: () => this.seek(this.calm.matches ? this.current.stills()[0]! : 0),
      End: () => this.seek(this.calm.matches ? this.current.stills().at(-1)! : this.current.duration),
    };
    if (!Object.hasOwn(actions, key)) return false;
    actions[key]!();
    return true;
  }
}

/** The time in another layout that shows what is shown at t: the same still, or as far in the same segment. */
export function sameMoment(from: Film, t: number, to: Film): number {
  const still = from.stills().indexOf(t);
  if (still >= 0) return to.stills()[still]!;
  const index = from.segments.indexOf(from.segmentAt(t));
  const [one, other] = [from.segments[index]!, to.segments[index]!];
  if (one.start === other.start && one.end === other.end) return t;
  return Math.min(other.start + ((t - one.start) / (one.end - one.start)) * (other.end - other.start), to.duration);
}

function icon(d: string): SVGSVGElement {
  return svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d }));
}
