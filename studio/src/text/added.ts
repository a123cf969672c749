// Finding added tokens in a text, as src/pellucid/text/added_tokens.py does: two searches from left to right, the longest token
// first, for tokens that are searched for in the whole text and then for the others in each part that is left.

import type { PageAddedToken } from "../wire.ts";
import { SPACES } from "./words.ts";

export class AddedTokens {
  private readonly tokens: Map<string, PageAddedToken>;
  private readonly searches: RegExp[];

  constructor(tokens: readonly PageAddedToken[]) {
    this.tokens = new Map(tokens.map((token) => [token.text, token]));
    const kinds = [false, true].map((late) => [...this.tokens.values()].filter((token) => token.normalized === late));
    this.searches = kinds.filter((some) => some.length).map((some) => new RegExp(longestFirst(some), "gu"));
  }

  /** The text's parts in order: text between tokens, none of it empty, and tokens. */
  split(text: string): (string | PageAddedToken)[] {
    let parts: (string | PageAddedToken)[] = text ? [text] : [];
    for (const search of this.searches)
      parts = parts.flatMap((part) => (typeof part === "string" ? this.find(search, part) : [part]));
    return parts;
  }

  private find(search: RegExp, text: string): (string | PageAddedToken)[] {
    const parts: (string | PageAddedToken)[] = [];
    let done = 0;
    for (const match of text.matchAll(search)) {
      const token = this.tokens.get(match[0])!;
      let [start, end] = [match.index, match.index + match[0].length];
      if (token.lstrip) while (start > done && SPACES.test(text[start - 1]!)) start--;
      if (token.rstrip) while (end < text.length && SPACES.test(text[end]!)) end++;
      if (done < start) parts.push(text.slice(done, start));
      parts.push(token);
      done = end;
    }
    if (done < text.length) parts.push(text.slice(done));
    return parts;
  }
}

function longestFirst(tokens: readonly PageAddedToken[]): string {
  const texts = tokens.map((token) => token.text).sort((a, b) => b.length - a.length); // an alternation takes the first that fits
  return texts.map((text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|");
}
