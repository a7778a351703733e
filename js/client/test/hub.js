// A real Hub for tests, as a program of its own, and tools to drive clients.
import {spawn, spawnSync} from "node:child_process";
import {once} from "node:events";
import {mkdtempSync, rmSync} from "node:fs";
import {tmpdir} from "node:os";
import {dirname, join} from "node:path";
import {createInterface} from "node:readline";
import {after} from "node:test";
import {fileURLToPath} from "node:url";
import WebSocket from "ws";
import {createClient} from "../client.js";

export const here = dirname(fileURLToPath(import.meta.url));
const patience = 120000; // ms for an event that must come, on a machine that may be very busy

/** The server as a program: the one that the Go test has built, or one built here. */
const program = (() => {
  if (process.env.CAREWIRE_JSSERVER) return process.env.CAREWIRE_JSSERVER;
  const dir = mkdtempSync(join(tmpdir(), "carewire-js-")), file = join(dir, "jsserver");
  const built = spawnSync("go", ["build", "-C", join(here, "../../../integration"), "-o", file, "./jsserver"], {stdio: "inherit"});
  if (built.status !== 0) throw new Error("the server cannot be built");
  after(() => rmSync(dir, {recursive: true}));
  return file;
})();

/** Starts a Hub. It ends with the test t. */
export async function openHub(t, args = []) {
  const hub = {port: 0, child: undefined};
  hub.start = async () => {
    const child = hub.child = spawn(program, ["-addr", `127.0.0.1:${hub.port}`, ...args], {stdio: ["ignore", "pipe", "ignore"]});
    const [line] = await once(createInterface({input: child.stdout}), "line");
    hub.port = Number(line.split(":")[1]);
    hub.url = `ws://127.0.0.1:${hub.port}/carewire`;
    hub.http = `http://127.0.0.1:${hub.port}`;
  };
  /** Ends the program, at once. */
  hub.kill = async () => {
    const gone = once(hub.child, "exit");
    hub.child.kill("SIGKILL");
    await gone;
  };
  hub.control = async (set = {}) => {
    const answer = await fetch(hub.http + "/control", {method: "POST", body: JSON.stringify(set)});
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  };
  /** A client that ends with the test. */
  hub.client = (principal, options = {}) => {
    const c = createClient({url: hub.url, token: typeof principal === "function" ? principal : token(principal), WebSocket, ...options});
    t.after(() => c.stop());
    return c;
  };
  await hub.start();
  t.after(() => hub.child.kill("SIGKILL"));
  return hub;
}

/** A token that the server accepts. */
export const token = (principal) => Buffer.from(JSON.stringify(principal)).toString("base64url");

export const ada = {id: "ada", name: "Ada", role: "clinician", groups: ["ward"], patients: ["p-1", "p-2"]};
export const monitor = {id: "monitor", role: "device", groups: ["ward"], patients: ["p-1", "p-2"]};
export const backend = {id: "backend", role: "service", groups: ["ward"], patients: ["p-1", "p-2"]};

/** Waits until f gives something, as it is asked again and again. */
export async function until(what, f) {
  for (const end = performance.timeOrigin + realNow() + patience; ;) {
    const got = await f();
    if (got) return got;
    if (performance.timeOrigin + realNow() > end) throw new Error("not within two minutes: " + (typeof what === "function" ? what() : what));
    await new Promise((again) => setTimeout(again, 5));
  }
}

const realNow = performance.now.bind(performance);
export const live = (c) => until(() => "live: " + JSON.stringify(c.state), () => c.state.name === "live");

const clock = {date: Date.now, steady: performance.now, moved: 0, of: undefined};

/** Lets time pass in this process at once: ms more. */
export function moveClock(t, ms) {
  clock.moved += ms;
  Date.now = () => clock.date.call(Date) + clock.moved;
  performance.now = () => clock.steady.call(performance) + clock.moved;
  if (clock.of === t) return;
  clock.of = t;
  t.after(() => {
    clock.moved = 0;
    Object.assign(performance, {now: clock.steady});
    Date.now = clock.date;
  });
}

export const heartRate = (patient, value, more = {}) => ({patient, code: "8867-4", value, unit: "/min", device: "monitor", ...more});

/** Publishes vitals, and waits until they are taken in. */
export async function publish(c, ...vitals) {
  const done = await c.publish(vitals).over;
  if (done.state !== "done") throw new Error(`publishing: ${done.state} ${done.code}`);
}

/** Raises an alert, and waits until it is stored. */
export async function raise(c, alert) {
  const done = await c.raise({text: "x", priority: "high", to: ["group:ward"], ...alert}).over;
  if (done.state !== "done") throw new Error(`raising: ${done.state} ${done.code}`);
  return done.alert;
}

/** Sends a message, and waits until it is stored. */
export async function notify(c, notice) {
  const done = await c.notify(notice).over;
  if (done.state !== "done") throw new Error(`notifying: ${done.state} ${done.code}`);
  return done.reply.notice;
}

/** A quarter of a second of lead II, as a device sends it: chunk n of its signal. */
export const wave = (n) => ({patient: "p-1", code: "131330", system: "mdc", device: "monitor", unit: "mV", factor: 0.005, rate: 20, n,
  time: new Date(Date.UTC(2026, 2, 1) + 250 * n).toISOString(), data: "AAID2gSvCQ=="});

/** Connects a device, and returns a function that sends its waves. */
export async function waveSender(t, hub, principal = monitor) {
  const socket = new WebSocket(hub.url, ["carewire.v1"], {headers: {Authorization: "Bearer " + token(principal)}});
  t.after(() => socket.terminate());
  socket.on("error", () => {});
  await once(socket, "message");
  return (...waves) => socket.send(JSON.stringify({type: "wave", waves}));
}
