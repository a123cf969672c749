// The same in a notebook: the anywidget contract (a default export with `render`). The model holds `film` and, where there
// is a second layout, `narrow`: each a film's JSON or what it parses to.

import { play } from "./play.ts";

export interface Model {
  get(name: string): unknown;
  on(event: string, heard: () => void): void;
  off(event: string, heard: () => void): void;
}

/** Shows the model's film in an element, and another when it changes. Returns what ends that. */
export function render({ model, el }: { model: Model; el: Element }): () => void {
  const place = document.createElement("div");
  place.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab: keys in here are not the notebook's
  el.append(place);
  const begin = (t?: number) => play(place, model.get("film"), { narrow: model.get("narrow"), ...(t === undefined ? {} : { t }) });
  let player = begin();
  const changed = () => {
    const { t } = player;
    player.dispose();
    player = begin(t);
  };
  for (const name of ["film", "narrow"]) model.on(`change:${name}`, changed);
  return () => {
    for (const name of ["film", "narrow"]) model.off(`change:${name}`, changed);
    player.dispose();
    place.remove();
  };
}
