// The form of the sampling options: inputs from the server's table, and the values that they send.

import assert from "node:assert/strict";
import test from "node:test";
import { inputsOf, OptionError, type OptionInput, optionsOf, type OptionValue, parseInput, phraseOf } from "../src/studio/options.ts";
import type { OptionField } from "../src/wire.ts";

function field(name: string, type: string, rest: Partial<OptionField> = {}): OptionField {
  return { name, type, default: null, help: `what ${name} does`, minimum: null, maximum: null, above_minimum: false, nullable: false, ...rest };
}

const TABLE = [
  field("max_tokens", "int", { default: 40, minimum: 1, maximum: 400 }),
  field("temperature", "float", { default: 1, minimum: 0 }),
  field("top_k", "int", { minimum: 1, nullable: true }),
  field("top_p", "float", { minimum: 0, above_minimum: true, maximum: 1, nullable: true }),
  field("stop", "texts", { default: [] }),
  field("presence_penalty", "float", { default: 0, minimum: -2, maximum: 2 }),
  field("logit_bias", "biases", { default: [] }),
  field("seed", "int", { minimum: -(2 ** 63), maximum: 2 ** 63 }),
  field("slide", "bool", { default: false }),
  field("grammar", "text", { default: "" }),
];

function inputOf(name: string): OptionInput {
  const { common, more } = inputsOf(TABLE);
  return [...common, ...more].find((input) => input.option.name === name)!;
}

const parse = (name: string, raw: string | boolean) => parseInput(inputOf(name), raw);
const refuses = (name: string, raw: string, says: RegExp) =>
  assert.throws(() => parse(name, raw), (error) => error instanceof OptionError && error.option === name && says.test(error.message));

test("every row of the table is one input, the common ones first", () => {
  const { common, more } = inputsOf(TABLE);
  assert.deepEqual(common.map((input) => input.option.name), ["temperature", "top_p", "max_tokens", "seed"]);
  assert.deepEqual(more.map((input) => input.label), ["Top-k", "Stop texts", "Presence penalty", "Logit bias", "Slide", "Grammar"]);
  assert.deepEqual(common.map((input) => input.initial), ["0.8", "0.95", "40", ""]);
  assert.ok(more.every((input) => input.initial === "" || input.initial === false));
  assert.ok([...common, ...more].every((input) => input.hint.startsWith(`what ${input.option.name} does`)));
  assert.deepEqual(common.map((input) => input.placeholder), ["1", "off", "40", "automatic"]);
  const { min, max, step } = inputOf("top_p");
  assert.deepEqual([min, max, step], [0.01, 1, 0.01]); // arrow keys stay where the value is allowed
  assert.deepEqual(inputsOf([field("quite_new", "float")]).more.map((input) => input.label), ["Quite new"]);
  assert.equal(phraseOf("top_k"), "top-k");
});

test("an untouched form sends where it begins, an empty one nothing", () => {
  const { common, more } = inputsOf(TABLE);
  const inputs = [...common, ...more];
  assert.deepEqual(optionsOf(inputs, (input) => input.initial), { temperature: 0.8, top_p: 0.95, max_tokens: 40 });
  assert.deepEqual(optionsOf(inputs, (input) => (input.kind === "checkbox" ? false : "")), {});
  assert.throws(() => optionsOf(inputs, (input) => (input.option.name === "top_k" ? "0" : "")), /Top-k must be a whole number, 1 or more/);
});

test("numbers inside of the range are sent, others refused with the range", () => {
  for (let i = 0; i < 400; i++) {
    const value = ((i * 7919) % 1201) / 200 - 3; // -3 to 3
    for (const name of ["temperature", "top_p", "presence_penalty"]) {
      const { minimum, maximum, above_minimum: above } = inputOf(name).option;
      const allowed = value >= minimum! && !(above && value === minimum) && value <= (maximum ?? Infinity);
      if (allowed) assert.equal(parse(name, ` ${value} `), value);
      else refuses(name, String(value), / number(, more than 0 and at most 1|, 0 or more| from -2 to 2)$/);
    }
  }
  assert.equal(parse("temperature", "1e-3"), 0.001);
  assert.equal(parse("max_tokens", "400"), 400);
  for (const wrong of ["401", "0", "1.5", "1e2", "0x10", "not a number"]) refuses("max_tokens", wrong, /^Max tokens must be a whole number from 1 to 400$/);
  for (const wrong of ["Infinity", "NaN", "0,8", "1 2", "--1", "1e999"]) refuses("temperature", wrong, /^Temperature must be a number, 0 or more$/);
});

test("a seed beyond JavaScript's numbers keeps all digits", () => {
  for (const seed of ["9223372036854775807", "-9223372036854775808", "9007199254740993", "-1", "0"]) assert.equal(parse("seed", seed), seed);
  assert.equal(parse("seed", "+007"), "7");
  for (const wrong of ["9999999999999999999", "1.0", "abc"]) refuses("seed", wrong, /whole number from -9223372036854775808 to 9223372036854775807$/);
});

test("stop texts: one a line, any characters", () => {
  const texts = ["\n", "\n\n", " the end ", "\\n", "tab\there", "a\\b", "\\"];
  const written = texts.map((text) => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\t", "\\t"));
  assert.deepEqual(parse("stop", `\n${written.join("\n")}\n\n`), texts);
  assert.deepEqual(parse("stop", "C:\\dir"), ["C:\\dir"]); // no escape: as it is
  assert.deepEqual(parse("stop", "  "), ["  "]);
  assert.equal(parse("stop", "\n\r\n"), undefined);
});

test("biases: pairs, in any usual separation, each token once", () => {
  const expected: OptionValue = { "50256": -100, "13": 2.5 };
  for (const raw of ["50256=-100, 13=2.5", "50256 = -1e2\n13=+2.50", "13=2.5;050256=-100,"]) assert.deepEqual(parse("logit_bias", raw), expected);
  for (const wrong of ["13", "a=1", "13=", "13=x", "=1", "1=2=3", "-1=2", "1.5=2"]) refuses("logit_bias", wrong, /TOKEN=NUMBER/);
  refuses("logit_bias", "13=1 013=2", /token 13 twice/);
  assert.equal(parse("logit_bias", "  "), undefined);
});

test("a checkbox is sent where it is not at its default; a text as it is", () => {
  assert.equal(parse("slide", false), undefined);
  assert.equal(parse("slide", true), true);
  assert.equal(parse("grammar", " a "), " a ");
  assert.equal(parse("grammar", ""), undefined);
});
