// A film in a page. The picture is a pure function of the time; the parts here change the time, or say what the picture shows.

import { Film, readFilm } from "../film/film.ts";
import type { Letters } from "../film/types.ts";
import { languageOf } from "../language.ts";
import { Controls } from "./controls.ts";
import { html } from "./dom.ts";
import { Inspector } from "./inspector.ts";
import { runKey } from "./keyboard.ts";
import { fittingFilm, timeInLayout } from "./layout.ts";
import { PictureCache } from "./picture.ts";
import { Playback } from "./playback.ts";
import { STYLE } from "./style.ts";
import { Transcript } from "./transcript.ts";
import { type Words, wordsOf } from "./words.ts";

export interface Options {
  /** The same film laid out for narrow places: with as many segments, whose times may differ. */
  readonly narrow?: unknown;
  /** Width in pixels below which the narrow film is shown; by default 640, or the wide film's width if that is less. */
  readonly narrowBelow?: number;
  /** Glyph outlines for several films; by default those of each film. */
  readonly letters?: Letters | null;
  /** Time to start from, in seconds of the layout that fits; by default the last still. */
  readonly t?: number;
  /** Whether keys work wherever the focus is: for a page that holds one film and little else. */
  readonly pageKeys?: boolean;
  /** Interface texts that replace those in the language of the element: its `lang`, or that of what it is in. */
  readonly words?: Partial<Words>;
  /** Called with each time that is shown. */
  readonly onTime?: (t: number) => void;
}

const MAX_SCALE = 1.5; // of a film's own size

let players = 0; // on this page: makes the ids of each player unique, even outside of shadow trees

/**
 * Shows a film in an element, in place of its content.
 *
 * film: a `Film`, JSON text or parsed JSON, with glyphs (`to_json(glyphs=True)`) unless `options.letters` holds them.
 * Errors: `FilmError` for anything else; the element is then left as it was.
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
  private readonly root: HTMLElement;
  private readonly stage: HTMLElement;
  private readonly playback: Playback;
  private readonly pictures: PictureCache;
  private readonly controls: Controls;
  private readonly transcript: Transcript;
  private readonly inspector: Inspector;
  private readonly listening = new AbortController();
  private readonly resizing: ResizeObserver;
  private readonly reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
  private current: Film; // the layout that is shown
  private shown: { film: Film; t: number } | null = null;

  constructor(
    element: Element,
    private readonly wide: Film,
    private readonly narrow: Film | null,
    private readonly options: Options,
  ) {
    if (narrow && narrow.segments.length !== wide.segments.length) {
      throw new RangeError("the two layouts of a film must have as many segments");
    }
    const words = { ...wordsOf(languageOf(element)), ...options.words };
    const { signal } = this.listening;
    this.current = wide;
    this.pictures = new PictureCache(options.letters ?? null, `pellucid-${(players += 1)}-`);
    for (const film of narrow ? [wide, narrow] : [wide]) this.pictures.typesetter(film); // fails before anything is shown
    this.playback = new Playback({
      film: () => this.current,
      reducedMotion: () => this.reducedMotion.matches,
      speed: () => this.controls.speed,
      connected: () => this.host.isConnected,
      onChange: () => this.show(),
    });
    this.stage = html("div", { class: "stage", tabindex: "0", role: "group", "aria-label": words.picture });
    this.inspector = new Inspector(this.stage, () => this.current, this.pictures, words, signal);
    this.controls = new Controls(words, this.playback, signal);
    this.transcript = new Transcript(words, (t) => this.seek(t));
    const probe = html("div"); // as wide as the player and 0 high: observing it cannot loop
    this.root = html("div", { class: "player", role: "group", "aria-label": wide.title, "aria-roledescription": words.film });
    const { controls, transcript, inspector } = this;
    this.root.append(this.stage, inspector.announcement, transcript.pictureTexts, transcript.captions);
    this.root.append(controls.element, controls.motionNote, transcript.notes, transcript.element);
    this.host.attachShadow({ mode: "open" }).append(html("style", {}, STYLE), probe, this.root);
    this.root.addEventListener("keydown", (event) => this.onKey(event), { signal });
    if (options.pageKeys) document.addEventListener("keydown", (event) => this.onPageKey(event), { signal });
    this.reducedMotion.addEventListener("change", () => this.adaptMotion(), { signal });

    element.replaceChildren(this.host);
    this.current = this.fitting(this.host.clientWidth);
    this.playback.time = Math.min(Math.max(options.t ?? this.current.stills().at(-1)!, 0), this.current.duration);
    this.adaptMotion();
    this.resizing = new ResizeObserver(([entry]) => this.resize(entry!.contentRect.width));
    this.resizing.observe(probe);
  }

  /** The current time, in seconds. */
  get t(): number {
    return this.playback.time;
  }

  /** The film that is shown: the wide or the narrow one. */
  get film(): Film {
    return this.current;
  }

  get playing(): boolean {
    return this.playback.playing;
  }

  /** Plays from the current time; from 0 where nothing would change any more. Does nothing with reduced motion. */
  play(): void {
    this.playback.play();
  }

  pause(): void {
    this.playback.pause();
  }

  toggle(): void {
    this.playback.toggle();
  }

  /** Pauses at a time in seconds, limited to the film's duration. */
  seek(t: number): void {
    this.playback.seek(t);
  }

  /** Pauses at the next still (1) or the previous one (-1). */
  step(by: 1 | -1): void {
    this.playback.step(by);
  }

  /** Removes the player from the page. */
  dispose(): void {
    this.playback.stop();
    this.listening.abort();
    this.resizing.disconnect();
    this.host.remove();
  }

  private show(): void {
    const [film, t] = [this.current, this.playback.time];
    const picture = this.pictures.get(film);
    const newLayout = this.shown?.film !== film;
    if (newLayout) this.stage.replaceChildren(picture.svg, this.inspector.tooltip.element);
    if (newLayout || !film.unchanged(this.shown!.t, t)) {
      picture.draw(film.at(t));
      this.draws += 1;
      this.inspector.refresh(picture, newLayout);
    }
    this.shown = { film, t };
    this.transcript.setCaption(film.captionAt(t));
    this.controls.update();
    if (!this.playing) this.transcript.setPictureTexts(picture.drawn);
    this.options.onTime?.(t);
  }

  /** Follows the system's setting for reduced motion, also while the film plays. */
  private adaptMotion(): void {
    const stills = this.current.stills();
    if (this.reducedMotion.matches) this.playback.time = stills.findLast((t) => t <= this.playback.time) ?? stills[0]!;
    this.layOut();
    this.pause();
  }

  private resize(width: number): void {
    const film = this.fitting(width);
    if (film === this.current) return;
    this.playback.time = timeInLayout(this.current, this.playback.time, film);
    this.current = film;
    this.layOut();
    this.show();
  }

  private fitting(width: number): Film {
    return fittingFilm(width, this.wide, this.narrow, this.options.narrowBelow);
  }

  /** Adapts everything that depends on the layout. */
  private layOut(): void {
    this.controls.layOut();
    this.transcript.setFilm(this.current);
    this.root.style.maxWidth = `${this.current.width * MAX_SCALE}px`;
  }

  private onKey(event: KeyboardEvent): void {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const { playback, inspector, stage, controls } = this;
    if (!runKey(event.key, event.composedPath()[0], { playback, inspector, stage, slider: controls.slider })) return;
    event.preventDefault();
    event.stopPropagation(); // a notebook has keys of its own
  }

  private onPageKey(event: KeyboardEvent): void {
    const unfocused = event.target === document.body || event.target === document.documentElement;
    if (unfocused && !event.defaultPrevented) this.onKey(event);
  }
}
