// A page that holds a model: it generates in a worker, and keeps the records of its answers in memory.

import type { Report } from "../interpret/verify/generation.ts";
import { currentCode } from "../language.ts";
import type { FromWorker, OpenMessage, PageRequest, Running, ToWorker } from "../page/messages.ts";
import { BufferBytes, RecordError } from "../record/bytes.ts";
import { PellucidRecord } from "../record/record.ts";
import type { GenerationEvent, PageModel, RecordInfo, Sources, StaticPage } from "../wire.ts";
import { type PageModelBackend, StaticBackend } from "./data.ts";

const MODEL = "page"; // id of the model in requests
const KEPT = 5; // answers whose records stay in memory
const MOST_CHARACTERS = 1 << 16; // of a prompt
const TITLE = 60; // characters of an answer's title

/** The elements of the document that hold what the worker needs, by id. */
const ELEMENTS = { weights: "pellucid-weights", relaxed: "pellucid-kernel-relaxed", exact: "pellucid-kernel-exact" } as const;
const WORKER = "pellucid-worker";

interface Job {
  onEvent: (event: GenerationEvent) => void;
  resolve: () => void;
  reject: (error: Error) => void;
  request: PageRequest;
  record: string | null;
}

interface Proof {
  onProgress: (done: number, all: number) => void;
  resolve: (report: Report) => void;
  reject: (error: Error) => void;
}

/** An answer that the page keeps. */
interface Kept {
  info: RecordInfo;
  bytes: Uint8Array<ArrayBuffer>;
  record: Promise<PellucidRecord>;
  address: string;
}

export class PageBackend extends StaticBackend {
  override readonly model: PageModelBackend;
  readonly running: Promise<Running>;
  private readonly worker: Worker;
  private readonly jobs = new Map<number, Job>();
  private readonly proofs = new Map<number, Proof>();
  private readonly answers = new Map<string, Kept>();
  private count = 0; // of jobs
  private number = 0; // of the newest kept record
  private measured: number | null = null;

  /** takeText: takes the text of the document's element out of it: megabytes that are needed once. */
  constructor(data: StaticPage, private readonly page: PageModel, takeText: (id: string) => string) {
    super(data);
    this.worker = new Worker(URL.createObjectURL(new Blob([takeText(WORKER)], { type: "text/javascript" })));
    let opened: (running: Running) => void;
    let failed: (error: Error) => void;
    this.running = new Promise((resolve, reject) => ([opened, failed] = [resolve, reject]));
    this.running.catch(() => undefined); // whoever shows it says so
    this.worker.onmessage = ({ data: message }: MessageEvent<FromWorker>) => {
      if (message.kind === "opened") opened(message.running);
      else if (message.kind === "failed" && message.job === null) failed(new RecordError(message.error));
      else this.handle(message);
    };
    this.worker.onerror = (event) => failed(new RecordError(event.message || "this browser does not start the page's worker"));
    const texts = Object.fromEntries(Object.entries(ELEMENTS).map(([name, id]) => [name, takeText(id)]));
    this.post({ kind: "open", page, version: data.pellucid, ...texts } as unknown as OpenMessage);
    this.model = { page, running: this.running, speed: () => this.measured, add: (file) => this.add(file), verify: (id, onProgress) => this.verify(id, onProgress) };
  }

  override get title(): string {
    return this.data.texts?.[currentCode()]?.[this.data.title] ?? this.data.title;
  }

  private post(message: ToWorker): void {
    this.worker.postMessage(message);
  }

  private handle(message: Exclude<FromWorker, { kind: "opened" }>): void {
    const proof = message.job === null ? undefined : this.proofs.get(message.job);
    if (proof) {
      if (message.kind === "progress") return proof.onProgress(message.done, message.all);
      this.proofs.delete(message.job!);
      return message.kind === "report" ? proof.resolve(message.report) : proof.reject(new RecordError("error" in message ? message.error : ""));
    }
    const job = message.job === null ? undefined : this.jobs.get(message.job);
    if (!job) return; // it was stopped
    switch (message.kind) {
      case "record":
        job.record = this.keepAnswer(message.bytes, job.request);
        break;
      case "event": {
        const { event } = message;
        if (event.event === "done" && job.record) job.onEvent({ event: "done", data: { ...event.data, record: job.record } });
        else job.onEvent(event);
        break;
      }
      case "progress":
      case "report":
        break;
      case "ended":
        this.jobs.delete(message.job);
        job.resolve();
        break;
      default:
        this.jobs.delete(message.job!);
        job.reject(new RecordError(message.error));
    }
  }

  /** Keeps a record, and forgets the oldest. */
  private keep(bytes: Uint8Array<ArrayBuffer>, record: Promise<PellucidRecord>, info: RecordInfo): string {
    const { id } = info;
    const address = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
    this.answers.set(id, { info: { ...info, bytes: bytes.length, figures: [] }, bytes, record, address });
    for (const [old, { address: place }] of [...this.answers].slice(0, -KEPT)) {
      URL.revokeObjectURL(place);
      this.answers.delete(old);
    }
    return id;
  }

  private keepAnswer(bytes: Uint8Array<ArrayBuffer>, request: PageRequest): string {
    const id = `answer-${++this.number}`;
    const { config, title, fingerprint } = this.page;
    const shape = { name: title, n_layers: Number(config.n_layers), d_model: Number(config.d_model), n_heads: Number(config.n_heads) };
    const text = (request.prompt ?? "").replace(/\s+/g, " ").trim().slice(0, TITLE);
    const record = PellucidRecord.open(new BufferBytes(bytes.buffer));
    return this.keep(bytes, record, { id, title: `${id}.pellucid`, kind: "generation", model: fingerprint, shape, text });
  }

  private async add(file: File): Promise<string> {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const record = await PellucidRecord.open(new BufferBytes(bytes.buffer));
    const { kind, provenance } = record;
    const id = `file-${++this.number}`;
    return this.keep(bytes, Promise.resolve(record), { id, title: file.name, kind, model: provenance.model });
  }

  private async verify(id: string, onProgress: Proof["onProgress"]): Promise<Report> {
    const bytes = this.answers.get(id)?.bytes ?? this.fileBytes(id);
    await this.running;
    const job = ++this.count;
    return new Promise((resolve, reject) => {
      this.proofs.set(job, { onProgress, resolve, reject });
      this.post({ kind: "verify", job, bytes });
    });
  }

  override async sources(): Promise<Sources> {
    const found = await super.sources();
    const { page } = this;
    const texts = this.data.texts?.[currentCode()] ?? {};
    const translated = (text: string) => texts[text] ?? text;
    const context = Number(page.config.n_ctx);
    const model = {
      id: MODEL, title: page.title, parameters: page.parameters, n_ctx: context, vocab_size: Number(page.config.vocab_size), prompt: page.prompt,
    };
    const options = page.options.map((option) => ({ ...option, help: translated(option.help) }));
    const known = found.known_figures.map((figure) => ({ ...figure, about: translated(figure.about) }));
    const meanings = texts; // of chunks, among others
    const records = [...found.records, ...[...this.answers.values()].map(({ info }) => info).reverse()];
    return { ...found, known_figures: known, meanings, records, models: [model], limits: { prompt: MOST_CHARACTERS, max_tokens: context }, options };
  }

  override record(id: string): Promise<PellucidRecord> {
    return this.answers.get(id)?.record ?? super.record(id);
  }

  override file(id: string): string | null {
    return this.answers.get(id)?.address ?? null;
  }

  override generate(request: PageRequest, onEvent: (event: GenerationEvent) => void, signal: AbortSignal): Promise<void> {
    const job = ++this.count;
    const times: number[] = [];
    return new Promise((resolve, reject) => {
      const timed = (event: GenerationEvent) => {
        if (event.event === "token") times.push(performance.now());
        onEvent(event);
      };
      const ended = () => {
        if (times.length > 8) this.measured = (1000 * (times.length - 1)) / (times.at(-1)! - times[0]!);
        resolve();
      };
      this.jobs.set(job, { onEvent: timed, resolve: ended, reject, request, record: null });
      signal.addEventListener("abort", () => {
        if (!this.jobs.delete(job)) return;
        this.post({ kind: "stop", job });
        reject(new DOMException("stopped", "AbortError"));
      });
      this.running.then(() => this.post({ kind: "generate", job, request }), reject);
    });
  }
}
