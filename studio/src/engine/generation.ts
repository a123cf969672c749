// One completion being generated: its prompt, the tokens drawn so far, its text, and why it ended (src/pellucid/engine/sequence.py).

import { RecordError } from "../record/bytes.ts";
import type { KernelModel, TapSink } from "../runtime/model.ts";
import { TextAssembler } from "../text/detokenizer.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { FinishReason } from "../wire.ts";
import type { Arithmetic, Sums } from "./arithmetic.ts";
import { type SamplingOptions, usesCounts } from "./options.ts";
import { type Candidates, draw } from "./sampling.ts";
import { uniform } from "./uniform.ts";

export const SAMPLE = 0; // index of the completion among those of its prompt

/** A drawn token. */
export interface DrawnToken {
  id: number;
  /** What it adds to the text. */
  text: string;
  logprob: number;
  position: number;
  finish_reason: FinishReason | null;
}

/** What a step saw, valid until the next one. */
export interface Step {
  token: DrawnToken;
  logits: Float32Array;
  sums: Sums;
  /** As in `Draw`. */
  candidates: Candidates | null;
  u: number;
  /** Of the tokens before this one. */
  counts: Map<number, number> | null;
  seconds: number;
}

/** Errors: `RecordError` for a prompt and options that the model's context does not hold, or a bias for a token that is none. */
export function checkFits(prompt: readonly number[], options: SamplingOptions, context: number, vocabulary: number): void {
  const room = context + 1 - prompt.length;
  if (!prompt.length) throw new RecordError("the prompt is empty: begin with the token that begins a text");
  if (prompt.length > context)
    throw new RecordError(`the prompt has ${prompt.length} tokens, but the model reads ${context} at most: shorten the prompt`);
  if (options.max_tokens > room)
    throw new RecordError(
      `a prompt of ${prompt.length} tokens leaves room for ${room} in a context of ${context}, but max_tokens is ` +
        `${options.max_tokens}: shorten the prompt, or set max_tokens to ${room} or less`,
    );
  const outside = options.logit_bias.find(([id]) => id >= vocabulary);
  if (outside) throw new RecordError(`logit_bias names token ${outside[0]}, but ids go from 0 to ${vocabulary - 1}`);
}

export class Generation {
  readonly tokens: DrawnToken[] = [];
  private readonly sequence: number;
  private readonly counts: Map<number, number> | null;
  private readonly assembler: TextAssembler;
  private readonly logits: Float32Array<ArrayBuffer>; // (V,) of the last step

  /** sink: of the activations of all positions. prepare: is called with the sequence before anything is read. */
  constructor(
    private readonly model: KernelModel,
    private readonly math: Arithmetic,
    tokenizer: Tokenizer,
    readonly prompt: readonly number[],
    readonly options: SamplingOptions,
    private readonly endIds: readonly number[],
    private readonly sink: TapSink | null = null,
    prepare: (sequence: number) => void = () => undefined,
  ) {
    checkFits(prompt, options, model.config.n_ctx, model.config.vocab_size);
    if (!options.max_tokens) throw new RecordError("max_tokens is 0: nothing is drawn; set it to 1 or more");
    this.counts = usesCounts(options) ? new Map() : null;
    this.assembler = new TextAssembler(tokenizer, options.stop);
    this.logits = new Float32Array(model.config.vocab_size);
    this.sequence = model.open(Math.min(prompt.length + options.max_tokens, model.config.n_ctx));
    prepare(this.sequence);
  }

  /** Draws the next token. */
  step(): Step {
    const { model, options, prompt, tokens, counts, logits } = this;
    const start = performance.now();
    const last = tokens.at(-1);
    const [first, ids] = last ? [last.position, [last.id]] : [0, prompt];
    const place = model.read(this.sequence, first, ids, 1, this.sink);
    logits.set(model.kernel.float32(place, logits.length));
    const position = prompt.length + tokens.length;
    const u = uniform(options.seed, SAMPLE, position);
    const before = counts && new Map(counts);
    const { id, logprob, sums, candidates } = draw(this.math, logits, options, u, counts);
    counts?.set(id, (counts.get(id) ?? 0) + 1);
    const ended = this.endIds.includes(id);
    let text = ended ? "" : this.assembler.push(id);
    const stopped = ended || this.assembler.stopped;
    const finished = stopped || tokens.length + 1 === options.max_tokens;
    if (finished) text += this.assembler.finish();
    const token = { id, text, logprob, position, finish_reason: finished ? (stopped ? ("stop" as const) : ("length" as const)) : null };
    tokens.push(token);
    return { token, logits, sums, candidates, u, counts: before, seconds: (performance.now() - start) / 1000 };
  }

  get text(): string {
    return this.tokens.map((token) => token.text).join("");
  }

  close(): void {
    this.model.close(this.sequence);
  }
}
