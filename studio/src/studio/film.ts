// Films in the studio, shown by the player.

import { parseLetters } from "../film/read.ts";
import type { Letters } from "../film/types.ts";
import { play } from "../player/player.ts";
import type { FilmFile } from "../wire.ts";

/** The same figure laid out for wide and for narrow places, with as many segments. */
export interface Layouts {
  wide: FilmFile;
  narrow: FilmFile;
}

/**
 * Shows a film in an element. Returns a function that removes it.
 *
 * shared: an object with the glyphs of several films (`em`, `glyphs`), or null. Errors: `FilmError`.
 */
export function playIn(place: HTMLElement, { wide, narrow }: Layouts, shared: unknown): () => void {
  const common: Letters | null = shared === null ? null : parseLetters(shared);
  const player = play(place, wide, { narrow, ...(common ? { letters: common } : {}) });
  return () => player.dispose();
}
