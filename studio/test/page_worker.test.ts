// A page and the worker that runs its model: what is asked and stopped in which order, and what becomes of it if the worker fails.

import assert from "node:assert/strict";
import test from "node:test";
import type { ToWorker } from "../src/page/messages.ts";
import { PageWorker } from "../src/studio/page_worker.ts";
import type { PageModel } from "../src/wire.ts";

/** A worker that only notes what it is told. */
class Noting {
  static last: Noting;
  readonly told: ToWorker[] = [];
  onmessage: (event: { data: unknown }) => void = () => undefined;
  onerror: (event: { message: string }) => void = () => undefined;

  constructor() {
    Noting.last = this;
  }

  postMessage(message: ToWorker): void {
    this.told.push(message);
  }

  ended = false;
  terminate(): void {
    this.ended = true;
  }

  says(data: unknown): Promise<void> {
    this.onmessage({ data });
    return new Promise((resolve) => setTimeout(resolve)); // promises of the page have gone on
  }

  get kinds(): string[] {
    return this.told.map((one) => one.kind);
  }
}

Object.assign(globalThis, { Worker: Noting });
const OPENED = { kind: "opened", running: { variant: "WASM exact" } };
const parts = { weights: "AAAA", relaxed: "AAAA", exact: "AAAA" };
const started = (): PageWorker => new PageWorker("", {} as PageModel, parts, "1", () => "answer-1");
const nothing = (): undefined => undefined;

test("what is asked before the model is open is sent when it is", async () => {
  const worker = started();
  const answer = worker.generate({}, nothing, new AbortController().signal);
  assert.deepEqual(Noting.last.kinds, ["open"]);
  await Noting.last.says(OPENED);
  assert.deepEqual(Noting.last.kinds, ["open", "generate"]);
  await Noting.last.says({ kind: "ended", job: 1 });
  await answer;
});

test("what was stopped before the model is open is not begun", async () => {
  const worker = started();
  const control = new AbortController();
  const answer = worker.generate({}, nothing, control.signal);
  control.abort();
  await assert.rejects(answer, { name: "AbortError" });
  await Noting.last.says(OPENED);
  assert.ok(!Noting.last.kinds.includes("generate"));
});

test("a page whose model is damaged is there all the same, and says so", async () => {
  const worker = new PageWorker("", {} as PageModel, { ...parts, weights: "AAA" }, "1", () => "answer-1");
  await assert.rejects(worker.running, /damaged/);
  await assert.rejects(worker.generate({}, nothing, new AbortController().signal), /damaged/);
  assert.deepEqual(Noting.last.kinds, []);
});

test("a worker that fails ends what waits for it", async () => {
  const worker = started();
  await Noting.last.says(OPENED);
  const answer = worker.generate({}, nothing, new AbortController().signal);
  const report = worker.verify(new Uint8Array(), nothing);
  await new Promise((resolve) => setTimeout(resolve));
  Noting.last.onerror({ message: "out of memory" });
  await assert.rejects(answer, /out of memory/);
  await assert.rejects(report, /out of memory/);
});

test("a worker that is closed ends what waits for it", async () => {
  const worker = started();
  const answer = worker.generate({}, nothing, new AbortController().signal);
  worker.close();
  assert.ok(Noting.last.ended);
  await assert.rejects(answer, /one model at a time/);
});

test("in a browser without workers, or where the page may start none, the page is there all the same", async () => {
  const refusing = class {
    constructor() {
      throw new DOMException("workers are forbidden", "SecurityError");
    }
  };
  for (const lacking of [undefined, refusing]) {
    Object.assign(globalThis, { Worker: lacking });
    const worker = started();
    await assert.rejects(worker.running, /does not start the page's worker/);
    await assert.rejects(worker.generate({}, nothing, new AbortController().signal), /does not start/);
    await assert.rejects(worker.verify(new Uint8Array(), nothing), /does not start/);
    worker.close();
  }
  Object.assign(globalThis, { Worker: Noting });
});

test("a prompt that is too long is refused with the end of it that fits", async () => {
  const worker = started();
  const refused = assert.rejects(worker.generate({}, nothing, new AbortController().signal), { message: "too long", fitting: "the end" });
  await Noting.last.says(OPENED);
  await Noting.last.says({ kind: "failed", job: 1, error: "too long", fitting: "the end" });
  await refused;
});
