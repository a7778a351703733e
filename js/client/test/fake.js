// A server whose frames the tests choose, and a clock that they move.
import {createClient} from "../client.js";

export const welcome = {type: "welcome", session: "s", principal: {id: "ada", name: "Ada", role: "clinician"}, role: "clinician",
  time: "2026-03-01T08:00:00.000Z", heartbeat_s: 20, limits: {frame: 65536, vitals: 100, patients: 1000, keys: 256, history: 200},
  features: ["inbox", "history", "receipts", "groups", "tickets", "post"], durable: true};

/** A clock for the whole process: timers run as it is moved. It must be set before a client is made. */
export function stopClock(t) {
  const steady = performance.now;
  let passed = 0;
  t.mock.timers.enable({apis: ["setTimeout", "Date"], now: Date.now()});
  performance.now = () => passed;
  t.after(() => { performance.now = steady; });
  return {
    /** Lets ms pass, in small steps, and runs the callbacks of promises with them. */
    async pass(ms, step = 100) {
      for (; ms > 0; ms -= step) {
        passed += Math.min(ms, step);
        t.mock.timers.tick(Math.min(ms, step));
        await settle();
      }
    },
    /** Lets the machine sleep: no timer runs meanwhile, and the steady clock stands still. */
    async sleep(ms) {
      const date = Date.now;
      Date.now = () => date() + ms;
      t.after(() => { Date.now = date; });
      await settle();
    },
  };
}

/** Lets everything run that waits for promises only. */
export async function settle() { for (let i = 0; i < 20; i++) await Promise.resolve(); }

/** A server of sockets, and of POSTs that are answered by `post`. */
export function fakeServer(t) {
  const server = {
    sockets: [], posts: [], refuse: false,
    post: () => new Response(null, {status: 204}),
    get socket() { return this.sockets.at(-1); },
    /** A client of this server. */
    client(options = {}) {
      const c = createClient({url: "ws://fake/carewire", token: "t", WebSocket: server.WebSocket, fetch: server.fetch, ...options});
      t?.after(() => c.stop());
      return c;
    },
  };
  server.fetch = async (url, init) => {
    server.posts.push({url, ...init});
    return server.post(init);
  };
  server.WebSocket = class {
    readyState = 0; sent = [];
    constructor(url, protocols) {
      Object.assign(this, {url, protocols});
      server.sockets.push(this);
      queueMicrotask(() => {
        if (server.refuse) return this.drop(1006);
        this.readyState = 1;
        this.onopen?.();
        if (server.greet !== false) this.push({...welcome, time: new Date(Date.now()).toISOString(), ...server.greet});
        if (server.greet !== false) this.push({type: "inbox", items: [], done: true});
      });
    }
    send(text) {
      const f = JSON.parse(text);
      this.sent.push(f);
      server.answer?.(f, this);
    }
    push(frame) { if (this.readyState === 1) this.onmessage?.({data: typeof frame === "string" ? frame : JSON.stringify(frame)}); }
    drop(code) {
      if (this.readyState === 3) return;
      this.readyState = 3;
      this.onclose?.({code});
    }
    close() { this.readyState = 3; this.left = true; }
  };
  return server;
}

/** Answers watches: each patient has nothing yet. */
export function emptyLogs(f, socket) {
  if (f.type !== "watch") return;
  const watching = [...new Set([...f.patients ?? [], ...(f.groups ?? []).flatMap((g) => [g + ".1", g + ".2"])])];
  socket.push({type: "ok", req: f.req, watching, refused: []});
  for (const patient of watching) {
    const at = f.since?.[patient] ?? {seq: 0}, recovered = Boolean(f.since?.[patient]);
    socket.push({type: "sync", patient, ...at, must: 0, recovered});
    socket.push({type: "synced", patient, ...at, must: 0, recovered});
  }
}
