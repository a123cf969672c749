// Films in the studio: the player's own module does the work.

import { letters } from "../film/read.ts";
import type { Letters } from "../film/types.ts";
import { play } from "../player/play.ts";

/** A film's file as it was parsed (docs/film.md); the player checks it. */
export type FilmFile = unknown;

/** The same film for wide and for narrow places, as long and with the same segments. */
export interface Layouts {
  wide: FilmFile;
  narrow: FilmFile;
}

/** Shows a film in an element; gives what ends it. shared: what holds the letters of several films, or null. Errors: no film. */
export function playIn(place: HTMLElement, { wide, narrow }: Layouts, shared: unknown): () => void {
  const common: Letters | null = shared === null ? null : letters(shared);
  const player = play(place, wide, { narrow, ...(common ? { letters: common } : {}) });
  return () => player.dispose();
}
