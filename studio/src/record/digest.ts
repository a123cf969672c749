// SHA-256, by the browser: pages that are secure, from a file or from localhost can compute it.

/** The digest; null where the page cannot compute it. */
export async function digest(data: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer> | null> {
  const subtle = globalThis.crypto?.subtle;
  return subtle ? new Uint8Array(await subtle.digest("SHA-256", data)) : null;
}

/** The digest in hexadecimal; null where the page cannot compute it. */
export async function sha256(data: Uint8Array<ArrayBuffer>): Promise<string | null> {
  const found = await digest(data);
  return found && hex(found);
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
