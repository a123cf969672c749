// The module `pellucid:tables`: by language, the translations (src/pellucid/languages/*.json) of the texts that a bundle has.

import { readFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const LANGUAGES = join(here, "../src/pellucid/languages");
const COUNTED = /^\{count:,\} (.*)$/;

/** The code below folders of src/, as one text. */
function codeOf(folders) {
  const names = folders.flatMap((folder) => readdirSync(join(here, "src", folder)).map((name) => join(here, "src", folder, name)));
  names.push(join(here, "src/language.ts"));
  return names.filter((name) => /\.(ts|svelte)$/.test(name)).map((name) => readFileSync(name, "utf8")).join("\n");
}

/** Whether code holds a text as a literal, or the noun of `counted(...)`. */
function has(code, text) {
  const noun = COUNTED.exec(text)?.[1];
  return [text, ...(noun ? [noun, noun.replace(/s$/, "")] : [])].some((one) => code.includes(JSON.stringify(one)));
}

/** An esbuild plugin. folders: below src/, those whose code is bundled. */
export function tables(folders) {
  return {
    name: "tables",
    setup(build) {
      build.onResolve({ filter: /^pellucid:tables$/ }, ({ path }) => ({ path, namespace: "tables" }));
      build.onLoad({ filter: /.*/, namespace: "tables" }, () => {
        const code = codeOf(folders);
        const found = {};
        for (const file of readdirSync(LANGUAGES).filter((name) => name.endsWith(".json")).sort()) {
          const table = Object.entries(JSON.parse(readFileSync(join(LANGUAGES, file), "utf8")));
          const ours = table.filter(([text, translated]) => translated && has(code, text)).sort(([a], [b]) => (a < b ? -1 : 1));
          found[file.replace(/\.json$/, "")] = Object.fromEntries(ours);
        }
        return { contents: JSON.stringify(found), loader: "json" };
      });
    },
  };
}
