// The player's one file: it plays films in a page, in a notebook, and in exported HTML.

export { Film, readFilm } from "./film/film.ts";
