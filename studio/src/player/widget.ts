// Films in a notebook: the anywidget contract (a default export with `render`). The model holds `film` and, where there is a
// second layout, `narrow`: JSON text or the parsed JSON.

import { play } from "./player.ts";

export interface Model {
  get(name: string): unknown;
  on(event: string, callback: () => void): void;
  off(event: string, callback: () => void): void;
}

/** Shows the model's film in an element, and follows its changes. Returns a function that removes it. */
export function render({ model, el }: { model: Model; el: Element }): () => void {
  const place = document.createElement("div");
  place.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab: the notebook ignores keys pressed here
  el.append(place);
  const start = (t?: number) => {
    const narrow = model.get("narrow");
    return play(place, model.get("film"), t === undefined ? { narrow } : { narrow, t });
  };
  let player = start();
  const changed = () => {
    const { t } = player;
    player.dispose();
    player = start(t);
  };
  for (const name of ["film", "narrow"]) model.on(`change:${name}`, changed);
  return () => {
    for (const name of ["film", "narrow"]) model.off(`change:${name}`, changed);
    player.dispose();
    place.remove();
  };
}
