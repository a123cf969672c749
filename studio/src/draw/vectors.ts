// A vector as a small picture of coloured cells, in a few rows of equal length (src/pellucid/draw/components/vectors.py).

import type { Shows } from "../film/types.ts";
import type { Box, Matrices } from "./marks.ts";
import { image, type Node, rect, type Value } from "./nodes.ts";
import * as palette from "./palette.ts";

const [MOST_COLUMNS, MOST_ROWS] = [128, 8] as const;

/** How a vector of so many numbers is laid out: [rows, columns, numbers averaged in a cell], the fewest averaged that fit. */
export function cellsOf(count: number): readonly [rows: number, columns: number, averaged: number] {
  for (let averaged = 1; ; averaged++) {
    if (count % averaged) continue;
    const cells = count / averaged;
    for (let columns = Math.min(MOST_COLUMNS, cells); columns > 0; columns--)
      if (cells % columns === 0 && cells / columns <= MOST_ROWS) return [cells / columns, columns, averaged];
  }
}

/** A vector's numbers as colours, the first at the upper left, row by row. most: the end of the diverging palette's range. */
export function vector(matrices: Matrices, values: readonly number[], box: Box, most: number, about: { label: string; shows: Shows; opacity: Value<number> }): Node[] {
  const [rows, columns, averaged] = cellsOf(values.length);
  const cell = (at: number) => values.slice(at * averaged, (at + 1) * averaged).reduce((sum, x) => sum + x, 0) / averaged;
  const code = (value: number) => 128 + Math.floor((value / most) * 127 + 0.5);
  const codes = Array.from({ length: rows }, (_, row) => Array.from({ length: columns }, (_, column) => code(cell(row * columns + column))));
  return [
    image(matrices.of(codes), "diverging", box.x, box.y, box.w, box.h, about),
    rect(box.x, box.y, box.w, box.h, { stroke: palette.LINE, opacity: about.opacity }),
  ];
}
