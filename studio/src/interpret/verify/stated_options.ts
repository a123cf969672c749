// The sampling options that a generation record states, compared with its prompt, its tokens and its draws.

import { SAMPLE } from "../../engine/generation.ts";
import { samplingOptions, type SamplingOptions } from "../../engine/options.ts";
import { uniform } from "../../engine/uniform.ts";
import { RecordError } from "../../record/bytes.ts";
import type { Numbers } from "../../record/decode.ts";
import type { PellucidRecord } from "../../record/record.ts";
import type { Loaded } from "../capture.ts";

/**
 * The sampling options that a record states. Errors: `RecordError` where prompt, seed, options and tokens contradict each other or the
 * model.
 */
export function statedOptions(record: PellucidRecord, loaded: Loaded, prompt: number[], drawn: number[], draw: Numbers): SamplingOptions {
  const { provenance: named } = record;
  const { config } = loaded.model;
  if (!Array.isArray(named.prompt_ids) || named.prompt_ids.join() !== prompt.join())
    throw new RecordError("the record holds another prompt than its provenance names: one of the two was changed");
  if (named.seed === undefined || !named.sampling) throw new RecordError("the record names no seed or no sampling options");
  const known = loaded.page.options.filter((option) => option.name !== "seed").map((option) => option.name);
  const stated = Object.fromEntries(Object.entries(named.sampling).filter(([name]) => known.includes(name)));
  for (const name of ["max_tokens", "temperature", "top_k", "top_p", "stop"])
    if (!(name in stated)) throw new RecordError(`the record's sampling options lack ${name}`);
  for (const name of ["max_tokens", "temperature"])
    if (stated[name] === null) throw new RecordError(`the record's sampling options are not valid: ${name} is null`);
  if (!/^-?[0-9]{1,19}$/.test(named.seed) || BigInt.asIntN(64, BigInt(named.seed)) !== BigInt(named.seed))
    throw new RecordError("the record's seed is not valid");
  const options = samplingOptions(stated, loaded.page.options, BigInt(named.seed));
  if (drawn.length > options.max_tokens) throw new RecordError(`the record drew ${drawn.length} tokens, more than its max_tokens of ${options.max_tokens}`);
  if (!drawn.length || !prompt.length) throw new RecordError("the record holds no prompt, or drew nothing");
  const expected = drawn.map((_, i) => uniform(options.seed, SAMPLE, prompt.length + i));
  if (options.temperature > 0 && !expected.some((u, i) => u === Number(draw[i])))
    throw new RecordError(`the record was made with another seed: its draws are not those of seed ${named.seed}`);
  for (const token of [...prompt, ...drawn, ...options.logit_bias.map(([id]) => id)])
    if (!(token >= 0 && token < config.vocab_size)) throw new RecordError(`the record names the token ${token}, which its model does not have`);
  if (prompt.length + drawn.length - 1 > config.n_ctx) throw new RecordError(`the record's tokens do not fit into its model's context of ${config.n_ctx}`);
  return options;
}
