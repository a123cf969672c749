// The studio's one file: the explorer of records. It fills the page's element, if the page has one; `open` fills another.

import { mount } from "svelte";
import App from "./studio/App.svelte";
import { type Carried, CarriedHost, type Host, ServerHost } from "./studio/data.ts";

/** Shows the studio in an element. */
export function open(target: HTMLElement, host: Host): void {
  mount(App, { target, props: { host } });
}

const place = document.getElementById("pellucid-studio");
if (place) {
  const carried = document.getElementById("pellucid-data")?.textContent;
  open(place, carried ? new CarriedHost(JSON.parse(carried) as Carried) : new ServerHost());
}
