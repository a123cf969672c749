// The story that the first page tells: the model the article begins from, then five steps, each with the figures that show it.

import { mark } from "../language.ts";

/** A step of the story. */
export interface StoryStep {
  id: string;
  title: string;
  text: string;
  /** Names of the figures that show it, the first one first. */
  figures: string[];
  /** Whether an answer of the page "Ask the model" is a record for it. */
  ask: boolean;
}

/** What stands before the steps: shown where there is its film. */
export const OPENING: StoryStep = {
  id: "one-number",
  title: mark("To begin: one number"),
  text: mark("The model that the article begins from has a single number, fitted to data: a guess, its error, and a small change that makes the error smaller. A language model learns in the same way, with millions of numbers instead of one."),
  figures: ["one-parameter"],
  ask: false,
};

export const STORY: readonly StoryStep[] = [
  {
    id: "train",
    title: mark("Train"),
    text: mark("A model starts as random numbers. Training shows it text, lets it guess each next token, and changes every number a little so that the next guess is better."),
    figures: ["pretraining", "windows", "step", "parameters"],
    ask: false,
  },
  {
    id: "write",
    title: mark("Write"),
    text: mark("The model reads the prompt and gives every token that it knows a probability; one of them is drawn. That token joins what it reads, and the same begins again."),
    figures: ["tokens", "overview", "context"],
    ask: true,
  },
  {
    id: "look",
    title: mark("Look inside"),
    text: mark("Each token becomes a list of numbers that climbs through the blocks, and each block adds to it what it reads from earlier tokens. The picture shows what the model would say at each level."),
    figures: ["xray", "stack", "embedding"],
    ask: true,
  },
  {
    id: "prime",
    title: mark("Prime"),
    text: mark("Examples in the prompt show the model what is wanted; not one of its numbers changes. Large models understand; whether this one does, the picture shows: the same question after no, one and several examples."),
    figures: ["priming"],
    ask: false,
  },
  {
    id: "finetune",
    title: mark("Fine-tune"),
    text: mark("Training goes on with examples of one task, from the model that is there already. The picture shows which numbers changed, and the answers before and after."),
    figures: ["finetuning"],
    ask: false,
  },
];

/** The figures of a step that are there, in the step's order; those of one name by their records, the first record first. */
export function shownFigures<Source extends { name: string }>(step: StoryStep, sources: readonly Source[]): Source[] {
  return step.figures.flatMap((name) => sources.filter((source) => source.name === name));
}
