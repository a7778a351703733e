// What an alert leaves in the log of a real Hub: who has got it, who has it on screen, and the waves around it.
import assert from "node:assert/strict";
import test from "node:test";
import {ada, backend, live, openHub, raise, until, wave, waveSender} from "./hub.js";
import {follows, samples} from "../waves.js";

const bea = {...ada, id: "bea", name: "Bea"};
const stages = (watch, alert) => (watch.patients.get("p-1")?.receipts.get(alert.alert_id) ?? []).map((r) => `${r.by.id} ${r.stage}`).sort();

test("An alert is receipted as delivered by a client that gets it, first of each level, and as seen where it is on screen", async (t) => {
  const hub = await openHub(t), source = hub.client({...backend, groups: []}), watch = source.watch({patients: ["p-1"]});
  const a = hub.client(ada), b = hub.client(bea), others = hub.client({...ada, id: "eve", groups: []});
  a.watch({patients: ["p-1"]});
  const watching = others.watch({patients: ["p-1"]});
  await Promise.all([live(a), live(b), watching.ready, watch.ready]); // b gets it by its inbox alone
  const alert = await raise(source, {patient: "p-1", key: "k"});
  const both = ["ada delivered", "bea delivered"];
  const delivered = (of) => stages(watch, of).filter((s) => s.endsWith("delivered")); // the log keeps the first of each level
  await until("delivered", () => delivered(alert).length > 0);
  assert.ok(delivered(alert).every((s) => both.includes(s)), delivered(alert).join());

  const held = await until("shown", () => a.patients.get("p-1").alerts.get("k"));
  for (let i = 0; i < 3; i++) a.presented(held); // each time it is drawn
  others.presented(await until("shown", () => others.patients.get("p-1").alerts.get("k"))); // it is not for her
  await until("seen", () => stages(watch, alert).includes("ada presented"));
  const logged = async () => {
    const list = [];
    for await (const e of source.history({patient: "p-1", kinds: ["receipt"]})) list.push(`${e.receipt.by.id} ${e.receipt.stage}`);
    return [...new Set(list)].sort();
  };
  await others.request({type: "history", patient: "p-1", limit: 1}); // its requests are done
  const kept = await logged();
  assert.ok(kept.includes("ada presented") && kept.some((s) => both.includes(s)) && kept.every((s) => s === "ada presented" || both.includes(s)), kept.join());

  const closed = await a.close(held, {force: true, reason: "test"}).over;
  assert.equal(closed.state, "done", closed.code);
  await until("ended", () => !a.patients.get("p-1").alerts.has("k"));
  const again = await raise(source, {patient: "p-1", key: "k"});
  await until("delivered anew", () => delivered(again).length > 0);
  assert.ok(delivered(again).every((s) => both.includes(s)), delivered(again).join());
  assert.deepEqual(stages(watch, alert), [], "of the one that is over");
});

test("The strip of an alert comes by history, with the chunks as they were sent and their gap", async (t) => {
  const hub = await openHub(t), send = await waveSender(t, hub), source = hub.client(backend), reader = hub.client(ada);
  for (const n of [1, 2, 4]) send(wave(n));
  await until("taken", async () => (await hub.control()).wavesIn === 3);
  const alert = await raise(source, {patient: "p-1", key: "brady"});
  await raise(source, {patient: "p-1", key: "other", priority: "low"}); // has no strip
  for (const n of [5, 6]) send(wave(n));
  const strips = await until("a strip", async () => { // ten seconds later
    const list = [];
    for await (const e of reader.history({patient: "p-1", kinds: ["strip"]})) list.push(e.strip);
    return list.length && list;
  });
  assert.equal(strips.length, 1);
  const [{key, alert_id, waves}] = strips;
  assert.deepEqual([key, alert_id], ["brady", alert.alert_id]);
  assert.deepEqual(waves.map((w) => [w.n, samples(w.data)]), [[1, [...samples(wave(1).data), ...samples(wave(2).data)]], [4, [4, 5, 6].flatMap((n) => samples(wave(n).data))]]);
  assert.equal(follows(waves[1], waves[0]), false);
  const [again] = (await reader.request({type: "history", patient: "p-1", kinds: ["strip"], key: "brady"})).events;
  assert.deepEqual(again.strip, strips[0]);
  assert.deepEqual((await reader.request({type: "history", patient: "p-1", kinds: ["strip"], key: "other"})).events, []);
});
