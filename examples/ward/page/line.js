// A Line is a connection to a carewire Hub that mends itself and misses
// nothing: what docs/protocol.md asks of a client in its sections 5 to 7. It
// knows nothing of the screen; on tells it what to do:
//
//   before()       before each attempt; returns the members of the watch request, or undefined to give up
//   welcome(frame) connected
//   forget(id)     discard what is held of a patient: it comes again
//   event(frame)   vital, alert, notice, receipt or access, in the order of the patient's log
//   revoked(id)    this patient is no longer to be seen
//   granted(id)    this patient came to a watched group
//   change()       the state of the line or of a patient has changed
export class Line {
  state = "connecting"; // live, lost (coming back by itself), ended
  store = "ok";         // the state of the server's store: slow, failing
  closed = 0;           // the code with which the last connection ended
  #url; #token; #on; #socket; #timer; #watching;
  #heard = ticks(); #began = 0; #welcomed = 0; #attempts = 0; #skew = 0; #lastReq = 0;
  #logs = new Map();    // by patient: position, count and whether caught up
  #asked = new Map();   // by req: requests without a final reply

  constructor(url, token, on) {
    [this.#url, this.#token, this.#on] = [url, token, on];
    setInterval(() => this.#look(), 1000);
    document.addEventListener("visibilitychange", () => this.#look()); // timers sleep with the page
    addEventListener("online", () => { if (this.state === "lost") this.#connect(); });
    this.#connect();
  }

  // now is the server's time.
  now() { return ticks() + this.#skew; }

  // quiet is for how many seconds nothing has come.
  quiet() { return (ticks() - this.#heard) / 1000; }

  // current reports whether what is held of a patient is all there is.
  current(id) {
    const log = this.#logs.get(id);
    return this.state === "live" && Boolean(log?.current) && ticks() - log.heard < 60000;
  }

  // ask sends a request and resolves with its final reply. It is sent again
  // over lost connections: what must not happen twice has an event ID in it.
  ask(type, members) {
    const frame = {type, req: String(++this.#lastReq), ...members};
    return new Promise((done) => {
      this.#asked.set(frame.req, {frame, done});
      this.#send(frame);
    });
  }

  close() {
    this.state = "ended";
    clearTimeout(this.#timer);
    this.#socket?.close(1000);
    this.#socket = undefined;
  }

  #send(frame) {
    if (this.#welcomed && this.#asked.has(frame.req)) this.#socket?.send(JSON.stringify(frame));
  }

  async #connect() {
    clearTimeout(this.#timer);
    this.state = "connecting";
    try {
      this.#watching = await this.#on.before();
    } catch {
      return this.#lost(1006);
    }
    if (!this.#watching || this.state === "ended") return this.close();
    const bearer = btoa(String.fromCharCode(...new TextEncoder().encode(this.#token)));
    const socket = new WebSocket(this.#url, ["carewire.v1", // a browser cannot send headers
      "carewire.bearer." + bearer.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")]);
    this.#socket = socket;
    this.#began = ticks();
    this.#welcomed = 0;
    socket.onmessage = (message) => {
      if (socket !== this.#socket) return;
      this.#heard = ticks();
      this.#take(JSON.parse(message.data, digits));
      this.#on.change();
    };
    socket.onclose = (event) => { if (socket === this.#socket) this.#lost(event.code); };
  }

  // lost waits for a random time, within bounds that double, and connects again.
  #lost(code) {
    this.closed = code;
    this.#socket?.close();
    this.#socket = undefined;
    if (this.#welcomed && ticks() - this.#welcomed > 30000) this.#attempts = 0;
    this.#welcomed = 0;
    for (const log of this.#logs.values()) log.current = log.missing = false;
    for (const [req, a] of this.#asked) if (a.frame.type === "watch") this.#asked.delete(req);
    if (comeBack.includes(code)) {
      if (code === 1013) this.#attempts = Math.max(this.#attempts, 3);
      this.state = "lost";
      this.#timer = setTimeout(() => this.#connect(), Math.random() * Math.min(30000, 500 * 2 ** this.#attempts++));
    } else {
      this.state = "ended";
    }
    this.#on.change();
  }

  // look notices a line that is dead, or that never came to life.
  #look() {
    const since = ticks() - Math.max(this.#heard, this.#began);
    if (this.#socket && since > (this.#welcomed ? 50000 : 30000)) this.#lost(1006);
    this.#on.change();
  }

  #take(f) {
    switch (f.type) {
    case "welcome":
      this.#welcomed = ticks();
      this.#skew = Date.parse(f.time) - ticks();
      this.state = "live";
      this.store = "ok"; // a status follows if it is not
      this.#on.welcome(f);
      this.#watch(this.#watching, true);
      for (const a of this.#asked.values()) if (a.frame.type !== "watch") this.#send(a.frame);
      break;
    case "ok": case "error": {
      const a = this.#asked.get(f.req);
      if (f.retry === "later" && a) {
        setTimeout(() => this.#send(a.frame), Math.max(f.retry_ms ?? 0, 1000));
      } else if (a) {
        this.#asked.delete(f.req);
        a.done(f);
      }
      break;
    }
    case "head":
      for (const h of f.heads) {
        const log = this.#logs.get(h.patient);
        const other = log?.current && h.epoch !== log.position.epoch && h.seq <= log.position.seq;
        if (!log?.current || h.seq < log.position.seq && !other) continue;
        log.heard = ticks();
        if (h.must !== log.count || other) this.#miss(h.patient, log);
      }
      break;
    case "granted": this.#on.granted(f.patient); break;
    case "revoked": this.#leave(f.patient); break;
    case "status": this.store = f.store; break;
    case "sync": case "synced": case "gap": case "vital": case "alert": case "notice": case "receipt": case "access": this.#follow(f);
    }
    // What is unknown is ignored. So is the inbox, by a page that watches everyone who could be in it.
  }

  // watch asks for patients and groups, and again, in a while, for what could not be decided.
  async #watch(members, resume) {
    const since = {};
    for (const [id, log] of this.#logs) {
      if (resume && log.position && (!members.only || members.only === id)) since[id] = log.position;
    }
    const {only, ...rest} = members, socket = this.#socket;
    const reply = await this.ask("watch", {...rest, since});
    if (reply.type !== "ok") return;
    const later = reply.refused.filter((r) => r.code === "undecided" || r.code === "unavailable");
    const again = {patients: later.flatMap((r) => r.patient ?? []), groups: later.flatMap((r) => r.group ?? [])};
    if (later.length > 0) setTimeout(() => { if (socket === this.#socket) this.#watch(again, resume); }, 5000);
    // Nobody else tells who was taken away, or has left a group, while there was no line.
    if (members !== this.#watching || later.length > 0) return;
    for (const id of this.#logs.keys()) if (!reply.watching.includes(id)) this.#leave(id);
  }

  #leave(id) {
    this.#logs.delete(id);
    this.#on.revoked(id);
  }

  // follow keeps a patient's position and count: section 5, rules 1 to 4.
  #follow(f) {
    if (!this.#logs.has(f.patient)) this.#logs.set(f.patient, {misses: 0});
    const log = this.#logs.get(f.patient);
    log.heard = ticks();
    if (f.type === "sync") {
      Object.assign(log, {missing: false, current: false, snapshot: !f.recovered});
      if (log.snapshot) {
        log.position = log.count = undefined;
        this.#on.forget(f.patient);
      }
      return;
    }
    if (log.missing) return;
    const here = () => Object.assign(log, {position: {epoch: f.epoch, seq: f.seq}, count: f.must});
    if (f.type === "synced") {
      if (!log.snapshot && f.must !== log.count) return this.#miss(f.patient, log);
      here();
      Object.assign(log, {snapshot: false, current: true});
      return;
    }
    if (!log.snapshot) {
      const more = f.must - log.count;
      const fits = f.type === "vital" ? more === 0 : f.type === "gap" ? more === 0 || more === 1 : more === 1;
      if (!fits || f.seq <= log.position.seq) return this.#miss(f.patient, log);
      here();
      if (log.current) log.misses = 0;
    }
    if (f.type !== "gap") this.#on.event(f);
  }

  // miss asks again for what did not come: from the position at first, then anew, after longer pauses.
  #miss(id, log) {
    Object.assign(log, {missing: true, current: false});
    setTimeout(() => { if (log.missing && this.#logs.get(id) === log) this.#watch({patients: [id], only: id}, log.misses === 1); }, 2000 * log.misses++);
  }
}

let passed = 1, date = Date.now(), steady = performance.now();

// ticks is how many milliseconds have passed. The clock of the machine may be set, and the browser's own may stand
// still while the machine sleeps: neither makes what is old look new.
function ticks() {
  const [d, s] = [Date.now() - date, performance.now() - steady];
  passed += d > s + 1000 ? d : s;
  [date, steady] = [date + d, steady + s];
  return passed;
}

const comeBack = [1001, 1005, 1006, 1011, 1012, 1013, 3000, 3008];

// digits keeps those of a vital's number (37.0), where the browser can.
const digits = (key, value, context) => key === "value" && typeof value === "number" ? context?.source ?? value : value;
