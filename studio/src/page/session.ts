// A model that is loaded, and what can be asked of it: to generate with its activations recorded. Runs in a worker, or in node.

import { checkedAblation, Replacements } from "../engine/ablation.ts";
import { Arithmetic } from "../engine/arithmetic.ts";
import { checkFits, Generation, type Step } from "../engine/generation.ts";
import { withFitting } from "../engine/long_prompt.ts";
import { samplingOptions } from "../engine/options.ts";
import { largest, logprobOf } from "../engine/sampling.ts";
import { Activations } from "../interpret/activations.ts";
import { type Loaded, RecordedSteps, writeRecord } from "../interpret/capture.ts";
import { fingerprint } from "../interpret/fingerprint.ts";
import type { StepDistribution } from "../interpret/steps.ts";
import { type Report, verifyGeneration } from "../interpret/verify/generation.ts";
import { BufferBytes, RecordError } from "../record/bytes.ts";
import { isWhole } from "../record/characters.ts";
import { hex, sha256 } from "../record/digest.ts";
import { piece } from "../record/piece.ts";
import { PellucidRecord } from "../record/record.ts";
import { Kernel } from "../runtime/kernel.ts";
import { KernelModel } from "../runtime/model.ts";
import { readSafetensors } from "../runtime/safetensors.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import type { GenerationEvent, PageModel, TokenPiece } from "../wire.ts";
import type { PageRequest } from "./messages.ts";
import { prime, type Primed, type PrimingRequest } from "./priming.ts";

const DAMAGED = "its weights or its kernel are not what was written into this page (SHA-256): the file is damaged, or was changed";
const DEFAULT_TOKENS = 64; // drawn where a request does not say how many
const TOP_TOKENS = 5; // likeliest tokens of a `token` event
const MAX_BIASED = 1000;

/** Errors: `RecordError` for a part that is not the one that the page names. Where the browser computes no SHA-256, nothing is said. */
async function checkPart(bytes: Uint8Array<ArrayBuffer>, named: string): Promise<void> {
  const digest = await sha256(bytes);
  if (digest !== null && digest !== named) throw new RecordError(DAMAGED);
}

/** What a page holds of its model, decoded. */
export interface ModelFiles {
  page: PageModel;
  weights: Uint8Array<ArrayBuffer>;
  relaxed: Uint8Array<ArrayBuffer>;
  exact: Uint8Array<ArrayBuffer>;
}

/** Where a generation runs: what its record says, and when it gives way to messages. */
export interface Surroundings {
  /** Version of the package that wrote the page. */
  version: string;
  machine: Record<string, unknown>;
  freshSeed(): bigint;
  /** Lets other messages in; called between steps. */
  pause(): Promise<void>;
}

export class Session {
  private constructor(
    readonly loaded: Loaded,
    readonly kernel: Kernel,
    private readonly around: Surroundings,
  ) {}

  /** Packs the weights. Errors: `RecordError` for a browser that cannot run the kernel, or weights that are not whole. */
  static async open(files: ModelFiles, around: Surroundings): Promise<Session> {
    const { page, weights, relaxed, exact } = files;
    await Promise.all([checkPart(weights, page.weights.sha256), checkPart(relaxed, page.kernels.relaxed!), checkPart(exact, page.kernels.exact!)]);
    const kernel = await Kernel.open(relaxed, exact);
    const model = new KernelModel(kernel, page.config as unknown as KernelModel["config"], readSafetensors(weights));
    const loaded = { page, model, math: new Arithmetic(kernel), tokenizer: new Tokenizer(page.tokenizer) };
    return new Session(loaded, kernel, around);
  }

  /** The token ids that a prompt stands for. */
  promptIds(prompt: string): number[] {
    const { page, tokenizer } = this.loaded;
    return prompt ? tokenizer.encodePrompt(prompt) : page.start_ids;
  }

  /**
   * Answers a request token by token, until `stopped` says so.
   *
   * onRecord: gets the bytes of the answer's record, where one is asked for, before its last event. Errors: `RecordError` for what
   * the request asks.
   */
  async generate(
    request: PageRequest, onEvent: (event: GenerationEvent) => void, onRecord: (bytes: Uint8Array<ArrayBuffer>) => void,
    stopped: () => boolean,
  ): Promise<void> {
    const { page, model, math, tokenizer } = this.loaded;
    const { model: _, prompt = "", record = true, ids: given, ablation, ...stated } = request;
    const options = samplingOptions({ max_tokens: DEFAULT_TOKENS, ...stated }, page.options, this.around.freshSeed());
    if (options.logit_bias.length > MAX_BIASED) throw new RecordError(`logit_bias names more than ${MAX_BIASED} tokens`);
    const ids = given ?? this.promptIds(prompt);
    const { n_ctx: context, vocab_size: vocabulary } = model.config;
    try {
      checkFits(ids, options, context, vocabulary);
    } catch (error) {
      throw given ? error : withFitting(error as Error, prompt, options, context, tokenizer);
    }
    const capacity = Math.min(ids.length + options.max_tokens, context);
    const activations = record ? new Activations(model.config, capacity) : null;
    const left = ablation && checkedAblation(ablation, model.config);
    let replaced = null as Replacements | null;
    const prepare = (sequence: number) => left && (replaced = new Replacements(model, left, ids)).apply(sequence);
    const generation = new Generation(model, math, tokenizer, ids, options, page.end_ids, activations, prepare);
    try {
      const text = given ? { text: tokenizer.decode(ids) } : {};
      onEvent({ event: "begin", data: { prompt: ids.map((id) => this.pieceOf(id)), seed: String(options.seed), ...text } });
      const steps = new RecordedSteps();
      for (let last: Step | null = null; !last?.token.finish_reason; ) {
        await this.around.pause();
        if (stopped()) return;
        last = generation.step();
        const distribution = record ? steps.take(this.loaded, generation, last) : null;
        onEvent({ event: "token", data: this.tokenEvent(last, distribution) });
      }
      const { finish_reason: reason } = generation.tokens.at(-1)!;
      if (activations) {
        await this.checkFingerprint();
        const said = { ...(left ? { ablation: { ...left } } : {}) };
        onRecord(await writeRecord(this.loaded, generation, steps, activations, this.around.version, this.machine(), said));
      }
      onEvent({ event: "done", data: { text: generation.text, finish_reason: reason!, seed: String(options.seed) } });
    } finally {
      generation.close();
      replaced?.free();
    }
  }

  /** Asks one question after different numbers of examples. Errors: `RecordError` for what cannot be asked. */
  prime(request: PrimingRequest): Promise<Primed[]> {
    return prime(this.loaded, request, () => this.around.pause());
  }

  /**
   * Recomputes a record's numbers, and first the fingerprint of the page's own weights.
   *
   * Errors: `RecordError` for a record that is damaged, or was not made from this model.
   */
  async verify(bytes: Uint8Array<ArrayBuffer>, onChunk: (done: number, all: number) => void): Promise<Report> {
    const record = await PellucidRecord.open(new BufferBytes(bytes));
    await this.checkFingerprint();
    return verifyGeneration(record, this.loaded, async (done, all) => {
      onChunk(done, all);
      await this.around.pause();
    });
  }

  private own: Promise<string | null> | null = null; // fingerprint of the page's weights

  /** Errors: `RecordError` where the weights have not the fingerprint that the page, and each of its records, names. */
  private async checkFingerprint(): Promise<void> {
    const { page, model } = this.loaded;
    this.own ??= fingerprint(model, page.shape);
    const own = await this.own; // null, without SHA-256: `RecordWriter` and `verifyGeneration` say so
    if (own !== null && own !== page.fingerprint) throw new RecordError("the page's weights are not the model that it names: the page was changed");
  }

  private machine(): Record<string, unknown> {
    return { ...this.around.machine, kernel: this.kernel.variant, threads: 1, device: "cpu" };
  }

  private pieceOf(id: number): TokenPiece {
    const bytes = this.loaded.tokenizer.tokenBytes(id);
    return { id, piece: piece(bytes) || `#${id}`, ...(isWhole(bytes) ? {} : { part: hex(bytes) }) };
  }

  private tokenEvent(step: Step, distribution: StepDistribution | null): Extract<GenerationEvent, { event: "token" }>["data"] {
    const { math } = this.loaded;
    const { token, logits, sums } = step;
    const ids = distribution ? distribution.topIds.slice(0, TOP_TOKENS) : [...largest(logits, Math.min(TOP_TOKENS, logits.length))];
    const top = ids.map((id, i) => ({
      ...this.pieceOf(id),
      logprob: logprobOf(math, logits[id]!, sums),
      ...(distribution ? { share: distribution.topShares[i]! } : {}),
    }));
    const { text, logprob, position, finish_reason } = token;
    return { ...this.pieceOf(token.id), text, logprob, position, finish_reason, ...(distribution ? { kept: distribution.kept } : {}), top };
  }
}
