// The tokens of a record as text, as src/pellucid/draw/views/pieces.py gives it.

import { tr } from "../language.ts";
import { piece } from "../record/piece.ts";
import type { PellucidRecord } from "../record/record.ts";

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const lenient = new TextDecoder("utf-8", { ignoreBOM: true });

export class Pieces {
  private constructor(private readonly table: ReadonlyMap<number, Uint8Array>) {}

  /** The pieces that the record holds; none where it holds none. */
  static async of(record: PellucidRecord): Promise<Pieces> {
    if (!record.has("pieces/ids")) return new Pieces(new Map());
    const [ids, starts, bytes] = await Promise.all(["ids", "starts", "bytes"].map((part) => record.numbers(`pieces/${part}`)));
    const found = Array.from(ids as Int32Array, (id, i): [number, Uint8Array] => [id, (bytes as Uint8Array).subarray(Number(starts![i]), Number(starts![i + 1]))]);
    return new Pieces(new Map(found));
  }

  /** The token as text with spaces and control bytes made visible. */
  shown(token: number): string {
    const found = this.table.get(token);
    return (found && piece(found)) || `#${token}`;
  }

  /** The token with its id, for hover and alt text: token 262 "·the". */
  described(token: number): string {
    if (!this.table.has(token)) return tr("token {token}", { token });
    return tr('token {token} "{piece}"', { token, piece: this.shown(token) });
  }

  /** Consecutive tokens as text, decoded together, so that a character made of several tokens is whole. */
  sentence(tokens: readonly number[]): string {
    if (tokens.some((token) => !this.table.has(token))) return tokens.map((token) => this.shown(token)).join(" ");
    return lenient.decode(Uint8Array.from(tokens.flatMap((token) => [...this.table.get(token)!])));
  }

  /** Runs of tokens that only together are characters: [first, one past the last, the text] of each. */
  characters(tokens: readonly number[]): [number, number, string][] {
    const runs: [number, number, string][] = [];
    let [waiting, first]: [number[], number] = [[], 0];
    tokens.forEach((token, i) => {
      if (!waiting.length) first = i;
      waiting.push(...(this.table.get(token) ?? []));
      const bytes = Uint8Array.from(waiting);
      const text = textOf(bytes);
      if (text === null && endsInside(bytes)) return;
      if (text !== null && i > first) runs.push([first, i + 1, text]);
      waiting = [];
    });
    return runs;
  }
}

function textOf(bytes: Uint8Array): string | null {
  try {
    return strict.decode(bytes);
  } catch {
    return null;
  }
}

/** Whether bytes are text up to a character at their end of which some are missing. */
function endsInside(bytes: Uint8Array): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes, { stream: true });
    return true;
  } catch {
    return false;
  }
}
