import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import test from "node:test";
import {IDBFactory} from "fake-indexeddb";
import {emptyLogs, fakeServer, settle, stopClock} from "./fake.js";
import {backend, heartRate, monitor, openHub, until} from "./hub.js";

const alert = {patient: "p-1", key: "k", alert_id: "a", rev: 3, text: "x", priority: "high", condition: "present"};

test("A command that has no reply waits after 2 s, and an answer expires after 15", async (t) => {
  const clock = stopClock(t), server = fakeServer(t), c = server.client();
  await settle();
  const command = c.accept(alert, {reason: "on my way"});
  assert.equal(command.state, "sending");
  assert.deepEqual({...server.socket.sent[0], req: 0, event_id: 0}, {type: "answer", req: 0, patient: "p-1", key: "k", alert_id: "a", event_id: 0, do: "accept", rev: 3, reason: "on my way"});
  await clock.pass(2100);
  assert.equal(command.state, "waiting");
  await clock.pass(13500);
  assert.equal(command.state, "expired");
  assert.equal(command.sent, true);
  assert.equal(c.commands.size, 0);
  await command.over;
  server.socket.push({type: "ok", req: server.socket.sent[0].req, alert: {...alert, rev: 4}});
  assert.equal(command.state, "done", "it was carried out all the same");
});

test("An alert that is on screen is receipted once for each level, and only by those whom it is for", async (t) => {
  const server = fakeServer(t), c = server.client();
  await settle();
  const shown = {...alert, to: ["person:ada"], escalation: {level: 1}}, sent = () => server.socket.sent.filter((f) => f.type === "receipt");
  c.presented(shown);
  c.presented({...shown, rev: 4});
  assert.deepEqual(sent().map((f) => ({...f, req: 0})), [{type: "receipt", req: 0, patient: "p-1", key: "k", alert_id: "a", stage: "presented"}]);
  c.presented({...shown, escalation: {level: 2}});
  assert.equal(sent().length, 2, "the next level was told");
  c.presented({...shown, alert_id: "b"});
  assert.equal(sent().length, 3, "another occurrence");
  c.presented({...shown, key: "k2", alert_id: "c", to: ["person:bea"], escalation: {level: 1, told: ["person:ada"]}});
  assert.equal(sent().length, 4, "the policy has told her");
  for (const not of [{to: ["person:bea"]}, {ended: "2026-03-01T08:00:00Z"}]) c.presented({...shown, key: "k3", alert_id: "d", ...not});
  assert.equal(sent().length, 4);
});

test("An answer that is too old is not sent when the line comes back", async (t) => {
  const clock = stopClock(t), server = fakeServer(t), c = server.client();
  await settle();
  server.refuse = true;
  server.post = () => { throw new TypeError("no network"); };
  server.socket.drop(1006);
  const answer = c.reject(alert), call = c.raise({patient: "p-1", text: "help", priority: "medium"});
  assert.deepEqual([answer.state, call.state], ["waiting", "waiting"]);
  await clock.pass(15500);
  assert.deepEqual([answer.state, answer.sent, call.state], ["expired", false, "waiting"]);
  server.refuse = false;
  c.tryNow();
  await settle();
  assert.deepEqual(server.socket.sent.map((f) => f.type), ["raise"]);
  server.socket.push({type: "ok", req: server.socket.sent[0].req, alert});
  assert.equal(call.state, "done");
  assert.equal(answer.state, "expired");
});

test("An answer is not sent into a line that is quiet", async (t) => {
  const clock = stopClock(t), server = fakeServer(t), c = server.client();
  await settle();
  await clock.pass(26000);
  assert.equal(c.state.name, "quiet");
  const early = c.accept(alert), late = c.accept(alert, {expireAfter: 2});
  await clock.pass(2500);
  assert.deepEqual([early.state, late.state, late.sent, server.socket.sent.length], ["waiting", "expired", false, 0]);
  server.socket.push({type: "heartbeat", time: new Date(Date.now()).toISOString(), inbox: 0});
  await clock.pass(1000);
  assert.equal(server.socket.sent.length, 1);
  assert.equal(server.socket.sent[0].event_id, early.frame.event_id);
});

test("What is told to come later is not sent when it has expired meanwhile", async (t) => {
  const clock = stopClock(t), server = fakeServer(t), c = server.client();
  await settle();
  const command = c.accept(alert, {expireAfter: 5});
  server.socket.push({type: "error", req: server.socket.sent[0].req, code: "busy", retry: "later", retry_ms: 5000});
  await clock.pass(8000);
  assert.equal(command.state, "expired");
  assert.equal(server.socket.sent.length, 1);
});

test("What has no final reply is sent again with the same ID", async (t) => {
  const clock = stopClock(t), server = fakeServer(t), c = server.client();
  await settle();
  const command = c.notify({patient: "p-1", to: ["patient"], text: "hello"});
  const sent = () => server.sockets.flatMap((s) => s.sent);
  for (const reply of [{code: "unknown", retry: "later"}, {code: "busy", retry: "later", retry_ms: 9000}]) {
    server.socket.push({type: "error", req: sent().at(-1).req, ...reply});
    const n = sent().length;
    await clock.pass((reply.retry_ms ?? 0) + 500);
    if (reply.retry_ms) assert.equal(sent().length, n + 1);
    await clock.pass(2000);
    assert.equal(sent().length, n + 1);
  }
  server.socket.drop(1006);
  c.tryNow();
  await settle();
  assert.equal(sent().length, 4);
  assert.equal(new Set(sent().map((f) => f.notice.notice_id)).size, 1);
  server.socket.push({type: "error", req: sent().at(-1).req, code: "forbidden", retry: "never"});
  assert.deepEqual([command.state, command.code], ["refused", "forbidden"]);
});

test("A vital that is refused is told of", async (t) => {
  const hub = await openHub(t), c = hub.client(monitor);
  const mixed = await c.publish([heartRate("p-1", 70), heartRate("p-9", 70)]).over;
  assert.deepEqual([mixed.state, mixed.code], ["refused", "forbidden"]);
  assert.ok(mixed.reply.results[0].seq > 0);
});

test("Calls, messages and vitals survive a reload, and are sent once", async (t) => {
  const hub = await openHub(t), storage = "reload";
  await hub.control({Refuse: 502});
  const before = hub.client(backend, {storage});
  const kept = [before.raise({patient: "p-1", key: "call", text: "help", priority: "medium"}), before.notify({patient: "p-1", to: ["patient"], text: "hello"}),
    before.publish([heartRate("p-1", 77)])];
  before.accept(alert);
  await until("all kept", () => kept.every((c) => c.kept));
  before.stop(); // and the page is gone
  const after = hub.client(backend, {storage});
  await until("all there", () => after.commands.size === 3);
  assert.deepEqual([...after.commands].map((c) => [c.frame.type, c.state]), [["raise", "waiting"], ["notify", "waiting"], ["publish", "waiting"]]);
  const all = [...after.commands];
  await hub.control({Refuse: 0});
  await until("all sent", () => { after.tryNow(); return all.every((c) => c.state === "done"); });
  const log = [];
  for await (const e of hub.client(backend).history({patient: "p-1"})) log.push(e.type);
  assert.deepEqual(log.filter((type) => type === "alert" || type === "notice" || type === "vital").sort().filter((x, i, l) => x !== l[i - 1]), ["alert", "notice", "vital"]);
  assert.equal(log.filter((type) => type === "notice").length, 1);
  assert.equal(log.filter((type) => type === "vital").length, 1);
  after.stop();
  const again = hub.client(backend, {storage});
  await until("live", () => again.state.name === "live");
  assert.equal(again.commands.size, 0, "nothing is left");
});

test("What another person has left is not sent", async (t) => {
  const server = fakeServer(t), indexedDB = new IDBFactory();
  const mine = server.client({storage: "shared by mistake", indexedDB});
  await settle();
  server.refuse = true;
  server.socket.drop(1006);
  const call = mine.raise({patient: "p-1", text: "help", priority: "medium"});
  await until("kept", () => call.kept);
  mine.stop();
  server.refuse = false;
  server.greet = {principal: {id: "bell", role: "clinician"}};
  server.answer = emptyLogs;
  const other = server.client({storage: "shared by mistake", indexedDB}), w = other.watch({patients: ["p-1"]});
  let decided = false;
  other.subscribe((changes) => { decided ||= changes.commands; });
  await w.ready;
  await until("it is decided", () => decided);
  assert.equal(other.commands.size, 0);
  assert.deepEqual(server.socket.sent.map((f) => f.type), ["watch"]);
});

test("Without a place to keep things they are sent all the same", async (t) => {
  const full = new IDBFactory();
  full.open = () => {
    const request = {};
    queueMicrotask(() => {
      request.result = {close() {}, transaction: () => { throw new DOMException("full", "QuotaExceededError"); }};
      request.onsuccess();
    });
    return request;
  };
  const forbidden = {open() { throw new DOMException("forbidden", "SecurityError"); }};
  const hung = {open: () => ({})};
  for (const indexedDB of [full, forbidden, hung]) {
    const hub = await openHub(t), c = hub.client(backend, {storage: "s", indexedDB});
    const call = await c.raise({patient: "p-1", text: "help", priority: "medium"}).over;
    assert.deepEqual([call.state, call.kept], ["done", false]);
    c.stop();
  }
});
