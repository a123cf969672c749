// The two layouts of a film: which one fits, and the same moment in the other.

import type { Film } from "../film/film.ts";

const NARROW_BELOW = 640; // pixels

/** The layout for a player of this width in pixels. narrowBelow: by default 640, or the wide film's width if that is less. */
export function fittingFilm(width: number, wide: Film, narrow: Film | null, narrowBelow?: number): Film {
  const below = narrowBelow ?? Math.min(NARROW_BELOW, wide.width);
  return narrow && width > 0 && width < below ? narrow : wide;
}

/** The time in another layout that shows what is shown at t: the same still, or the same fraction of the same segment. */
export function timeInLayout(from: Film, t: number, to: Film): number {
  const still = from.stills().indexOf(t);
  if (still >= 0) return to.stills()[still]!;
  const index = from.segments.indexOf(from.segmentAt(t));
  const [one, other] = [from.segments[index]!, to.segments[index]!];
  if (one.start === other.start && one.end === other.end) return t;
  return Math.min(other.start + ((t - one.start) / (one.end - one.start)) * (other.end - other.start), to.duration);
}
