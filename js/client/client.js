// A client of a carewire Hub for browsers, workers and Node, without dependencies. README.md beside this file tells how to
// use it; docs/protocol.md of carewire specifies its frames.
import {Commands} from "./commands.js";
import {Line} from "./line.js";
import {Outbox} from "./outbox.js";
import {keyOf} from "./patient.js";
import {Tabs} from "./tabs.js";
import {Telling} from "./telling.js";
import {Watching} from "./watching.js";
import {newID, ticks} from "./wire.js";

export {keyOf, newID};

/** @typedef {import("./wire.js").Frame} Frame */
/** @typedef {import("./types.js").Alert} Alert */
/** @typedef {import("./types.js").Notice} Notice */
/** @typedef {import("./types.js").Vital} Vital */
/** @typedef {import("./types.js").Receipt} Receipt */
/** @typedef {import("./types.js").Wave} Wave */
/** @typedef {import("./types.js").Strip} Strip */
/** @typedef {import("./watch.js").WatchSpec} WatchSpec */
/** @typedef {import("./types.js").Person} Person */
/** @typedef {import("./types.js").Recognition} Recognition */
/** @typedef {import("./telling.js").Events} Events */
/** @typedef {import("./telling.js").Changes} Changes */
/** @typedef {import("./telling.js").Context} Context */
/** @typedef {import("./patient.js").HeldVital} HeldVital */
/** @typedef {import("./command.js").Command} Command */
/** @typedef {import("./watch.js").Watch} Watch */
/** @typedef {import("./patient.js").Patient} Patient */

/**
 * @typedef {object} ClientOptions
 * @property {string} url where the host has mounted carewire: `https:` or `wss:`. In a page it may be relative
 * @property {string | (() => string | undefined | Promise<string | undefined>)} [token] or a function that returns a fresh one; it is called
 *   before each attempt and before the token ends. undefined ends the client. Without a token, the page's cookies count
 * @property {boolean} [ticket] whether to connect by one-time tickets, so that the token is in no header of a WebSocket
 * @property {string} [storage] names the data kept in this browser, of this user alone: unsent commands survive a reload,
 *   and tabs with the same name and URL share one connection
 * @property {typeof WebSocket} [WebSocket] in the place of the global one. Where there is neither, events come by POST
 * @property {typeof fetch} [fetch] in the place of the global one
 * @property {IDBFactory} [indexedDB] in the place of the global one
 */

/**
 * @typedef {object} State
 * @property {"connecting" | "live" | "quiet" | "lost" | "failing" | "ended"} name
 * @property {number} since for how many seconds it is so
 * @property {number} silent for how many seconds nothing has come
 * @property {number} [nextTry] in how many seconds it is tried again; undefined: it is being tried, or need not be
 * @property {string} store of the server: ok, slow, failing
 * @property {number} code why the last connection ended: a close code or an HTTP status; 0: none has
 */

/** An error that a server has answered. */
export class RequestError extends Error {
  /** @param {Frame} reply */
  constructor(reply) {
    super(`carewire: ${reply.code}` + (reply.field ? ` (${reply.field})` : ""));
    this.name = "RequestError";
    /** @type {string} */ this.code = reply.code;
    /** @type {string | undefined} */ this.field = reply.field;
  }
}

const maxReceipts = 2000; // remembered; one that is forgotten is sent again, which does no harm

export class Client {
  /** Our user, as the server knows it; undefined before it has said so. @type {Person | undefined} */ me;
  /** Open alerts and notices that are addressed to us, also of patients who are not watched, by "patient key" or "patient notice_id". @type {Map<string, Alert | Notice>} */
  inbox = new Map();

  #line; #watching; #commands;
  #telling = new Telling();
  /** @type {Outbox | undefined} */ #outbox;
  /** @type {Tabs | undefined} */ #tabs;
  /** @type {Set<string> | undefined} of this connection, until all of it has come */ #inboxPages;
  /** @type {Map<string, string>} by alert and stage: the level */ #receipts = new Map();
  /** @type {Set<ReturnType<typeof setTimeout>>} */ #timers = new Set();
  #name = ""; #nameSince = ticks(); #stopped = false;

  /** @param {ClientOptions} options */
  constructor(options) {
    const url = new URL(options.url, globalThis.location?.href).href, after = (/** @type {number} */ ms, /** @type {() => void} */ f) => this.#after(ms, f);
    this.#line = new Line({...options, url}, {
      open: () => this.#opened(), frame: (f) => this.#take(f), change: () => this.#look(), overdue: (silent) => this.#watching.overdue(silent),
    });
    this.#watching = new Watching({line: this.#line, telling: this.#telling, event: (f, live) => this.#event(f, live), left: (id) => this.#left(id), after});
    if (options.storage) this.#outbox = new Outbox(options.storage, options.indexedDB ?? globalThis.indexedDB);
    this.#commands = new Commands({
      line: this.#line, outbox: this.#outbox, tabs: () => this.#tabs, me: () => this.me?.id, change: () => { this.#telling.changes.commands = true; }, after,
    });
    if (options.storage && Tabs.possible) this.#share(`${options.storage} ${url}`);
    this.#line.start();
    if (options.storage) this.#commands.adopt();
  }

  /** @returns {State} */
  get state() {
    const {name, silent, nextTry, store, code} = this.#line;
    return {name, since: name === this.#name ? (ticks() - this.#nameSince) / 1000 : 0, silent: silent / 1000,
      nextTry: nextTry === undefined ? undefined : nextTry / 1000, store, code};
  }

  /** The server's first frame: its limits and features. */
  get welcome() { return this.#line.welcome; }

  /** The server's time in ms since 1970; the machine's before the server has told. */
  now() { return this.#line.now(); }

  /** Connects at once, where `state.nextTry` says that it waits. */
  tryNow() {
    this.#line.tryNow();
    this.#tabs?.urge();
  }

  /** Ends the client: no timer, connection or listener is left. Kept commands that are not sent stay kept. */
  stop() {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#watching.stop();
    this.#line.stop();
    this.#tabs?.stop();
    this.#outbox?.close();
    for (const t of this.#timers) clearTimeout(t);
    this.#telling.stop();
  }

  /** The commands that are not over yet. */
  get commands() { return this.#commands.all; }

  /** The watched patients, of all watches. */
  get patients() { return this.#watching.patients; }

  /** Patients and groups that were asked for and refused, of all watches. Subscribers are told when they change. */
  get refused() { return this.#watching.refused; }

  // ---- Watching ----

  /** Follows patients. @param {WatchSpec} spec */
  watch(spec) { return this.#watching.watch(spec); }

  /** The open alerts of all watched patients, and those of others in the inbox. */
  get alerts() {
    const all = [...this.patients.values()].flatMap((p) => [...p.alerts.values()]);
    for (const x of this.inbox.values()) if ("alert_id" in x && !this.patients.has(x.patient)) all.push(x);
    return all;
  }

  /**
   * Calls f when something has changed, at most once a frame, and once a second, for ages and countdowns.
   * @param {(changes: Changes) => void} f
   * @returns {() => void} ends it
   */
  subscribe(f) { return this.#telling.subscribe(f); }

  /**
   * Calls f with each event of a kind, at once.
   * @template {keyof Events} K
   * @param {K} name
   * @param {(...args: Events[K]) => void} f
   * @returns {() => void} ends it
   */
  on(name, f) { return this.#telling.on(name, f); }

  // ---- Commands ----

  /**
   * Takes responsibility.
   * @param {Alert} alert as it was shown
   * @param {{forSeconds?: number, reason?: string, force?: boolean, expireAfter?: number, source?: Recognition}} [o] expireAfter is in seconds; 15 if left out. `force`, with
   *   a reason, takes over an alert that somebody else has. `source` tells how a recogniser has understood the answer
   */
  accept(alert, {forSeconds, ...o} = {}) { return this.#answer(alert, "accept", {...o, ...(forSeconds && {for_s: forSeconds})}); }
  /** Not me. @param {Alert} alert @param {{reason?: string, expireAfter?: number, source?: Recognition}} [o] */
  reject(alert, o) { return this.#answer(alert, "reject", o); }
  /** Gives one's acceptance back. @param {Alert} alert @param {{reason?: string, expireAfter?: number}} [o] */
  release(alert, o) { return this.#answer(alert, "release", o); }
  /** Has somebody told next. @param {Alert} alert @param {string} to person:ID, group:ID or role:NAME @param {{reason?: string, expireAfter?: number}} [o] */
  assign(alert, to, o) { return this.#answer(alert, "assign", {...o, to}); }
  /** Offers an alert that the user has accepted. @param {Alert} alert @param {string} to person:ID or group:ID @param {{reason?: string, expireAfter?: number}} [o] */
  handover(alert, to, o) { return this.#answer(alert, "handover", {...o, to}); }
  /** Ends the alert: with force and a reason also while its condition is present. @param {Alert} alert @param {{reason?: string, force?: boolean, expireAfter?: number}} [o] */
  close(alert, o) { return this.#answer(alert, "close", o); }

  /** Says that something needs a person. @param {import("./types.js").NewAlert} alert */
  raise(alert) {
    const onset = this.welcome && {onset: new Date(this.now()).toISOString()}; // it may have to wait
    return this.#commands.keep({type: "raise", event_id: newID(), alert: {...onset, ...alert}});
  }

  /** Says that the condition is over. @param {Alert} alert that one has raised */
  clear(alert) {
    const {patient, key, alert_id} = alert;
    return this.#commands.keep({type: "clear", patient, key, alert_id, event_id: newID()});
  }

  /** Sends a message. @param {{patient: string, text: string, to?: string[], audience?: string, replies_to?: string}} notice */
  notify(notice) { return this.#commands.keep({type: "notify", notice: {notice_id: newID(), ...notice}}); }

  /** Sends vitals: at most 100, or `welcome.limits.vitals`. @param {Vital[]} vitals */
  publish(vitals) {
    const time = new Date(this.now()).toISOString();
    return this.#commands.keep({type: "publish", vitals: vitals.map((v) => ({vital_id: newID(), time, ...v}))});
  }

  /** Says that the person has seen a notice. @param {Notice} notice */
  read(notice) { return this.#commands.send({type: "receipt", patient: notice.patient, notice_id: notice.notice_id, stage: "read"}); }

  /** Says that an alert is on a screen that is on. It may be called each time it is drawn. @param {Alert} alert */
  presented(alert) { this.#receipt(alert, "presented"); }

  /**
   * Reads a patient's log, oldest first, page by page.
   * @param {{patient: string, kinds?: string[], key?: string, from?: string, to?: string, cursor?: number, limit?: number}} query
   * @returns {AsyncGenerator<Frame, void>} events, as in section 4 of the protocol
   */
  async *history(query) {
    for (let cursor = query.cursor; ;) {
      const page = await this.request({type: "history", ...query, ...(cursor && {cursor})});
      yield* page.events;
      if (page.next === undefined) return;
      cursor = page.next;
    }
  }

  /**
   * Sends a request that is sent again over lost lines until it has a final reply: a request that must not happen twice has an ID.
   * @param {Frame} members
   * @returns {Promise<Frame>} of an error: a RequestError
   */
  request(members) {
    return new Promise((resolve, reject) => this.#line.ask(members, {}, (r) => r.type === "ok" ? resolve(r) : reject(new RequestError(r))));
  }

  /** @param {Alert} alert @param {string} verb @param {Record<string, any> & {expireAfter?: number}} [o] */
  #answer(alert, verb, {expireAfter = 15, ...members} = {}) {
    const {patient, key, alert_id, rev} = alert;
    const frame = {type: "answer", patient, key, alert_id, event_id: newID(), do: verb, rev, ...members};
    return this.#commands.send(frame, {expires: ticks() + 1000 * expireAfter, shown: alert});
  }

  /** @param {string} name */
  #share(name) {
    this.#tabs = new Tabs(name, {
      line: this.#line, watching: this.#watching,
      inbox: () => ({type: "inbox", items: [...this.inbox.values()].map((x) => "alert_id" in x ? {alert: x} : {notice: x}), done: true}),
      gone: () => this.#after(5000, () => this.#commands.adopt()), // unless it was only reloaded
    });
    this.#line.share(this.#tabs);
    this.#tabs.start();
  }

  /** Tells, once for each level, how far an alert has come. @param {Alert} a @param {string} stage */
  #receipt(a, stage) {
    const me = this.me, to = [...(a.to ?? []), ...(a.escalation?.told ?? [])];
    const mine = me && to.some((t) => t === "person:" + me.id || t === "role:" + me.role || t.startsWith("group:") || t === "patient" && me.role === "patient");
    if (a.ended || me?.role === "viewer" || !mine && !this.inbox.has(`${a.patient} ${keyOf(a)}`)) return;
    const {patient, key, alert_id} = a, which = `${patient} ${keyOf(a)} ${stage}`, level = `${alert_id} ${a.escalation?.level}`;
    if (this.#receipts.get(which) === level) return;
    this.#receipts.set(which, level);
    if (this.#receipts.size > maxReceipts) this.#receipts.delete(this.#receipts.keys().next().value ?? "");
    this.#line.ask({type: "receipt", patient, key, alert_id, stage}, {}, () => {});
  }

  /** @param {string} id of an alert that has ended */
  #noReceipts(id) { for (const stage of ["delivered", "presented"]) this.#receipts.delete(`${id} ${stage}`); }

  // ---- Inside: incoming frames ----

  #opened() {
    this.#watching.opened();
    this.#commands.release();
    if (this.#tabs?.leads) this.#commands.adopt();
  }

  /** @param {Frame} f */
  #take(f) {
    if (f.type === "inbox") return this.#takeInbox(f);
    if (f.type !== "welcome") return this.#watching.take(f);
    this.me = f.principal;
    this.#inboxPages = new Set();
  }

  /** @param {Frame} f */
  #takeInbox(f) {
    for (const {alert, notice} of f.items) {
      const item = alert ?? notice, id = `${item.patient} ${alert ? keyOf(alert) : notice.notice_id}`, held = this.inbox.get(id);
      this.#inboxPages?.add(id);
      if (alert && held && "rev" in held && held.rev > alert.rev) continue;
      if (alert?.ended) this.inbox.delete(id); else this.inbox.set(id, item);
      if (alert?.ended) this.#noReceipts(id);
      else if (alert) this.#receipt(alert, "delivered");
      if (!this.patients.has(item.patient)) this.#telling.emit(alert ? "alert" : "notice", item, {live: !this.#inboxPages, inbox: true});
    }
    if (f.done) { // of a page after welcome; an entry that only an earlier connection has shown is over
      for (const id of this.inbox.keys()) if (!this.#inboxPages?.has(id)) this.inbox.delete(id);
      this.#inboxPages = undefined;
    }
    this.#telling.changes.inbox = true;
  }

  /** @param {Frame} f @param {boolean} live */
  #event(f, live) {
    const item = f[f.type];
    this.patients.get(f.patient)?.take(f);
    if (f.type === "alert") {
      const id = `${f.patient} ${keyOf(item)}`;
      if (this.inbox.has(id)) {
        if (item.ended) this.inbox.delete(id); else this.inbox.set(id, item);
        this.#telling.changes.inbox = true;
      }
      if (item.ended) this.#noReceipts(id);
      else this.#receipt(item, "delivered");
    }
    this.#telling.changes.patients.add(f.patient);
    this.#telling.emit(/** @type {keyof Events} */ (f.type), item, {live, inbox: false});
  }

  /** @param {string} patient */
  #left(patient) {
    for (const [k, item] of this.inbox) if (item.patient === patient) this.inbox.delete(k);
    this.#telling.changes.inbox = true;
  }

  #look() {
    const {name} = this.#line;
    this.#watching.look();
    if (name !== this.#name) {
      [this.#name, this.#nameSince] = [name, ticks()];
      for (const id of this.patients.keys()) this.#telling.changes.patients.add(id);
      this.#telling.changes.state = true;
      if (name !== "live") for (const c of this.commands) this.#commands.wait(c);
      this.#telling.emit("state", this.state);
    }
    this.#telling.changes;
  }

  /** @param {number} ms @param {() => void} f */
  #after(ms, f) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      f();
    }, ms);
    this.#timers.add(timer);
  }
}

/**
 * Connects to a Hub, and stays connected until `stop`.
 * @param {ClientOptions} options
 */
export function createClient(options) { return new Client(options); }
