// Films in the studio: the player's own module does the work.

import { letters } from "../film/read.ts";
import type { Letters } from "../film/types.ts";
import { play } from "../player/play.ts";
import type { FilmFile } from "../wire.ts";

/** The same figure laid out for wide and for narrow places, with as many segments. */
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
