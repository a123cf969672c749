// Generates and records: the chunks of a generation record, as src/pellucid/interpret/capture.py writes them.

import type { Arithmetic } from "../engine/arithmetic.ts";
import { type Generation, SAMPLE, type Step } from "../engine/generation.ts";
import { recordedOptions } from "../engine/options.ts";
import { asBfloat16, asIs, type Stored } from "../record/encode.ts";
import type { Provenance } from "../record/record.ts";
import { asTriangle } from "../record/triangle.ts";
import { RecordWriter } from "../record/writer.ts";
import type { KernelModel } from "../runtime/model.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { PageModel } from "../wire.ts";
import { type Activations, cacheCells, lensLevel } from "./activations.ts";
import { type StepDistribution, stepDistribution } from "./steps.ts";
import { nearestTokens, positionRow, readOut, sources, tokenRow } from "./vectors.ts";

export const CANDIDATES = 20; // of a step
export const LENS_CANDIDATES = 5;
const WRITES = ["attention", "mlp"] as const;
type Numbers = readonly number[] | Int32Array<ArrayBuffer>;

/** What the page's model is made of. */
export interface Loaded {
  page: PageModel;
  model: KernelModel;
  math: Arithmetic;
  tokenizer: Tokenizer;
}

/** The steps of a generation that is to be recorded. */
export class RecordedSteps {
  readonly distributions: StepDistribution[] = [];
  readonly seconds: number[] = [];

  /** Keeps what a step drew from; called before the next one. */
  take(loaded: Loaded, generation: Generation, step: Step): StepDistribution {
    const count = Math.min(CANDIDATES, loaded.model.config.vocab_size);
    const found = stepDistribution(loaded.math, step, generation.options, count);
    this.distributions.push(found);
    this.seconds.push(step.seconds);
    return found;
  }
}

/** The bytes of a generation's record. version: of the package. machine: what it ran on, in words by topic. */
export async function writeRecord(
  loaded: Loaded, generation: Generation, steps: RecordedSteps, activations: Activations, version: string,
  machine: Record<string, unknown>, extra: Partial<Provenance> = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const { page, model, math, tokenizer } = loaded;
  const { config } = model;
  const prompt = [...generation.prompt];
  const drawn = generation.tokens.map((token) => token.id);
  const { options } = generation;
  const provenance: Provenance = {
    pellucid: version, model: page.fingerprint, config: page.config, parameters: page.parameters, dtype: "float32",
    tokenizer: tokenizer.fingerprint, seed: String(options.seed), prompt_ids: prompt,
    sampling: { ...recordedOptions(options, page.options), sample: SAMPLE }, machine, ...extra,
  }; // prettier-ignore
  const writer = new RecordWriter("generation", provenance);
  const tokens = new Set<number>();
  const add = (name: string, value: Stored, source?: Record<string, unknown>, pattern = name) =>
    writer.add(name, value, page.chunks[pattern]!, source);
  const addIds = (name: string, ids: Numbers, shape = [ids.length], source?: Record<string, unknown>) => {
    ids.forEach((id) => tokens.add(id));
    return add(`generation/${name}`, asIs(Int32Array.from(ids), shape), source);
  };
  const float32 = (numbers: Iterable<number>, shape: number[]) => asIs(Float32Array.from(numbers), shape);
  const float64 = (numbers: Iterable<number>, shape: number[]) => asIs(Float64Array.from(numbers), shape);

  const { distributions } = steps;
  const [s, k, positions, c] = [drawn.length, distributions[0]!.topIds.length, activations.positions, config.d_model];
  await addIds("prompt_ids", prompt);
  await addIds("steps/drawn_ids", drawn);
  await add("generation/steps/drawn_logprobs", float32(generation.tokens.map((token) => token.logprob), [s]));
  await addIds("steps/topk_ids", distributions.flatMap((one) => one.topIds), [s, k]);
  await add("generation/steps/topk_logprobs", float32(distributions.flatMap((one) => one.topLogprobs), [s, k]));
  await add("generation/steps/topk_shares", float32(distributions.flatMap((one) => one.topShares), [s, k]));
  await add("generation/steps/kept", asIs(Int32Array.from(distributions, (one) => one.kept), [s]));
  await add("generation/steps/draw", float64(distributions.map((one) => one.draw), [s]));
  await add("generation/steps/drawn_span", float64(distributions.flatMap((one) => one.span), [s, 2]));
  const levels = Array.from({ length: config.n_layers + 1 }, (_, level) => level);
  for (const level of levels) {
    const stored = asBfloat16(activations.level(level), [positions, c]);
    await add(`generation/block_inputs/${level}`, stored, sources.blockInput(config, level), "generation/block_inputs/{level}");
  }
  const following = [...prompt, ...drawn].slice(1);
  const count = Math.min(LENS_CANDIDATES, config.vocab_size);
  const lens = levels.map((level) => lensLevel(model, math, activations.level(level), count, following));
  const joined = <T extends Int32Array | Float32Array>(part: (level: (typeof lens)[number]) => T) => lens.flatMap((level) => [...part(level)]);
  const shape = [levels.length, positions, count];
  await addIds("lens/ids", joined((level) => level.ids), shape, sources.lens(config));
  await add("generation/lens/logprobs", float32(joined((level) => level.logprobs), shape), sources.lens(config));
  const next = [levels.length, following.length];
  await add("generation/lens/next_ranks", asIs(Int32Array.from(joined((level) => level.nextRanks)), next), sources.lens(config));
  await add("generation/lens/next_logprobs", float32(joined((level) => level.nextLogprobs), next), sources.lens(config));

  const followed = prompt.length - 1;
  const token = prompt[followed]!;
  const rows = distributions[0]!.topIds.slice(0, LENS_CANDIDATES);
  await add("generation/embedding/token", asIs(tokenRow(model, token), [c]), sources.token(token));
  await add("generation/embedding/position", asIs(positionRow(model, followed), [c]), sources.position(followed));
  const nearest = nearestTokens(model, token);
  await addIds("embedding/nearest_ids", nearest.ids, [nearest.ids.length], sources.tokens);
  await add("generation/embedding/nearest_cosines", asIs(nearest.cosines, [nearest.cosines.length]), sources.tokens);
  const last = activations.level(config.n_layers).subarray(followed * c, (followed + 1) * c);
  await add("generation/output/vector", float32(readOut(model, last), [c]), sources.output(config));
  await add("generation/output/rows", float32(rows.flatMap((id) => [...tokenRow(model, id)]), [rows.length, c]), sources.rows(rows));
  for (const part of [0, 1] as const)
    await add(`generation/writes/${WRITES[part]}`, float32(activations.norms(part), [config.n_layers, positions]));
  for (let block = 0; block < config.n_layers; block++) {
    const stored = asTriangle(Float32Array.from(activations.attention(block)), config.n_heads, positions);
    await add(`generation/attention/${block}`, stored, sources.attention(config, block), "generation/attention/{block}");
  }
  await add("generation/cells", asIs(cacheCells(config.pattern, prompt.length, s), [s, config.n_layers, positions]));
  await add("generation/timings/steps", float64(steps.seconds, [s]));
  for (const [name, value] of Object.entries(pieceTable(tokenizer, tokens))) await add(name, value);
  return writer.finish();
}

/** The bytes of tokens: the chunks `pieces/ids` (ascending), `pieces/starts` and `pieces/bytes`. */
export function pieceTable(tokenizer: Tokenizer, tokens: Iterable<number>): Record<string, Stored> {
  const ids = Int32Array.from(new Set(tokens)).sort();
  const starts = [0];
  for (const id of ids) starts.push(starts.at(-1)! + tokenizer.tokenBytes(id).length);
  const bytes = new Uint8Array(tokenizer.decodeBytes([...ids]));
  return {
    "pieces/ids": asIs(ids, [ids.length]),
    "pieces/starts": asIs(Int32Array.from(starts), [starts.length]),
    "pieces/bytes": asIs(bytes, [bytes.length]),
  };
}
