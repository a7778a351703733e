import assert from "node:assert/strict";
import {readdirSync, readFileSync} from "node:fs";
import {join} from "node:path";
import test from "node:test";
import {encode, parse} from "../wire.js";
import {fakeServer, settle} from "./fake.js";
import {here} from "./hub.js";

const dir = join(here, "../../../testdata/vectors");
const vectors = readdirSync(dir).flatMap((file) => JSON.parse(readFileSync(join(dir, file), "utf8")).map((v) => ({...v, file})));

test("Each frame of a server is read, and a broken one ends the line", async (t) => {
  const list = vectors.filter((v) => v.direction === "server");
  assert.ok(list.length > 80);
  for (const v of list) {
    const server = fakeServer(t), c = server.client();
    c.watch({patients: ["p-17"]});
    await settle();
    const watch = server.socket.sent[0];
    server.socket.push({type: "ok", req: watch.req, watching: ["p-17"], refused: []});
    assert.equal(c.state.name, "live");
    server.socket.push(v.frame);
    const kind = v.valid ? JSON.parse(v.frame).type : "";
    if (kind === "closed") continue; // ends the line as well
    assert.equal(c.state.name === "lost", !v.valid, `${v.file}: ${v.name}`);
    if (kind === "status") assert.equal(c.state.store, JSON.parse(v.frame).store);
    c.stop();
  }
});

test("Each frame of a client keeps its meaning and its digits", () => {
  const list = vectors.filter((v) => v.direction === "client" && v.valid && !v.results?.some((r) => r?.code)); // no client of ours sends a vital that is refused alone
  assert.ok(list.length > 100);
  const digits = (text) => text.match(/"value":\s*-?[\d.]+/g)?.map((s) => s.replace(/\s/g, "")) ?? [];
  for (const v of list) {
    const again = encode(parse(v.frame));
    assert.deepEqual(JSON.parse(again), JSON.parse(v.frame), v.name);
    assert.deepEqual(digits(again), digits(v.frame), v.name);
  }
});

test("Only decimals become numbers, and no text is touched", () => {
  for (const text of ['{"value":37.0}', '{"value":-0.50}', '{"a":"\\"value\\":1","value":2}', '{"text":"value","n":1}']) assert.equal(encode(parse(text)), text);
  assert.equal(parse('{"value":37.0}').value, "37.0");
  assert.equal(parse('{"text":"\\"value\\":37.0"}').text, '"value":37.0');
  for (const value of ["1e5", "01", "", "-", "1.", "abc", '1,"x":1']) assert.equal(JSON.parse(encode({value})).value, value);
});
