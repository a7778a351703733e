// Faults between a client and a real Hub.
import assert from "node:assert/strict";
import test from "node:test";
import WebSocket from "ws";
import {ada, backend, heartRate, live, monitor, moveClock, openHub, publish, raise, token, until} from "./hub.js";

test("A server that is stopped: quiet after 10 s, lost after 50, and back with the events in between", async (t) => {
  const hub = await openHub(t), device = hub.client(monitor), c = hub.client(ada), w = c.watch({patients: ["p-1"]});
  await w.ready;
  await publish(device, heartRate("p-1", 70, {every: 1}));
  await until("70", () => w.patients.get("p-1").newest("8867-4"));
  hub.child.kill("SIGSTOP");
  t.after(() => hub.child.kill("SIGCONT"));
  assert.equal(c.state.name, "live");
  moveClock(t, 10100);
  assert.equal(c.state.name, "quiet");
  assert.equal(w.patients.get("p-1").stale("8867-4"), true);
  const accept = c.accept({patient: "p-1", key: "k", alert_id: "a", rev: 1}, {expireAfter: 15});
  assert.equal(accept.state, "waiting");
  moveClock(t, 45000);
  assert.equal(c.state.name, "lost");
  await until("it expires", () => accept.state === "expired");
  assert.equal(accept.sent, false, "it was not put into a line that hangs");
  const later = publish(device, heartRate("p-1", 71));
  hub.child.kill("SIGCONT");
  await until("live", () => { c.tryNow(); device.tryNow(); return w.patients.get("p-1").current; });
  await later;
  await until("71", () => w.patients.get("p-1").newest("8867-4").value === "71");
});

test("A server that is killed: lost at once, and back when it is", async (t) => {
  const hub = await openHub(t), c = hub.client(ada), w = c.watch({patients: ["p-1"]}), states = [];
  await w.ready;
  await raise(hub.client(backend), {patient: "p-1", key: "k"});
  await until("the alert", () => w.patients.get("p-1").alerts.size === 1);
  c.on("state", (s) => states.push(s.name));
  await hub.kill();
  await until("lost", () => c.state.name === "lost");
  assert.equal(w.patients.get("p-1").current, false);
  assert.equal(w.patients.get("p-1").alerts.size, 1, "it is still shown");
  await hub.start();
  await until("current", () => { c.tryNow(); return w.patients.get("p-1").current; });
  assert.equal(w.patients.get("p-1").alerts.size, 0, "its memory is another log");
  assert.deepEqual(states, ["lost", "live"]);
});

test("A store that fails: told, commands wait, and are done when it is well", async (t) => {
  const hub = await openHub(t), service = hub.client(backend), c = hub.client(ada), w = c.watch({patients: ["p-1"]});
  await w.ready;
  await live(service);
  await hub.control({FailStore: true});
  const call = service.raise({patient: "p-1", text: "help", priority: "medium"});
  await until("failing", () => c.state.name === "failing");
  await until("waiting", () => call.state === "waiting");
  assert.equal(w.patients.get("p-1").current, true, "the line is alive");
  await hub.control({FailStore: false});
  await until("done", () => call.state === "done");
  await until("live", () => c.state.name === "live");
  await until("the alert", () => w.patients.get("p-1").alerts.size === 1);
});

test("Where WebSockets do not come through, events come by POST", async (t) => {
  const hub = await openHub(t);
  await hub.control({Block: true});
  const c = hub.client(ada), w = c.watch({patients: ["p-1"]}), service = hub.client(backend);
  await until("by POST", () => { c.tryNow(); service.tryNow(); return w.patients.get("p-1")?.current; });
  assert.equal(c.state.name, "live");
  const a = await raise(service, {patient: "p-1", key: "k"});
  await until("the alert", () => w.patients.get("p-1").alerts.has("k"));
  assert.equal((await c.accept(a).over).state, "done");
  const second = c.watch({patients: ["p-2"]});
  await second.ready;
  second.stop();
  await until("p-1 alone", () => c.patients.size === 1 && w.patients.get("p-1").current);
  await service.clear(w.patients.get("p-1").alerts.get("k")).over;
  await until("the end", () => w.patients.get("p-1").alerts.size === 0);
  await until("one stream", async () => (await hub.control()).watches === 1);
  await hub.control({Revoke: "ada"});
  await until("ended", () => c.state.name === "ended");
  assert.ok([3003, 401, 403].includes(c.state.code), String(c.state.code));
});

test("Where there is no WebSocket at all, it begins by POST", async (t) => {
  const hub = await openHub(t), had = globalThis.WebSocket;
  delete globalThis.WebSocket;
  t.after(() => { if (had) globalThis.WebSocket = had; });
  const device = hub.client(monitor, {WebSocket: undefined}), c = hub.client(ada, {WebSocket: undefined}), w = c.watch({patients: ["p-1"]});
  await w.ready;
  await publish(device, heartRate("p-1", 70));
  await until("70", () => w.patients.get("p-1").newest("8867-4")?.value === "70");
  c.stop();
  await until("no stream", async () => (await hub.control()).connections === 0);
});

test("Access that is taken ends the view, and the client", async (t) => {
  const hub = await openHub(t);
  await hub.control({Members: {ward: ["p-7"]}});
  const c = hub.client(ada), w = c.watch({groups: ["ward"]}), revoked = [];
  await w.ready;
  await raise(hub.client({...backend, patients: ["p-7"]}), {patient: "p-7", key: "k"});
  await until("the alert", () => c.alerts.length === 1);
  c.on("revoked", (id) => revoked.push(id));
  await hub.control({Members: {ward: []}});
  await until("gone", () => c.patients.size === 0 && revoked.length > 0);
  assert.deepEqual([revoked, c.alerts], [["p-7"], []]);
  await hub.control({Revoke: "ada"});
  await until("ended", () => c.state.name === "ended");
  assert.equal(c.state.code, 3003);
});

test("A token that ends is renewed on the line, without a gap", async (t) => {
  const hub = await openHub(t), device = hub.client(monitor);
  let given = 0;
  const c = hub.client(async () => token({...ada, expires: new Date(Date.now() + 3600e3), session: "s" + ++given}));
  const w = c.watch({patients: ["p-1"], delivery: "every"}), states = [], values = [];
  await w.ready;
  c.on("state", (s) => states.push(s.name));
  c.on("vital", (v) => values.push(Number(v.value)));
  for (let i = 1; given < 4; i++) { // three hours pass, half a minute at a time
    await publish(device, heartRate("p-1", i % 100));
    await until("the value", () => values.length === i);
    moveClock(t, 30000);
  }
  assert.deepEqual(values, values.map((_, i) => (i + 1) % 100));
  assert.ok(values.length > 300);
  assert.deepEqual(states.filter((s) => s === "lost"), []);
  assert.equal((await hub.control()).connections, 2);
});

test("By ticket no token stands in a handshake", async (t) => {
  const hub = await openHub(t), offered = [];
  const Socket = class extends WebSocket { constructor(url, protocols) { super(url, protocols); offered.push(...protocols); } };
  const c = hub.client(ada, {ticket: true, WebSocket: Socket}), w = c.watch({patients: ["p-1"]});
  await w.ready;
  assert.equal(c.me.id, "ada");
  assert.equal(offered.length, 2);
  assert.match(offered[1], /^carewire\.ticket\./);
});

test("5,000 patients of one ward: all there, all back after a cut, and one change is one change", async (t) => {
  const hub = await openHub(t), names = Array.from({length: 5000}, (_, i) => `patient-${i}`);
  await hub.control({Members: {ward: names}});
  const sockets = [];
  const Socket = class extends WebSocket { constructor(...args) { super(...args); sockets.push(this); } };
  const device = hub.client(monitor), c = hub.client(ada, {WebSocket: Socket}), w = c.watch({groups: ["ward"]});
  await w.ready;
  assert.equal(w.patients.size, 5000);
  for (let i = 0; i < 5000; i += 100) await publish(device, ...names.slice(i, i + 100).map((id) => heartRate(id, 60, {every: 1})));
  await until("all values", () => [...w.patients.values()].every((p) => p.newest("8867-4")));
  sockets.at(-1).terminate();
  await until("lost", () => c.state.name === "lost");
  await until("back", () => { c.tryNow(); return [...w.patients.values()].every((p) => p.current && p.newest("8867-4")); });
  let changed = -1;
  const off = c.subscribe((changes) => { changed = changed < 0 ? 0 : changed + changes.patients.size; });
  await until("the earlier changes are told", () => changed === 0);
  await publish(device, heartRate("patient-17", 61));
  await until("61", () => w.patients.get("patient-17").newest("8867-4").value === "61" && changed > 0);
  assert.ok(changed < 100, `${changed} patients changed`);
  off();
});
