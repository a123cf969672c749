// The player's interface texts. `play(..., { words })` replaces them, for another language.

import type { Truth } from "../film/types.ts";

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

export const ENGLISH: Words = {
  play: "Play",
  pause: "Pause",
  back: "Step back",
  on: "Step on",
  time: "Time",
  speed: "Speed",
  controls: "Controls",
  picture: "Picture. The up and down arrow keys read its marks one by one.",
  film: "film",
  calm: "Your system asks for less motion: this is one still picture for each part.",
  transcript: "Transcript",
  simplified: (count) => (count === 1 ? "What is simplified" : `What is simplified: ${count} notes`),
  silent: "no words",
  at: (t, duration) => `${t} of ${duration} s`,
  still: (number, count, name) => `picture ${number} of ${count}: ${name}`,
  span: (start, end) => `${start} to ${end} s`,
  step: (step) => `step ${step}`,
  cell: (row, column, value) => `row ${row}, column ${column}: shade ${value} of 0 to 255`,
  truth: {
    derived: "derived: anyone can compute it again from the checkpoint",
    replayed: "replayed: one step run again from its checkpoint",
    measured: "measured: time or speed, never the same twice",
    given: "given: an input or a published figure",
  },
};
