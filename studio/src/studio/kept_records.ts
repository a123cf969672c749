// Records that the page itself holds in memory: those of its answers and opened files; and the figures that it draws of them.

import { asHtml, asPng } from "../draw/files.ts";
import { FIGURES, film, layouts } from "../draw/figure.ts";
import { Font } from "../draw/font.ts";
import { tr } from "../language.ts";
import type { PageRequest } from "../page/messages.ts";
import { BufferBytes } from "../record/bytes.ts";
import { PellucidRecord } from "../record/record.ts";
import type { FormatInfo, PageDrawing, PageModel, RecordInfo } from "../wire.ts";
import type { FigureSource } from "./data.ts";

const KEPT = 5; // records that stay in memory
const TITLE = 60; // characters of an answer's title

/** The formats in which the page saves figures that it draws. */
export const OWN_FORMATS: FormatInfo[] = [{ format: "html" }, { format: "png" }];

interface Kept {
  info: RecordInfo;
  bytes: Uint8Array<ArrayBuffer>;
  record: Promise<PellucidRecord>;
  address: string;
}

export class KeptRecords {
  private readonly kept = new Map<string, Kept>();
  private font: Font | null = null;
  private number = 0; // of the newest

  /** prefix: of the answers' ids. */
  constructor(private readonly drawing: PageDrawing, private readonly prefix = "answer") {}

  /** Keeps the record of an answer of a model under a new id. */
  addAnswer(bytes: Uint8Array<ArrayBuffer>, request: PageRequest, { config, title, fingerprint }: PageModel): string {
    const id = `${this.prefix}-${++this.number}`;
    const shape = { name: title, n_layers: Number(config.n_layers), d_model: Number(config.d_model), n_heads: Number(config.n_heads) };
    const text = (request.prompt ?? "").replace(/\s+/g, " ").trim().slice(0, TITLE);
    const record = PellucidRecord.open(new BufferBytes(bytes));
    return this.add(bytes, record, { id, title: `${id}.pellucid`, kind: "generation", model: fingerprint, shape, text });
  }

  /** Keeps a record that the user opened. Errors: `RecordError` for a file that is none. */
  async addFile(file: File): Promise<string> {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const record = await PellucidRecord.open(new BufferBytes(bytes));
    const { kind, provenance } = record;
    const id = `file-${++this.number}`;
    return this.add(bytes, Promise.resolve(record), { id, title: file.name, kind, model: provenance.model });
  }

  /** Keeps a record, and forgets the oldest. */
  private add(bytes: Uint8Array<ArrayBuffer>, record: Promise<PellucidRecord>, info: RecordInfo): string {
    const { id } = info;
    const address = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
    this.kept.set(id, { info: { ...info, bytes: bytes.length, figures: [] }, bytes, record, address });
    for (const [old, { address: place }] of [...this.kept].slice(0, -KEPT)) {
      URL.revokeObjectURL(place);
      this.kept.delete(old);
    }
    return id;
  }

  /** What is kept, the newest first. */
  infos(): RecordInfo[] {
    return [...this.kept.values()].map(({ info }) => info).reverse();
  }

  bytes(id: string): Uint8Array<ArrayBuffer> | undefined {
    return this.kept.get(id)?.bytes;
  }

  record(id: string): Promise<PellucidRecord> | undefined {
    return this.kept.get(id)?.record;
  }

  /** Address of a record's file. */
  address(id: string): string | undefined {
    return this.kept.get(id)?.address;
  }

  /** The figures that the page draws of some records. read: gives a record by its id. */
  figures(records: readonly RecordInfo[], read: (id: string) => Promise<PellucidRecord>): FigureSource[] {
    return records.filter(({ kind }) => kind === "generation").flatMap(({ id, title }) =>
      FIGURES.map((name): FigureSource => {
        const heading = tr("{name}, from {record}", { name: tr(name), record: title });
        return { name, title: heading, record: id, from: title, files: null, load: async () => layouts(await read(id), name, this.fonts) };
      }),
    ); // prettier-ignore
  }

  /** A figure as a file of one of `OWN_FORMATS`. */
  async figureFile(record: PellucidRecord, name: string, format: string, width: number): Promise<Blob> {
    if (format === "png") return asPng(await film(record, name, this.fonts, width), width);
    return asHtml(await layouts(record, name, this.fonts), this.drawing.film_page);
  }

  private get fonts(): Font {
    return (this.font ??= new Font(this.drawing));
  }
}
