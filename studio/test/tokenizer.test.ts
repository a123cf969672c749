// The tokenizer: the ids that Python gives, of texts at the edges of Unicode.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { splitWords } from "../src/text/words.ts";
import type { PageTokenizer } from "../src/wire.ts";

declare const ROOT: string;

interface Told {
  given: string;
  ids: number[] | null;
  prompt?: number[];
  text?: string;
  bytes?: string;
}
const golden = JSON.parse(readFileSync(`${ROOT}/tests/golden/page_tokenizer.json`, "utf8")) as Record<
  string,
  { tokenizer: PageTokenizer; texts: Told[] }
>;

for (const [name, { tokenizer: page, texts }] of Object.entries(golden)) {
  test(`the ${name} tokenizer encodes and decodes as Python's does`, () => {
    const tokenizer = new Tokenizer(page);
    for (const { given, ids, prompt, text, bytes } of texts) {
      if (ids === null) {
        assert.throws(() => tokenizer.encode(given));
        continue;
      }
      assert.deepEqual(tokenizer.encode(given), ids, given);
      assert.deepEqual(tokenizer.encodePrompt(given), prompt, given);
      assert.equal(tokenizer.decode(ids), text);
      assert.equal(Buffer.from(tokenizer.decodeBytes(ids)).toString("hex"), bytes);
    }
  });
}

test("words joined are the text", () => {
  for (const { given } of golden.small!.texts) assert.equal(splitWords(given).join(""), given);
});

test("half a character is no text", () => {
  const tokenizer = new Tokenizer(golden.small!.tokenizer);
  assert.throws(() => tokenizer.encode("a\ud800b"), /half a character/);
  assert.throws(() => tokenizer.tokenBytes(100_000), /outside the vocabulary/);
});
