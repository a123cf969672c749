// What an ablation leaves out of a model, in words.

import type { Ablation } from "../engine/ablation.ts";
import { listed, tr } from "../language.ts";

/** In the page's language; blocks are counted from 1, heads from 0, as everywhere on the page. */
export function ablationText({ parts, by }: Ablation): string {
  const named = parts.map(([block, inside]) => {
    const number = block + 1;
    if (inside === null) return tr("block {number}", { number });
    return inside === "mlp" ? tr("the MLP of block {number}", { number }) : tr("head {head} of block {number}", { head: inside, number });
  });
  const values = { parts: listed(named) };
  return by === "zero" ? tr("without {parts}", values) : tr("with the mean in place of {parts}", values);
}
