// Entry point of studio.js, the explorer of records: shows the studio in the page's element, if there is one.

import { mount } from "svelte";
import { languageOf, setLanguage } from "./language.ts";
import App from "./studio/App.svelte";
import { type Backend, ServerBackend, StaticBackend } from "./studio/data.ts";
import type { StaticPage } from "./wire.ts";

/** Shows the studio in an element, in its language: its `lang`, or that of what it is in. */
export function open(target: HTMLElement, backend: Backend): void {
  setLanguage(languageOf(target));
  mount(App, { target, props: { backend } });
}

const place = document.getElementById("pellucid-studio");
if (place) {
  const data = document.getElementById("pellucid-data")?.textContent;
  open(place, data ? new StaticBackend(JSON.parse(data) as StaticPage) : new ServerBackend());
}
