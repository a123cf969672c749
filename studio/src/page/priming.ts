// Priming: one question after different numbers of examples, as src/pellucid/interpret/priming.py asks it.

import { checkPriming, encodeAnswered, promptText } from "../engine/prompt.ts";
import { largest, logprobOf } from "../engine/sampling.ts";
import type { Loaded } from "../interpret/capture.ts";
import { RecordError } from "../record/bytes.ts";
import type { PagePriming } from "../wire.ts";

export const MOST_SHOTS = 64; // numbers of examples in one request

export interface PrimingRequest {
  prompt: PagePriming;
  /** Numbers of examples, counted from the first. */
  shots: number[];
}

/** What the model makes of one prompt. */
export interface Primed {
  shots: number;
  /** The prompt, and how many tokens it has. */
  text: string;
  tokens: number;
  /** Of the right answer's tokens. */
  logprobs: number[];
  /** The likeliest answer of as many tokens. */
  likeliest: string;
}

/** Asks with each number of examples in turn. Errors: `RecordError` for what cannot be asked, or does not fit into the context. */
export async function prime(loaded: Loaded, { prompt, shots }: PrimingRequest, pause: () => Promise<void>): Promise<Primed[]> {
  const { page, tokenizer } = loaded;
  const format = Object.hasOwn(page.formats, prompt.format) && page.formats[prompt.format];
  if (!format) throw new RecordError(`there is no format ${prompt.format}`);
  checkPriming(prompt, format);
  const numbers = [...new Set(shots)].sort((a, b) => a - b);
  if (!numbers.length || numbers.length > MOST_SHOTS) throw new RecordError(`name 1 to ${MOST_SHOTS} numbers of examples`);
  const lacking = numbers.find((count) => !Number.isInteger(count) || count < 0 || count > prompt.examples.length);
  if (lacking !== undefined) throw new RecordError(`there are ${prompt.examples.length} examples, not ${lacking}`);
  const asked = numbers.map((count) => {
    const text = promptText(prompt, count, format);
    return { count, text, ...encodeAnswered(tokenizer, text, prompt.answer) };
  });
  const answer = asked[0]!.ids.slice(asked[0]!.start);
  if (asked.some(({ ids, start }) => !start || ids.slice(start).join() !== answer.join()))
    throw new RecordError("the right answer has other tokens after another number of examples: choose another format");
  const long = asked.find(({ ids }) => ids.length - 1 > loaded.model.config.n_ctx);
  if (long) throw tooLong(loaded, asked, long.count, long.start);
  const found: Primed[] = [];
  for (const { count, text, ids, start } of asked) {
    await pause();
    found.push({ shots: count, text, tokens: start, ...answered(loaded, ids, start) });
  }
  return found;
}

function tooLong({ model }: Loaded, asked: readonly { count: number; ids: number[] }[], count: number, tokens: number): RecordError {
  const fitting = asked.filter(({ ids }) => ids.length - 1 <= model.config.n_ctx).at(-1);
  const fits = fitting ? `with ${fitting.count} it fits` : "shorten the question or the description";
  return new RecordError(`with ${count} examples the prompt has ${tokens} tokens, which a context of ${model.config.n_ctx} does not hold beside the answer: ${fits}`);
}

/** The log-probabilities of an answer, which begins at `start`, and the likeliest one of the same length. */
function answered({ model, math, tokenizer }: Loaded, ids: number[], start: number): { logprobs: number[]; likeliest: string } {
  const { vocab_size: v, n_ctx: context } = model.config;
  const sequence = model.open(Math.min(ids.length, context));
  const row = (place: number) => model.kernel.float32(place, v).slice();
  try {
    const wanted = ids.length - start;
    const place = model.read(sequence, 0, ids.slice(0, -1), wanted);
    const rows = Array.from({ length: wanted }, (_, i) => row(place + 4 * v * i));
    const logprobs = rows.map((logits, i) => logprobOf(math, logits[ids[start + i]!]!, math.sums(logits)));
    const likeliest: number[] = [];
    for (let logits = rows[0]!; ; ) {
      likeliest.push(largest(logits, 1)[0]!);
      const drawn = likeliest.length;
      if (drawn === wanted) break;
      const same = likeliest.every((id, i) => id === ids[start + i]);
      logits = same ? rows[drawn]! : row(model.read(sequence, start + drawn - 1, [likeliest.at(-1)!], 1));
    }
    return { logprobs, likeliest: tokenizer.decode(likeliest) };
  } finally {
    model.close(sequence);
  }
}
