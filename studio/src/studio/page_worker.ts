// A model in a worker of the page: what is asked of it, and what it answers.

import type { Report } from "../interpret/verify/generation.ts";
import type { FromWorker, PageRequest, Running, ToWorker } from "../page/messages.ts";
import type { Primed, PrimingRequest } from "../page/priming.ts";
import { bytesOf } from "../record/base64.ts";
import { RecordError, RefusedError } from "../record/bytes.ts";
import type { GenerationEvent, PageFiles, PageModel } from "../wire.ts";

/** The weight file and the two kernels, in base64. */
export type ModelParts = Pick<PageFiles, "weights" | "relaxed" | "exact">;

/** Called with the bytes of an answer's record: keeps it, and returns its id. */
export type KeepRecord = (bytes: Uint8Array<ArrayBuffer>, request: PageRequest) => string;

const NO_WORKER = "this browser does not start the page's worker";
const CLOSED = "the page holds one model at a time, and another one was asked";

interface Job {
  onEvent: (event: GenerationEvent) => void;
  resolve: () => void;
  reject: (error: Error) => void;
  request: PageRequest;
  record: string | null;
}

/** What waits for the one answer of the worker. */
interface Question {
  onProgress: (done: number, all: number) => void;
  resolve: (answer: Report | Primed[]) => void;
  reject: (error: Error) => void;
}

/** A worker that runs a script; null where the browser has none, or allows this page none. */
function started(script: string): Worker | null {
  try {
    return new Worker(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  } catch {
    return null;
  }
}

export class PageWorker {
  /** How the model runs in this browser. Errors: `RecordError` where it does not. */
  readonly running: Promise<Running>;
  /** Tokens per second of the last answer's steps, the first aside, measured here; null before the first answer. */
  measured: number | null = null;
  private readonly worker: Worker | null; // null: this browser has none
  private readonly jobs = new Map<number, Job>();
  private readonly questions = new Map<number, Question>();
  private count = 0; // of jobs

  /** script: the worker's own. parts: what the page holds of its model, in base64. version: of the package that wrote the page. */
  constructor(script: string, page: PageModel, parts: ModelParts, version: string, private readonly keep: KeepRecord) {
    let opened: (running: Running) => void;
    let failed: (error: Error) => void;
    this.running = new Promise((resolve, reject) => ([opened, failed] = [resolve, reject]));
    this.running.catch(() => undefined); // whoever shows it says so
    this.worker = started(script);
    if (!this.worker) {
      failed!(new RecordError(NO_WORKER));
      return;
    }
    this.worker.onmessage = ({ data: message }: MessageEvent<FromWorker>) => {
      if (message.kind === "opened") opened(message.running);
      else if (message.kind === "failed" && message.job === null) failed(new RecordError(message.error));
      else this.handle(message);
    };
    this.worker.onerror = (event) => {
      const error = new RecordError(event.message || NO_WORKER);
      failed(error);
      this.rejectAll(error);
    };
    try {
      const [weights, relaxed, exact] = [bytesOf(parts.weights), bytesOf(parts.relaxed), bytesOf(parts.exact)];
      this.post({ kind: "open", page, weights, relaxed, exact, version }, weights.buffer, relaxed.buffer, exact.buffer);
    } catch (error) {
      failed!(error as Error);
    }
  }

  verify(bytes: Uint8Array<ArrayBuffer>, onProgress: Question["onProgress"]): Promise<Report> {
    return this.ask((job) => ({ kind: "verify", job, bytes }), onProgress) as Promise<Report>;
  }

  prime(request: PrimingRequest): Promise<Primed[]> {
    return this.ask((job) => ({ kind: "prime", job, request })) as Promise<Primed[]>;
  }

  generate(request: PageRequest, onEvent: (event: GenerationEvent) => void, signal: AbortSignal): Promise<void> {
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
      this.running.then(() => this.jobs.has(job) && this.post({ kind: "generate", job, request }), reject);
    });
  }

  /** Ends the worker, and with an error what waits for it. */
  close(): void {
    this.worker?.terminate();
    this.rejectAll(new RecordError(CLOSED));
  }

  private rejectAll(error: RecordError): void {
    for (const one of [...this.jobs.values(), ...this.questions.values()]) one.reject(error);
    this.jobs.clear();
    this.questions.clear();
  }

  private post(message: ToWorker, ...transfer: Transferable[]): void {
    this.worker?.postMessage(message, transfer);
  }

  /** Sends a message that the worker answers once. */
  private async ask(message: (job: number) => ToWorker, onProgress: Question["onProgress"] = () => undefined): Promise<Report | Primed[]> {
    await this.running;
    const job = ++this.count;
    return new Promise((resolve, reject) => {
      this.questions.set(job, { onProgress, resolve, reject });
      this.post(message(job));
    });
  }

  private handle(message: Exclude<FromWorker, { kind: "opened" }>): void {
    const question = message.job === null ? undefined : this.questions.get(message.job);
    if (question) {
      if (message.kind === "progress") return question.onProgress(message.done, message.all);
      this.questions.delete(message.job!);
      if (message.kind === "report") return question.resolve(message.report);
      if (message.kind === "primed") return question.resolve(message.answers);
      return question.reject(new RecordError("error" in message ? message.error : ""));
    }
    const job = message.job === null ? undefined : this.jobs.get(message.job);
    if (!job) return; // it was stopped
    switch (message.kind) {
      case "record":
        job.record = this.keep(message.bytes, job.request);
        break;
      case "event": {
        const { event } = message;
        if (event.event === "done" && job.record) job.onEvent({ event: "done", data: { ...event.data, record: job.record } });
        else job.onEvent(event);
        break;
      }
      case "progress":
      case "report":
      case "primed":
        break;
      case "ended":
        this.jobs.delete(message.job);
        job.resolve();
        break;
      default:
        this.jobs.delete(message.job!);
        job.reject(new RefusedError(message.error, message.fitting));
    }
  }
}
