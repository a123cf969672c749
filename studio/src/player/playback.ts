// The playback clock of a film: its time and what changes it. Time advances only in animation frames.

import type { Film } from "../film/film.ts";

const MAX_FRAME = 0.25; // seconds: a page that was hidden goes on from where it was

/** What the clock reads from the player, and whom it notifies. */
export interface PlaybackContext {
  film(): Film;
  /** Whether the system asks for reduced motion: then only stills are shown and nothing plays. */
  reducedMotion(): boolean;
  /** Seconds of the film in a second. */
  speed(): number;
  /** Whether the player is in a document. */
  connected(): boolean;
  /** Called after the time or `playing` has changed. */
  onChange(): void;
}

export class Playback {
  /** The current time in seconds. Assigning it neither pauses nor notifies. */
  time = 0;
  private request = 0; // id of the requested animation frame; 0 while paused
  private stamp: number | null = null; // of the previous frame, in milliseconds

  constructor(private readonly context: PlaybackContext) {}

  get film(): Film {
    return this.context.film();
  }

  get reducedMotion(): boolean {
    return this.context.reducedMotion();
  }

  get playing(): boolean {
    return this.request !== 0;
  }

  /** Plays from the current time; from 0 where nothing would change any more. Does nothing with reduced motion. */
  play(): void {
    if (this.playing || this.reducedMotion) return;
    const { film } = this;
    if (this.time >= film.stills().at(-1)! && film.captionAt(this.time) === film.captionAt(film.duration)) this.time = 0;
    this.stamp = null;
    this.request = requestAnimationFrame((stamp) => this.tick(stamp));
    this.context.onChange();
  }

  pause(): void {
    this.stop();
    this.context.onChange();
  }

  toggle(): void {
    if (this.playing) this.pause();
    else this.play();
  }

  /** Pauses at a time in seconds, limited to the film's duration. */
  seek(t: number): void {
    this.time = Math.min(Math.max(t, 0), this.film.duration);
    this.pause();
  }

  /** Pauses at the next still (1) or the previous one (-1). */
  step(by: 1 | -1): void {
    const stills = this.film.stills();
    const next = by > 0 ? stills.find((t) => t > this.time) : stills.findLast((t) => t < this.time);
    this.seek(next ?? (by > 0 || this.reducedMotion ? this.time : 0));
  }

  /** Pauses at the start; with reduced motion, at the first still. */
  toStart(): void {
    this.seek(this.reducedMotion ? this.film.stills()[0]! : 0);
  }

  /** Pauses at the end; with reduced motion, at the last still. */
  toEnd(): void {
    this.seek(this.reducedMotion ? this.film.stills().at(-1)! : this.film.duration);
  }

  /** Pauses without notifying. */
  stop(): void {
    if (this.request) cancelAnimationFrame(this.request);
    this.request = 0;
  }

  private tick(stamp: number): void {
    if (!this.context.connected()) return this.pause();
    const { duration } = this.film;
    const passed = this.stamp === null ? 0 : Math.min((stamp - this.stamp) / 1000, MAX_FRAME);
    this.stamp = stamp;
    this.time = Math.min(this.time + passed * this.context.speed(), duration);
    if (this.time >= duration) return this.pause();
    this.request = requestAnimationFrame((next) => this.tick(next));
    this.context.onChange();
  }
}
