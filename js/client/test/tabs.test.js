// Shared state of tabs, without a browser: which tab sends kept commands, and which leads when a leader is frozen.
import assert from "node:assert/strict";
import test from "node:test";
import {IDBFactory} from "fake-indexeddb";
import {Commands} from "../commands.js";
import {Outbox} from "../outbox.js";
import {Tabs} from "../tabs.js";

const kept = (id, tab) => ({id, tab, frame: {type: "notify", notice: {notice_id: id}}, created: 1});

test("Of two tabs that take over a kept command, one gets it", async () => {
  const factory = new IDBFactory(), one = new Outbox("ada", factory), two = new Outbox("ada", factory);
  await one.put(kept("a", "dead"));
  const [entry] = await one.all(), claims = await Promise.all([one.claim(entry, "one"), two.claim(entry, "two")]);
  assert.equal(claims.filter(Boolean).length, 1);
  assert.equal((await two.all())[0].tab, claims[0] ? "one" : "two");
  await Promise.all([one.close(), two.close()]);
});

test("What a tab has kept that lives is its own to send", async () => {
  const outbox = new Outbox("ada", new IDBFactory()), asked = [];
  for (const tab of ["dead", "living", "ours"]) await outbox.put(kept(tab, tab));
  const commands = new Commands({
    outbox, line: {name: "live", ask: (frame) => asked.push(frame.notice.notice_id)}, tabs: () => ({id: "ours", living: async () => new Set(["living", "ours"])}),
    me: () => "ada", change() {}, after() {},
  });
  await commands.adopt();
  assert.deepEqual(asked, ["dead"]);
  await outbox.close();
});

test("A leader that answers nothing for three seconds is put out of office", (t) => {
  const asked = [], locks = {request: (name, options) => { asked.push(options); return new Promise(() => {}); }};
  t.mock.timers.enable({apis: ["setTimeout"]});
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", {configurable: true, value: {locks}});
  t.after(() => before ? Object.defineProperty(globalThis, "navigator", before) : delete globalThis.navigator);
  const tabs = new Tabs("test", {});
  t.after(() => tabs.stop());
  tabs.join({});
  t.mock.timers.tick(2999);
  assert.deepEqual(asked, []);
  t.mock.timers.tick(1);
  assert.deepEqual(asked, [{steal: true}]);
});
