// The vectors of the Go package ble hold here too, and random bytes throw only
// decode's own errors.
import assert from "node:assert/strict";
import {readFileSync} from "node:fs";
import {test} from "node:test";
import {characteristics, decode, listen} from "./ble.js";

const vectors = JSON.parse(readFileSync(new URL("../../ble/testdata/vectors.json", import.meta.url)));
const source = {patient: "p-17", device: "meter-1", zone: 60, session: new Date("2026-01-05T08:00:00Z")};
const view = (bytes) => new DataView(Uint8Array.from(bytes).buffer);
const bytes = (hex) => hex.match(/../g)?.map((x) => parseInt(x, 16)) ?? [];

for (const v of vectors) {
  test(v.name, () => {
    const from = v.no_zone ? {...source, zone: undefined} : source;
    const read = () => decode(from, parseInt(v.characteristic, 16), view(bytes(v.value)));
    if (v.error) return assert.throws(read, (e) => e instanceof Error && e.message.includes(v.error));
    assert.deepEqual(read(), v.vitals.map((x) => ({...x, patient: "p-17", device: "meter-1"})));
  });
}

test("bytes at random", () => {
  let seed = 7;
  const random = () => (seed = (seed * 1103515245 + 12345) % 2 ** 31) / 2 ** 31;
  for (let i = 0; i < 20000; i++) {
    const number = Number(Object.keys(characteristics)[Math.floor(random() * 9)]);
    const value = view(Array.from({length: random() * 24}, () => Math.floor(random() * 256)));
    let vitals;
    try { vitals = decode(source, number, value); } catch (e) {
      assert.match(e.message, /^ble: /);
      continue;
    }
    for (const v of vitals.flatMap((v) => v.components ?? [v])) assert.notEqual(v.value === undefined, v.absent === undefined);
  }
});

// A device in memory stands for the browser's: this tests listen's use of
// one, and nothing about a radio.
test("listen", async () => {
  const c = new EventTarget();
  Object.assign(c, {uuid: "00002a37-0000-1000-8000-00805f9b34fb", startNotifications: async () => { c.started = true; }});
  const other = {uuid: "00002a19-0000-1000-8000-00805f9b34fb", startNotifications: () => assert.fail("a battery is no measurement")};
  const gatt = {connect: async () => ({getPrimaryServices: async () => [{getCharacteristics: async () => [c, other]}]}), disconnect: () => { gatt.gone = true; }};
  let asked;
  Object.defineProperty(globalThis, "navigator", {configurable: true, value: {bluetooth: {requestDevice: async (o) => { asked = o; return {id: "a b/c", gatt}; }}}});
  const got = [], faults = [];
  const stop = await listen({patient: "p-17"}, (vitals) => got.push(...vitals), (e) => faults.push(e.message));
  assert.ok(c.started);
  assert.ok(asked.filters.some((f) => f.services[0] === 0x180D));
  for (const value of [[0x06, 72], [0x06]]) {
    c.value = view(value);
    c.dispatchEvent(new Event("characteristicvaluechanged"));
  }
  assert.deepEqual(got, [{code: "8867-4", value: "72", unit: "/min", patient: "p-17", device: "a-b-c"}]);
  assert.deepEqual(faults, ["ble: 2A37: is cut short"]);
  stop();
  assert.ok(gatt.gone);
});

test("listen asks a glucose meter for its records", async () => {
  const done = [];
  const characteristic = (number) => Object.assign(new EventTarget(), {uuid: `0000${number}-0000-1000-8000-00805f9b34fb`,
    startNotifications: async () => { done.push(number); }, writeValueWithResponse: async (b) => { done.push([...b]); }});
  const service = (...numbers) => ({getCharacteristics: async () => numbers.map(characteristic)});
  const gatt = {connect: async () => ({getPrimaryServices: async () => [service("2a52", "2a18"), service("2aa7", "2a52")]}), disconnect: () => {}};
  Object.defineProperty(globalThis, "navigator", {configurable: true, value: {bluetooth: {requestDevice: async () => ({id: "m", gatt})}}});
  await listen({patient: "p-17", zone: 0}, () => {});
  assert.deepEqual(done, ["2a18", "2a52", [1, 1], "2aa7"]);
});
