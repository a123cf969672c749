// The page's copy of the server's model: the one of the newest answer, and no other.

import assert from "node:assert/strict";
import test from "node:test";
import { SpareModel } from "../src/studio/spare_model.ts";
import type { PageFiles } from "../src/wire.ts";

test("the copy is of the model that answered last, whichever comes first", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const asked: { id: string; come: (files: PageFiles | { why: string }) => void }[] = [];
  const spare = new SpareModel((id) => new Promise((come) => asked.push({ id, come })), () => "1");
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  const held = () => ["a", "b", "c"].filter((id) => spare.has(id)).join("");

  spare.prepare("a");
  spare.prepare("a");
  t.mock.timers.tick(1e4);
  asked[0]!.come({} as PageFiles);
  await settled();
  assert.equal(held(), "a");
  spare.prepare("b");
  t.mock.timers.tick(1e4);
  assert.equal(held(), "a"); // until the other one is here
  spare.prepare("a");
  t.mock.timers.tick(1e4);
  asked[2]!.come({} as PageFiles);
  asked[1]!.come({} as PageFiles); // late
  await settled();
  assert.equal(held(), "a");
  spare.prepare("b");
  spare.prepare("c");
  t.mock.timers.tick(1e4);
  assert.deepEqual(asked.map(({ id }) => id), ["a", "b", "a", "c"]);
  asked[3]!.come({} as PageFiles);
  await settled();
  assert.equal(held(), "c");
});

test("a copy that could not be fetched is asked for again after the next answer", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let asked = 0;
  const spare = new SpareModel(() => (++asked === 1 ? Promise.reject(new Error("gone")) : Promise.resolve({} as PageFiles)), () => "1");
  for (const there of [false, true, true]) {
    spare.prepare("a");
    t.mock.timers.tick(1e4);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(spare.has("a"), there);
  }
  assert.equal(asked, 2);
});
