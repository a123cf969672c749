// Reading records: the values that Python wrote, byte ranges, damage.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { BufferBytes, RecordError, UrlBytes } from "../src/record/bytes.ts";
import { triangleAt, triangleSide } from "../src/record/decode.ts";
import { piece } from "../src/record/piece.ts";
import { PellucidRecord } from "../src/record/record.ts";

declare const ROOT: string;
const golden = (suffix: string) => readFileSync(`${ROOT}/tests/golden/record_kinds${suffix}`);
const bytes = new Uint8Array(golden(".pellucid")); // a copy: node's buffers are parts of a larger one
const expectedValues = JSON.parse(golden(".json").toString()) as { chunks: Record<string, unknown>; pieces: [number[], string][] };

const open = (data: Uint8Array) => PellucidRecord.open(new BufferBytes(new Uint8Array(data)));
const plain = (value: number) => (Number.isFinite(value) ? value : Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf");

/** A server of one file, by byte range. */
function server(data: Uint8Array, ranges = true) {
  const requested: string[] = [];
  let tag = '"a"';
  const get = (_: unknown, options?: RequestInit): Promise<Response> => {
    const headers = new Headers(options?.headers);
    const range = headers.get("Range")!;
    requested.push(range);
    if (headers.get("If-Match") && headers.get("If-Match") !== tag) return Promise.resolve(new Response("{}", { status: 412 }));
    const [from, to] = range.slice("bytes=".length).split("-").map(Number) as [number, number];
    if (!ranges) return Promise.resolve(new Response(new Uint8Array(data), { headers: { ETag: tag } }));
    return Promise.resolve(new Response(data.slice(from, to + 1), { status: 206, headers: { ETag: tag } }));
  };
  return { requested, get: get as typeof fetch, replace: () => (tag = '"b"') };
}

test("every dtype and encoding that Python wrote is read as Python reads it", async () => {
  const record = await open(bytes);
  assert.ok(record.checked, "node has SHA-256");
  assert.deepEqual(record.names(), Object.keys(expectedValues.chunks));
  for (const [name, expected] of Object.entries(expectedValues.chunks)) {
    const { dtype } = record.entry(name);
    if (dtype === "json") assert.deepEqual(await record.json(name), expected, name);
    else if (dtype === "utf8") await assert.rejects(record.numbers(name), /is text/);
    else assert.deepEqual(Array.from((await record.numbers(name)) as Float64Array, (value) => plain(Number(value))), expected, name);
  }
});

test("by byte range only the header and the chunks that are asked for are fetched", async () => {
  const { requested, get } = server(bytes);
  const source = new UrlBytes("/records/r", get);
  const record = await PellucidRecord.open(source);
  assert.equal(requested.length, 2);
  assert.equal(requested[0], "bytes=0-47");
  const entry = record.entry("kinds/bfloat16");
  const before = source.fetched;
  await Promise.all([record.numbers("kinds/bfloat16"), record.numbers("kinds/bfloat16")]);
  assert.equal(requested.length, 3, "a chunk is fetched once");
  assert.equal(source.fetched - before, entry.stored_bytes);
  assert.equal((await record.numbers("kinds/empty")).length, 0);
});

test("a server without ranges will do", async () => {
  const record = await PellucidRecord.open(new UrlBytes("/r", server(bytes, false).get));
  assert.equal((await record.numbers("kinds/int32"))[0], -30 * 397);
});

test("a record that was replaced meanwhile is not mixed up with the old one", async () => {
  const one = server(bytes);
  const record = await PellucidRecord.open(new UrlBytes("/r", one.get));
  one.replace();
  await assert.rejects(record.numbers("kinds/int32"), /replaced by a newer one/);
});

test("damage is noticed: every byte of the file that a digest covers", async () => {
  const record = await open(bytes);
  for (let at = 0; at < bytes.length; at += 61) {
    const damaged = bytes.slice();
    damaged[at]! ^= 0x10;
    let noticed = false;
    try {
      const found = await open(damaged);
      for (const name of found.names()) if (!["json", "utf8"].includes(found.entry(name).dtype)) await found.numbers(name);
      await found.json("kinds/json");
    } catch (error) {
      noticed = true;
      assert.ok(error instanceof RecordError || error instanceof SyntaxError, String(error));
    }
    const text = record.entry("kinds/text");
    const start = bytes.length - text.stored_bytes - 64; // text is not read above; zeros between chunks mean nothing
    if (!noticed) assert.ok(at > start || bytes[at] === 0, `byte ${at} was changed and nobody noticed`);
  }
});

test("what is no record, cut short or newer is refused in words", async () => {
  await assert.rejects(open(new TextEncoder().encode("hello, this is no record at all")), /no Pellucid record/);
  await assert.rejects(open(bytes.slice(0, 30)), /truncated/);
  await assert.rejects(open(bytes.slice(0, 300)), /truncated/);
  const newer = bytes.slice();
  newer[8] = 2;
  await assert.rejects(open(newer), /update Pellucid/);
  const record = await open(bytes);
  assert.throws(() => record.entry("generation/lens/ids"), /not in this record/);
});

test("pieces are labels on which everything can be seen, as Python writes them", () => {
  for (const [token, label] of expectedValues.pieces) assert.equal(piece(Uint8Array.from(token)), label);
});

test("triangles", () => {
  assert.equal(triangleSide(15), 5);
  assert.throws(() => triangleSide(14), RecordError);
  assert.equal(triangleAt(4, 4), 14);
});
