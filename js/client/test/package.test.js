// The package that npm would publish, in a fresh folder: bundled by vite, and with plain script tags.
import assert from "node:assert/strict";
import {execFile} from "node:child_process";
import {mkdir, mkdtemp, readdir, rm, writeFile} from "node:fs/promises";
import {tmpdir} from "node:os";
import {join} from "node:path";
import test, {after} from "node:test";
import {promisify} from "node:util";
import {chromium} from "playwright-core";
import {ada, heartRate, here, monitor, openHub, publish, token, wave, waveSender} from "./hub.js";

const run = promisify(execFile), folder = await mkdtemp(join(tmpdir(), "carewire-package-"));
after(() => rm(folder, {recursive: true}));
const browser = await chromium.launch({executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", timeout: 120000,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]});
after(() => browser.close());

/** A page that shows a number and a wave. @param {string} from where the package's modules are @param {string} client */
const script = (from, client) => `
  import {createClient} from "${from}${client}";
  import {Sweep} from "${from}/waves.js";
  const client = createClient({url: "/carewire", token: location.hash.slice(1)}), {patients} = client.watch({patients: ["p-1"], waves: ["131330"]});
  const sweep = new Sweep(document.querySelector("canvas"));
  client.on("wave", (w) => sweep.push(w));
  client.subscribe(() => {
    const v = patients.get("p-1")?.newest("8867-4");
    document.querySelector("p").textContent = (v ? v.value + " " + v.unit : "–") + (sweep.last ? ", chunk " + sweep.last.n : "");
  });`;
const page = (tag) => `<!doctype html><meta charset="utf-8"><title>Test</title><p></p><canvas style="width: 300px; height: 50px"></canvas>${tag}`;

await run("npm", ["pack", "--pack-destination", folder], {cwd: join(here, "..")});
const [packed] = (await readdir(folder)).filter((name) => name.endsWith(".tgz"));
await writeFile(join(folder, "package.json"), '{"private": true, "type": "module"}');
await run("npm", ["install", "--offline", "--no-audit", "--no-fund", "./" + packed], {cwd: folder});

/** Serves a directory beside a Hub, opens a page of it, and waits until it shows the events that are sent. */
async function shows(t, dir, path) {
  const hub = await openHub(t, ["-files", dir]), context = await browser.newContext();
  t.after(() => context.close());
  context.setDefaultTimeout(Number(process.env.PATIENCE ?? 120000));
  const tab = await context.newPage(), said = [];
  tab.on("pageerror", (e) => said.push(String(e)));
  await tab.goto(`${hub.http}/${path}#${token(ada)}`);
  await publish(hub.client(monitor), heartRate("p-1", 71));
  const send = await waveSender(t, hub);
  send(wave(7));
  await tab.getByText("71 /min, chunk 7").waitFor();
  assert.deepEqual(said, []);
}

test("With plain script tags the installed package works", async (t) => {
  const from = "/node_modules/@carewire/client";
  await writeFile(join(folder, "plain.html"), page(`<script type="module">${script(from, "/client.min.js")}</script>`));
  await shows(t, folder, "plain.html");
  await writeFile(join(folder, "sources.html"), page(`<script type="module">${script(from, "/client.js")}</script>`));
  await shows(t, folder, "sources.html");
});

test("Bundled by vite the installed package works", async (t) => {
  const site = join(folder, "site");
  await mkdir(site);
  await writeFile(join(site, "main.js"), script("@carewire/client", ""));
  await writeFile(join(site, "index.html"), page('<script type="module" src="/main.js"></script>'));
  await run(process.execPath, [join(here, "../node_modules/vite/bin/vite.js"), "build", "--logLevel", "error"], {cwd: site});
  await shows(t, join(site, "dist"), "");
});
