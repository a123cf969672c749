// The player's interface texts. `play(..., { words })` replaces them.

import type { Truth } from "../film/types.ts";
import type { Language } from "../language.ts";

export interface Words {
  readonly play: string;
  readonly pause: string;
  readonly back: string;
  readonly on: string;
  readonly time: string;
  readonly speed: string;
  readonly controls: string;
  readonly picture: string;
  readonly film: string;
  readonly calm: string;
  readonly transcript: string;
  readonly silent: string;
  readonly simplified: (count: number) => string;
  /** "3.2 of 10.0 s" */
  readonly at: (t: string, duration: string) => string;
  readonly still: (number: number, count: number, name: string) => string;
  readonly span: (start: number, end: number) => string;
  readonly step: (step: number) => string;
  readonly cell: (row: number, column: number, value: number) => string;
  readonly truth: Readonly<Record<Truth, string>>;
}

/** The texts in a language. */
export function wordsOf({ tr, plural }: Language): Words {
  return {
    play: tr("Play"),
    pause: tr("Pause"),
    back: tr("Step back"),
    on: tr("Step on"),
    time: tr("Time"),
    speed: tr("Speed"),
    controls: tr("Controls"),
    picture: tr("Picture. The up and down arrow keys read its marks one by one."),
    film: tr("film"),
    calm: tr("Your system asks for less motion: this is one still picture for each part."),
    transcript: tr("Transcript"),
    simplified: (count) => plural(count, "What is simplified", "What is simplified: {count} notes"),
    silent: tr("no words"),
    at: (t, duration) => tr("{t} of {duration} s", { t, duration }),
    still: (number, count, name) => tr("picture {number} of {count}: {name}", { number, count, name }),
    span: (start, end) => tr("{start} to {end} s", { start, end }),
    step: (step) => tr("step {step}", { step }),
    cell: (row, column, value) => tr("row {row}, column {column}: shade {value} of 0 to 255", { row, column, value }),
    truth: {
      derived: tr("derived: anyone can compute it again from the checkpoint"),
      replayed: tr("replayed: one step run again from its checkpoint"),
      estimated: tr("estimated: predicted from recorded inputs, never run"),
      measured: tr("measured: time or speed, never the same twice"),
      given: tr("given: an input or a published figure"),
    },
  };
}
