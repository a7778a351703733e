// An hour of a ward: whether memory stays flat. It is run by hand:
//
//   node --expose-gc test/soak.js [MINUTES]     by the real clock, against a real Hub; 60 if left out
//   npm run soak                                an hour by a clock that is moved, in about a minute
//
// Forty patients with four vitals each; alerts that come and go, messages, receipts, and a cut each three minutes.
import assert from "node:assert/strict";
import test from "node:test";
import WebSocket from "ws";
import {ada, backend, moveClock, openHub, until} from "./hub.js";

const fast = process.argv.includes("--fast"), minutes = Number(process.argv.find((a) => /^\d+$/.test(a)) ?? 60);

test(`${minutes} minutes`, {timeout: (minutes + 10) * 60e3}, async (t) => {
  const hub = await openHub(t), ids = Array.from({length: 40}, (_, i) => `p-${i}`);
  await hub.control({Members: {ward: ids}});
  let socket;
  const Socket = class extends WebSocket { constructor(...args) { super(...args); socket = this; } };
  const source = hub.client({...backend, groups: ["ward"]}), c = hub.client({...ada, groups: ["ward"]}, {WebSocket: Socket});
  const w = c.watch({groups: ["ward"]}), heaps = [];
  let second = 0;
  await w.ready;
  const codes = [["8867-4", "/min"], ["59408-5", "%"], ["9279-1", "/min"], ["8310-5", "Cel"]];
  const measure = async () => {
    await new Promise((later) => setTimeout(later, 2200)); // commands are held for two seconds, by the real clock
    gc();
    const {heapUsed} = process.memoryUsage();
    heaps.push(heapUsed / 2 ** 20);
    console.log(`${Math.round(second / 60)} min: ${(heapUsed / 2 ** 20).toFixed(1)} MB, ${c.alerts.length} open, ${c.state.name}`);
  };
  await measure();
  for (second = 1; second <= minutes * 60; second++) {
    const began = Date.now();
    const vitals = ids.flatMap((patient) => codes.map(([code, unit]) => ({patient, code, unit, value: 30 + second % 10, device: "m", every: 1})));
    for (let i = 0; i < vitals.length; i += 80) await source.publish(vitals.slice(i, i + 80)).over;
    const patient = ids[second % 40], key = `k${second % 3}`;
    const alert = (await source.raise({patient, key, text: "x", priority: "low", to: ["person:ada"]}).over).alert;
    if (second % 2) await c.accept(alert).over;
    const {alert: over} = await source.clear(alert).over;
    if (!over.ended) await c.close(over).over;
    if (second % 5 === 0) await source.notify({patient, to: ["person:ada"], text: "hello"}).over.then(({reply}) => c.read(reply.notice).over);
    if (second % 180 === 0) {
      socket.terminate();
      await until("lost", () => c.state.name === "lost");
      await until("back", () => { c.tryNow(); return c.state.name === "live" && ids.every((id) => w.patients.get(id)?.current); });
    }
    if (fast) moveClock(t, 1000);
    else await new Promise((next) => setTimeout(next, Math.max(0, 1000 - (Date.now() - began))));
    if (second % (fast ? 300 : 60) === 0) await measure();
  }
  await until("all values", () => ids.every((id) => w.patients.get(id).vitals.size === 4));
  const settled = heaps.slice(Math.floor(heaps.length / 3)), first = settled.slice(0, 3).reduce((a, b) => a + b) / 3, last = settled.slice(-3).reduce((a, b) => a + b) / 3;
  console.log(`from ${first.toFixed(1)} to ${last.toFixed(1)} MB over the last two thirds`);
  assert.ok(last < first * 1.1 + 1, "memory grows");
});
