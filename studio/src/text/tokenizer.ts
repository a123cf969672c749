// Byte-level byte-pair encoding: text to token ids and back, exactly as src/pellucid/text/tokenizer.py does it.

import { bytesOf } from "../record/base64.ts";
import { RecordError } from "../record/bytes.ts";
import type { PageAddedToken, PageTokenizer } from "../wire.ts";
import { AddedTokens } from "./added.ts";
import { merge } from "./merge.ts";
import { splitWords } from "./words.ts";

const HALF = /\p{Surrogate}/u; // of a character: no text
/** Bytes as characters U+0000 to U+00FF. */
const charactersOf = (bytes: Uint8Array): string => bytes.reduce((text, byte) => text + String.fromCharCode(byte), "");

export class Tokenizer {
  readonly vocabSize: number;
  /** Id of the token that ends a text. */
  readonly eot: number;
  /** SHA-256 that names the tokenizer, as Python computed it. */
  readonly fingerprint: string;
  private readonly begin: number | null;
  private readonly prefixSpace: boolean;
  private readonly table: Uint8Array[]; // bytes of each id
  private readonly ranks: Map<string, number>;
  private readonly ids: readonly number[] | null; // of each rank; null: they are the ranks
  private readonly added: AddedTokens | null;
  private readonly encoder = new TextEncoder();

  constructor(page: PageTokenizer) {
    this.vocabSize = page.lengths.length;
    this.eot = page.eot;
    this.fingerprint = page.fingerprint;
    this.begin = page.begin;
    this.prefixSpace = page.prefix_space;
    this.ids = page.ids ?? null;
    const bytes = bytesOf(page.bytes);
    let at = 0;
    this.table = page.lengths.map((length) => bytes.subarray(at, (at += length)));
    const order = page.ids ?? Array.from({ length: page.merged }, (_, rank) => rank);
    this.ranks = new Map(order.map((id, rank) => [charactersOf(this.table[id]!), rank]));
    this.added = page.added.length ? new AddedTokens(page.added) : null;
  }

  /** Token ids of a text. Errors: `RecordError` for half a character, or an added token that the model has no row for. */
  encode(text: string): number[] {
    if (HALF.test(text)) throw new RecordError("the text holds half a character (a lone surrogate), which UTF-8 cannot hold");
    const parts: (string | PageAddedToken)[] = this.added ? this.added.split(text) : text ? [text] : [];
    const found: number[] = [];
    for (const part of parts) {
      if (typeof part !== "string") found.push(this.idOf(part));
      else for (const word of splitWords(this.prefixSpace && !part.startsWith(" ") ? ` ${part}` : part)) this.push(found, word);
    }
    return found;
  }

  /** Token ids of a text that a model is to continue: the token that begins every prompt first, where there is one. */
  encodePrompt(text: string): number[] {
    const ids = this.encode(text);
    return this.begin === null ? ids : [this.begin, ...ids];
  }

  private push(found: number[], word: string): void {
    for (const rank of merge(charactersOf(this.encoder.encode(word)), this.ranks)) found.push(this.ids ? this.ids[rank]! : rank);
  }

  private idOf(token: PageAddedToken): number {
    if (token.id >= this.vocabSize) throw new RecordError(`the text holds ${token.text}, and this model has no row for it`);
    return token.id;
  }

  /** The bytes of one token. Errors: `RecordError` for an id outside the vocabulary. */
  tokenBytes(id: number): Uint8Array {
    const bytes = this.table[id];
    if (!bytes) throw new RecordError(`token id ${id} is outside the vocabulary: ids go from 0 to ${this.vocabSize - 1}`);
    return bytes;
  }

  /** The bytes of token ids, joined. */
  decodeBytes(ids: readonly number[]): Uint8Array {
    const parts = ids.map((id) => this.tokenBytes(id));
    const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      joined.set(part, at);
      at += part.length;
    }
    return joined;
  }

  /** The text of token ids; bytes that are not UTF-8 become U+FFFD. */
  decode(ids: readonly number[]): string {
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(this.decodeBytes(ids));
  }
}
