// The studio's one file: the explorer of records.

import { mount } from "svelte";
import App from "./studio/App.svelte";

/** Shows the studio in an element. */
export function open(target: HTMLElement, title: string): void {
  mount(App, { target, props: { title } });
}
