// An hour of a page in Chromium, by the real clock: whether its memory stays flat. It is run by hand, by `make soak-page`:
//
//   node test/soakpage.js [MINUTES [RATE]]     60 and 1 if left out; with a RATE of 10 six minutes have the events of an hour, but for waves
//
// Ten patients with two waves and two vitals each; four waves are drawn. Each second the page sends messages by way of its IndexedDB;
// alerts come and go, are answered, and are on screen. The server is killed every ten minutes. The server, with its log, is a process of its own.
// It is measured a little before, so that the page holds as much each time: the heap, and its objects without compiled code and without
// Chromium's own notes of slow frames.
import assert from "node:assert/strict";
import {join} from "node:path";
import test from "node:test";
import {chromium} from "playwright-core";
import {ada, backend, here, monitor, openHub, token, until, waveSender} from "./hub.js";

const minutes = Number(process.argv[2] ?? 60), rate = Number(process.argv[3] ?? 1), round = 600 / rate, ids = Array.from({length: 10}, (_, i) => `p-${i}`);
const who = (principal) => ({...principal, patients: ids});

/** The script of the page. */
async function start(ids, canvases, rate) {
  const {Sweep} = await import("/waves.js"), sweeps = new Map(), seen = window.seen = {waves: 0, old: 0, had: 0, errors: 0};
  for (const id of ids.slice(0, canvases)) {
    const canvas = document.body.appendChild(Object.assign(document.createElement("canvas"), {style: "display: block; width: 300px; height: 60px; color: green"}));
    sweeps.set(id, new Sweep(canvas, {now: () => client.now()}));
  }
  client.on("wave", (w) => {
    seen.waves++;
    if (w.code === "131330" && sweeps.has(w.patient) && !sweeps.get(w.patient).push(w)) seen.had++;
  });
  let n = 0;
  setInterval(() => {
    n++;
    client.notify({patient: ids[n % ids.length], to: ["person:ada"], text: "hello"}).over
      .then(({state, reply}) => state === "done" ? client.read(reply.notice).over : seen.errors++);
    for (const a of client.alerts) {
      client.presented(a);
      if (!a.ended && a.responsibility.state === "undefined") client.accept(a);
    }
    for (const s of sweeps.values()) if (s.old) seen.old++;
  }, 1000 / rate);
}

/**
 * Counts the objects of the page and its scripts: those in a heap snapshot that are neither compiled code nor the browser's own. And the
 * realms: Chromium may make another one for its own scripts, with some 700 objects.
 */
async function objects(cdp) {
  const parts = [], add = (e) => parts.push(e.chunk);
  cdp.on("HeapProfiler.addHeapSnapshotChunk", add);
  await cdp.send("HeapProfiler.takeHeapSnapshot", {reportProgress: false});
  cdp.off("HeapProfiler.addHeapSnapshotChunk", add);
  const {snapshot: {meta}, nodes, strings} = JSON.parse(parts.join("")), types = meta.node_types[0];
  let n = 0, realms = 0;
  for (let i = 0; i < nodes.length; i += meta.node_fields.length) {
    if (["object", "closure", "array", "number", "concatenated string"].includes(types[nodes[i]])) n++;
    if (strings[nodes[i + 1]].endsWith("NativeContext")) realms++;
  }
  return {n, realms};
}

test(`${minutes} minutes of a page`, {timeout: (minutes + 20) * 60e3}, async (t) => {
  const hub = await openHub(t, ["-files", join(here, "..")]);
  const browser = await chromium.launch({executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", timeout: 120000,
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]});
  t.after(() => browser.close());
  const page = await browser.newPage(), said = [];
  page.on("pageerror", (e) => said.push(String(e)));
  const watch = {patients: ids, waves: ["131330", "150452"]};
  await page.goto(`${hub.http}/test/page.html#` + encodeURIComponent(JSON.stringify({token: token(who(ada)), client: {storage: "ada"}, watch})));
  await page.evaluate(({start, ids, rate}) => eval(`(${start})`)(ids, 4, rate), {start: String(start), ids, rate});
  const cdp = await page.context().newCDPSession(page), heaps = [], counts = [], source = hub.client(who(backend));
  const measure = async (minute) => {
    await cdp.send("HeapProfiler.collectGarbage");
    const {usedSize} = await cdp.send("Runtime.getHeapUsage");
    const now = await page.evaluate(`(async () => ({state: client.state.name, commands: client.commands.size, seen: window.seen, usage: (await navigator.storage.estimate()).usage}))()`);
    heaps.push(usedSize / 2 ** 20);
    counts.push(await objects(cdp));
    console.log(`${minute.toFixed(1)} min: ${(usedSize / 2 ** 20).toFixed(2)} MB, ${counts.at(-1).n} objects in ${counts.at(-1).realms} realms, ${now.state}, ${now.seen.waves} chunks, ${now.seen.had} of them twice, ${now.commands} commands wait, ` +
      `${(now.usage / 2 ** 10).toFixed(0)} KB stored, ${now.seen.errors} messages not sent, ${now.seen.old} times a wave was old`);
  };
  const data = Buffer.from(Array.from({length: 62}, (_, i) => i % 2 * 60 + 20)).toString("base64"); // 62 differences
  const sender = async () => { const socket = await waveSender(t, hub, who(monitor)); return socket; };
  let send = await sender(), began = Date.now(), n = 0, raised;
  for (let second = 1; second <= minutes * 60; second++) {
    for (let quarter = 0; quarter < 4; quarter++) {
      n++;
      const time = new Date(began + 250 * (n - 1)).toISOString();
      for (const code of ["131330", "150452"]) send(...ids.map((patient) => ({patient, code, system: "mdc", device: "monitor", unit: "mV", factor: 0.005, rate: 248, n, time, data})));
      await new Promise((next) => setTimeout(next, Math.max(0, began + 250 * n - Date.now())));
    }
    for (let i = 0; i < rate; i++) source.publish(ids.flatMap((patient) => [["8867-4", "/min"], ["59408-5", "%"]].map(([code, unit]) => ({patient, code, unit, value: 60 + second % 30, device: "m", every: 1}))));
    if (second % 10 === 3 || rate > 1 && second % 4 === 1) source.raise({patient: ids[second % 10], key: `k${second % 3}`, text: "x", priority: "high", to: ["person:ada"]}).over.then((c) => { raised = c.alert; });
    if ((second % 10 === 8 || rate > 1 && second % 4 === 3) && raised) source.clear(raised);
    if (second % round === 0) {
      await hub.kill();
      await hub.start();
      await until("the page is back", () => page.evaluate(`client.tryNow(), client.state.name === "live" && watch.patients.size === 10`));
      send = await sender();
      raised = undefined;
    }
    if (second % round === Math.floor(round * 0.8)) await measure(second / 60);
  }
  assert.ok(heaps.length > 2, "the first round warms up");
  assert.deepEqual(said, []);
  const last = counts.at(-1), first = counts.slice(1).find((c) => c.realms === last.realms);
  console.log(`from ${heaps[1].toFixed(2)} to ${heaps.at(-1).toFixed(2)} MB, from ${first.n} to ${last.n} objects`);
  assert.ok(counts.slice(1, -1).some((c) => c.realms === last.realms), "the realms change: nothing can be compared");
  assert.ok(last.n < first.n * 1.02, "memory grows");
  assert.ok(heaps.at(-1) < heaps[1] + 1, "the browser's own grows");
});
