// The timeline of a film: segments of 5 to 10 seconds made of transitions, each a fast movement and then a rest
// (src/pellucid/draw/components/timeline.py).

import type { Ease } from "../film/keyframes.ts";
import type { FilmCaption, FilmFileSegment } from "../wire.ts";
import type { Keys, Value } from "./nodes.ts";

const SHORTEST = 5; // seconds of a segment

/** A movement from `start` to `settled` and a rest until `end`, in seconds of the film, with the caption of both. */
export interface Transition {
  start: number;
  settled: number;
  end: number;
  caption: string;
}

export class Timeline {
  private at = 0;
  private readonly parts: { name: string; transitions: Transition[] }[] = [];

  /** Adds a segment of transitions (seconds of movement, seconds of rest, caption), the last rest as long as a segment needs. */
  segment(name: string, ...transitions: readonly (readonly [moves: number, rests: number, caption: string])[]): Transition[] {
    const found: Transition[] = [];
    let at = this.at;
    for (const [moves, rests, caption] of transitions) {
      found.push({ start: at, settled: sixteenths(at + moves), end: sixteenths(at + moves + rests), caption });
      at = found.at(-1)!.end;
    }
    if (at - this.at < SHORTEST) at = found.at(-1)!.end = sixteenths(this.at + SHORTEST);
    this.at = at;
    this.parts.push({ name, transitions: found });
    return found;
  }

  segments(): FilmFileSegment[] {
    return this.parts.map(({ name, transitions }) => ({
      name, start: transitions[0]!.start, end: transitions.at(-1)!.end, rests: transitions.map((one): [number, number] => [one.settled, one.end]),
    })); // prettier-ignore
  }

  /** The captions of the transitions; equal ones in a row are joined. */
  captions(): FilmCaption[] {
    const found: FilmCaption[] = [];
    for (const { start, end, caption } of this.parts.flatMap((part) => part.transitions)) {
      const last = found.at(-1);
      if (last?.text === caption && last.end === start) last.end = end;
      else if (caption) found.push({ start, end, text: caption });
    }
    return found;
  }
}

export type Change<T> = readonly [transition: Transition, value: T, ease?: Ease | "settle"];

/**
 * A value that changes with transitions: `initial` before the first change, then each value in turn. The ease "hold" jumps at the
 * transition's start, "settle" at the end of its movement; "linear" and "move" change while it moves.
 */
export function animate<T>(initial: T, ...changes: readonly Change<T>[]): Value<T> {
  const points: Keys<T>["keys"] = [[0, initial, "hold"]];
  let value = initial;
  for (const [transition, after, ease = "hold"] of changes) {
    if (after === value) continue;
    const moves = (ease === "linear" || ease === "move") && transition.settled > transition.start;
    if (moves && points.at(-1)![0] < transition.start) points.push([transition.start, value, "hold"]);
    const at = moves || ease === "settle" ? transition.settled : transition.start;
    const point: Keys<T>["keys"][number] = [at, after, moves ? (ease as Ease) : "hold"];
    if (points.at(-1)![0] === at) points[points.length - 1] = point;
    else points.push(point);
    value = after;
  }
  return points.length === 1 && points[0]![1] === initial ? initial : { keys: points };
}

/** The opacity of something that appears when a transition has settled, and stays. */
export function visibleFrom({ settled }: Transition): Keys<number> {
  return { keys: [[0, 0, "hold"], [settled, 1, "hold"]] }; // prettier-ignore
}

/** The opacity of something that is seen from the start of the first transition to the end of the last. */
export function visibleDuring(transitions: readonly Transition[]): Keys<number> {
  const [first, last] = [transitions[0]!.start, transitions.at(-1)!.end];
  const points: Keys<number>["keys"] = first === 0 ? [[0, 1, "hold"]] : [[0, 0, "hold"], [first, 1, "hold"]]; // prettier-ignore
  return { keys: [...points, [last, 0, "hold"]] };
}

/** To the nearest sixteenth, halves to even. */
function sixteenths(seconds: number): number {
  const [whole, rest] = [Math.floor(seconds * 16), seconds * 16 - Math.floor(seconds * 16)];
  return (rest > 0.5 || (rest === 0.5 && whole % 2) ? whole + 1 : whole) / 16;
}
