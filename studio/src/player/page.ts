// Films that stand in a page: <script type="application/json" class="pellucid-films"> holds them, and each element with
// data-pellucid-film="NUMBER" is where one is shown. What stands in that element is for pages without scripts.

import { letters } from "../film/read.ts";
import { play } from "./play.ts";
import type { Player } from "./play.ts";

interface Films {
  readonly films: readonly { readonly wide: unknown; readonly narrow: unknown }[];
}

/** Shows every film of a page that is not shown yet. An element's player is its property `pellucid`. */
export function showAll(root: Document | ShadowRoot = document): Player[] {
  const shown: Player[] = [];
  const script = root.querySelector("script.pellucid-films");
  const places = [...root.querySelectorAll("[data-pellucid-film]:not([data-pellucid-shown])")];
  if (!script || !places.length) return shown;
  const told = JSON.parse(script.textContent ?? "") as Films;
  const shared = letters(told);
  for (const place of places) {
    const { wide, narrow } = told.films[Number(place.getAttribute("data-pellucid-film"))]!;
    const player = play(place, wide, { narrow, letters: shared, pageKeys: places.length === 1 });
    place.setAttribute("data-pellucid-shown", "");
    Object.assign(place, { pellucid: player });
    shown.push(player);
  }
  return shown;
}
