// The vectors and a real Hub. A frame of a server is written to the Hub's own connection, between the Hub's frames, while a client
// watches on it: the client reads it as it comes over a real WebSocket or stream, and goes on with the Hub. It does not show that a
// Hub writes such frames: vectors_test.go of carewire shows that. A frame of a client is sent to the Hub, by the client if it can.
import assert from "node:assert/strict";
import {once} from "node:events";
import {readdirSync, readFileSync} from "node:fs";
import {join} from "node:path";
import test from "node:test";
import WebSocket from "ws";
import {encode, parse} from "../wire.js";
import {ada, backend, heartRate, here, monitor, openHub, publish, token, until} from "./hub.js";

const dir = join(here, "../../../testdata/vectors");
const vectors = readdirSync(dir).flatMap((file) => JSON.parse(readFileSync(join(dir, file), "utf8")).map((v) => ({...v, file})));
const patients = ["p-17"];

for (const [way, options] of [["a WebSocket", {}], ["streams", {WebSocket: undefined}]]) {
  test(`Each frame of a server is read from ${way} of a real Hub, and a broken one ends the line`, async (t) => {
    const hub = await openHub(t, ["-say"]), device = hub.client({...monitor, patients}, {WebSocket: undefined}), list = vectors.filter((v) => v.direction === "server");
    assert.ok(list.length > 80);
    let value = 0;
    for (const v of list) {
      const c = hub.client({...ada, patients}, options), watch = c.watch({patients}), name = () => `${v.file}: ${v.name}: ${JSON.stringify(c.state)}`;
      await watch.ready;
      await hub.control({Say: v.frame});
      const {type = "", patient = "", store = "", code = 1006} = v.valid ? JSON.parse(v.frame) : {};
      if (!v.valid || type === "closed") await until(name, () => c.state.code === code);
      else if (type === "revoked" && patient === "p-17") await until(name, () => !c.patients.has("p-17"));
      else if (type === "status") await until(name, () => c.state.store === store);
      else {
        await publish(device, heartRate("p-17", value = value % 200 + 1)); // what comes behind it on the same line is read
        await until(name, () => Number(c.patients.get("p-17")?.newest("8867-4")?.value) === value);
      }
      if (v.valid && type !== "closed") assert.equal(c.state.code, 0, name());
      c.stop();
    }
  });
}

test("Each frame of a client is taken by a real Hub, or refused as the vectors say", async (t) => {
  const hub = await openHub(t), list = vectors.filter((v) => v.direction === "client"), after = {type: "history", req: "after", patient: "p-17", limit: 1};
  assert.ok(list.length > 300);
  const headers = {Authorization: "Bearer " + token({...backend, patients})};
  /** Sends a frame, and returns the replies to it. Tickets are asked for by POST. */
  const replies = async (text) => {
    if (text.includes('"ticket"')) return [await (await fetch(`${hub.http}/carewire`, {method: "POST", headers: {...headers, "Content-Type": "application/json"}, body: text})).json()];
    const socket = new WebSocket(hub.url, ["carewire.v1"], {headers}), got = [];
    let overtaken = false; // a publish is answered later
    await once(socket, "open");
    const over = new Promise((done) => {
      socket.on("close", done);
      socket.on("message", (m) => {
        const f = JSON.parse(m);
        if (f.req === "after") overtaken = true;
        else if (f.type === "ok" || f.type === "error" || f.type === "waves") got.push(f);
        if (overtaken && (got.length || !text.includes('"publish"'))) done();
      });
    });
    socket.send(text);
    socket.send(JSON.stringify(after));
    await over;
    socket.terminate();
    return got;
  };
  for (const v of list) {
    const name = `${v.file}: ${v.name}`, [got, ...more] = await replies(v.frame);
    assert.deepEqual(more, [], name);
    if (!v.valid) {
      assert.deepEqual([got?.code, got?.field ?? ""], [v.error.code, v.error.field ?? ""], name);
      continue;
    }
    assert.notEqual(got?.code, "invalid", `${name}: ${got?.field}`);
    const [again] = await replies(encode(parse(v.frame))); // as the client writes it
    assert.deepEqual([again?.type, again?.field], [got?.type, got?.field], name);
  }
});
