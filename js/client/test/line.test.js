import assert from "node:assert/strict";
import test from "node:test";
import {emptyLogs, fakeServer, settle, stopClock, welcome} from "./fake.js";

const vital = (patient, seq, more) => ({type: "vital", patient, epoch: "e", seq, must: 0,
  vital: {patient, code: "8867-4", value: 70, unit: "/min", time: new Date(Date.now()).toISOString(), received: new Date(Date.now()).toISOString(), ...more}});

/** A client that watches one patient, whose device promises a vital each second. */
async function watching(t, options) {
  const clock = stopClock(t), server = fakeServer(t);
  server.answer = emptyLogs;
  const c = server.client(options), w = c.watch({patients: ["p-1"]});
  await settle();
  assert.equal(c.state.name, "live");
  let seq = 0;
  const measure = (more) => server.socket.push(vital("p-1", ++seq, {every: 1, ...more}));
  measure();
  return {clock, server, c, w, measure};
}

test("A line that falls silent is quiet when a promise is broken, and lost after 50 s", async (t) => {
  const {clock, server, c, w} = await watching(t), told = [];
  c.on("state", (s) => told.push([s.name, Math.round(s.silent)]));
  await clock.pass(9900);
  assert.equal(c.state.name, "live");
  await clock.pass(200, 10);
  assert.deepEqual(told, [["quiet", 10]], "told at once, by no second's clock");
  assert.equal(w.patients.get("p-1").stale("8867-4"), true);
  server.socket.push({type: "heartbeat", time: new Date(Date.now()).toISOString(), inbox: 0});
  assert.equal(c.state.name, "live", "the server is there");
  await clock.pass(25000);
  assert.equal(c.state.name, "live", "a device that was silent before is no matter of the line");
  await clock.pass(1000);
  assert.equal(c.state.name, "quiet", "the heartbeat is late");
  await clock.pass(23000);
  assert.equal(c.state.name, "quiet");
  server.refuse = true;
  await clock.pass(1500);
  assert.equal(c.state.name, "lost");
  assert.equal(w.patients.get("p-1").current, false);
  await clock.pass(600);
  assert.ok(server.sockets.length > 1, "it has tried again");
});

test("After sleep it is lost at once, and back soon", async (t) => {
  const {clock, server, c, w} = await watching(t);
  await clock.sleep(3600e3);
  assert.equal(c.state.name, "lost", "before any timer has run");
  assert.equal(w.patients.get("p-1").current, false);
  assert.ok(w.patients.get("p-1").age("8867-4") >= 3600);
  const before = server.sockets.length;
  await clock.pass(2000);
  assert.ok(server.sockets.length > before);
  assert.equal(c.state.name, "live");
  assert.equal(w.patients.get("p-1").current, true);
});

test("A clock that is set back makes nothing look new", async (t) => {
  const {clock, c, w} = await watching(t), now = Date.now;
  await clock.pass(9000);
  Date.now = () => now() - 3600e3;
  t.after(() => { Date.now = now; });
  const before = c.now();
  assert.ok(w.patients.get("p-1").age("8867-4") >= 8.9);
  await clock.pass(2000);
  assert.equal(c.state.name, "quiet");
  assert.ok(c.now() - before >= 2000);
});

test("The close code decides whether it comes back", async (t) => {
  for (const [code, name] of [[1000, "ended"], [1001, "lost"], [1002, "ended"], [1003, "ended"], [1005, "lost"], [1006, "lost"], [1007, "ended"], [1008, "ended"],
    [1009, "ended"], [1011, "lost"], [1012, "lost"], [1013, "lost"], [3000, "lost"], [3003, "ended"], [3008, "lost"], [4000, "ended"]]) {
    const server = fakeServer(t), c = server.client();
    await settle();
    server.socket.drop(code);
    assert.equal(c.state.name, name, String(code));
    assert.equal(c.state.code, code);
    c.stop();
  }
});

test("Pauses are random, grow to 30 s, and begin anew after 30 s of life", async (t) => {
  const {clock, server, c} = await watching(t), pauses = [];
  server.refuse = true;
  server.post = () => { throw new TypeError("no network"); };
  for (let i = 0; i < 60; i++) {
    if (c.state.name === "live") server.socket.drop(1012);
    await settle();
    pauses.push(c.state.nextTry);
    c.tryNow();
    await settle();
  }
  assert.ok(pauses[0] <= 0.5 && pauses[1] <= 1 && pauses[2] <= 2);
  assert.ok(pauses.every((s) => s >= 0 && s <= 30));
  const late = pauses.slice(8);
  assert.ok(Math.max(...late) > 15 && Math.min(...late) < 15 && new Set(late).size === late.length, String(late));
  server.refuse = false;
  c.tryNow();
  await settle();
  assert.equal(c.state.name, "live");
  for (let i = 0; i < 40; i++) {
    server.socket.push({type: "heartbeat", time: new Date(Date.now()).toISOString(), inbox: 0});
    await clock.pass(1000);
  }
  server.socket.drop(1012);
  assert.ok(c.state.nextTry <= 0.5);
});

test("After 1013 it waits longer", async (t) => {
  const {server, c} = await watching(t), pauses = [];
  for (let i = 0; i < 30; i++) {
    server.socket.drop(1013);
    pauses.push(c.state.nextTry);
    c.tryNow();
    await settle();
  }
  assert.ok(Math.max(...pauses.slice(0, 2)) <= 8 && Math.max(...pauses) > 4);
});

test("A refused handshake is asked about by POST", async (t) => {
  for (const [status, name, more] of [[401, "ended"], [403, "ended"], [421, "ended"], [431, "ended"], [400, "ended"], [429, "lost"], [503, "lost"], [502, "lost"], [404, "lost"]]) {
    const server = fakeServer(t);
    server.refuse = true;
    server.post = () => new Response(null, {status, headers: status === 503 ? {"Retry-After": "40"} : {}});
    const c = server.client(more);
    await settle();
    assert.equal(c.state.name, name, String(status));
    assert.equal(c.state.code, status);
    if (status === 503) assert.ok(c.state.nextTry > 39);
    assert.equal(server.posts[0].headers.Authorization, "Bearer t");
    assert.equal(server.posts[0].body, undefined);
    c.stop();
  }
});

test("Where a page forbids WebSockets, it streams", async (t) => {
  const clock = stopClock(t), server = fakeServer(t);
  const c = server.client({WebSocket: class { constructor() { throw new DOMException("forbidden", "SecurityError"); } }});
  c.watch({patients: ["p-1"]});
  await settle();
  await clock.pass(2000);
  assert.deepEqual(server.posts.slice(0, 2).map((p) => p.body), [undefined, undefined], "two attempts, asked about");
  assert.equal(server.posts[2].headers.Accept, "text/event-stream");
  assert.equal(JSON.parse(server.posts[2].body).type, "watch");
});

test("A token that is not good is asked for once more", async (t) => {
  const clock = stopClock(t), server = fakeServer(t), tokens = ["old", "old", "never asked"];
  server.refuse = true;
  server.post = () => new Response(null, {status: 401});
  const c = server.client({token: async () => tokens.shift()});
  await settle();
  assert.equal(c.state.name, "lost");
  await clock.pass(600);
  assert.equal(c.state.name, "ended");
  assert.equal(c.state.code, 401);
  assert.equal(tokens.length, 1);

  const other = fakeServer(t), fresh = ["old", "new"];
  other.refuse = true;
  other.post = () => { other.refuse = false; return new Response(null, {status: 401}); };
  const d = other.client({token: () => fresh.shift()});
  await settle();
  await clock.pass(600);
  assert.equal(d.state.name, "live");
  assert.equal(atob(other.socket.protocols[1].replace("carewire.bearer.", "")), "new");
});

test("Without a token it ends, and where it cannot be had now, it comes back", async (t) => {
  const clock = stopClock(t), server = fakeServer(t);
  const gone = server.client({token: () => undefined});
  await settle();
  assert.deepEqual([gone.state.name, gone.state.code, server.sockets.length], ["ended", 401, 0]);
  let fails = 1;
  const c = server.client({token: async () => { if (fails-- > 0) throw new Error("offline"); return "t"; }});
  await settle();
  assert.equal(c.state.name, "lost");
  await clock.pass(600);
  assert.equal(c.state.name, "live");
  const hung = server.client({token: () => new Promise(() => {})});
  await clock.pass(31000);
  assert.equal(hung.state.name, "lost", "a token that never comes");
});

test("A token is renewed on the line before it ends", async (t) => {
  const clock = stopClock(t), server = fakeServer(t);
  const in10 = () => new Date(Date.now() + 600e3).toISOString();
  server.greet = {expires: in10()};
  server.answer = (f, socket) => socket.push(f.type === "token" ? {type: "ok", req: f.req, expires: in10()} : {type: "ok", req: f.req});
  let n = 0;
  const c = server.client({token: () => "token " + ++n});
  await settle();
  const beat = async (seconds) => {
    for (let s = 0; s < seconds; s += 10) {
      server.socket.push({type: "heartbeat", time: new Date(Date.now()).toISOString(), inbox: 0});
      await clock.pass(10000, 1000);
    }
  };
  await beat(530);
  assert.deepEqual(server.socket.sent, []);
  await beat(30);
  assert.deepEqual(server.socket.sent.map((f) => [f.type, f.token]), [["token", "token 2"]]);
  await beat(500);
  assert.equal(server.socket.sent.length, 1);
  await beat(60);
  assert.equal(server.socket.sent.length, 2, "and again");
  assert.equal(server.sockets.length, 1);
  assert.equal(c.state.name, "live");
});

test("A ticket is fetched for each attempt", async (t) => {
  const server = fakeServer(t);
  let n = 0;
  server.post = (init) => Response.json({type: "ok", req: JSON.parse(init.body).req, ticket: "T" + ++n});
  const c = server.client({ticket: true});
  await settle();
  await new Promise(setImmediate);
  await settle();
  assert.equal(c.state.name, "live");
  assert.deepEqual(server.socket.protocols, ["carewire.v1", "carewire.ticket.T1"]);
  assert.equal(server.posts[0].headers.Authorization, "Bearer t");
});

test("A line that never comes to life is given up after 30 s", async (t) => {
  const clock = stopClock(t), server = fakeServer(t);
  server.greet = false;
  const c = server.client();
  await clock.pass(29500);
  assert.equal(c.state.name, "connecting");
  server.post = () => new Promise(() => {}); // streams too hang
  await clock.pass(2000);
  assert.equal(c.state.name, "lost");
});

test("A patient of whom nothing comes for 60 s is not current, and asked for again", async (t) => {
  const {clock, server, c, w} = await watching(t);
  for (let i = 0; i < 6; i++) {
    server.socket.push({type: "heartbeat", time: new Date(Date.now()).toISOString(), inbox: 0});
    await clock.pass(9900);
  }
  assert.equal(w.patients.get("p-1").current, true);
  assert.equal(server.socket.sent.length, 1);
  server.answer = undefined;
  await clock.pass(1500);
  assert.equal(w.patients.get("p-1").current, false);
  assert.equal(c.state.name, "live");
  assert.deepEqual(server.socket.sent[1].since, {"p-1": {epoch: "e", seq: 1}});
});

test("What is missing is asked for from the position, then from the beginning, and more and more rarely", async (t) => {
  const {clock, server, c, w} = await watching(t);
  server.answer = undefined;
  const p = w.patients.get("p-1"), gap = {type: "gap", patient: "p-1", epoch: "e", seq: 9, must: 4};
  server.socket.push(gap);
  assert.equal(p.current, false);
  assert.deepEqual(server.socket.sent[1].since, {"p-1": {epoch: "e", seq: 1}});
  server.socket.push({type: "ok", req: server.socket.sent[1].req, watching: ["p-1"], refused: []});
  server.socket.push({type: "sync", patient: "p-1", epoch: "e", seq: 9, must: 4, recovered: true});
  server.socket.push(gap); // is missing again
  assert.equal(server.socket.sent.length, 2, "not at once");
  await clock.pass(3000);
  assert.equal(server.socket.sent.length, 3);
  assert.deepEqual(server.socket.sent[2].since, {});
  assert.equal(c.state.name, "live");
});

test("A catch-up that ends with another count has missed something", async (t) => {
  const {server, w} = await watching(t), p = w.patients.get("p-1");
  server.answer = undefined;
  const ends = (must) => {
    server.socket.push({type: "sync", patient: "p-1", epoch: "e", seq: 1, must: 0, recovered: true});
    server.socket.push({type: "synced", patient: "p-1", epoch: "e", seq: 9, must, recovered: true});
  };
  ends(0);
  assert.equal(p.current, true);
  assert.equal(server.socket.sent.length, 1);
  ends(1);
  assert.equal(p.current, false);
  assert.deepEqual(server.socket.sent[1].since, {"p-1": {epoch: "e", seq: 9}});
});

test("What came before is ignored", async (t) => {
  const {server, w, measure} = await watching(t), p = w.patients.get("p-1");
  measure();
  server.answer = undefined;
  server.socket.push(vital("p-1", 1));
  server.socket.push({type: "head", heads: [{patient: "p-1", epoch: "e", seq: 1, must: 0}]});
  assert.equal(p.current, true);
  server.socket.push({type: "head", heads: [{patient: "p-1", epoch: "e", seq: 2, must: 1}]});
  assert.equal(p.current, false, "but not the events that a head counts");
  assert.equal(server.socket.sent.length, 2);
});

test("What a later server sends is no gap", async (t) => {
  const {server, c, w} = await watching(t);
  server.socket.push({type: "posture", patient: "p-1", epoch: "e", seq: 1, must: 7, posture: "left"});
  server.socket.push({type: "weather", news: true});
  assert.equal(w.patients.get("p-1").current, true);
  assert.equal(server.socket.sent.length, 1);
  assert.equal(c.state.name, "live");
});

test("With several watches each gets the most that one asks for", async (t) => {
  const server = fakeServer(t);
  server.answer = emptyLogs;
  const c = server.client(), a = c.watch({groups: ["g"], delivery: "alerts"});
  await settle();
  await a.ready;
  const b = c.watch({patients: ["g.1"], delivery: "every"});
  await b.ready;
  const asked = server.socket.sent.filter((f) => f.type === "watch");
  assert.deepEqual(asked.map((f) => f.delivery), ["alerts", "every", "every"]);
  assert.deepEqual(asked[1].since, {}, "from the beginning: the vitals before were not owed");
  b.stop();
  await settle();
  assert.equal(server.socket.sent.some((f) => f.type === "unwatch" && f.patients?.includes("g.1")), false, "the group has it");
  assert.equal(a.patients.size, 2);
});

test("What could not be decided is asked for again", async (t) => {
  const clock = stopClock(t), server = fakeServer(t);
  let decided = false;
  server.answer = (f, socket) => decided ? emptyLogs(f, socket) :
    socket.push({type: "ok", req: f.req, watching: [], refused: [...f.patients.map((patient) => ({patient, code: "undecided"})), ...f.groups.map((group) => ({group, code: "unavailable"}))]});
  const c = server.client(), w = c.watch({patients: ["p-1"], groups: ["g"]});
  await settle();
  assert.equal(w.patients.size, 0);
  decided = true;
  await clock.pass(5100);
  assert.deepEqual([...w.patients.keys()].sort(), ["g.1", "g.2", "p-1"]);
  assert.equal(c.state.name, "live");
});

test("5,000 patients are asked for in requests that the server takes", async (t) => {
  const server = fakeServer(t), names = Array.from({length: 5000}, (_, i) => `patient-number-${i}`);
  server.answer = emptyLogs;
  const c = server.client(), w = c.watch({patients: names});
  await settle();
  await w.ready;
  assert.equal(w.patients.size, 5000);
  for (const id of names) server.socket.push(vital(id, 1));
  server.socket.drop(1012);
  c.tryNow();
  await settle();
  assert.equal(c.state.name, "live");
  const asked = server.socket.sent;
  for (const f of asked) assert.ok(JSON.stringify(f).length < welcome.limits.frame, `${JSON.stringify(f).length} bytes`);
  assert.equal(new Set(asked.flatMap((f) => f.patients)).size, 5000);
  assert.equal(Object.keys(Object.assign({}, ...asked.map((f) => f.since))).length, 5000);
});
