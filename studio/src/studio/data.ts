// What the studio shows, whether a server answers or the page carries everything itself.

import { BufferBytes, type Bytes, RecordError, UrlBytes, whyNot } from "../record/bytes.ts";
import { PellucidRecord } from "../record/record.ts";
import type { FilmFile, Layouts } from "./film.ts";

export interface RunInfo {
  id: string;
  title: string;
  kind?: string;
  total_steps?: number;
  records: string[];
  model: string | null;
  problem?: string;
}
export interface RecordInfo {
  id: string;
  title: string;
  kind?: string;
  url?: string;
  bytes?: number;
  text?: string;
  tracks?: number;
  figures?: string[];
  shape?: Record<string, unknown>;
  problem?: string;
}
export interface ModelInfo {
  id: string;
  title: string;
  parameters?: number;
  n_ctx?: number;
  problem?: string;
}
export interface Sources {
  pellucid: string;
  runs: RunInfo[];
  records: RecordInfo[];
  models: ModelInfo[];
  limits: { prompt: number; max_tokens: number };
}
export interface Plan {
  kind: string;
  seed: number;
  batch: number;
  total_steps: number;
  dtype: string;
  threads: number;
  config: Record<string, unknown>;
  recipe: Record<string, unknown>;
  source?: Record<string, unknown>;
  sample_prompt?: string;
}
export interface MetricsLine {
  step: number;
  tokens?: number;
  loss?: number;
  held_out_loss?: number;
  bits_per_byte?: number;
  tokens_per_s?: number;
  sample?: string;
  prompt?: string;
}
/** Lines since the last question; `again` says that the file was begun anew. */
export interface Metrics {
  lines: MetricsLine[];
  next: number;
  more: boolean;
  again: boolean;
}
export interface Candidate {
  id: number;
  piece: string;
  logprob: number;
  share: number;
}
export interface LiveToken {
  id: number;
  piece: string;
  text: string;
  logprob: number;
  position: number;
  kept: number;
  finish_reason: string | null;
  top: Candidate[];
}
export type AnswerEvent =
  | { event: "begin"; data: { prompt: { id: number; piece: string }[]; seed: string } }
  | { event: "token"; data: LiveToken }
  | { event: "done"; data: { record: string; url: string; text: string; finish_reason: string; seed: string } }
  | { event: "error"; data: { error: string } };

export interface Host {
  /** Whether a server is there: it lists anew, polls and generates. */
  readonly live: boolean;
  readonly title: string;
  /** What starts a server, to be said where there is none. */
  readonly command: string;
  /** Figures that the page itself carries. */
  readonly films: ({ title: string } & Layouts)[];
  /** What holds the letters of those. */
  readonly letters: unknown;
  sources(): Promise<Sources>;
  record(id: string): Promise<PellucidRecord>;
  /** Where the record's file can be saved from; null where it cannot. */
  file(id: string): string | null;
  plan(run: string): Promise<Plan>;
  metrics(run: string, from: number): Promise<Metrics>;
  figure(record: string, name: string, width: number): Promise<FilmFile>;
  generate(options: Record<string, unknown>, told: (event: AnswerEvent) => void, signal: AbortSignal): Promise<void>;
}

function parseLines(text: string): MetricsLine[] {
  return text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as MetricsLine);
}

/** A server on the page's own address. */
export class ServerHost implements Host {
  readonly live = true;
  readonly title = "Pellucid studio";
  readonly command = "pellucid studio";
  readonly films = [];
  readonly letters = null;
  private readonly records = new Map<string, Promise<PellucidRecord>>();

  private async get(path: string): Promise<Response> {
    let answer: Response;
    try {
      answer = await fetch(path, { cache: "no-store" });
    } catch {
      throw new RecordError("the server does not answer: is `pellucid studio` still running?");
    }
    if (!answer.ok) throw new RecordError(await whyNot(answer));
    return answer;
  }

  async sources(): Promise<Sources> {
    return (await (await this.get("/api/sources")).json()) as Sources;
  }

  record(id: string): Promise<PellucidRecord> {
    let found = this.records.get(id);
    if (!found) {
      found = PellucidRecord.open(new UrlBytes(this.file(id)));
      this.records.set(id, found);
      found.catch(() => this.records.delete(id));
    }
    return found;
  }

  /** The record's file has changed, or may have: read it anew. */
  forget(id: string): void {
    this.records.delete(id);
  }

  file(id: string): string {
    return `/records/${encodeURIComponent(id)}`;
  }

  async plan(run: string): Promise<Plan> {
    return (await (await this.get(`/api/runs/${encodeURIComponent(run)}`)).json()) as Plan;
  }

  async metrics(run: string, from: number): Promise<Metrics> {
    const answer = await this.get(`/api/runs/${encodeURIComponent(run)}/metrics?from=${from}`);
    const [next, size] = ["X-Next", "X-Size"].map((name) => Number(answer.headers.get(name)));
    const text = await answer.text();
    return { lines: parseLines(text), next: next!, more: text.length > 0 && next! < size!, again: answer.headers.get("X-Again") === "1" };
  }

  async figure(record: string, name: string, width: number): Promise<FilmFile> {
    const path = `/api/figures/${encodeURIComponent(record)}/${encodeURIComponent(name)}?width=${Math.round(width)}`;
    return (await (await this.get(path)).json()) as FilmFile;
  }

  async generate(options: Record<string, unknown>, told: (event: AnswerEvent) => void, signal: AbortSignal): Promise<void> {
    const answer = await fetch("/api/generate", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(options),
      signal,
    });
    if (!answer.ok || !answer.body) throw new RecordError(await whyNot(answer));
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      const events = text.split("\n\n");
      text = events.pop()!;
      for (const one of events) {
        const [first, second] = one.split("\n");
        told({ event: first!.slice("event: ".length), data: JSON.parse(second!.slice("data: ".length)) } as AnswerEvent);
      }
    }
  }
}

/** What a page carries: see src/pellucid/serve/static.py. */
export interface Carried {
  pellucid: string;
  title: string;
  command: string;
  figures: ({ title: string } & Layouts)[];
  em: number;
  glyphs: unknown;
  records: (RecordInfo & { base64: string })[];
  runs: (RunInfo & { plan: Plan; metrics: string })[];
}

/** A page without a server. */
export class CarriedHost implements Host {
  readonly live = false;
  private readonly records = new Map<string, Promise<PellucidRecord>>();

  constructor(private readonly data: Carried) {}

  get title(): string {
    return this.data.title;
  }

  get command(): string {
    return this.data.command;
  }

  get films(): Carried["figures"] {
    return this.data.figures;
  }

  get letters(): Carried {
    return this.data;
  }

  sources(): Promise<Sources> {
    const { pellucid, records, runs } = this.data;
    return Promise.resolve({ pellucid, records, runs, models: [], limits: { prompt: 0, max_tokens: 0 } });
  }

  record(id: string): Promise<PellucidRecord> {
    let found = this.records.get(id);
    if (!found) {
      found = this.bytes(id).then((bytes) => PellucidRecord.open(bytes));
      this.records.set(id, found);
    }
    return found;
  }

  private async bytes(id: string): Promise<Bytes> {
    const carried = this.data.records.find((record) => record.id === id);
    if (!carried) throw new RecordError(`there is no ${id} in this page`);
    return new BufferBytes(Uint8Array.from(atob(carried.base64), (letter) => letter.charCodeAt(0)).buffer);
  }

  file(): null {
    return null;
  }

  plan(run: string): Promise<Plan> {
    return Promise.resolve(this.run(run).plan);
  }

  metrics(run: string, from: number): Promise<Metrics> {
    const text = this.run(run).metrics;
    return Promise.resolve({ lines: from ? [] : parseLines(text), next: text.length, more: false, again: false });
  }

  private run(id: string): Carried["runs"][number] {
    const carried = this.data.runs.find((run) => run.id === id);
    if (!carried) throw new RecordError(`there is no ${id} in this page`);
    return carried;
  }

  figure(): Promise<FilmFile> {
    return Promise.reject(new RecordError(`not in this page: ${this.command} draws the figures of a record`));
  }

  generate(): Promise<void> {
    return Promise.reject(new RecordError(`this page cannot generate: ${this.command} can`));
  }
}
