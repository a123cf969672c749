// Films in an HTML page: <script type="application/json" class="pellucid-films"> holds them, and an element with
// data-pellucid-film="INDEX" shows one. The content of that element is the fallback without scripts.

import { parseLetters } from "../film/read.ts";
import { play } from "./player.ts";
import type { Player } from "./player.ts";

interface Films {
  readonly films: readonly { readonly wide: unknown; readonly narrow: unknown }[];
}

/** Starts a player in each such element that has none yet, and sets it as the element's property `pellucid`. */
export function showAll(root: Document | ShadowRoot = document): Player[] {
  const shown: Player[] = [];
  const script = root.querySelector("script.pellucid-films");
  const places = [...root.querySelectorAll("[data-pellucid-film]:not([data-pellucid-shown])")];
  if (!script || !places.length) return shown;
  const data = JSON.parse(script.textContent ?? "") as Films;
  const shared = parseLetters(data);
  for (const place of places) {
    const { wide, narrow } = data.films[Number(place.getAttribute("data-pellucid-film"))]!;
    const player = play(place, wide, { narrow, letters: shared, pageKeys: places.length === 1 });
    place.setAttribute("data-pellucid-shown", "");
    Object.assign(place, { pellucid: player });
    shown.push(player);
  }
  return shown;
}
