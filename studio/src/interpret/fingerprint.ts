// A model's fingerprint, from its weights: what a record names it by (src/pellucid/gpt/fingerprint.py).

import type { KernelModel } from "../runtime/model.ts";

/** shape: the first line, the config as JSON. */
export async function fingerprint(model: KernelModel, shape: string): Promise<string> {
  const lines = [shape];
  for (const [name, sizes] of model.parameters.shapes()) {
    const digest = await sha256(new Uint8Array(model.parameters.float32(name, sizes).buffer));
    lines.push(`${name} float32 [${sizes.join(", ")}] ${digest}`);
  }
  return sha256(new TextEncoder().encode(lines.join("\n")));
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
