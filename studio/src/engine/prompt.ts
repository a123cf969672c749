// Few-shot prompts (priming): a task, examples and a query in one text, whose continuation is the answer, as
// src/pellucid/generation/prompt.py makes them.

import { RecordError } from "../record/bytes.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { PagePriming, PromptFormat } from "../wire.ts";

/** A part of a prompt's text. */
export interface Segment {
  role: "task" | "input" | "output" | "format";
  text: string;
}

/** The text of a prompt with its first `shots` examples in parts, each with what it is; joined they are the prompt. */
export function segmentsOf(prompt: PagePriming, shots: number, format: PromptFormat): Segment[] {
  const parts: Segment[] = [];
  const add = (role: Segment["role"], text: string) => text && parts.push({ role, text });
  if (prompt.task) {
    add("task", prompt.task);
    add("format", format.separator);
  }
  for (const [input, output] of prompt.examples.slice(0, shots) as [string, string][]) {
    add("format", format.before);
    add("input", input);
    add("format", `${format.between} `);
    add("output", output);
    add("format", format.separator);
  }
  add("format", format.before);
  add("input", prompt.query);
  add("format", format.between);
  return parts;
}

export function promptText(prompt: PagePriming, shots: number, format: PromptFormat): string {
  return segmentsOf(prompt, shots, format).map((part) => part.text).join("");
}

/** Errors: `RecordError` for a text that is empty, or one that holds what ends an answer. */
export function checkPriming({ examples, query, answer }: PagePriming, { separator }: PromptFormat): void {
  for (const part of [...examples.flat(), query, answer]) {
    if (!part.trim()) throw new RecordError("examples, question and right answer must be text, and not empty");
    if (part.includes(separator)) {
      const shown = JSON.stringify(separator);
      throw new RecordError(`${JSON.stringify(part)} holds ${shown}, which ends an answer in this format: take it out or choose another format`);
    }
  }
}

/** A text, a space and an answer as the tokens of one text, and the place of the answer's first token. */
export function encodeAnswered(tokenizer: Tokenizer, text: string, answer: string): { ids: number[]; start: number } {
  const alone = tokenizer.encodePrompt(text);
  const ids = tokenizer.encodePrompt(`${text} ${answer}`);
  let start = 0;
  while (start < Math.min(alone.length, ids.length) && alone[start] === ids[start]) start++;
  return { ids, start };
}
