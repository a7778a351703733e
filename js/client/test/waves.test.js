import assert from "node:assert/strict";
import {readFileSync} from "node:fs";
import {join} from "node:path";
import test from "node:test";
import {fakeServer} from "./fake.js";
import {ada, here, live, openHub, until, wave, waveSender} from "./hub.js";
import {follows, samples, signalOf, values} from "../waves.js";

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

test("What follows is told from what comes after a gap", () => {
  const first = wave(1), later = (ms) => new Date(Date.parse(wave(2).time) + ms).toISOString();
  for (const [change, want] of [[{}, true], [{time: later(99)}, true], [{time: later(-99)}, true], [{time: later(1000)}, false], [{time: later(-150)}, false],
    [{n: 3}, false], [{n: 1}, false], [{rate: 500}, false], [{factor: 0.01}, false], [{device: "other"}, false], [{test: true}, false]]) {
    assert.equal(follows({...wave(2), ...change}, first), want, JSON.stringify(change));
  }
  assert.notEqual(signalOf(first), signalOf({...first, site: "left"}));
});

test("Waves come to who asks for them, also after a lost line, and end with access", async (t) => {
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
