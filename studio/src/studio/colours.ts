// Colours that scripts compute with, from src/pellucid/draw/palette.py; App.svelte holds those of the style sheets.
// tests/test_studio_page.py compares both with the palette.

const PAPER = "#ffffff";
const INK = "#1d2430";
export const SERIES = ["#2b66ad", "#b35300", "#0b7378", "#b3246b"];

/** The sequential palette at 17 evenly spaced fractions from 0 to 1; colours between are interpolated. */
export const SEQUENTIAL = [
  "#fbfaff", "#f0ecfb", "#e5def7", "#dad0f2", "#cfc3ee", "#c2b2e7", "#b5a2e0", "#a791da", "#9a81d3",
  "#8e72c8", "#8162bc", "#7351b1", "#6641a5", "#573591", "#48297e", "#3a1d6b", "#2c1259",
];

function channels(colour: string): [number, number, number] {
  const value = parseInt(colour.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/** The colour of the sequential palette for a fraction from 0 to 1. */
export function shade(fraction: number): string {
  const position = Math.min(Math.max(fraction, 0), 1) * (SEQUENTIAL.length - 1);
  const left = Math.min(Math.floor(position), SEQUENTIAL.length - 2);
  const [a, b] = [channels(SEQUENTIAL[left]!), channels(SEQUENTIAL[left + 1]!)];
  const mixed = a.map((value, i) => Math.round(value + (b[i]! - value) * (position - left)));
  return `rgb(${mixed.join(" ")})`;
}

/** A text colour with a contrast of at least 4.5:1 on `shade(fraction)` (WCAG 2.2, 1.4.3; tested). */
export function inkOn(fraction: number): string {
  return fraction < 0.5 ? INK : fraction < 0.61 ? "#000000" : PAPER;
}
