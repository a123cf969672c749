// The figures that a page draws by itself, of records of generations; all others are drawn by Python.

import { tr } from "../language.ts";
import { RecordError } from "../record/bytes.ts";
import { checkGeneration } from "../record/check.ts";
import type { PellucidRecord } from "../record/record.ts";
import type { FilmFile } from "../wire.ts";
import { context } from "./figures/context.ts";
import { embedding } from "./figures/embedding.ts";
import { overview } from "./figures/overview.ts";
import { stack } from "./figures/stack.ts";
import { tokens } from "./figures/tokens.ts";
import { xray } from "./figures/xray.ts";
import { type ContextView, readContext } from "./context_view.ts";
import { type EmbeddingView, readEmbedding } from "./embedding_view.ts";
import type { Font } from "./font.ts";
import { type Generated, readGenerated } from "./generated.ts";
import { withLetters } from "./sheet.ts";
import { readStack, type StackView } from "./stack_view.ts";
import { readXray, type XrayView } from "./xray_view.ts";

const [SCREEN, PHONE] = [960, 360]; // widths of the two layouts

interface Figure<View> {
  read: (record: PellucidRecord) => Promise<View>;
  layout: (view: View, font: Font, width: number) => FilmFile;
}

const ALL: Readonly<Record<string, Figure<ContextView> | Figure<EmbeddingView> | Figure<Generated> | Figure<StackView> | Figure<XrayView>>> = {
  overview: { read: readGenerated, layout: overview },
  tokens: { read: readGenerated, layout: tokens },
  context: { read: readContext, layout: context },
  embedding: { read: readEmbedding, layout: embedding },
  stack: { read: readStack, layout: stack },
  xray: { read: readXray, layout: xray },
};

/** Their names. */
export const FIGURES: readonly string[] = Object.keys(ALL);

/** One film of a record. Errors: `RecordError` where the record lacks a chunk that it needs, or holds what cannot be. */
export async function film(record: PellucidRecord, name: string, font: Font, width: number): Promise<FilmFile> {
  checkGeneration(record);
  const { read, layout } = ALL[name] as Figure<unknown>;
  const view = await read(record);
  try {
    return withLetters(layout(view, font, width), font);
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
