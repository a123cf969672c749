// Builds player.js and studio.js, one ES module each, and worker.js, a classic script: each needs nothing else. The same bytes on
// every machine.
//
//     node build.mjs [--out DIR]
//
// It also writes bundled.json: which npm packages' code went into the bundles, with their licences (for THIRD_PARTY.md).

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import esbuild from "esbuild";
import { compile, compileModule } from "svelte/compiler";
import { tables } from "./tables.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({ options: { out: { type: "string" } } });
const out = resolve(values.out ?? join(here, "../src/pellucid/assets/studio"));

/** Svelte components and rune modules (`.svelte`, `.svelte.ts`). Styles travel in the script; their names come from their text. */
export const svelte = {
  name: "svelte",
  setup(build) {
    const cssHash = ({ css }) => `s${createHash("sha256").update(css).digest("hex").slice(0, 8)}`;
    build.onLoad({ filter: /\.svelte$/ }, ({ path }) => {
      const source = readFileSync(path, "utf8");
      const made = compile(source, { filename: relative(here, path), css: "injected", dev: false, cssHash });
      return { contents: made.js.code, loader: "js", warnings: made.warnings.map((w) => ({ text: `${path}: ${w.message}` })) };
    });
    build.onLoad({ filter: /\.svelte\.ts$/ }, async ({ path }) => {
      const plain = await esbuild.transform(readFileSync(path, "utf8"), { loader: "ts", target: "es2022" });
      return { contents: compileModule(plain.code, { filename: relative(here, path), dev: false }).js.code, loader: "js" };
    });
  },
};

/** The package that a bundled file belongs to: its folder below node_modules; null for our own. */
function packageOf(input) {
  const parts = input.split("/");
  const at = parts.lastIndexOf("node_modules");
  if (at < 0) return null;
  return parts.slice(0, at + (parts[at + 1].startsWith("@") ? 3 : 2)).join("/");
}

/** The address of a package's repository as its package.json states it; npm's short form names a GitHub repository. */
function repositoryOf(repository) {
  const named = typeof repository === "string" ? repository : (repository?.url ?? "");
  return /^[\w.-]+\/[\w.-]+$/.test(named) ? `https://github.com/${named}` : named.replace(/^git\+/, "").replace(/\.git$/, "");
}

const bundled = new Map();
const FOLDERS = { player: ["film", "player"], studio: ["film", "player", "glossary", "record", "studio", "draw"], worker: ["page"] };
for (const name of ["player", "studio", "worker"]) {
  const made = await esbuild.build({
    absWorkingDir: here,
    entryPoints: [`src/${name}.ts`],
    outfile: join(out, `${name}.js`),
    bundle: true,
    format: name === "worker" ? "iife" : "esm", // a worker from a page on disk is a classic script
    target: "es2022",
    platform: "browser",
    conditions: ["browser", "production"],
    charset: "ascii",
    minify: true,
    legalComments: "none",
    metafile: true,
    write: false,
    logLevel: "warning",
    logLimit: 0,
    plugins: [svelte, tables(FOLDERS[name])],
  });
  if (made.warnings.length) process.exitCode = 1; // a warning is an error, as in Python
  const [file] = made.outputFiles;
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, `${name}.js`), file.contents);
  const [{ inputs }] = Object.values(made.metafile.outputs);
  for (const [input, { bytesInOutput }] of Object.entries(inputs)) {
    const folder = packageOf(input);
    if (!folder || !bytesInOutput) continue;
    const about = JSON.parse(readFileSync(join(here, folder, "package.json"), "utf8"));
    const notice = readdirSync(join(here, folder)).find((f) => /^licen[cs]e/i.test(f));
    const entry = bundled.get(folder) ?? {
      name: about.name,
      version: about.version,
      licence: about.license,
      home: about.homepage ?? repositoryOf(about.repository),
      files: [],
      notice: notice ? readFileSync(join(here, folder, notice), "utf8").trim() : "",
    };
    if (!entry.files.includes(`${name}.js`)) entry.files.push(`${name}.js`);
    bundled.set(folder, entry);
  }
}
const packages = [...bundled.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
writeFileSync(join(out, "bundled.json"), JSON.stringify(packages, null, 1) + "\n");
