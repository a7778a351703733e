// As TestResumeAfterEveryFrame does with the protocol's rules alone.
import assert from "node:assert/strict";
import test from "node:test";
import WebSocket from "ws";
import {ada, backend, monitor, notify, openHub, publish, raise, token, until, wave, waveSender} from "./hub.js";

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));

/** Random numbers that come again with the same seed. */
function randoms(seed) {
  let x = seed >>> 0;
  return (n) => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return Math.floor(x / 2 ** 32 * n);
  };
}

/** A WebSocket that breaks after a number of frames, a number of times. */
function cutting(frames, cuts) {
  const state = {cuts, made: 0};
  const Socket = class {
    constructor(url, protocols) {
      const ws = this.ws = new WebSocket(url, protocols);
      let left = state.cuts > 0 ? frames : Infinity, cut = false;
      ws.onopen = () => this.onopen();
      ws.onclose = (e) => cut || this.onclose(e);
      ws.onerror = () => {};
      ws.onmessage = (m) => {
        if (cut) return;
        this.onmessage(m);
        if (--left > 0) return;
        cut = true;
        state.cuts--;
        state.made++;
        ws.terminate();
        this.onclose({code: 1006});
      };
    }
    get readyState() { return this.ws.readyState; }
    send(text) { this.ws.send(text); }
    close() { this.ws.close(1000); }
  };
  return {Socket, state};
}

/** The events that a client has got of each patient, and the newest chunks of waves; and whether any event, or any chunk on one line, came twice. */
function record(c, lines) {
  const got = new Map(), waves = new Map(), received = new Map();
  c.on("wave", ({patient, n, received: at}) => {
    const before = waves.get(patient), chunk = `${patient} ${n}`;
    assert.ok(!before || before.line !== lines() || n > before.n, `${chunk} behind ${before?.n}`);
    assert.equal(received.get(chunk) ?? at, at, `${chunk} is another one`);
    received.set(chunk, at);
    waves.set(patient, {n, line: lines()});
  });
  c.on("forget", (id) => got.set(id, {events: new Map(), fresh: true}));
  for (const kind of ["vital", "alert", "notice"]) {
    c.on(kind, (item, {inbox}) => {
      if (inbox) return;
      const {events} = got.get(item.patient), id = kind === "vital" ? item.vital_id : kind === "alert" ? `${item.alert_id} ${item.rev} ${item.ended ?? ""}` : item.notice_id;
      assert.ok(kind === "alert" || !events.has(id), `${kind} ${id} twice`); // an alert comes for each change by escalation too
      events.set(id, item);
    });
  }
  return {got, waves};
}

for (const delivery of ["latest", "every", "alerts"]) {
  test(`Cut after each frame, a client with ${delivery} misses nothing, seed ${seed}`, async (t) => {
    const hub = await openHub(t), device = hub.client(monitor), service = hub.client(backend);
    await Promise.all([device, service].map((c) => until("a line", () => c.state.name === "live")));
    let made = 0;
    for (let frames = 1; frames <= 24; frames++) {
      const random = randoms(seed + frames), {Socket, state} = cutting(frames, 12), ids = [`p-a${frames}`, `p-b${frames}`];
      const here = (p) => ({...p, patients: ids});
      device.stop(); service.stop();
      const d = hub.client(here(monitor)), s = hub.client({...here(backend), id: `backend-${frames}`}), // a sender may have 100 notices open with ada
        c = hub.client(here(ada), {WebSocket: Socket});
      const {got, waves} = record(c, () => state.made), w = c.watch({patients: ids, delivery, waves: ["131330"]});
      const send = await waveSender(t, hub, here(monitor));
      const sent = {vitals: new Map(), alerts: new Map(), notices: []};
      for (let i = 0; i < 40; i++) {
        const patient = ids[random(2)], key = `k${random(3)}`, name = `${patient} ${key}`;
        for (const id of ids) send({...wave(i + 1), patient: id});
        switch (random(6)) {
        case 0: sent.alerts.set(name, await raise(s, {patient, key, priority: "info"})); break;
        case 1: if (sent.alerts.has(name)) {
          assert.equal((await s.clear(sent.alerts.get(name)).over).state, "done");
          sent.alerts.delete(name);
        } break;
        case 2: sent.notices.push(await notify(s, {patient, to: ["person:ada"], text: "x"})); break;
        default: {
          const code = ["8867-4", "9279-1"][random(2)], v = {patient, code, value: 60 + i, unit: "/min", vital_id: `v${frames}-${i}`};
          await publish(d, v);
          sent.vitals.set(`${patient} ${code}`, v);
        }
        }
        if (i % 8 === 7) c.tryNow();
      }
      state.cuts = 0; // the present connection may be cut once more
      c.tryNow();
      await until(() => `everything, seed ${seed}, ${frames} frames: ${JSON.stringify(c.state)}`, () => {
        c.tryNow();
        if (!ids.every((id) => w.patients.get(id)?.current)) return false;
        for (const v of delivery === "alerts" ? [] : sent.vitals.values()) if (w.patients.get(v.patient).newest(v.code)?.vital_id !== v.vital_id) return false;
        return sent.notices.every((n) => w.patients.get(n.patient).notices.has(n.notice_id)) &&
          ids.every((id) => w.patients.get(id).alerts.size === [...sent.alerts.values()].filter((a) => a.patient === id).length);
      });
      for (const a of sent.alerts.values()) assert.equal(w.patients.get(a.patient).alerts.get(a.key).rev, a.rev);
      if (delivery === "alerts") for (const id of ids) assert.equal(w.patients.get(id).vitals.size, 0);
      await until("the last waves", () => { c.tryNow(); return ids.every((id) => waves.get(id)?.n === 40); });
      for (const x of [d, s, c]) x.stop();
      assert.equal(got.size, 2);
      made += state.made;
    }
    // How often a client that gets alerts only is cut depends on how many alerts the seed makes.
    assert.ok(made >= (delivery === "alerts" ? 40 : 90), `${made} cuts`);
  });
}

test("A client with every gets every vital, over cuts at random", async (t) => {
  const hub = await openHub(t), d = hub.client(monitor), random = randoms(seed);
  const {Socket} = cutting(1 + random(9), 20), c = hub.client(ada, {WebSocket: Socket, token: token(ada)});
  const values = new Set();
  c.on("vital", (v) => values.add(v.value));
  const w = c.watch({patients: ["p-1"], delivery: "every"});
  await until("a first time", () => { c.tryNow(); return w.patients.get("p-1")?.current; });
  for (let i = 0; i < 100; i++) {
    await publish(d, {patient: "p-1", code: "8867-4", value: 50 + i, unit: "/min"});
    if (i % 10 === 0) c.tryNow();
  }
  await until("all", () => { c.tryNow(); return values.size === 100; });
});
