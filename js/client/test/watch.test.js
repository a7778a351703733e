import assert from "node:assert/strict";
import test from "node:test";
import {ada, backend, heartRate, monitor, openHub, publish, raise, until} from "./hub.js";

test("A watcher sees the present state, the events after it, and nobody else", async (t) => {
  const hub = await openHub(t);
  const device = hub.client(monitor), service = hub.client(backend);
  await publish(device, heartRate("p-1", 71), {patient: "p-1", code: "8310-5", value: "37.0", unit: "Cel"});
  await raise(service, {patient: "p-1", key: "low"});

  const c = hub.client(ada), seen = [];
  for (const kind of ["vital", "alert"]) c.on(kind, (item, context) => seen.push([kind, item.value ?? item.text, context.live]));
  const w = c.watch({patients: ["p-1", "p-9"]});
  await w.ready;
  assert.equal(c.state.name, "live");
  assert.deepEqual(c.me, {id: "ada", name: "Ada", role: "clinician"});
  const p = w.patients.get("p-1");
  assert.equal(p.current, true);
  assert.equal(p.newest("8867-4").value, "71");
  assert.equal(p.newest("8310-5").value, "37.0", "the digits of a decimal");
  assert.equal(p.alerts.get("low").text, "x");
  assert.ok(p.age("8867-4") < 60);
  assert.deepEqual(w.refused, [{patient: "p-9", code: "forbidden"}]);

  await publish(device, heartRate("p-1", 72));
  await until("72", () => p.newest("8867-4").value === "72");
  const open = p.alerts.get("low");
  await service.clear(open).over;
  const accepted = await c.accept(open).over;
  assert.equal(accepted.state, "refused", "the condition was over: rev is another");
  assert.equal((await c.accept(accepted.alert).over).state, "done");
  await until("the end", () => p.alerts.size === 0);
  assert.ok(seen.some(([kind, value, live]) => kind === "vital" && value === "71" && !live));
  assert.ok(seen.some(([kind, value, live]) => kind === "vital" && value === "72" && live));

  w.stop();
  assert.equal(c.patients.size, 0);
  await until("no watch", async () => (await hub.control()).watches === 0);
});

test("A watch of a group follows patients who come and go", async (t) => {
  const hub = await openHub(t);
  await hub.control({Members: {ward: ["p-1", "p-2"]}});
  const device = hub.client(monitor), c = hub.client(ada), told = [];
  for (const kind of ["granted", "revoked"]) c.on(kind, (id) => told.push(`${kind} ${id}`));
  const w = c.watch({groups: ["ward"]}), named = c.watch({patients: ["p-1"]});
  await Promise.all([w.ready, named.ready]);
  assert.deepEqual([...w.patients.keys()].sort(), ["p-1", "p-2"]);
  assert.deepEqual([...named.patients.keys()], ["p-1"]);

  await hub.control({Members: {ward: ["p-1", "p-3"]}});
  await until("p-3", () => w.patients.get("p-3")?.current);
  await publish(device, heartRate("p-3", 61));
  await until("61", () => w.patients.get("p-3").newest("8867-4")?.value === "61");
  assert.ok(told.includes("granted p-3"));
  assert.equal(named.patients.has("p-3"), false);

  w.stop();
  await until("p-1 alone", () => c.patients.size === 1 && named.patients.get("p-1").current);
  await publish(device, heartRate("p-1", 62));
  await until("62", () => named.patients.get("p-1").newest("8867-4")?.value === "62");
});

test("A group that could not be looked up is refused for now, and comes when it can", async (t) => {
  const hub = await openHub(t);
  await hub.control({FailWards: true});
  const c = hub.client(ada), w = c.watch({groups: ["ward"], patients: ["p-9"]}), states = [];
  c.subscribe((changes) => { if (changes.state) states.push(c.refused.length); });
  await w.ready;
  assert.deepEqual(w.refused, [{group: "ward", code: "undecided"}, {patient: "p-9", code: "undecided"}]);
  assert.deepEqual(c.refused, w.refused);
  await hub.control({FailWards: false, Members: {ward: ["p-1"]}});
  await until("p-1", () => w.patients.get("p-1")?.current);
  assert.deepEqual(c.refused, [{patient: "p-9", code: "forbidden"}]);
  await until("subscribers know", () => states.includes(2) && states.at(-1) === 1);
  await hub.control({Members: {ward: ["p-1", "p-9"]}});
  await until("p-9, from the group", () => w.patients.get("p-9")?.current);
  assert.deepEqual(c.refused, []);
  await until("subscribers know that nobody is refused", () => states.at(-1) === 0);
});

test("Two people accept: one is told the name of the other", async (t) => {
  const hub = await openHub(t);
  const a = await raise(hub.client(backend), {patient: "p-1", key: "k"});
  const first = hub.client(ada), second = hub.client({...ada, id: "bell"});
  assert.equal((await first.accept(a).over).state, "done");
  const late = await second.accept(a).over;
  assert.equal(late.state, "refused");
  assert.equal(late.code, "conflict");
  assert.equal(late.alert.responsibility.by.id, "ada");
});

test("An acceptance counts although the source has said more meanwhile", async (t) => {
  const hub = await openHub(t);
  const service = hub.client(backend), shown = await raise(service, {patient: "p-1", key: "k", source: {value: 88, unit: "%"}});
  const more = await raise(service, {patient: "p-1", key: "k", source: {value: 84, unit: "%"}});
  assert.ok(more.rev > shown.rev);
  const c = hub.client(ada);
  assert.equal((await c.accept(shown).over).state, "done");
  const worse = await raise(service, {patient: "p-1", key: "j", priority: "low"});
  await raise(service, {patient: "p-1", key: "j", priority: "high"});
  assert.equal((await c.accept(worse).over).code, "conflict", "a higher priority is to be seen first");
});

test("History comes page by page", async (t) => {
  const hub = await openHub(t);
  const device = hub.client(monitor), c = hub.client(ada);
  for (let i = 0; i < 5; i++) await publish(device, heartRate("p-1", 60 + i));
  const values = [];
  for await (const e of c.history({patient: "p-1", kinds: ["vital"], limit: 2})) values.push(e.vital.value);
  assert.deepEqual(values, ["60", "61", "62", "63", "64"]);
  await assert.rejects(async () => { for await (const e of c.history({patient: "p-9"})) assert.fail(e); }, {code: "forbidden"});
});

test("What is addressed to somebody comes without a watch", async (t) => {
  const hub = await openHub(t);
  const service = hub.client(backend), before = await raise(service, {patient: "p-1", key: "before"});
  const c = hub.client(ada), heard = [];
  c.on("alert", (a, context) => heard.push([a.key, context]));
  await until("the inbox", () => c.inbox.has("p-1 before"));
  await raise(service, {patient: "p-2", key: "after"});
  await until("the second", () => c.alerts.length === 2);
  assert.deepEqual(heard.find(([key]) => key === "before")[1], {live: false, inbox: true});
  assert.deepEqual(heard.find(([key]) => key === "after")[1], {live: true, inbox: true});
  await until("a receipt", async () => {
    for await (const e of c.history({patient: "p-1", kinds: ["receipt"]})) if (e.receipt.alert_id === before.alert_id && e.receipt.stage === "delivered") return true;
  });
  await c.close(c.inbox.get("p-1 before"), {force: true, reason: "seen to"}).over;
  await until("the end", () => !c.inbox.has("p-1 before"));
});

test("stop leaves nothing running", async (t) => {
  const hub = await openHub(t);
  const c = hub.client(ada), w = c.watch({patients: ["p-1"]});
  await w.ready;
  c.stop();
  assert.equal(c.state.name, "ended");
  await until("no connection", async () => (await hub.control()).connections === 0);
  const timers = () => process.getActiveResourcesInfo().filter((r) => r === "Timeout");
  await until("no timer", () => timers().length <= 1); // until's own
});
