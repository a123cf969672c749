// Entry point of player.js, which plays films in a page, in a notebook, and in exported HTML.

import { showAll } from "./player/page.ts";
import { render } from "./player/widget.ts";

export { Film, readFilm } from "./film/film.ts";
export { FilmError } from "./film/read.ts";
export { play, Player } from "./player/player.ts";
export { render, showAll };
export default { render };

if (typeof document !== "undefined") showAll(); // an HTML page with films needs no further script
