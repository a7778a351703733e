// One connection that mends itself: docs/protocol.md, sections 1, 6, 7 and 12.
import {bearer, openSocket, openStreams, post, retryAfter} from "./transport.js";
import {backoff, decode, ticks} from "./wire.js";

const comesBack = [1001, 1005, 1006, 1011, 1012, 1013, 3000, 3008];
const final = [400, 401, 403, 421, 431]; // HTTP statuses. The others may be from something in between
const wakes = ["online", "pageshow", "resume", "visibilitychange"];

/** @typedef {import("./wire.js").Frame} Frame */

/**
 * The events of a line.
 * @typedef {object} LineEvents
 * @property {() => void} open requests can be sent: on a new connection, nothing is watched yet
 * @property {(frame: Frame, text: string) => void} frame one that is no reply
 * @property {() => void} change the state may be another
 * @property {(silent: number) => boolean} overdue whether something was promised for less than this many ms of silence
 */

/**
 * How a request is sent.
 * @typedef {object} AskOptions
 * @property {number} [expires] in ticks: not sent from then on, and not waited for; the reply is then `expired`
 * @property {boolean} [once] not over a lost line: the reply is then `lost`
 * @property {boolean} [carried] for another tab, and fit for all
 * @property {(reply: Frame) => void} [late] a reply that came after the request had expired
 */

/** @typedef {{frame: Frame, done: (reply: Frame) => void, due: number, tries: number, sent: boolean, onAir: boolean, expired: boolean} & AskOptions} Ask */

export class Line {
  /** The state of the server's store: ok, slow, failing. */
  store = "ok";
  /** Why the last connection ended: a close code or an HTTP status; 0: it has not. */
  code = 0;
  /** @type {Frame | undefined} */ welcome;

  /** @type {import("./client.js").ClientOptions} */ #o;
  /** @type {LineEvents} */ #on;
  /** @type {import("./transport.js").Transport | undefined} */ #pipe;
  /** @type {Map<string, Ask>} */ #asks = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  /** @type {import("./tabs.js").Tabs | undefined} */ #tabs;
  #attempt = 0; #failed = 0; #blocked = 0; #lastReq = 0;
  #running = false; #tried = false; #open = false; #watching = false;
  #heard = 0; #began = 0; #welcomed = 0; #due = Infinity; #renewAt = Infinity; #skew = Date.now() - ticks();
  #refusedToken = ""; #told = ""; #token = ""; #wake = () => this.look(true);

  /**
   * @param {import("./client.js").ClientOptions} options
   * @param {LineEvents} on
   */
  constructor(options, on) {
    [this.#o, this.#on] = [options, on];
  }

  /** Shares the connection with other tabs. It is called before start. @param {import("./tabs.js").Tabs} tabs */
  share(tabs) { this.#tabs = tabs; }

  start() {
    this.#running = true;
    for (const name of wakes) (name === "visibilitychange" ? globalThis.document : globalThis)?.addEventListener?.(name, this.#wake);
    this.#connect();
    this.look();
  }

  /** Ends the line for good. Requests without a reply get `lost`. */
  stop(code = 1000) {
    if (!this.#running) return;
    this.#running = false;
    this.code = code;
    this.#drop();
    if (code !== 1000) this.#tabs?.closed(code, 0);
    clearTimeout(this.#timer);
    for (const name of wakes) (name === "visibilitychange" ? globalThis.document : globalThis)?.removeEventListener?.(name, this.#wake);
    for (const a of this.#asks.values()) a.done({type: "error", code: "lost", retry: "later"});
    this.#asks.clear();
    this.#on.change();
  }

  /** @returns {"connecting" | "live" | "quiet" | "lost" | "failing" | "ended"} */
  get name() {
    if (!this.#running) return this.code ? "ended" : "connecting";
    if (!this.#welcomed) return this.#tried ? "lost" : "connecting";
    const silent = this.silent;
    if (silent > 2.5 * this.#heartbeat) return "lost";
    if (silent > this.#heartbeat + 5000 || silent >= 10000 && this.#on.overdue(silent)) return "quiet";
    return this.store === "failing" ? "failing" : "live";
  }

  /** For how many ms nothing has come. */
  get silent() { return ticks() - this.#heard; }

  /** In how many ms it is tried again; undefined: it is being tried, or need not be. */
  get nextTry() { return this.#due < Infinity ? Math.max(0, this.#due - ticks()) : undefined; }

  /** The server's time, in ms since 1970. */
  now() { return ticks() + this.#skew; }

  get #heartbeat() { return 1000 * (this.welcome?.heartbeat_s ?? 20); }

  /** Connects at once, where it would wait. */
  tryNow() { if (this.#due < Infinity) this.#connect(); }

  /** Connects anew: streams cannot be changed. */
  restart() {
    this.#tabs?.closed(1006, 100);
    this.#drop();
    this.#connect();
  }

  /** Whether a new connection is needed to change the watches. */
  get streams() { return Boolean(this.#pipe?.streams); }

  /**
   * Sends a request, again and again until it has a reply that is final.
   * @param {Frame} members
   * @param {AskOptions} o
   * @param {(reply: Frame) => void} done is called before the next frame is looked at
   */
  ask(members, o, done) {
    const frame = {type: members.type, req: String(++this.#lastReq), ...members};
    const a = {frame, done, due: 0, tries: 0, sent: false, onAir: false, expired: false, ...o};
    if (a.once && !this.#open || !this.#running) return done({type: "error", code: "lost", retry: "later"});
    this.#asks.set(frame.req, a);
    this.#try(a);
  }

  /** @param {Ask} a */
  #try(a) {
    if (a.onAir || !this.#open || a.due > ticks()) return;
    if (a.expires && this.name === "quiet") return; // nobody might see it before it is too old
    a.onAir = a.sent = true;
    if (a.frame.type === "watch") this.#watching = true;
    const frame = this.#tabs && !a.carried ? this.#tabs.prepare(a.frame) : a.frame;
    if (frame) return this.#pipe?.send(frame);
    this.#asks.delete(a.frame.req);
    a.done({type: "ok"});
  }

  /** Does the work that is due. It is called at least once a second, and whenever a page wakes. */
  look(woken = false) {
    if (!this.#running) return;
    clearTimeout(this.#timer);
    const now = ticks();
    const limit = this.#welcomed ? 2.5 * this.#heartbeat : 30000;
    if (this.#pipe?.streams && !this.#watching && now - this.#heard > this.#heartbeat) this.#probe(this.#attempt);
    if (this.#due === Infinity && now - Math.max(this.#heard, this.#began) > limit) {
      if (!this.#welcomed && !this.streams) this.#blocked = 2; // something may swallow WebSockets
      this.#lost(1006);
    }
    if (this.#welcomed && this.silent > 10000) this.#pipe?.check?.();
    if (this.#due <= now || woken && this.#due < Infinity && globalThis.navigator?.onLine !== false) this.#connect();
    if (this.#renewAt <= now) this.#renew();
    const next = [now + 1000, this.#due, this.#heard + 10001];
    for (const [req, a] of this.#asks) {
      if (a.expires && a.expires <= now && !a.expired) {
        a.expired = true;
        a.done({type: "error", code: "expired", retry: "never", sent: a.sent});
        if (!a.onAir) this.#asks.delete(req);
      }
      if (a.expired) continue;
      this.#try(a);
      if (!a.onAir) next.push(a.expires ?? 0, a.due);
    }
    this.#told = this.name;
    this.#on.change();
    this.#timer = setTimeout(() => this.look(), Math.min(...next.filter((at) => at > now)) - now);
  }

  async #connect() {
    if (!this.#running) return;
    const attempt = ++this.#attempt;
    this.#due = Infinity;
    this.#began = ticks();
    try {
      const token = await (typeof this.#o.token === "function" ? this.#o.token() : this.#o.token);
      if (attempt !== this.#attempt) return;
      if (this.#o.token !== undefined && !token) return this.stop(401);
      if (token && token === this.#refusedToken) return this.stop(401);
      this.#token = token ?? "";
      await this.#openPipe(attempt);
    } catch {
      if (attempt === this.#attempt) this.#lost(1006);
    }
  }

  /** @param {number} attempt */
  async #openPipe(attempt) {
    const {url, ticket} = this.#o, request = this.#o.fetch ?? fetch, Socket = this.#o.WebSocket ?? globalThis.WebSocket;
    /** @type {(f: Function) => any} */
    const mine = (f) => (/** @type {any[]} */ ...args) => { if (attempt === this.#attempt) f(...args); };
    const on = {
      text: mine((/** @type {string} */ text) => this.#take(text)),
      refused: mine((/** @type {number} */ status, /** @type {number} */ after) => this.#refused(status, after)),
      closed: mine((/** @type {number} */ code, /** @type {boolean} */ opened, after = 0) => opened ? this.#lost(code, after) : this.#probe(attempt)),
    };
    this.#watching = false;
    if (this.#tabs && !this.#tabs.leads) {
      this.#pipe = this.#tabs.join(on);
      return;
    }
    if (!Socket || this.#blocked > 1) {
      this.#blocked = 1; // the next attempt is by WebSocket again
      this.#pipe = openStreams(request, url, this.#token || undefined, on);
      this.#open = true;
      this.#on.open();
      return this.#watching ? undefined : this.#probe(attempt); // other tabs wait for it
    }
    let credential = this.#token && bearer(this.#token);
    if (ticket) {
      const answer = await post(request, url, this.#token || undefined, {type: "ticket", req: "1"});
      if (attempt !== this.#attempt) return;
      if (!answer.ok) return this.#refused(answer.status, retryAfter(answer));
      const reply = await answer.json();
      if (attempt !== this.#attempt) return;
      if (!reply.ticket) return this.#lost(1006, reply.retry_ms);
      credential = "carewire.ticket." + reply.ticket;
    }
    try {
      this.#pipe = openSocket(Socket, url, credential || undefined, on);
    } catch {
      await this.#probe(attempt); // a page may forbid WebSockets
    }
  }

  /**
   * Asks by POST why a WebSocket was refused, which a browser does not tell, or whether the server is there.
   * @param {number} attempt
   */
  async #probe(attempt) {
    const streams = this.streams;
    if (!streams) this.#drop();
    if (streams) this.#began = this.#heard = ticks(); // no second probe meanwhile
    else attempt = this.#attempt;
    let answer;
    try {
      answer = await post(this.#o.fetch ?? fetch, this.#o.url, this.#token || undefined, undefined, {signal: AbortSignal.timeout(20000)});
    } catch { /* not there */ }
    if (attempt !== this.#attempt || !this.#running) return;
    if (!answer) return this.#lost(1006);
    if (answer.status !== 204) return this.#refused(answer.status, retryAfter(answer));
    if (!streams) {
      this.#blocked++;
      return this.#lost(1006);
    }
    this.#welcomed ||= ticks();
    this.#heard = ticks();
    this.#on.change();
  }

  /**
   * @param {number} status of HTTP
   * @param {number} after in ms
   */
  #refused(status, after) {
    if (status === 401 && typeof this.#o.token === "function") this.#refusedToken = this.#token; // another may be better
    else if (final.includes(status)) return this.stop(status);
    this.#lost(status, after);
  }

  #drop() {
    this.#attempt++;
    this.#pipe?.close();
    this.#pipe = undefined;
    this.#open = false;
    this.#renewAt = Infinity;
    if (this.#welcomed && ticks() - this.#welcomed > 30000) this.#failed = 0;
    this.#welcomed = 0;
    for (const [req, a] of this.#asks) {
      a.onAir = false;
      if (!a.once && !a.expired) continue;
      this.#asks.delete(req);
      if (!a.expired) a.done({type: "error", code: "lost", retry: "later"});
    }
  }

  /**
   * Waits for a random time, within bounds that double, and connects again.
   * @param {number} code
   */
  #lost(code, after = 0) {
    this.#drop();
    this.code = code;
    this.#tried = true;
    if (code >= 1000 && !comesBack.includes(code)) return this.stop(code);
    if (code === 1013) this.#failed = Math.max(this.#failed, 3);
    this.#due = ticks() + Math.max(after, backoff(this.#failed++));
    this.#tabs?.closed(code, this.#due - ticks());
    this.look();
  }

  /** @param {string} text */
  #take(text) {
    let f;
    try {
      f = decode(text);
    } catch {
      return this.#lost(1006); // there may be other faults
    }
    this.#heard = ticks();
    if (f.type === "ok" || f.type === "error") return this.#reply(f);
    if (f.type === "closed") return this.#lost(f.code);
    if (f.type !== "welcome") this.#tabs?.relay(text, f);
    if (f.type === "status") this.store = f.store;
    if (f.type === "welcome") this.#greet(f);
    this.#on.frame(f, text);
    if (f.type !== "welcome") {
      if (this.name !== this.#told) this.look(); // quiet no more, or failing
      return;
    }
    if (!this.#open) {
      this.#open = true;
      this.#on.open();
    }
    this.#tabs?.opened();
    this.look();
  }

  /** @param {Frame} f */
  #greet(f) {
    this.welcome = f;
    this.#welcomed = ticks();
    this.#tried = true;
    this.#refusedToken = "";
    this.#skew = Date.parse(f.time) - ticks();
    this.store = "ok"; // a status follows if it is not
    if (!this.streams) this.#blocked = 0;
    this.#renewBefore(f.expires);
  }

  /** @param {string | undefined} expires */
  #renewBefore(expires) {
    const left = Date.parse(expires ?? "") - this.now();
    this.#renewAt = typeof this.#o.token === "function" && left > 0 && this.#tabs?.leads !== false ? ticks() + left - Math.min(60000, left / 5) : Infinity;
  }

  async #renew() {
    this.#renewAt = ticks() + 10000;
    const attempt = this.#attempt;
    try {
      const token = typeof this.#o.token === "function" && await this.#o.token();
      if (attempt !== this.#attempt || !token) return;
      if (this.streams) return this.restart();
      this.ask({type: "token", token}, {once: true}, (reply) => {
        if (reply.type !== "ok") return;
        this.#token = token;
        this.#renewBefore(reply.expires);
      });
    } catch { /* until the old one ends there is time to try again */ }
  }

  /** @param {Frame} f */
  #reply(f) {
    const a = this.#asks.get(f.req);
    if (!a) return;
    if (a.expired) {
      this.#asks.delete(f.req);
      a.late?.(f);
    } else if (f.retry === "later") {
      a.onAir = false;
      a.due = ticks() + Math.max(f.retry_ms ?? 0, Math.min(30000, 1000 * 2 ** a.tries++));
    } else {
      this.#asks.delete(f.req);
      a.done(f);
    }
  }
}
