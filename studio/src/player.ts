// The player's one file: it plays films in a page, in a notebook, and in exported HTML.

import { showAll } from "./player/page.ts";
import { render } from "./player/widget.ts";

export { Film, readFilm } from "./film/film.ts";
export { FilmError } from "./film/read.ts";
export { play, Player } from "./player/play.ts";
export { render, showAll };
export default { render };

if (typeof document !== "undefined") showAll(); // a page that holds films needs no script of its own
