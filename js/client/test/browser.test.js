// The client in Chromium: tabs that share, tabs that die, a full disk.
import assert from "node:assert/strict";
import {join} from "node:path";
import test, {after} from "node:test";
import {chromium} from "playwright-core";
import {ada, backend, heartRate, here, monitor, openHub, publish, raise, token, until, wave, waveSender} from "./hub.js";

const browser = await chromium.launch({executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", timeout: 120000,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]});
after(() => browser.close());

/** A Hub, a browser with nothing in it, and how to open a tab with a client. */
async function open(t, client = {storage: "ada"}) {
  const hub = await openHub(t, ["-files", join(here, "..")]), context = await browser.newContext();
  t.after(() => context.close());
  context.setDefaultTimeout(Number(process.env.PATIENCE ?? 120000));
  let n = 0;
  const tab = async (watch = {patients: ["p-1"]}, who = ada) => {
    const page = await context.newPage(), said = [];
    page.on("pageerror", (e) => said.push(String(e)));
    await page.goto(`${hub.http}/test/page.html?${++n}#` + encodeURIComponent(JSON.stringify({token: token(who), client, watch})));
    page.said = said;
    return page;
  };
  return {hub, context, tab};
}

/** Waits until f is true in a page, which may be hidden: no frame is drawn there. */
const within = (page, f, arg) => page.waitForFunction(f, arg, {polling: 50});
const current = (page) => within(page, "client.state.name === 'live' && watch.patients.get('p-1')?.current");
const shows = (page, value) => within(page, (value) => watch.patients.get("p-1")?.newest("8867-4")?.value === value, value);

test("A page with a script tag shows a live number", async (t) => {
  const {hub, tab} = await open(t, {}), page = await tab(), device = hub.client(monitor);
  await publish(device, heartRate("p-1", 71));
  await page.getByText("71 /min").waitFor();
  await page.locator("#line").getByText("live").waitFor();
  assert.deepEqual(page.said, []);
});

test("A worker has a client too", async (t) => {
  const {hub, tab} = await open(t, {}), page = await tab(), device = hub.client(monitor);
  await publish(device, heartRate("p-1", 72));
  await page.evaluate((token) => {
    const worker = new Worker("/test/worker.js", {type: "module"});
    worker.onmessage = (m) => { window.fromWorker = m.data; };
    worker.postMessage(token);
  }, token(ada));
  await within(page, "window.fromWorker?.[0] === 'live' && window.fromWorker[1] === '72'");
});

test("Where WebSockets do not come through, a page streams by POST", async (t) => {
  const {hub, tab} = await open(t, {});
  await hub.control({Block: true});
  const page = await tab();
  await within(page, "client.tryNow(), watch.patients.get('p-1')?.current");
  await publish(hub.client(monitor, {WebSocket: undefined}), heartRate("p-1", 73));
  await shows(page, "73");
});

test("Tabs share one connection, each with its own watches", async (t) => {
  const {hub, tab} = await open(t);
  await hub.control({Members: {ward: ["p-1", "p-2"]}});
  const device = hub.client(monitor), service = hub.client(backend);
  await publish(device, heartRate("p-1", 70));
  const open1 = await raise(service, {patient: "p-1", key: "k"});
  const first = await tab({groups: ["ward"]});
  await current(first);
  let begun = 0;
  await first.exposeFunction("forgot", () => { begun++; });
  await first.evaluate("client.on('forget', () => forgot())");
  const second = await tab({patients: ["p-1"]}), third = await tab({groups: ["ward"], delivery: "every"});
  for (const page of [second, third]) {
    await current(page);
    await shows(page, "70");
    assert.equal(await page.evaluate("client.me.id + ' ' + client.inbox.size + ' ' + watch.patients.get('p-1').alerts.get('k').alert_id"), "ada 1 " + open1.alert_id);
  }
  assert.equal(await second.evaluate("client.patients.size"), 1);
  assert.equal((await hub.control()).connections, 3, "the device, the backend and one for all tabs");
  await publish(device, heartRate("p-1", 71));
  for (const page of [first, second, third]) await shows(page, "71");

  assert.equal(await second.evaluate("client.accept(watch.patients.get('p-1').alerts.get('k')).over.then((c) => c.state)"), "done");
  for (const page of [first, third]) await within(page, "watch.patients.get('p-1').alerts.get('k')?.responsibility.by?.id === 'ada'");
  await second.evaluate("watch.stop()");
  await publish(device, heartRate("p-1", 72));
  for (const page of [first, third]) await shows(page, "72");
  for (const page of [first, second, third]) assert.deepEqual(page.said, []);
  t.diagnostic(`the first tab began anew ${begun} times`);
});

test("stop leaves nothing running of tabs that share and keep", async (t) => {
  const {hub, tab} = await open(t), leader = await tab(), other = await tab();
  for (const page of [leader, other]) await current(page);
  const locks = (page) => page.evaluate("navigator.locks.query().then(({held, pending}) => [...held, ...pending].map((l) => l.name))");
  assert.notDeepEqual(await locks(leader), []);
  for (const page of [leader, other]) await page.evaluate(`
    for (const [set, clear] of [["setTimeout", "clearTimeout"], ["setInterval", "clearInterval"]]) {
      const real = window[set];
      window[set] = (...args) => { (window.began ??= []).push(set); return real(...args); };
    }
    client.stop()`);
  await until("no lock", async () => (await locks(leader)).length === 0);
  await until("no connection", async () => (await hub.control()).connections === 0);
  for (const page of [leader, other]) assert.equal(await page.evaluate("client.state.name"), "ended");
  await leader.evaluate(`indexedDB.databases().then((all) => Promise.all(all.map(({name}) => new Promise((done, blocked) => {
    const r = indexedDB.deleteDatabase(name);
    r.onsuccess = done;
    r.onblocked = () => blocked(new Error("still open"));
  }))))`);
  await new Promise((done) => setTimeout(done, 3500)); // longer than a leader's word
  for (const page of [leader, other]) assert.deepEqual(await page.evaluate("window.began ?? []"), []);
});

test("A second tab with the same watch disturbs nobody", async (t) => {
  const {hub, tab} = await open(t), device = hub.client(monitor);
  await publish(device, heartRate("p-1", 70));
  const first = await tab();
  await current(first);
  await first.evaluate("window.forgot = 0, client.on('forget', () => window.forgot++)");
  const second = await tab();
  await current(second);
  await shows(second, "70");
  await publish(device, heartRate("p-1", 71));
  for (const page of [first, second]) await shows(page, "71");
  assert.equal(await first.evaluate("window.forgot"), 0);
  assert.equal(await first.evaluate("values.join()"), "70,71", "nothing comes twice");
});

/** Notes the chunks that come to a page. */
const noteWaves = (page) => page.evaluate("window.waves = [], client.on('wave', (w) => waves.push(w.patient + ' ' + w.n)), 0");
const waves = (page) => page.evaluate("waves.join()");

/** Sends chunks and looks at those that the Hub writes to its clients. */
function chunks(hub, send) {
  let n = 0;
  const out = async () => (await hub.control()).wavesOut;
  const next = async (patient = "p-1") => {
    const {wavesIn} = await hub.control();
    send({...wave(++n), patient});
    await until("taken", async () => (await hub.control()).wavesIn > wavesIn);
    return `${patient} ${n}`;
  };
  return {next, out, async quiet(patient) {
    await until("no chunk is written", async () => {
      const before = await out();
      await next(patient);
      await new Promise((later) => setTimeout(later, 300)); // the Hub gathers chunks for 40 ms
      return await out() === before;
    });
  }};
}

test("Tabs get their waves by one connection, and these end with the last tab that wants them", async (t) => {
  const {hub, tab} = await open(t), {next, out, quiet} = chunks(hub, await waveSender(t, hub)), both = {patients: ["p-1", "p-2"]}, lead = ["131330"];
  const first = await tab(both);
  await current(first);
  const second = await tab({...both, waves: lead}), third = await tab({patients: ["p-1"], waves: lead}), fourth = await tab({patients: ["p-2"], waves: lead});
  await Promise.all([second, third].map(current));
  await within(fourth, "watch.patients.get('p-2')?.current");
  for (const page of [first, second, third, fourth]) await noteWaves(page);
  await next();
  await next("p-2");
  await within(second, "waves.join() === 'p-1 1,p-2 2'");
  await within(third, "waves.join() === 'p-1 1'");
  await within(fourth, "waves.join() === 'p-2 2'");
  assert.equal(await waves(first), "", "it leads, but asked for none");
  assert.equal(await out(), 2, "once for all tabs");

  await second.evaluate("watch.stop()");
  await next();
  await within(third, "waves.join() === 'p-1 1,p-1 3'");
  assert.equal(await waves(second), "p-1 1,p-2 2");
  await third.close();
  await next("p-2");
  await within(fourth, "waves.join() === 'p-2 2,p-2 4'");
  await fourth.close();
  await quiet("p-1"); // which the leader watches on
  await quiet("p-2");
  assert.equal(await waves(first), "");
  const again = await tab({patients: ["p-1"], waves: lead});
  await current(again);
  await noteWaves(again);
  const come = async () => { await within(again, (chunk) => waves.at(-1) === chunk, await next()); };
  await come();
  await first.close(); // the next tab leads: its connection brings the last ten seconds again
  await within(again, "client.tryNow(), client.state.name === 'live' && watch.patients.get('p-1')?.current");
  await come();
  assert.equal(await again.evaluate("new Set(waves).size"), await again.evaluate("waves.length"), "no chunk comes twice");
  for (const page of [second, again]) assert.deepEqual(page.said, []);
});

test("Where WebSockets do not come through, tabs get their waves by streams, each chunk once", async (t) => {
  const {hub, tab} = await open(t), {next, quiet} = chunks(hub, await waveSender(t, hub)), lead = ["131330"];
  await hub.control({Block: true});
  const follow = (page) => within(page, "client.tryNow(), client.state.name === 'live' && watch.patients.get('p-1')?.current");
  const first = await tab({patients: ["p-1"], waves: lead});
  await follow(first);
  const second = await tab({patients: ["p-1"], waves: lead}), third = await tab({patients: ["p-1"]});
  for (const page of [second, third]) await follow(page);
  for (const page of [first, second, third]) await noteWaves(page);
  for (let n = 1; n <= 3; n++) await next();
  for (const page of [first, second]) await within(page, "waves.join() === 'p-1 1,p-1 2,p-1 3'");
  assert.equal(await waves(third), "");

  await first.evaluate("watch.stop()"); // streams cannot be changed: the leader connects anew
  await follow(second);
  await next();
  await within(second, "waves.at(-1) === 'p-1 4'");
  assert.equal(await second.evaluate("new Set(waves).size === waves.length"), true);
  await second.evaluate("watch.stop()");
  await quiet();
  const device = hub.client(monitor, {WebSocket: undefined});
  await publish(device, heartRate("p-1", 74));
  await within(third, "client.tryNow(), watch.patients.get('p-1')?.newest('8867-4')?.value === '74'");
  assert.equal(await waves(third), "");
  assert.equal(await waves(first), "p-1 1,p-1 2,p-1 3");

  await hub.control({Block: false}); // the leader, which changes its watches, now gets a WebSocket: the others have to ask anew
  await second.evaluate("window.states = [], client.on('state', ({name}) => states.push(name)), window.watch = client.watch({patients: ['p-1'], waves: ['131330']}), 0");
  await follow(second);
  await first.evaluate("client.watch({patients: ['p-1']}).stop()");
  await within(second, "client.tryNow(), states.includes('lost') && client.state.name === 'live' && watch.patients.get('p-1')?.current");
  await within(second, (chunk) => waves.at(-1) === chunk, await next());
  for (const page of [first, second, third]) assert.deepEqual(page.said, []);
});

for (const [name, end] of [
  ["is closed", (page) => page.close()],
  ["crashes", (page) => page.goto("chrome://crash").catch(() => {})],
  ["is frozen", async (page, context) => (await context.newCDPSession(page)).send("Page.setWebLifecycleState", {state: "frozen"})],
]) {
  test(`When the tab that leads ${name}, the next one goes on and misses nothing`, async (t) => {
    const {hub, context, tab} = await open(t), device = hub.client(monitor);
    const first = await tab({patients: ["p-1"], delivery: "every"});
    await current(first);
    const second = await tab({patients: ["p-1"], delivery: "every"});
    await current(second);
    await second.bringToFront();
    for (let i = 50; i < 60; i++) await publish(device, heartRate("p-1", i));
    await shows(second, "59");
    await end(first, context);
    for (let i = 60; i < 70; i++) await publish(device, heartRate("p-1", i));
    await until("it leads", async () => {
      await second.evaluate(name === "is frozen" ? "client.tryNow(), performance.now = ((f) => () => f() + 20)(performance.now.bind(performance))" : "client.tryNow()");
      return (await second.evaluate("watch.patients.get('p-1')?.newest('8867-4')?.value")) === "69";
    });
    await current(second);
    assert.deepEqual((await second.evaluate("values")).map(Number), Array.from({length: 20}, (_, i) => 50 + i));
    assert.deepEqual(second.said, []);
  });
}

for (const [name, end] of Object.entries({
  "Commands that tabs have not sent when they die": (page) => page.goto("chrome://crash").catch(() => {}),
  "What a client has not sent when it is stopped": (page) => page.evaluate("client.stop()"),
})) test(`${name} is sent by another, once`, async (t) => {
  const {hub, tab} = await open(t), who = backend;
  const first = await tab(undefined, who);
  await current(first);
  const second = await tab(undefined, who);
  await current(second);
  await hub.control({Refuse: 502});
  await hub.kill();
  await within(second, "client.state.name === 'lost'");
  for (const [page, text] of [[first, "of the first"], [second, "of the second"]]) {
    await page.evaluate((text) => {
      window.command = client.notify({patient: "p-1", to: ["patient"], text});
    }, text);
    await within(page, "command.kept");
  }
  await end(first);
  await hub.start();
  await within(second, "client.tryNow(), client.state.name === 'live' && client.commands.size === 0");
  const third = await tab(undefined, who);
  await current(third);
  await within(third, "client.commands.size === 0");
  const texts = async () => {
    const list = [];
    for await (const e of hub.client(backend).history({patient: "p-1", kinds: ["notice"]})) list.push(e.notice.text);
    return list.sort();
  };
  await until("both", async () => (await texts()).length >= 2);
  assert.deepEqual(await texts(), ["of the first", "of the second"]);
});

test("A call survives a reload, and a full disk is told", async (t) => {
  const {hub, tab} = await open(t, {storage: "backend"}), page = await tab(undefined, backend);
  await current(page);
  await hub.control({Refuse: 502});
  await hub.kill();
  await within(page, "client.state.name === 'lost'");
  await page.evaluate("window.command = client.raise({patient: 'p-1', key: 'call', text: 'help', priority: 'medium'})");
  await within(page, "command.kept");
  await page.route("**/test/*", (route) => route.fulfill({path: join(here, "page.html")}));
  await page.route("**/client.min.js", (route) => route.fulfill({path: join(here, "../client.min.js")}));
  await page.reload();
  await within(page, "client.commands.size === 1");
  assert.equal(await page.evaluate("[...client.commands][0].state"), "waiting");
  await hub.start();
  await within(page, "client.tryNow(), client.commands.size === 0 && watch.patients.get('p-1')?.alerts.has('call')");

  await page.evaluate("IDBObjectStore.prototype.put = () => { throw new DOMException('full', 'QuotaExceededError'); }, 0");
  const outcome = await page.evaluate("client.notify({patient: 'p-1', to: ['patient'], text: 'x'.repeat(2000)}).over.then((c) => [c.state, c.kept])");
  assert.deepEqual(outcome, ["done", false]);
});
