// The files of a run, checked: they may be written by other programs, edited, or damaged.

import { tr } from "../language.ts";
import { RecordError } from "../record/bytes.ts";
import type { MetricsLine, RunInfo, RunPlan } from "../wire.ts";

const STILL = 60; // seconds without a line after which a run, of which nothing else is known, is taken to have stopped

/** Whether a run runs. */
export function statusOf(run: RunInfo): { state: "finished" | "running" | "stopped" | "unknown"; text: string } {
  if (run.total_steps !== undefined && (run.steps ?? 0) >= run.total_steps) return { state: "finished", text: tr("finished") };
  if (run.running) return { state: "running", text: tr("running now") };
  if (run.ended === "no longer learning") return { state: "finished", text: tr("finished early") };
  if (run.ended === "out of time") return { state: "stopped", text: tr("ended early: out of time") };
  if (run.ended) return { state: "stopped", text: tr("interrupted") };
  if (run.running === false) return { state: "stopped", text: tr("not running") };
  if (run.idle === undefined) return { state: "unknown", text: tr("not finished") };
  const seconds = Math.round(run.idle);
  if (run.idle < STILL) return { state: "running", text: tr("running: its last line is {seconds} s old", { seconds }) };
  return { state: "stopped", text: tr("not running: its last line is {time} old", { time: duration(seconds) }) };
}

/** Why and after which step a run ended before its planned steps, in a sentence; "" where it did not, or still runs. */
export function endOf(run: RunInfo): string {
  const { state } = statusOf(run);
  if (state === "running" || run.steps === undefined || run.steps >= (run.total_steps ?? 0)) return "";
  const at = { step: run.steps, total: run.total_steps! };
  if (run.ended === "out of time")
    return tr("This run ended after {step:,} of {total:,} planned steps: its time was over, since steps took longer than planned.", at);
  if (run.ended === "no longer learning")
    return tr("This run ended after {step:,} of {total:,} planned steps: its loss on held-out text no longer fell.", at);
  if (run.ended) return tr("This run was interrupted after {step:,} of {total:,} planned steps.", at);
  return tr("This run is at {step:,} of {total:,} planned steps; its files do not say why it ended there.", at);
}

function duration(seconds: number): string {
  if (seconds < 7200) return tr("{count} min", { count: Math.round(seconds / 60) });
  return seconds < 172_800 ? tr("{count} h", { count: Math.round(seconds / 3600) }) : tr("{count} days", { count: Math.round(seconds / 86_400) });
}

/** Lines of `metrics.jsonl`. */
export interface ParsedLines {
  lines: MetricsLine[];
  /** How many lines are no metrics. */
  unreadable: number;
  /** Whether the first line is one of these: a part of a file that was begun anew begins within a line. */
  broken: boolean;
}

const NUMBERS = ["tokens", "loss", "held_out_loss", "bits_per_byte", "tokens_per_s"] as const;
const TEXTS = ["prompt", "sample"] as const;
const LARGEST = 1e39; // no float32 is larger, and no path of a chart holds a number with an exponent

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isLine(value: unknown): value is MetricsLine {
  if (!isObject(value) || !Number.isSafeInteger(value.step) || (value.step as number) < 0) return false;
  const isNumber = (one: unknown) => typeof one === "number" && Math.abs(one) < LARGEST;
  const numbers = NUMBERS.every((name) => value[name] === undefined || isNumber(value[name]));
  return numbers && TEXTS.every((name) => value[name] === undefined || typeof value[name] === "string");
}

/** The lines of a text that are metrics: objects whose known keys have the types and ranges of `MetricsLine`. */
export function parseLines(text: string): ParsedLines {
  const found: ParsedLines = { lines: [], unreadable: 0, broken: false };
  for (const [i, line] of text.split("\n").filter(Boolean).entries()) {
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      value = undefined;
    }
    if (isLine(value)) found.lines.push(value);
    else {
      found.unreadable += 1;
      found.broken ||= i === 0;
    }
  }
  return found;
}

const PLAN_NUMBERS = ["batch", "total_steps", "threads"] as const;

/** The content of `run.json`. Throws a RecordError where a key that the page shows is missing or has another type. */
export function checkPlan(value: unknown): RunPlan {
  const plan = isObject(value) ? value : {};
  const wrong = [
    ...PLAN_NUMBERS.filter((name) => !Number.isFinite(plan[name])),
    ...(["config", "recipe"] as const).filter((name) => !isObject(plan[name])),
    ...(plan.source === undefined || isObject(plan.source) ? [] : ["source"]),
  ];
  if (wrong.length) throw new RecordError(`run.json cannot be shown: ${wrong.join(", ")} missing or of another type`);
  return plan as unknown as RunPlan;
}
