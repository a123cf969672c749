// The figures that a page draws by itself, of records of generations; all others are drawn by Python.

import { tr } from "../language.ts";
import { RecordError } from "../record/bytes.ts";
import { checkGeneration } from "../record/check.ts";
import type { PellucidRecord } from "../record/record.ts";
import type { FilmFile } from "../wire.ts";
import { overview } from "./figures/overview.ts";
import { tokens } from "./figures/tokens.ts";
import type { Font } from "./font.ts";
import { type Generated, readGenerated } from "./generated.ts";
import { withLetters } from "./sheet.ts";

const [SCREEN, PHONE] = [960, 360]; // widths of the two layouts
const LAYOUTS: Readonly<Record<string, (view: Generated, font: Font, width: number) => FilmFile>> = { overview, tokens };

/** Their names. */
export const FIGURES: readonly string[] = Object.keys(LAYOUTS);

/** One film of a record. Errors: `RecordError` where the record lacks a chunk that it needs, or holds what cannot be. */
export async function film(record: PellucidRecord, name: string, font: Font, width: number): Promise<FilmFile> {
  checkGeneration(record);
  const view = await readGenerated(record);
  try {
    return withLetters(LAYOUTS[name]!(view, font, width), font);
  } catch {
    // Shapes and types are as the schema says, but the values contradict each other: no recorder made this file.
    throw new RecordError(tr("the figure {name} cannot be drawn: some of the record's values are not possible, or contradict each other", { name: tr(name) }));
  }
}

/** Its layouts for a wide screen and for a phone. Errors as `film`. */
export async function layouts(record: PellucidRecord, name: string, font: Font): Promise<{ wide: FilmFile; narrow: FilmFile }> {
  const [wide, narrow] = await Promise.all([SCREEN, PHONE].map((width) => film(record, name, font, width)));
  return { wide: wide!, narrow: narrow! };
}
