// Builds the page: `node build.mjs DIR`. What it writes depends on the sources and on the versions in package-lock.json alone, so that a build
// elsewhere is the same, byte for byte.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ui = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2];
if (!out) {
  console.error("usage: node build.mjs DIR");
  process.exit(2);
}

// Every file below a folder, by path, but for what `leave` names.
function files(folder, leave = []) {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => !leave.includes(entry.name))
    .flatMap((entry) => (entry.isDirectory() ? files(join(folder, entry.name), leave) : [join(folder, entry.name)]))
    .sort();
}

const digest = (file) => createHash("sha256").update(readFileSync(file)).digest("hex");

// The comments of a package's bundled files that say whose they are: what stands for a licence where there is no file with it.
function notices(name, inputs) {
  const own = Object.keys(inputs).filter((input) => input.startsWith(`node_modules/${name}/`));
  const comments = own.flatMap((input) => readFileSync(join(ui, input), "utf8").match(/(?:^[ ]*\/\/.*\n)+/gm) ?? []);
  const claims = comments.filter((comment) => /copyright/i.test(comment)).map((comment) => comment.replace(/^[ ]*\/\/ ?/gm, "").trim());
  return [...new Set(claims)].sort().join("\n\n");
}

// The licences of the libraries that are in the bundle; a text that several share is there once.
function licences(inputs) {
  const packages = new Set(Object.keys(inputs).flatMap((input) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input)?.[1] ?? []));
  const texts = new Map();
  for (const name of [...packages].sort()) {
    const folder = join(ui, "node_modules", name);
    const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = join(folder, "LICENSE");
    const text = existsSync(file) ? readFileSync(file, "utf8").trim() : notices(name, inputs) || `${about.license}`;
    texts.set(text, [...(texts.get(text) ?? []), `${name} ${about.version} (${about.license})`]);
  }
  return [...texts].map(([text, names]) => `${names.join("\n")}\n\n${text}\n`).join("\n----\n\n");
}

rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, "assets"), { recursive: true });
const result = await build({
  absWorkingDir: ui,
  entryPoints: { app: "src/main.tsx" },
  outdir: resolve(out, "assets"),
  entryNames: "[name]-[hash]",
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
  metafile: true,
  logLevel: "warning",
});
const built = files(join(out, "assets")).map((file) => basename(file));
const page = readFileSync(join(ui, "src/index.html"), "utf8")
  .replace("app.css", built.find((name) => name.endsWith(".css")))
  .replace("app.js", built.find((name) => name.endsWith(".js")));
writeFileSync(join(out, "index.html"), page);
writeFileSync(join(out, "licences.txt"), licences(result.metafile.inputs));

// What the build was made of and what it is, for the test that knows no npm (allocator/web/web_test.go).
const sums = [
  ...files(ui, ["node_modules", "gen"]).map((file) => `${digest(file)}  ui/${relative(ui, file)}`),
  ...files(out).map((file) => `${digest(file)}  dist/${relative(out, file)}`),
];
writeFileSync(join(out, "sums.sha256"), sums.join("\n") + "\n");
