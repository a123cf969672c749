// A page that holds a model: it generates in a worker, and keeps the records of its answers in memory.

import { currentCode } from "../language.ts";
import type { PageRequest } from "../page/messages.ts";
import type { PellucidRecord } from "../record/record.ts";
import type { GenerationEvent, PageModel, Sources, StaticPage } from "../wire.ts";
import { type FigureSource, type PageModelBackend, StaticBackend } from "./data.ts";
import { KeptRecords, OWN_FORMATS } from "./kept_records.ts";
import { type KeepRecord, PageWorker } from "./page_worker.ts";

const MODEL = "page"; // id of the model in requests
const MOST_CHARACTERS = 1 << 16; // of a prompt
const [WEIGHTS, RELAXED, EXACT, WORKER] = ["pellucid-weights", "pellucid-kernel-relaxed", "pellucid-kernel-exact", "pellucid-worker"] as const;

export class PageBackend extends StaticBackend {
  override readonly model: PageModelBackend;
  private readonly worker: PageWorker;
  private readonly kept: KeptRecords;

  /** takeText: takes the text of the document's element out of it: megabytes that are needed once. */
  constructor(data: StaticPage, private readonly page: PageModel, takeText: (id: string) => string) {
    super(data);
    this.kept = new KeptRecords(data.drawing!);
    const parts = { weights: takeText(WEIGHTS), relaxed: takeText(RELAXED), exact: takeText(EXACT) };
    const keep: KeepRecord = (bytes, request) => this.kept.addAnswer(bytes, request, page);
    const worker = new PageWorker(takeText(WORKER), page, parts, data.pellucid, keep);
    this.worker = worker;
    this.model = {
      page,
      running: worker.running,
      speed: () => worker.measured,
      add: (file) => this.kept.addFile(file),
      verify: (id, onProgress) => worker.verify(this.kept.bytes(id) ?? this.fileBytes(id), onProgress),
      prime: (request) => worker.prime(request),
    };
  }

  override get title(): string {
    return this.data.texts?.[currentCode()]?.[this.data.title] ?? this.data.title;
  }

  override async sources(): Promise<Sources> {
    const found = await super.sources();
    const { page } = this;
    const texts = this.data.texts?.[currentCode()] ?? {};
    const translated = (text: string) => texts[text] ?? text;
    const context = Number(page.config.n_ctx);
    const model = {
      id: MODEL, title: page.title, parameters: page.parameters, n_ctx: context, vocab_size: Number(page.config.vocab_size), prompt: page.prompt,
    }; // prettier-ignore
    const options = page.options.map((option) => ({ ...option, help: translated(option.help) }));
    const known = found.known_figures.map((figure) => ({ ...figure, about: translated(figure.about) }));
    const meanings = { ...found.meanings, ...texts }; // of chunks, among others
    const records = [...found.records, ...this.kept.infos()];
    const limits = { prompt: MOST_CHARACTERS, max_tokens: context };
    return { ...found, known_figures: known, meanings, records, models: [model], formats: OWN_FORMATS, limits, options };
  }

  override record(id: string): Promise<PellucidRecord> {
    return this.kept.record(id) ?? super.record(id);
  }

  override file(id: string): string | null {
    return this.kept.address(id) ?? null;
  }

  /** Those that the page was written with, and those that it draws of its answers and of opened records. */
  override figures(sources: Sources): FigureSource[] {
    const found = super.figures(sources);
    const there = new Set(found.map(({ record, name }) => `${record} ${name}`));
    const drawn = this.kept.figures(sources.records, (id) => this.record(id));
    return [...found, ...drawn.filter(({ record, name }) => !there.has(`${record} ${name}`))];
  }

  override async figureFile(id: string, name: string, format: string, width: number): Promise<Blob> {
    return this.kept.figureFile(await this.record(id), name, format, width);
  }

  override generate(request: PageRequest, onEvent: (event: GenerationEvent) => void, signal: AbortSignal): Promise<void> {
    return this.worker.generate(request, onEvent, signal);
  }
}
