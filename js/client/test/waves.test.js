import assert from "node:assert/strict";
import {readFileSync} from "node:fs";
import {join} from "node:path";
import test from "node:test";
import {fakeServer} from "./fake.js";
import {ada, here, live, openHub, until, wave, waveSender} from "./hub.js";
import {Patient} from "../patient.js";
import {follows, samples, signalOf, Sweep, values} from "../waves.js";

test("Samples are read as the protocol writes them", () => {
  assert.deepEqual(samples("AAID2gSvCQ=="), [0, 1, -1, 300, -300]);
  assert.deepEqual(samples(""), []);
  assert.deepEqual(values({data: "AAID2gSvCQ==", factor: 0.5, origin: 10}), [10, 10.5, 9.5, 160, -140]);
  for (const broken of ["!", "gA==", "//////8B"]) assert.throws(() => samples(broken), broken);
  const vectors = JSON.parse(readFileSync(join(here, "../../../testdata/vectors/wave.json"), "utf8"));
  let read = 0;
  for (const v of vectors.filter((v) => v.valid)) for (const w of JSON.parse(v.frame).waves ?? []) read += typeof w === "object" ? samples(w.data).length : 0;
  assert.ok(read > 4000, String(read));
});

test("A chunk that follows is told from one after a gap", () => {
  const first = wave(1), later = (ms) => new Date(Date.parse(wave(2).time) + ms).toISOString();
  for (const [change, want] of [[{}, true], [{time: later(99)}, true], [{time: later(-99)}, true], [{time: later(1000)}, false], [{time: later(-150)}, false],
    [{n: 3}, false], [{n: 1}, false], [{rate: 500}, false], [{factor: 0.01}, false], [{device: "other"}, false], [{test: true}, false]]) {
    assert.equal(follows({...wave(2), ...change}, first), want, JSON.stringify(change));
  }
  assert.notEqual(signalOf(first), signalOf({...first, site: "left"}));
});

test("Waves come to clients that ask for them, also after a lost line, and end with access", async (t) => {
  const hub = await openHub(t), send = await waveSender(t, hub), seen = [], none = [];
  const c = hub.client(ada), other = hub.client({...ada, id: "bea"});
  c.on("wave", (w) => seen.push(w.n));
  other.on("wave", (w) => none.push(w.n));
  const w = c.watch({patients: ["p-1"], waves: ["131330"]});
  other.watch({patients: ["p-1"]});
  await w.ready;
  send(wave(1), {...wave(1), code: "150452"});
  send(wave(2));
  await until("two", () => seen.length === 2);
  assert.deepEqual(seen, [1, 2]);

  await hub.kill();
  await until("lost", () => c.state.name === "lost");
  await hub.start();
  await until("live", () => { c.tryNow(); return c.state.name === "live"; });
  const again = await waveSender(t, hub);
  await until("watched", async () => (await hub.control()).watches === 2 || (other.tryNow(), false));
  again(wave(4));
  await until("after the gap", () => seen.length === 3);
  assert.deepEqual(seen, [1, 2, 4]);

  await hub.control({Revoke: "ada"});
  await until("ended", () => c.state.name === "ended");
  await live(other);
  again(wave(5));
  await new Promise((later) => setTimeout(later, 300));
  assert.deepEqual(seen, [1, 2, 4]);
  assert.deepEqual(none, []);
});

test("History gives the strip of an alert", async (t) => {
  const server = fakeServer(t), c = server.client();
  const strip = JSON.parse(JSON.parse(readFileSync(join(here, "../../../testdata/vectors/wave.json"), "utf8")).find((v) => v.name === "strip").frame);
  server.answer = (f, socket) => { if (f.type === "history") socket.push({type: "ok", req: f.req, events: [strip]}); };
  const got = [];
  for await (const e of c.history({patient: "p-17", kinds: ["strip"], key: "spo2-low"})) got.push(e);
  assert.deepEqual(got, [strip]);
  assert.deepEqual(values(got[0].strip.waves[0]).length, 5);
});

test("A watch that stops ends its signals, and none that another one has asked for", async (t) => {
  const hub = await openHub(t), send = await waveSender(t, hub), seen = [];
  const c = hub.client(ada), [lead, pleth] = ["131330", "150452"];
  c.on("wave", (w) => seen.push(w.code + " " + w.n));
  const plain = c.watch({patients: ["p-1"]}), one = c.watch({patients: ["p-1"], waves: [lead]}), all = c.watch({patients: ["p-1", "p-2"], waves: ["*"]});
  await Promise.all([plain.ready, one.ready, all.ready]);
  assert.deepEqual([plain, one, all].map((w) => [w.wants(wave(1)), w.wants({...wave(1), code: pleth}), w.wants({...wave(1), patient: "p-2"})]),
    [[false, false, false], [true, false, false], [true, true, true]]);
  const both = (n) => send(wave(n), {...wave(n), code: pleth}), out = async () => (await hub.control()).wavesOut;
  both(1);
  await until("both", () => seen.length === 2);
  const settled = async () => { await c.request({type: "history", patient: "p-1", limit: 1}); }; // earlier requests are done
  all.stop();
  await settled();
  both(2);
  await until("one", () => seen.length === 3);
  assert.equal(seen[2], lead + " 2");
  assert.equal(await out(), 3, "the other signal does not even come");
  one.stop();
  await settled();
  both(3);
  await until("taken", async () => (await hub.control()).wavesIn === 6);
  await new Promise((later) => setTimeout(later, 200));
  assert.equal(await out(), 3);
  assert.equal(seen.length, 3);
  assert.ok(c.patients.has("p-1"), "the patient is watched on");
});

/** A Sweep without a page: the canvas draws nowhere, and clocks are the test's. */
function bareSweep(t, options) {
  const clock = {steady: 0, now: Date.parse("2026-03-01T08:00:00Z")}, {performance, requestAnimationFrame, cancelAnimationFrame} = globalThis;
  Object.assign(globalThis, {performance: {now: () => clock.steady}, requestAnimationFrame: () => 1, cancelAnimationFrame() {}});
  t.after(() => Object.assign(globalThis, {performance, requestAnimationFrame, cancelAnimationFrame}));
  const sweep = new Sweep({width: 100, height: 50}, {now: () => clock.now, ...options});
  const chunk = (n, more) => ({...wave(n), received: new Date(clock.now).toISOString(), ...more});
  return {sweep, clock, chunk, pass: (ms) => { clock.steady += ms; clock.now += ms; }};
}

test("A wave is old by when the server has received it, not by when it came here", (t) => {
  const {sweep, clock, chunk, pass} = bareSweep(t);
  assert.equal(sweep.old, true, "nothing has come");
  sweep.push(chunk(1));
  pass(1900);
  assert.equal(sweep.old, false);
  pass(200);
  assert.equal(sweep.old, true);
  assert.equal(sweep.push(chunk(2, {received: new Date(clock.now - 9000).toISOString()})), true);
  assert.equal(sweep.old, true, "a chunk that a server remembers, or a slow line brings late, is not live");
  sweep.push(chunk(3));
  assert.equal(sweep.old, false);
  clock.now += 3600e3; // the machine slept: its steady clock stood still
  assert.equal(sweep.old, true);
  clock.now -= 2 * 3600e3; // and a clock that is set back hides nothing
  sweep.push(chunk(4));
  clock.now -= 3600e3;
  clock.steady += 2100;
  assert.equal(sweep.old, true);
});

test("A sweep shows one signal, and each chunk once", (t) => {
  const {sweep, chunk, pass} = bareSweep(t), came = (list) => list.map((w) => sweep.push(w));
  const first = chunk(1), second = chunk(2);
  assert.deepEqual(came([first, second, chunk(1, {device: "other"}), chunk(1, {test: true}), chunk(1, {site: "left"}), chunk(1, {patient: "p-2"})]), [true, true, false, false, false, false]);
  assert.equal(sweep.gaps, 0);
  assert.deepEqual(came([first, second]), [false, false], "a new connection brings them again");
  pass(250);
  assert.deepEqual(came([chunk(3), chunk(1)]), [true, true], "the device began anew");
  assert.equal(sweep.gaps, 1);
  pass(2500);
  assert.deepEqual(came([chunk(1, {device: "other"})]), [true], "the first is old");
  assert.equal(sweep.gaps, 1, "another signal is no gap");
  assert.equal(sweep.last.device, "other");
  assert.deepEqual(came([chunk(2)]), [false]);
});

test("All chunks that a Hub remembers are known when they come again", (t) => {
  const {sweep, chunk} = bareSweep(t), p = new Patient("p-1", Date.now, () => true); // ten seconds, 20 chunks a second
  const chunks = Array.from({length: 200}, (_, n) => chunk(n + 1)), all = (take, want) => assert.ok(chunks.every((w) => take(w) === want));
  for (const take of [(w) => p.isNew(w), (w) => sweep.push(w)]) {
    all(take, true);
    all(take, false);
  }
});
