// The figures of the ward's page that a test must not judge, for a machine may be busy:
// how soon an alert is painted, how the page notices a fault of the line, how
// smoothly it draws. Run it on a quiet machine, with Go and Chromium: npm run figures
import {spawn, spawnSync} from "node:child_process";
import {mkdtempSync, rmSync} from "node:fs";
import {createServer} from "node:net";
import {tmpdir} from "node:os";
import {join} from "node:path";
import {setTimeout as sleep} from "node:timers/promises";
import {chromium} from "playwright-core";

const patients = Number(process.argv[2] ?? 200), rounds = Number(process.argv[3] ?? 100), cuts = Number(process.argv[4] ?? 12);
const dir = mkdtempSync(join(tmpdir(), "figures")), binary = join(dir, "ward");
if (spawnSync("go", ["build", "-o", binary, "github.com/carewire/carewire/examples/ward"], {stdio: "inherit"}).status !== 0) process.exit(1);
const port = await new Promise((done) => { const s = createServer().listen(0, "127.0.0.1", () => { const {port} = s.address(); s.close(() => done(port)); }); });
const http = `http://127.0.0.1:${port}`;

let ward;
async function start() {
  ward = spawn(binary, ["-addr", `127.0.0.1:${port}`, "-data", join(dir, "data"), "-patients", String(patients), "-seed", "1", "-step", "600"], {stdio: "ignore"});
  for (;;) {
    if (await fetch(http).then((r) => r.ok, () => false)) return;
    await sleep(20);
  }
}
const ended = () => new Promise((done) => ward.once("exit", done));
const sorted = (list) => list.toSorted((a, b) => a - b), at = (list, p) => sorted(list)[Math.min(list.length - 1, Math.floor(p * list.length))];
const figures = (list, digits = 0) => `${at(list, 0.5).toFixed(digits)} ms median, ${at(list, 0.95).toFixed(digits)} ms p95, ${Math.max(...list).toFixed(digits)} ms at most, of ${list.length}`;
const now = () => performance.timeOrigin + performance.now();

await start();
const browser = await chromium.launch({executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]});
/** A request of the gateway. */
async function ask(request) {
  const answer = await fetch(http + "/carewire", {method: "POST", headers: {"Content-Type": "application/json", Authorization: "Bearer gateway-1"}, body: JSON.stringify({req: "1", ...request})}).then((r) => r.json());
  if (answer.type !== "ok") throw new Error(JSON.stringify(answer));
  return answer;
}

async function open(token, width, height) {
  const context = await browser.newContext({viewport: {width, height}}), page = await context.newPage();
  await page.goto(`${http}/#token=${token}`);
  await page.locator("cw-line", {hasText: "Live"}).waitFor({state: "attached", timeout: 60000});
  await page.waitForTimeout(3000);
  return page;
}

/** Everything below a node, shadow roots too. */
const helpers = () => {
  globalThis.roots = (from, list = [from]) => {
    for (const e of from.querySelectorAll("*")) if (e.shadowRoot) { list.push(e.shadowRoot); globalThis.roots(e.shadowRoot, list); }
    return list;
  };
  globalThis.find = (host, text) => [...document.querySelector(host).shadowRoot.querySelectorAll("*")].findLast((e) => e.textContent.includes(text));
  globalThis.painting = (host, text) => new Promise((done) => {
    const look = () => {
      const r = globalThis.find(host, text)?.getBoundingClientRect();
      if (r && r.width > 0 && r.top >= 0 && r.bottom <= innerHeight) return requestAnimationFrame(() => { const c = new MessageChannel(); c.port1.onmessage = () => done(performance.timeOrigin + performance.now()); c.port2.postMessage(0); });
      performance.now() < end ? requestAnimationFrame(look) : done(NaN);
    }, end = performance.now() + 10000;
    look();
  });
};

/** How long raises take until they are in sight. */
async function paints(name, page, host) {
  await page.evaluate(helpers);
  const list = [];
  for (let i = 0; i < rounds; i++) {
    const key = `fig-${i}`, text = `Figure ${name} ${i}`, seen = page.evaluate(([s, t]) => painting(s, t), [host, text]), id = `p-${String(1 + (i * 37) % Math.floor(patients / 2)).padStart(2, "0")}`;
    await sleep(100 + Math.random() * 200);
    const began = now();
    const {alert} = await ask({type: "raise", event_id: crypto.randomUUID(), alert: {patient: id, key, text, priority: "high", kind: "technical", latch: false}});
    const took = await seen - began;
    if (took > 0) list.push(took);
    await ask({type: "clear", event_id: crypto.randomUUID(), patient: id, key, alert_id: alert.alert_id});
  }
  console.log(`1. a new alert is in sight, ${name}: ${list.length ? figures(list) : "none"}; ${rounds - list.length} were not within ten seconds`);
}

/** How smoothly a page draws for so many seconds, and what it changes. */
async function draws(name, page, seconds) {
  await page.evaluate(helpers);
  const {frames, tasks, changes} = await page.evaluate((seconds) => new Promise((done) => {
    const frames = [], tasks = []; let last = performance.now(), changes = 0;
    const watch = new MutationObserver((list) => { changes += list.length; });
    for (const root of roots(document)) watch.observe(root, {subtree: true, childList: true, characterData: true, attributes: true});
    new PerformanceObserver((list) => { for (const e of list.getEntries()) tasks.push(e.duration); }).observe({entryTypes: ["longtask"]});
    const end = last + seconds * 1000, step = (t) => { frames.push(t - last); last = t; t < end ? requestAnimationFrame(step) : done({frames: frames.slice(1), tasks, changes}); };
    requestAnimationFrame((t) => { last = t; requestAnimationFrame(step); });
  }), seconds);
  console.log(`7. frames, ${name}: ${figures(frames, 1)}; tasks beyond 50 ms: ${tasks.length}${tasks.length ? `, the longest ${Math.max(...tasks).toFixed(0)} ms` : ""}; ${Math.round(changes / seconds)} changes of the document a second`);
}

const state = (page, words) => page.waitForFunction((words) => words.includes(document.querySelector("cw-line").shadowRoot.querySelector("[part=line]").className), words, {polling: 20, timeout: 120000});

const desk = await open("nurse-ada", 1440, 900);
await draws(`desktop, ${patients} patients measured each second`, desk, 20);
await paints("desktop", desk, "#alerts");
await desk.locator('cw-patient[patient="p-02"] h3 button').click();
await paints("desktop beside an open drawer", desk, "#alerts");
await draws("desktop beside an open drawer with waves", desk, 20);
const phone = await open("nurse-ada", 390, 844);
await paints("phone", phone, "#alerts");
await phone.context().close();
const wall = await open("screen-5", 1920, 1080);
await paints("wall", wall, "cw-wall");
await draws("wall", wall, 20);
await wall.context().close();

await desk.evaluate(helpers);
const quiet = [], lost = [], back = [];
for (let i = 0; i < 3; i++) {
  const began = now();
  ward.kill("SIGSTOP");
  await state(desk, ["quiet", "lost"]);
  quiet.push(now() - began);
  ward.kill("SIGCONT");
  await state(desk, ["live"]);
}
for (let i = 0; i < cuts; i++) {
  const began = now(), gone = ended();
  ward.kill("SIGKILL");
  await state(desk, ["lost"]);
  lost.push(now() - began);
  await gone;
  await sleep(1000 + Math.random() * 20000);
  await start();
  const there = now();
  await state(desk, ["live"]);
  back.push(now() - there);
}
console.log(`5. a stopped server is seen: ${figures(quiet)}`);
console.log(`5. a killed server is seen: ${figures(lost)}`);
console.log(`5. live again after the server is back, outages of 1 to 21 s: ${figures(back)}`);

await browser.close();
ward.kill();
await ended();
rmSync(dir, {recursive: true});
