// The player's keyboard commands.

import type { Inspector } from "./inspector.ts";
import type { Playback } from "./playback.ts";

const NUDGE = 0.25; // seconds that an arrow key moves the slider

/** What commands act on. */
export interface KeyboardContext {
  readonly playback: Playback;
  readonly inspector: Inspector;
  readonly slider: Element;
  readonly stage: Element;
}

/** Runs the command of a key that was pressed on an element. Returns false for a key without a command there. */
export function runKey(key: string, target: EventTarget | undefined, context: KeyboardContext): boolean {
  const { playback, inspector, slider, stage } = context;
  const tag = target instanceof Element ? target.localName : "";
  if (key === "Escape") return inspector.dismiss();
  if (tag === "select" || (key === " " && (tag === "button" || tag === "summary"))) return false;
  const vertical = key === "ArrowUp" || key === "ArrowDown";
  if (target === slider && !playback.reducedMotion && (vertical || key === "ArrowLeft" || key === "ArrowRight")) {
    playback.seek(playback.time + (key === "ArrowRight" || key === "ArrowUp" ? NUDGE : -NUDGE));
    return true;
  }
  if (vertical) {
    if (target === slider) playback.step(key === "ArrowUp" ? 1 : -1);
    else if (target === stage) inspector.select(key === "ArrowDown" ? 1 : -1);
    else return false;
    return true;
  }
  switch (key) {
    case " ":
      playback.toggle();
      return true;
    case "ArrowLeft":
      playback.step(-1);
      return true;
    case "ArrowRight":
      playback.step(1);
      return true;
    case "Home":
      playback.toStart();
      return true;
    case "End":
      playback.toEnd();
      return true;
  }
  return false;
}
