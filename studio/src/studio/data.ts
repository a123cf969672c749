// Where the studio's pages get their data: from the server, or from the document of a static page.

import { bytesOf } from "../record/base64.ts";
import { BufferBytes, type ByteSource, RecordError, RefusedError, UrlBytes, errorMessage } from "../record/bytes.ts";
import { currentCode, tr } from "../language.ts";
import { PellucidRecord } from "../record/record.ts";
import {
  type AbsentFigure,
  type AbsentModel,
  type ErrorMessage,
  type FilmFile,
  type GenerateRequest,
  type GenerationEvent,
  MetricsHeader,
  type PageFiles,
  type PageModel,
  type RunPlan,
  type Sources,
  type StaticFile,
  type StaticPage,
  type StaticRun,
} from "../wire.ts";
import { isAbsent, type Layouts } from "./film.ts";
import type { Report } from "../interpret/verify/generation.ts";
import type { Running } from "../page/messages.ts";
import type { Primed, PrimingRequest } from "../page/priming.ts";
import { SpareModel } from "./spare_model.ts";
import { checkPlan, type ParsedLines, parseLines } from "./run.ts";

/** The metrics of a run since the last request. */
export interface Metrics extends ParsedLines {
  /** Where the next request continues, in bytes. */
  next: number;
  /** Whether the file has more already. */
  more: boolean;
  /** Whether the file was begun anew: the lines are from its start. */
  again: boolean;
}

/** Where pages get their data from. */
export interface Backend {
  /** Whether there is a server, which can list again and be polled. */
  readonly live: boolean;
  /** What a page does that holds a model; null where a server generates, or nothing does. */
  readonly model: PageModelBackend | null;
  readonly title: string;
  /** Command that starts a server, shown where there is none. */
  readonly command: string;
  /** The object with the glyphs of a static page's figures (`em`, `glyphs`), or null. */
  readonly letters: unknown;
  sources(): Promise<Sources>;
  record(id: string): Promise<PellucidRecord>;
  /** Address of the record's file; null in a static page. */
  file(id: string): string | null;
  plan(run: string): Promise<RunPlan>;
  metrics(run: string, from: number): Promise<Metrics>;
  /** The figures that can be shown, those of the first record first. */
  figures(sources: Sources): FigureSource[];
  /** A figure as a file of one of the formats in `Sources`. */
  figureFile(record: string, name: string, format: string, width: number, signal: AbortSignal): Promise<Blob>;
  generate(request: GenerateRequest, onEvent: (event: GenerationEvent) => void, signal: AbortSignal): Promise<void>;
  /** Whether the last answer came from a copy of the server's model, since the server no longer answers. */
  readonly detached: boolean;
}

/** What only a page does that holds a model. */
export interface PageModelBackend {
  /** The model, as the page names it. */
  readonly page: PageModel;
  /** How it runs in this browser. Errors: `RecordError` where it does not. */
  readonly running: Promise<Running>;
  /** Recomputes the numbers of one of the page's records. Errors: `RecordError` where it was not made from this model. */
  verify(id: string, onProgress: (done: number, all: number) => void): Promise<Report>;
  /** Asks one question after different numbers of examples. Errors: `RecordError` for what cannot be asked. */
  prime(request: PrimingRequest): Promise<Primed[]>;
  /** Adds a record that the user opened, and returns its id. Errors: `RecordError` for a file that is none. */
  add(file: File): Promise<string>;
  /** Tokens per second of an answer's steps, the first aside, measured here; null before the first answer. */
  speed(): number | null;
}

/** A figure that can be shown. */
export interface FigureSource {
  name: string;
  title: string;
  /** Id of its record, or "built-in" for the film that is drawn from points; null where its record is not in the page. */
  record: string | null;
  /** Name of what it is drawn from. */
  from: string;
  /** Files of it beside a static page, and the command that draws others; null where the server draws them. */
  files: { beside: StaticFile[]; command: string } | null;
  /** Its layouts, or why it cannot be drawn. */
  load(): Promise<Layouts | AbsentFigure>;
}

export const ONE_PARAMETER = "one-parameter";
const GONE = "the server does not answer: is `pellucid studio` still running?";
const BUILT_IN = "built-in"; // in place of a record: the film of one number is drawn from points

const READ = 8; // records whose chunks stay in memory once they were read

/** The server that the page came from. */
export class ServerBackend implements Backend {
  readonly live = true;
  readonly model = null;
  readonly command = "pellucid studio";
  readonly letters = null;
  detached = false;
  private readonly records = new Map<string, Promise<PellucidRecord>>();
  private listed: Sources | null = null;
  private readonly spare = new SpareModel(
    async (id) => (await this.get(`/api/models/${encodeURIComponent(id)}/page`)).json() as Promise<PageFiles | AbsentModel>,
    () => this.listed!.pellucid,
  );

  get title(): string {
    return tr("Pellucid studio");
  }

  private async get(path: string, signal: AbortSignal | null = null): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(path, { cache: "no-store", signal });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new RecordError(GONE);
    }
    if (!response.ok) throw new RecordError(await errorMessage(response));
    return response;
  }

  async sources(): Promise<Sources> {
    try {
      this.listed = (await (await this.get(`/api/sources?lang=${currentCode()}`)).json()) as Sources;
      this.detached = false;
    } catch (error) {
      if (!this.detached || !this.listed) throw error;
    }
    return { ...this.listed, records: [...(this.spare.records?.infos() ?? []), ...this.listed.records] };
  }

  record(id: string): Promise<PellucidRecord> {
    let found = this.spare.records?.record(id) ?? this.records.get(id);
    if (!found) {
      found = PellucidRecord.open(new UrlBytes(this.file(id)));
      this.records.set(id, found);
      found.catch(() => this.records.delete(id));
      for (const old of [...this.records.keys()].slice(0, -READ)) this.records.delete(old);
    }
    return found;
  }

  file(id: string): string {
    return this.spare.records?.address(id) ?? `/records/${encodeURIComponent(id)}`;
  }

  async plan(run: string): Promise<RunPlan> {
    return checkPlan(await (await this.get(`/api/runs/${encodeURIComponent(run)}`)).json());
  }

  async metrics(run: string, from: number): Promise<Metrics> {
    const response = await this.get(`/api/runs/${encodeURIComponent(run)}/metrics?from=${from}`);
    const [next, size] = [MetricsHeader.NEXT, MetricsHeader.SIZE].map((name) => Number(response.headers.get(name)));
    const text = await response.text();
    const again = response.headers.get(MetricsHeader.AGAIN) === "1";
    return { ...parseLines(text), next: next!, more: text.length > 0 && next! < size!, again };
  }

  figures(sources: Sources): FigureSource[] {
    const source = (record: string, from: string, name: string) => {
      return { name, title: tr("{name}, from {record}", { name: tr(name), record: from }), record, from, files: null, load: () => this.layouts(record, name) };
    };
    const ofRecords = sources.records.flatMap(({ id, title, figures = [] }) => figures.map((name) => source(id, title, name)));
    const own = this.spare.records?.figures(this.spare.records.infos(), (id) => this.record(id)) ?? [];
    return [source(BUILT_IN, tr("the built-in points"), ONE_PARAMETER), ...ofRecords, ...own];
  }

  /** The layouts for a wide and for a narrow place. */
  private async layouts(record: string, name: string): Promise<Layouts | AbsentFigure> {
    const wide = await this.film(record, name, 960);
    if (isAbsent(wide)) return wide;
    const narrow = await this.film(record, name, 400);
    return isAbsent(narrow) ? narrow : { wide, narrow };
  }

  private async film(record: string, name: string, width: number): Promise<FilmFile | AbsentFigure> {
    const response = await this.get(`${figureAddress(record, name)}?width=${width}&lang=${currentCode()}`);
    return (await response.json()) as FilmFile | AbsentFigure;
  }

  async figureFile(record: string, name: string, format: string, width: number, signal: AbortSignal): Promise<Blob> {
    const own = this.spare.records;
    if (own?.record(record)) return own.figureFile(await this.record(record), name, format, width);
    return (await this.get(`${figureAddress(record, name)}/file?format=${format}&width=${width}&lang=${currentCode()}`, signal)).blob();
  }

  async generate(request: GenerateRequest, onEvent: (event: GenerationEvent) => void, signal: AbortSignal): Promise<void> {
    let response: Response;
    try {
      response = await fetch("/api/generate", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(request),
        signal,
      });
    } catch (error) {
      if (signal.aborted) throw error;
      const id = request.model ?? "";
      if (!this.spare.has(id)) throw new RecordError(GONE);
      this.detached = true;
      return this.spare.generate(id, request, onEvent, signal);
    }
    this.detached = false;
    if (response.status === 400) {
      const { error, fitting } = (await response.json()) as ErrorMessage;
      throw new RefusedError(error, fitting);
    }
    if (!response.ok || !response.body) throw new RecordError(await errorMessage(response));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        if (request.model && this.listed?.copies) this.spare.prepare(request.model);
        return;
      }
      text += value;
      const events = text.split("\n\n");
      text = events.pop()!;
      for (const one of events) {
        const [first, second] = one.split("\n");
        onEvent({ event: first!.slice("event: ".length), data: JSON.parse(second!.slice("data: ".length)) } as GenerationEvent);
      }
    }
  }
}

function figureAddress(record: string, name: string): string {
  return `/api/figures/${encodeURIComponent(record)}/${encodeURIComponent(name)}`;
}

/** A page without a server. */
export class StaticBackend implements Backend {
  readonly live = false;
  readonly model: PageModelBackend | null = null;
  readonly detached = false;
  private readonly records = new Map<string, Promise<PellucidRecord>>();

  constructor(protected readonly data: StaticPage) {}

  get title(): string {
    return this.data.title;
  }

  get command(): string {
    return this.data.command;
  }

  get letters(): StaticPage {
    return this.data;
  }

  sources(): Promise<Sources> {
    const { pellucid, records, runs, known_figures, meanings } = this.data;
    const limits = { prompt: 0, max_tokens: 0 };
    return Promise.resolve({ pellucid, records, runs, known_figures, meanings, models: [], formats: [], limits, options: [], copies: false, tuning: false });
  }

  record(id: string): Promise<PellucidRecord> {
    let found = this.records.get(id);
    if (!found) {
      found = this.bytes(id).then((bytes) => PellucidRecord.open(bytes));
      this.records.set(id, found);
    }
    return found;
  }

  private bytes(id: string): Promise<ByteSource> {
    return Promise.resolve().then(() => new BufferBytes(this.fileBytes(id)));
  }

  /** The file of a record that came with the page. Errors: `RecordError` where there is none. */
  protected fileBytes(id: string): Uint8Array<ArrayBuffer> {
    const found = this.data.records.find((record) => record.id === id);
    if (!found) throw new RecordError(`there is no ${id} in this page`);
    return bytesOf(found.base64);
  }

  file(_id: string): string | null {
    return null;
  }

  async plan(run: string): Promise<RunPlan> {
    return checkPlan(this.run(run).plan);
  }

  metrics(run: string, from: number): Promise<Metrics> {
    const text = this.run(run).metrics;
    return Promise.resolve({ ...parseLines(from ? "" : text), next: text.length, more: false, again: false });
  }

  private run(id: string): StaticRun {
    const found = this.data.runs.find((run) => run.id === id);
    if (!found) throw new RecordError(`there is no ${id} in this page`);
    return found;
  }

  figures(_sources: Sources): FigureSource[] {
    const titleOf = (id: string) => this.data.records.find((one) => one.id === id)?.title;
    const shown = this.data.figures.filter(({ language }) => !language || language === currentCode());
    return shown.map(({ name = "", title, record = null, files, command = "", wide, narrow }) => {
      const from = (record !== null && titleOf(record)) || title;
      return { name, title, record, from, files: { beside: files, command }, load: () => Promise.resolve({ wide, narrow }) };
    });
  }

  figureFile(_record: string, _name: string, _format: string, _width: number, _signal: AbortSignal): Promise<Blob> {
    return Promise.reject(new RecordError(`this page cannot draw files: ${this.command} can`));
  }

  generate(_request: GenerateRequest, _onEvent: (event: GenerationEvent) => void, _signal: AbortSignal): Promise<void> {
    return Promise.reject(new RecordError(`this page cannot generate: ${this.command} can`));
  }
}
