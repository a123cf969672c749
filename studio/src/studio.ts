// Entry point of studio.js, the explorer of records: shows the studio in the page's element, if there is one.

import { mount, unmount } from "svelte";
import { Language, languageOf, setLanguage } from "./language.ts";
import App from "./studio/App.svelte";
import { type Backend, ServerBackend, StaticBackend } from "./studio/data.ts";
import { PageBackend } from "./studio/model.ts";
import type { StaticPage } from "./wire.ts";

/** Shows the studio in an element, in its language: its `lang`, or that of what it is in. */
export function open(target: HTMLElement, backend: Backend): void {
  setLanguage(languageOf(target));
  target.replaceChildren(); // what stood there for the time without a script
  const onlanguage = (code: string) => {
    setLanguage(new Language(code));
    document.documentElement.lang = code;
    void unmount(app);
    app = mount(App, { target, props: { backend, onlanguage } });
  };
  let app = mount(App, { target, props: { backend, onlanguage } });
}

/** The text of an element, which it then no longer holds. */
function takeText(id: string): string {
  const element = document.getElementById(id);
  const text = element?.textContent ?? "";
  element?.remove();
  return text.trim();
}

function backendOf(data: string): Backend {
  if (!data) return new ServerBackend();
  const page = JSON.parse(data) as StaticPage;
  return page.model ? new PageBackend(page, page.model, takeText) : new StaticBackend(page);
}

const place = document.getElementById("pellucid-studio");
if (place) open(place, backendOf(takeText("pellucid-data")));
