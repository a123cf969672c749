// The studio's routes, in the fragment of the address: they work in a static page too.

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
