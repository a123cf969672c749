// The messages between a page and the worker that runs its model.

import type { Ablation } from "../engine/ablation.ts";
import type { Report } from "../interpret/verify/generation.ts";
import type { Primed, PrimingRequest } from "./priming.ts";
import type { GenerateRequest, GenerationEvent, PageModel } from "../wire.ts";

/** A request that only a page's own model answers. */
export interface PageRequest extends GenerateRequest {
  /** What is continued, in place of the prompt: its tokens, or another answer's up to a token that was chosen. */
  ids?: number[];
  /** What is left out of the model; see `engine/ablation`. */
  ablation?: Ablation;
}

/** What the page holds. */
export interface OpenMessage {
  kind: "open";
  page: PageModel;
  /** The weight file and the two kernels. */
  weights: Uint8Array<ArrayBuffer>;
  relaxed: Uint8Array<ArrayBuffer>;
  exact: Uint8Array<ArrayBuffer>;
  /** Version of the package that wrote the page. */
  version: string;
}

export type ToWorker =
  | OpenMessage
  | { kind: "generate"; job: number; request: PageRequest }
  | { kind: "verify"; job: number; bytes: Uint8Array<ArrayBuffer> }
  | { kind: "prime"; job: number; request: PrimingRequest }
  | { kind: "stop"; job: number };

/** How the model runs here. */
export interface Running {
  /** "WASM relaxed" or "WASM exact". */
  variant: string;
}

export type FromWorker =
  | { kind: "opened"; running: Running }
  | { kind: "event"; job: number; event: GenerationEvent }
  | { kind: "record"; job: number; bytes: Uint8Array<ArrayBuffer> }
  | { kind: "progress"; job: number; done: number; all: number }
  | { kind: "report"; job: number; report: Report }
  | { kind: "primed"; job: number; answers: Primed[] }
  | { kind: "ended"; job: number }
  | { kind: "failed"; job: number | null; error: string; fitting?: string };
