// The studio's routes, in the fragment of the address: they work in a static page too.

import { tr } from "../language.ts";

export type Route =
  | { page: "home" }
  | { page: "words" }
  | { page: "tuning" }
  | { page: "ask"; model: string | null; state?: AskState }
  | { page: "prime"; state?: AskState }
  | { page: "run"; id: string }
  | { page: "record"; id: string; track: number | null; level: number | null };

/** What the form of a request holds, by option; `prompt` beside them. */
export type AskState = Readonly<Record<string, string>>;

const MOST_STATED = 1 << 16; // characters of all inputs but the prompt

/**
 * What of an address is put into a form: all, or nothing beside the prompt where the browser would lay it out for seconds.
 *
 * @returns the state, and why it is not what the address states, if so
 */
export function boundedState(state: AskState): { state: AskState; problem: string } {
  const { prompt, ...others } = state;
  const count = Object.values(others).reduce((sum, text) => sum + text.length, 0);
  if (count <= MOST_STATED) return { state, problem: "" };
  const said = { count, most: MOST_STATED };
  return {
    state: prompt === undefined ? {} : { prompt },
    problem: tr("The address states {count:,} characters for this form, and {most:,} can be shown at most: they are left out.", said),
  };
}

export function parseRoute(hash: string): Route {
  const [path, query] = hash.replace(/^#\/?/, "").split("?", 2) as [string, string?];
  const [page, id, track, level] = path.split("/").map(decode);
  const state = query ? { state: Object.fromEntries(new URLSearchParams(query)) } : {};
  if (page === "ask") return { page, model: id || null, ...state };
  if (page === "prime") return { page, ...state };
  if (page === "words" || page === "tuning") return { page };
  if (page === "run" && id) return { page, id };
  if (page === "record" && id) return { page, id, track: parseIndex(track), level: parseIndex(level) };
  return { page: "home" };
}

export function hashOf(route: Route): string {
  switch (route.page) {
    case "home":
      return "#/";
    case "words":
      return "#/words";
    case "tuning":
      return "#/tuning";
    case "ask":
      return (route.model === null ? "#/ask" : `#/ask/${encodeURIComponent(route.model)}`) + queryOf(route.state);
    case "prime":
      return `#/prime${queryOf(route.state)}`;
    case "run":
      return `#/run/${encodeURIComponent(route.id)}`;
    case "record": {
      const place = route.track === null || route.level === null ? "" : `/${route.track}/${route.level}`;
      return `#/record/${encodeURIComponent(route.id)}${place}`;
    }
  }
}

function queryOf(state: AskState | undefined): string {
  return state ? `?${new URLSearchParams(state)}` : "";
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

function parseIndex(text: string | undefined): number | null {
  return text && /^\d{1,6}$/.test(text) ? Number(text) : null;
}
