// A copy of the server's model in the page: fetched after the first answer, run when the server no longer answers.

import type { AbsentModel, GenerateRequest, GenerationEvent, PageFiles } from "../wire.ts";
import { KeptRecords } from "./kept_records.ts";
import { PageWorker } from "./page_worker.ts";

/** Milliseconds after an answer: what the user does next comes first. */
const LATER = 1500;

export class SpareModel {
  private fetched: { id: string; files: PageFiles } | null = null; // of the newest answer alone: each has megabytes
  private asked: string | null = null;
  private running: { id: string; worker: PageWorker } | null = null;
  /** The records of its answers; null before the first one. */
  records: KeptRecords | null = null;

  /** fetchFiles: asks the server for a model. version: of the package. */
  constructor(private readonly fetchFiles: (id: string) => Promise<PageFiles | AbsentModel>, private readonly version: () => string) {}

  /** Fetches a model, some time later, in place of another one. One that a page cannot run is not there, as nothing was before. */
  prepare(id: string): void {
    if (this.asked === id) return;
    this.asked = id;
    const keep = (files: PageFiles | AbsentModel) => {
      if (this.asked === id && !("why" in files)) this.fetched = { id, files };
    };
    const retry = () => {
      if (this.asked === id) this.asked = null; // the next answer asks again
    };
    setTimeout(() => this.asked === id && this.fetchFiles(id).then(keep, retry), LATER);
  }

  has(id: string): boolean {
    return this.fetched?.id === id || this.running?.id === id;
  }

  generate(id: string, request: GenerateRequest, onEvent: (event: GenerationEvent) => void, signal: AbortSignal): Promise<void> {
    if (this.running?.id !== id) {
      this.running?.worker.close();
      const { model: page, drawing, worker: script, ...parts } = this.fetched!.files;
      const records = (this.records ??= new KeptRecords(drawing, "page-answer")); // the server names its own answer-...
      const worker = new PageWorker(script, page, parts, this.version(), (bytes, of) => records.addAnswer(bytes, of, page));
      this.running = { id, worker };
    }
    return this.running.worker.generate(request, onEvent, signal);
  }
}
