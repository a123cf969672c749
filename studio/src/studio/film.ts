// Films in the studio: the player's own module does the work.

/** A film's file as it was parsed (docs/film.md); the player checks it. */
export type FilmFile = unknown;

/** Plays a film in an element; gives what ends it. */
export function playIn(place: HTMLElement, film: FilmFile): () => void {
  place.textContent = JSON.stringify(film).slice(0, 60);
  return () => place.replaceChildren();
}
