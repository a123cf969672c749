// Where a record's bytes come from: an address that answers byte ranges, or memory. Reads only what is requested.

import type { ErrorMessage } from "../wire.ts";

export interface ByteSource {
  /** The bytes [start, end); fewer where the file ends before. */
  read(start: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
  /** How many there are, where that is known. */
  readonly size?: number;
}

/** A record or another answer of the server that cannot be read; the message is shown to the user. */
export class RecordError extends Error {}

/** A request to generate that was refused. */
export class RefusedError extends RecordError {
  constructor(
    message: string,
    /** Of a prompt that is too long: the end of it that fits. */
    readonly fitting: string | undefined,
  ) {
    super(message);
  }
}

export class BufferBytes implements ByteSource {
  constructor(private readonly bytes: Uint8Array<ArrayBuffer>) {}

  get size(): number {
    return this.bytes.length;
  }

  read(start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    return Promise.resolve(this.bytes.subarray(start, end));
  }
}

export class UrlBytes implements ByteSource {
  private tag: string | null = null; // ETag of the file whose header was read; a newer file does not match it
  /** Bytes fetched so far. */
  fetched = 0;

  constructor(
    private readonly url: string,
    private readonly get: typeof fetch = (input, options) => fetch(input, options),
  ) {}

  async read(start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    if (end <= start) return new Uint8Array();
    const headers: Record<string, string> = { Range: `bytes=${start}-${end - 1}` };
    if (this.tag) headers["If-Match"] = this.tag;
    let response: Response;
    try {
      response = await this.get(this.url, { headers, cache: "no-store" });
    } catch {
      throw new RecordError("the server does not answer: is `pellucid studio` still running?");
    }
    if (response.status === 412) throw new RecordError("the record was replaced by a newer one: load the page again");
    if (response.status === 416) return new Uint8Array();
    if (!response.ok) throw new RecordError(await errorMessage(response));
    this.tag ??= response.headers.get("ETag");
    const bytes = new Uint8Array(await response.arrayBuffer());
    this.fetched += bytes.length;
    // A server without byte ranges sends the whole file.
    return response.status === 206 ? bytes : bytes.slice(start, end);
  }
}

/** Why a request failed: the message of the server's `ErrorMessage`, or the status. */
export async function errorMessage(response: Response): Promise<string> {
  try {
    const { error } = (await response.json()) as Partial<ErrorMessage>;
    if (typeof error === "string") return error;
  } catch {
    // not JSON: the status is all there is
  }
  return `the server answered ${response.status}`;
}
