import assert from "node:assert/strict";
import test from "node:test";
import { format } from "../src/player.ts";

test("the player knows its format", () => assert.equal(format, "pellucid-film"));
