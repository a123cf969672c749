// Entry point of studio.js, the explorer of records: shows the studio in the page's element, if there is one.

import { mount, unmount } from "svelte";
import { firstOf, Language, languageOf, setLanguage } from "./language.ts";
import App from "./studio/App.svelte";
import { type Backend, ServerBackend, StaticBackend } from "./studio/data.ts";
import { PageBackend } from "./studio/model.ts";
import type { StaticPage } from "./wire.ts";

/** Shows the studio in an element. Its language is the element's `lang`, or that of what it is in; with `browserLanguage` the browser's, if the studio has it. */
export function open(target: HTMLElement, backend: Backend, browserLanguage = false): void {
  const show = () => mount(App, { target, props: { backend, onlanguage: (code: string) => change(new Language(code)) } });
  const use = (language: Language) => {
    setLanguage(language);
    if (backend.model) [document.documentElement.lang, document.title] = [language.code, backend.title];
  };
  const change = (language: Language) => {
    void unmount(app);
    use(language);
    app = show();
  };
  use((browserLanguage && firstOf(navigator.languages)) || languageOf(target));
  target.replaceChildren(); // what stood there for the time without a script
  let app = show();
}

/** The text of an element, which it then no longer holds. */
function takeText(id: string): string {
  const element = document.getElementById(id);
  const text = element?.textContent ?? "";
  element?.remove();
  return text.trim();
}

function backendOf(page: StaticPage | null): Backend {
  if (!page) return new ServerBackend();
  return page.model ? new PageBackend(page, page.model, takeText) : new StaticBackend(page);
}

const place = document.getElementById("pellucid-studio");
if (place) {
  const data = takeText("pellucid-data");
  const page = data ? (JSON.parse(data) as StaticPage) : null;
  open(place, backendOf(page), page?.browser_language);
}
