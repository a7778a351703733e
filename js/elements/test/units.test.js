// Tests that need no browser.
import assert from "node:assert/strict";
import test from "node:test";
import {against, brief, byUrgency, count, groupOf, mostUrgent, recognised, untaken} from "../alert.js";
import {chain} from "../history.js";
import {broken} from "../trend.js";
import {columnsFor} from "../wall.js";
import {keys, useWords, Words} from "../words.js";
import de from "../words/de.js";
import en from "../words/en.js";

const alert = (more) => ({patient: "p", alert_id: more.text, key: "k", text: "x", priority: "high", condition: "present", onset: "2026-01-01T00:00:00Z", responsibility: {state: "undefined"}, ...more});
const ada = {id: "ada"}, accepted = (id, to) => ({state: "accepted", by: {id}, ...(to && {to})});

test("Alerts are in the order of urgency", () => {
  const list = [
    alert({text: "high, old", onset: "2026-01-01T00:00:00Z"}), alert({text: "high, new", onset: "2026-01-01T00:01:00Z"}), alert({text: "high, over and unseen", condition: "over"}),
    alert({text: "medium", priority: "medium"}), alert({text: "low", priority: "low"}), alert({text: "a test", test: true}),
  ];
  const texts = list.map((a) => a.text);
  for (let i = 0; i < 20; i++) assert.deepEqual(list.toSorted(() => Math.random() - 0.5).sort(byUrgency).map((a) => a.text), texts);
});

test("An alert is in somebody's hands or nobody's", () => {
  for (const [responsibility, group, open] of [[{state: "undefined"}, "needs", true], [{state: "rejected", by: ada}, "needs", true], [accepted("ada"), "mine", false], [accepted("bell"), "others", false],
    [accepted("bell", "person:ada"), "mine", false], [accepted("bell", "person:cora"), "others", false], [undefined, "needs", true]]) {
    const a = alert({responsibility});
    assert.equal(groupOf(a, ada), group);
    assert.equal(untaken(a), open);
  }
  assert.equal(untaken(alert({ended: "2026-01-01T00:00:00Z"})), false);
  const all = [alert({text: "t", kind: "technical"}), alert({text: "m", priority: "medium"}), alert({text: "h", responsibility: accepted("bell")})];
  assert.equal(mostUrgent(all).text, "m", "technical ones are told of apart");
  assert.equal(mostUrgent(all.slice(0, 1)).text, "t");
  assert.deepEqual(count(all), {high: 0, medium: 1, low: 0, technical: 1});
});

test("A value is held against its limit", () => {
  for (const [limits, value, text, up] of [["≥ 90 %, well at 92", 84, "< 90", false], ["≤ 180 mmHg", 200, "> 180", true], ["90-100", 84, "< 90", false], ["60 – 100", 130, "> 100", true], ["≥ -1.5 x", -2, "< -1.5", false]]) {
    assert.deepEqual(against(limits, value), {out: true, text, up}, limits);
  }
  assert.equal(against("≥ 90 %", 90).out, false);
  for (const limits of [undefined, "", "for 10 min", "score"]) assert.equal(against(limits, 1), undefined);
  const words = new Words("en"), source = {limits: "≥ 90 %", value: "84", unit: "%"};
  assert.equal(brief(alert({code: "59408-5", source}), words), "SpO₂ 84 < 90");
  assert.equal(brief(alert({code: "8480-6", source: {limits: "≤ 180 mmHg", value: "200", unit: "mm[Hg]"}}), words), "BP sys 200 > 180 mmHg");
  for (const a of [{code: "59408-5"}, {source}, {code: "unknown-code", source}]) assert.equal(brief(alert(a), words), "x");
});

test("Words are complete, and another language is a table", () => {
  assert.deepEqual(Object.keys(de).sort(), keys.toSorted());
  for (const [key, said] of Object.entries(en)) assert.deepEqual((de[key].match(/\{\w+\}/g) ?? []).sort(), (said.match(/\{\w+\}/g) ?? []).sort(), key);
  useWords("fr", {accept: "Accepter"});
  const fr = new Words("fr-CA");
  assert.deepEqual([fr.say("accept"), fr.say("reject"), new Words("de-AT").say("reject"), fr.say("no such key")], ["Accepter", "Reject", "Ablehnen", "no such key"]);
});

test("Times are exact", () => {
  const w = new Words("en");
  assert.deepEqual([17, 60, 90 * 60, 7200, 90000, -1].map((s) => w.span(s)), ["17 s", "1 min", "1 h 30 min", "2 h", "1 d 1 h", "0 s"]);
  const now = Date.parse("2026-03-10T12:00:00");
  assert.match(w.time("2026-03-10T08:05:00", now), /^08:05$/);
  assert.match(w.time("2026-03-09T08:05:00", now), /Mar 9.*08:05/, "of another day with its date");
});

test("The chain of an alert", () => {
  const r = (n, more) => alert({text: "Oxygen low", rev: n, updated: `2026-01-01T00:00:0${n}Z`, raised: "2026-01-01T00:00:00Z", ...more}), by = ada, at = "2026-01-01T00:00:03Z";
  const told = {level: 1, step: 1, state: "notified", told: ["person:ada"]}, yes = [{do: "accept", by, at}];
  const steps = chain([r(0, {}), r(1, {escalation: told}), r(3, {escalation: told, responsibility: accepted("ada"), answers: yes, answer_count: 1}),
    r(4, {escalation: told, responsibility: {state: "undefined"}, answers: yes, answer_count: 1}), r(5, {escalation: {...told, level: 2}, responsibility: {state: "undefined"}, answers: yes, answer_count: 1}),
    r(6, {condition: "over", answers: yes, answer_count: 1, ended: "2026-01-01T00:00:06Z"})], [{stage: "delivered", by, at: "2026-01-01T00:00:02Z"}]);
  assert.deepEqual(steps.map((s) => s.key), ["event.raised", "event.told", "stage.delivered", "did.accept", "event.lost", "event.told", "event.over", "event.ended"]);
  assert.deepEqual(chain([r(0, {}), r(1, {ended: "2026-01-01T00:00:01Z", closed: {by, at, reason: "seen to"}})], []).map((s) => [s.key, s.values.reason]), [["event.raised", undefined], ["event.closed", "seen to"]]);
});

test("What a machine has understood is said to be", () => {
  const heard = {kind: "speech", model: "ears 2", confidence: 0.679}, de = new Words("de"), en = new Words("en");
  assert.deepEqual([recognised(heard, en), recognised(heard, de), recognised({...heard, kind: "smell"}, en), recognised(undefined, en)], [" (by speech, 67 %)", " (durch Sprache, 67 %)", " (ears 2, 67 %)", ""]);
  const at = "2026-01-01T00:00:03Z", call = alert({source: {rule: "speech", recognition: heard}, rev: 1, raised: at, updated: at});
  const steps = chain([call, {...call, rev: 2, answers: [{do: "accept", by: ada, at, source: heard}], answer_count: 1}], []);
  assert.deepEqual(steps.map((s) => [s.key, s.values.source]), [["event.raised", heard], ["did.accept", heard]]);
});

test("A trend is broken where nothing was measured", () => {
  const points = [0, 10, 20, 500, 510].map((at) => ({at, value: at}));
  assert.deepEqual(broken(points, 10), [[0, 10, 20, 20.001, 500, 510], [0, 10, 20, null, 500, 510]]);
  assert.deepEqual(broken(points, 300)[1].includes(null), false, "that was promised");
});

test("A wall is filled", () => {
  const full = columnsFor(40, 1908, 1022);
  assert.equal(full.columns, 8);
  assert.ok(full.scale >= 0.98, `40 beds have ${full.scale}`);
  assert.equal(columnsFor(1, 1908, 1022).columns, 1);
});
