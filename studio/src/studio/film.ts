// Films in the studio, shown by the player.

import { parseLetters } from "../film/read.ts";
import type { Letters } from "../film/types.ts";
import { play } from "../player/player.ts";
import type { AbsentFigure, FilmFile } from "../wire.ts";

/** The same figure laid out for wide and for narrow places, with as many segments. */
export interface Layouts {
  wide: FilmFile;
  narrow: FilmFile;
}

/** Whether a figure cannot be drawn from its record. */
export function isAbsent<T extends object>(figure: T | AbsentFigure): figure is AbsentFigure {
  return "why" in figure;
}

/** What a film says in words: its title, description, captions and notes. */
export function textOf(film: FilmFile): string {
  return [film.title, film.alt, ...film.captions.map((caption) => caption.text), ...film.notes].join("\n");
}

/**
 * Shows a film in an element. Returns a function that removes it.
 *
 * shared: an object with the glyphs of several films (`em`, `glyphs`), or null; not used where the film has its own. Errors: `FilmError`.
 */
export function playIn(place: HTMLElement, { wide, narrow }: Layouts, shared: unknown): () => void {
  const own = wide.glyphs !== undefined; // as those of a film that the page drew
  const common: Letters | null = shared === null || own ? null : parseLetters(shared);
  const player = play(place, wide, { narrow, ...(common ? { letters: common } : {}) });
  return () => player.dispose();
}
