// Shared state of tabs, without a browser: which tab sends kept commands, and which leads when a leader is frozen.
import assert from "node:assert/strict";
import test from "node:test";
import {IDBFactory} from "fake-indexeddb";
import {Commands} from "../commands.js";
import {Outbox} from "../outbox.js";
import {Tabs} from "../tabs.js";
import {emptyLogs, fakeServer} from "./fake.js";

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

let locks;
Object.defineProperty(globalThis, "navigator", {configurable: true, value: {get locks() { return locks; }}});

/** Clients of one process that share a connection, as tabs do. The first leads. */
async function openTabs(t, n) {
  const last = new Map(), server = fakeServer(t);
  locks = {
    query: async () => ({held: [...last.keys()].map((name) => ({name}))}),
    request(name, options, granted) {
      const turn = (last.get(name) ?? Promise.resolve()).then(granted);
      last.set(name, turn);
      return turn;
    },
  };
  server.answer = (f, socket) => f.type === "watch" ? emptyLogs(f, socket) : socket.push({type: "ok", req: f.req, events: []});
  const tabs = [];
  for (let i = 0; i < n; i++) {
    const c = server.client({storage: "ada"});
    tabs.push(c);
    while (c.state.name !== "live") await new Promise(setImmediate);
  }
  assert.equal(server.sockets.filter((s) => s.readyState === 1).length, 1);
  return {server, tabs};
}

/** What a tab has the server end by f: all requests to unwatch. */
async function ended(server, tab, f) {
  const before = server.socket.sent.length;
  f();
  await tab.request({type: "history", patient: "p-1", limit: 1}); // the requests before are done
  return server.socket.sent.slice(before).filter((q) => q.type === "unwatch").map(({groups = [], patients = [], waves = []}) => ({groups, patients: patients.sort(), waves}));
}

for (const [who, asking] of [["leads", 0], ["follows", 1]]) {
  test(`A tab that ${who} ends a signal of one patient, and keeps that of another`, async (t) => {
    const {server, tabs} = await openTabs(t, 2), tab = tabs[asking], waves = ["131330"];
    const plain = tabs[1 - asking].watch({patients: ["p-9"]}), one = tab.watch({patients: ["p-1", "p-3"], waves}), two = tab.watch({patients: ["p-2", "p-3"], waves});
    await Promise.all([plain.ready, one.ready, two.ready]);
    const of = (patients, waves = []) => ({groups: [], patients, waves});
    assert.deepEqual(await ended(server, tab, () => one.stop()), [of(["p-1"], waves), of(["p-1"])]);
    assert.deepEqual(await ended(server, tab, () => two.stop()), [of(["p-2", "p-3", "p-9"], waves), of(["p-2", "p-3"])], "nobody wants it any more: of anybody");
  });

  test(`A tab that ${who} leaves nobody who came to a group of another tab`, async (t) => {
    const {server, tabs} = await openTabs(t, 3), tab = tabs[2 * asking], group = tabs[1].watch({groups: ["g"]});
    await group.ready;
    const named = async () => {
      const watch = tab.watch({patients: ["p-7"]});
      await watch.ready;
      return (await ended(server, tab, () => watch.stop())).flatMap((q) => q.patients);
    };
    assert.deepEqual(await named(), ["p-7"]);
    server.socket.push({type: "granted", patient: "p-7"});
    assert.deepEqual(await named(), [], "the group has them");
    server.socket.push({type: "revoked", patient: "p-7"});
    assert.deepEqual(await named(), ["p-7"]);
    server.socket.push({type: "granted", patient: "p-7"});
    await ended(server, tabs[1], () => {}); // it has been told
    const [all] = await ended(server, tabs[1], () => group.stop());
    assert.deepEqual(all, {groups: ["g"], patients: ["g.1", "g.2", "p-7"], waves: []});
  });
}

test("A leader that answers nothing for three seconds is put out of office", (t) => {
  const asked = [];
  locks = {request: (name, options) => { asked.push(options); return new Promise(() => {}); }};
  t.mock.timers.enable({apis: ["setTimeout"]});
  const tabs = new Tabs("test", {});
  t.after(() => tabs.stop());
  tabs.join({});
  t.mock.timers.tick(2999);
  assert.deepEqual(asked, []);
  t.mock.timers.tick(1);
  assert.deepEqual(asked, [{steal: true}]);
});
