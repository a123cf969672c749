// A model's fingerprint, from its weights: what a record names it by (src/pellucid/gpt/fingerprint.py).

import { sha256 } from "../record/digest.ts";
import type { KernelModel } from "../runtime/model.ts";

/** shape: the first line, the config as JSON. Null where the browser computes no SHA-256. */
export async function fingerprint(model: KernelModel, shape: string): Promise<string | null> {
  const lines = [shape];
  for (const [name, sizes] of model.parameters.shapes()) {
    const digest = await sha256(new Uint8Array(model.parameters.float32(name, sizes).buffer));
    lines.push(`${name} float32 [${sizes.join(", ")}] ${digest}`);
  }
  return sha256(new TextEncoder().encode(lines.join("\n")));
}
