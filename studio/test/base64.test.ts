// Bytes from base64, against node's own.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import test from "node:test";
import { bytesOf, decode } from "../src/record/base64.ts";
import { RecordError } from "../src/record/bytes.ts";

test("every length comes back, and in place", () => {
  for (let length = 0; length < 70; length++) {
    const plain = randomBytes(length);
    const text = plain.toString("base64");
    assert.deepEqual(bytesOf(text), new Uint8Array(plain));
    const letters = new TextEncoder().encode(text);
    const found = decode(letters);
    assert.equal(found.buffer, letters.buffer);
    assert.deepEqual(found, new Uint8Array(plain));
  }
});

test("every byte comes back", () => {
  const plain = Uint8Array.from({ length: 3 * 256 }, (_, i) => (i * 7) % 256);
  assert.deepEqual(bytesOf(Buffer.from(plain).toString("base64")), plain);
});

test("what is not base64 is refused", () => {
  const good = randomBytes(24).toString("base64");
  for (const bad of ["A", "AB", "ABC", "=", "====", "AB=C", `${good}A`, "A===", "AAAA=AAA", "AA==AAAA"])
    assert.throws(() => bytesOf(bad), RecordError, bad);
  for (const other of ["-", "_", " ", "\n", "\u00e9", "*"])
    for (let at = 0; at < good.length; at++) assert.throws(() => bytesOf(good.slice(0, at) + other + good.slice(at + 1)), RecordError);
});
