// Numbers and texts as they are written on pictures: src/pellucid/draw/views/labels.py.

import { fixed } from "../formatting.ts";
import { tr } from "../language.ts";
import { graphemes } from "../text/graphemes.ts";
import type { Alphabet } from "./letters.ts";

const SUPERSCRIPTS: Record<string, string> = { "-": "⁻", ...Object.fromEntries([..."⁰¹²³⁴⁵⁶⁷⁸⁹"].map((sign, digit) => [String(digit), sign])) };

/** The first characters of a text, in `most` columns and one line, with an ellipsis where it goes on. */
export function startOf(alphabet: Alphabet, text: string, most = 160): string {
  const line = inOneLine(text);
  const start = fitting(alphabet, graphemes(line), most).join("");
  return start === line ? line : `${start.trimEnd()} …`;
}

/** The last characters of a text, in `most` columns and one line: of a prompt, the part that is continued. */
export function endOf(alphabet: Alphabet, text: string, most = 160): string {
  const line = inOneLine(text);
  const end = fitting(alphabet, graphemes(line).reverse(), most).reverse().join("");
  return end === line ? line : `… ${end.trimStart()}`;
}

const inOneLine = (text: string): string => text.split(/[\s\x1c-\x1f\x85]+/).filter(Boolean).join(" ");

function fitting(alphabet: Alphabet, clusters: string[], most: number): string[] {
  const end = clusters.findIndex((cluster) => (most -= alphabet.isWide(cluster) ? 2 : 1) < 0);
  return end < 0 ? clusters : clusters.slice(0, end);
}

/** A share from 0 to 1 in percent: 42%, 3.1%, 0.02%, <0.01%. */
export function percent(share: number): string {
  if (share >= 0.9945 && share < 1) return share < 0.9995 ? `${fixed(share * 100, 1)}%` : ">99.9%";
  if (share >= 0.0995) return `${Math.floor(share * 100 + 0.5)}%`;
  if (share >= 0.00995) return `${fixed(share * 100, 1)}%`;
  return share >= 0.00005 ? `${fixed(share * 100, 2)}%` : share > 0 ? "<0.01%" : "0%";
}

/** An amount of memory, in powers of 1000: 512 bytes, 12.3 kB, 9.66 GB. */
export function inBytes(count: number): string {
  return count < 1000 ? tr("{count:.0f} bytes", { count }) : inUnits(count, ["kB", "MB", "GB", "TB"]);
}

/** A time: 12.3 ms, 1.85 s. */
export function inSeconds(seconds: number): string {
  return seconds < 0.9995 ? tr("{time} ms", { time: threeDigits(seconds * 1000) }) : tr("{time} s", { time: threeDigits(seconds) });
}

function inUnits(count: number, units: readonly string[]): string {
  for (const unit of units) {
    count /= 1000;
    if (count < 999.5 || unit === units.at(-1)) return `${threeDigits(count)} ${unit}`;
  }
  return "";
}

/** A number with three significant digits, and all digits before the point: 1234, 12.3, 0.456; below 0.0001 2.31 × 10⁻⁵. */
export function threeDigits(value: number): string {
  if (value === 0) return "0";
  if (Math.abs(value) < 1e-4) return scientific(value);
  const text = fixed(value, Math.max(2 - exponentOf(value), 0));
  const grown = text.includes(".") && text.replace(".", "").replace(/^[-0]+/, "").length > 3; // 9.996 became 10.00
  return grown ? text.slice(0, -1).replace(/\.$/, "") : text;
}

const exponentOf = (value: number): number => Number(value.toExponential().split("e")[1]); // floor(log10), exactly

function scientific(value: number): string {
  const [digits, exponent] = value.toExponential(2).split("e") as [string, string];
  return `${digits} × 10${String(Number(exponent)).replace(/[-\d]/g, (sign) => SUPERSCRIPTS[sign]!)}`;
}

/** A number with four significant digits, up to a million all before the point: −123,456, 12.34, 1.23 × 10⁻⁵. */
export function fourDigits(value: number): string {
  const [size, sign] = [Math.abs(value), value < 0 ? "−" : ""];
  if (size === 0) return "0";
  if (!(size >= 1e-3 && size < 9_999_999.5)) return sign + scientific(size);
  return sign + fixed(size, Math.max(3 - exponentOf(size), 0), true);
}
