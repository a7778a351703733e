// A client of a carewire Hub for browsers, workers and Node, without dependencies. README.md beside this file tells how to
// use it, docs/protocol.md of carewire what it does on the wire.
import {Commands} from "./commands.js";
import {Line} from "./line.js";
import {Logs} from "./logs.js";
import {Outbox} from "./outbox.js";
import {keyOf, Patient} from "./patient.js";
import {Tabs} from "./tabs.js";
import {Watch} from "./watch.js";
import {call, newID, ticks} from "./wire.js";

export {keyOf, newID};

/** @typedef {import("./wire.js").Frame} Frame */
/** @typedef {import("./types.js").Alert} Alert */
/** @typedef {import("./types.js").Notice} Notice */
/** @typedef {import("./types.js").Vital} Vital */
/** @typedef {import("./watch.js").WatchSpec} WatchSpec */
/** @typedef {import("./types.js").Person} Person */

/**
 * @typedef {object} ClientOptions
 * @property {string} url where the host has mounted carewire: `https:` or `wss:`. In a page it may be relative
 * @property {string | (() => string | undefined | Promise<string | undefined>)} [token] or what gives a fresh one; it is asked
 *   before each attempt and before the token ends. undefined ends the client. Without a token, the page's cookies count
 * @property {boolean} [ticket] whether to connect by one-time tickets, so that the token is in no header of a WebSocket
 * @property {string} [storage] names what is kept in this browser, of this user alone: what is not sent yet survives a reload,
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

/**
 * What has changed since subscribers were last called.
 * @typedef {object} Changes
 * @property {boolean} state
 * @property {boolean} inbox
 * @property {boolean} commands
 * @property {Set<string>} patients of whom something came, or who are current or not any more
 */

/**
 * @typedef {object} Events
 * @property {[vital: Vital, context: Context]} vital
 * @property {[alert: Alert, context: Context]} alert
 * @property {[notice: Notice, context: Context]} notice
 * @property {[receipt: import("./types.js").Receipt, context: Context]} receipt
 * @property {[access: import("./types.js").Access, context: Context]} access
 * @property {[patient: string]} forget what is held of a patient is discarded; it comes again
 * @property {[patient: string]} granted somebody came to a group
 * @property {[patient: string]} revoked somebody is not to be seen any more; what is held is gone
 * @property {[state: State]} state
 */
/** @typedef {{live: boolean, inbox: boolean}} Context `live` is true of what has just happened, not of what is caught up with */

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

const deliveries = ["alerts", "latest", "every"];
const logEvents = ["sync", "synced", "vital", "alert", "notice", "receipt", "access", "gap"];

export class Client {
  /** Who the server takes us for; undefined before it has said so. @type {Person | undefined} */ me;
  /** Who is watched, by all watches. @type {Map<string, Patient>} */ patients = new Map();
  /** What is addressed to us and open, of patients who are not watched too, by "patient key" or "patient notice_id". @type {Map<string, Alert | Notice>} */
  inbox = new Map();

  #line; #logs; #commands;
  /** @type {Outbox | undefined} */ #outbox;
  /** @type {Tabs | undefined} */ #tabs;
  /** @type {Map<Watch, number>} with the number of its last asking */ #watches = new Map();
  /** @type {Map<string, Set<Function>>} */ #listeners = new Map();
  /** @type {Set<(changes: Changes) => void>} */ #subscribers = new Set();
  /** @type {Changes | undefined} */ #changes;
  /** @type {Set<string> | undefined} of this connection, until all of it has come */ #inboxPages;
  /** @type {Map<string, string>} by alert and stage: the level */ #receipts = new Map();
  /** @type {Set<ReturnType<typeof setTimeout>>} */ #timers = new Set();
  #name = ""; #nameSince = ticks(); #asking = 0; #stopped = false; #stopNotifying = () => {};

  /** @param {ClientOptions} options */
  constructor(options) {
    const url = new URL(options.url, globalThis.location?.href).href;
    this.#line = new Line({...options, url}, {
      open: () => this.#opened(), frame: (f) => this.#take(f), change: () => this.#look(), overdue: (silent) => this.#overdue(silent),
    });
    this.#logs = new Logs({
      forget: (id) => this.#forget(id), event: (f, live) => this.#event(f, live), current: (id) => this.#current(id), again: (id) => this.#again(id),
    }, () => this.#delivery === "every");
    if (options.storage) this.#outbox = new Outbox(options.storage, options.indexedDB ?? globalThis.indexedDB);
    this.#commands = new Commands({
      line: this.#line, outbox: this.#outbox, tabs: () => this.#tabs, me: () => this.me?.id,
      change: () => { this.#change().commands = true; }, after: (ms, f) => this.#after(ms, f),
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

  /** Ends the client: no timer, connection or listener is left. What is not sent of what is kept stays kept. */
  stop() {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#logs.stop();
    this.#line.stop();
    this.#tabs?.stop();
    this.#outbox?.close();
    for (const t of this.#timers) clearTimeout(t);
    this.#stopNotifying();
  }

  /** What is not over yet. */
  get commands() { return this.#commands.all; }

  // ---- Watching ----

  /** Follows patients. @param {WatchSpec} spec */
  watch(spec) {
    const before = this.#delivery, watch = new Watch({...spec}, (w) => this.#unwatch(w));
    this.#watches.set(watch, 0);
    if (this.#watches.size > 1 && this.#delivery !== before) this.#rewatch(true); // all of them get more
    else this.#ask(watch);
    return watch;
  }

  /** What is open of all patients who are watched, and what the inbox has of others. */
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
  subscribe(f) {
    this.#subscribers.add(f);
    return () => { this.#subscribers.delete(f); };
  }

  /**
   * Calls f with each event of a kind, at once.
   * @template {keyof Events} K
   * @param {K} name
   * @param {(...args: Events[K]) => void} f
   * @returns {() => void} ends it
   */
  on(name, f) {
    const all = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, all.add(f));
    return () => { all.delete(f); };
  }

  // ---- Commands ----

  /**
   * Takes responsibility.
   * @param {Alert} alert as it was shown
   * @param {{forSeconds?: number, reason?: string, expireAfter?: number}} [o] expireAfter is in seconds; 15 if left out
   */
  accept(alert, {forSeconds, ...o} = {}) { return this.#answer(alert, "accept", {...o, ...(forSeconds && {for_s: forSeconds})}); }
  /** Not me. @param {Alert} alert @param {{reason?: string, expireAfter?: number}} [o] */
  reject(alert, o) { return this.#answer(alert, "reject", o); }
  /** Gives one's acceptance back. @param {Alert} alert @param {{reason?: string, expireAfter?: number}} [o] */
  release(alert, o) { return this.#answer(alert, "release", o); }
  /** Has somebody told next. @param {Alert} alert @param {string} to person:ID, group:ID or role:NAME @param {{reason?: string, expireAfter?: number}} [o] */
  assign(alert, to, o) { return this.#answer(alert, "assign", {...o, to}); }
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

  /** Sends vitals: 100 at most, or what `welcome.limits.vitals` says. @param {Vital[]} vitals */
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
   * Sends a request that is sent again over lost lines until it has a final reply: what must not happen twice has an ID.
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
    const current = () => [...this.patients.keys()].filter((id) => this.#logs.current(id));
    this.#tabs = new Tabs(name, {
      line: this.#line,
      unwatched: (groups, patients) => {
        const specs = [...this.#watches.keys()].map((w) => w.spec);
        return {groups: groups.filter((g) => !specs.some((s) => s.groups?.includes(g))), patients: patients.filter((p) => !this.patients.has(p))};
      },
      since: () => this.#logs.since(current()),
      held: (id) => this.#logs.current(id) ? this.#logs.snapshot(id, this.patients.get(id)?.frames() ?? []) : [],
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
    this.#line.ask({type: "receipt", patient, key, alert_id, stage}, {}, () => {});
  }

  // ---- Inside: what comes ----

  get #delivery() { return deliveries[Math.max(0, ...[...this.#watches.keys()].map((w) => deliveries.indexOf(w.spec.delivery ?? "latest")))]; }

  #opened() {
    this.#logs.waitAll();
    this.#rewatch(false);
    this.#commands.release();
    if (this.#tabs?.leads) this.#commands.adopt();
  }

  /** @param {Frame} f */
  #take(f) {
    if (f.type === "welcome") {
      this.me = f.principal;
      this.#inboxPages = new Set();
    } else if (f.type === "inbox") {
      this.#takeInbox(f);
    } else if (f.type === "granted") {
      for (const w of this.#watches.keys()) if (w.spec.groups?.length) this.#begin(w, f.patient);
      this.#emit("granted", f.patient);
    } else if (f.type === "revoked") {
      this.#leave(f.patient);
    } else if (f.type === "head" || logEvents.includes(f.type) && this.patients.has(f.patient)) {
      this.#logs.take(f);
    }
  }

  /** @param {Frame} f */
  #takeInbox(f) {
    for (const {alert, notice} of f.items) {
      const item = alert ?? notice, id = `${item.patient} ${alert ? keyOf(alert) : notice.notice_id}`, held = this.inbox.get(id);
      this.#inboxPages?.add(id);
      if (alert && held && "rev" in held && held.rev > alert.rev) continue;
      if (alert?.ended) this.inbox.delete(id); else this.inbox.set(id, item);
      if (alert) this.#receipt(alert, "delivered");
      if (!this.patients.has(item.patient)) this.#emit(alert ? "alert" : "notice", item, {live: !this.#inboxPages, inbox: true});
    }
    if (f.done) { // of a page after welcome; what an earlier connection had shown and this one has not is over
      for (const id of this.inbox.keys()) if (!this.#inboxPages?.has(id)) this.inbox.delete(id);
      this.#inboxPages = undefined;
    }
    this.#change().inbox = true;
  }

  /** @param {Frame} f @param {boolean} live */
  #event(f, live) {
    const item = f[f.type];
    this.patients.get(f.patient)?.take(f);
    if (f.type === "alert") {
      const id = `${f.patient} ${keyOf(item)}`;
      if (this.inbox.has(id)) {
        if (item.ended) this.inbox.delete(id); else this.inbox.set(id, item);
        this.#change().inbox = true;
      }
      if (item.ended) for (const stage of ["delivered", "presented"]) this.#receipts.delete(`${id} ${stage}`);
      else this.#receipt(item, "delivered");
    }
    this.#change().patients.add(f.patient);
    this.#emit(/** @type {keyof Events} */ (f.type), item, {live, inbox: false});
  }

  /** @param {string} id */
  #forget(id) {
    this.patients.get(id)?.clear();
    this.#change().patients.add(id);
    this.#emit("forget", id);
  }

  /** @param {string} id */
  #current(id) {
    this.#change().patients.add(id);
    if (this.#logs.current(id)) for (const w of this.#watches.keys()) w.reached(id);
  }

  /** Whether a device keeps no promise any more that it still kept when the line fell silent. @param {number} silent */
  #overdue(silent) {
    const now = this.now();
    for (const p of this.patients.values()) {
      for (const v of p.vitals.values()) {
        const limit = 1000 * Math.max(10, 3 * (v.every ?? Infinity)), late = now - v.at;
        if (late >= limit && late - silent < limit) return true;
      }
    }
    return false;
  }

  // ---- Inside: who is watched ----

  /** Asks for everybody anew. @param {boolean} fresh whether from the beginning */
  #rewatch(fresh) {
    if (fresh) for (const log of this.#logs.all.values()) log.position = log.count = undefined;
    for (const w of this.#watches.keys()) this.#ask(w);
  }

  /**
   * Watches what a Watch names, or a part of it.
   * @param {Watch} w
   * @param {string[]} [groups]
   * @param {string[]} [names]
   */
  #ask(w, groups, names) {
    const whole = !groups && !names, run = whole ? ++this.#asking : this.#watches.get(w) ?? 0;
    groups ??= whole ? w.spec.groups ?? [] : [];
    names ??= whole ? w.spec.patients ?? [] : [];
    if (whole) this.#watches.set(w, run);
    const since = this.#logs.since(groups.length ? new Set([...w.patients.keys(), ...names]) : names);
    const requests = w.requests(groups, names, since, this.#delivery, this.welcome?.limits?.frame ?? 65536);
    /** @type {string[]} */ const watching = [], /** @type {import("./watch.js").Refusal[]} */ refused = [];
    let left = requests.length;
    for (const q of requests) {
      this.#line.ask(q, {once: true}, (reply) => {
        if (this.#watches.get(w) !== run || reply.code === "lost") return;
        for (const id of reply.watching ?? []) this.#begin(w, id);
        watching.push(...(reply.watching ?? []));
        const all = [...(q.patients ?? []).map((/** @type {string} */ patient) => ({patient, code: reply.code})), ...(q.groups ?? []).map((/** @type {string} */ group) => ({group, code: reply.code}))];
        refused.push(...(reply.refused ?? all));
        if (--left === 0) this.#asked(w, run, whole, watching, refused);
      });
    }
  }

  /**
   * @param {Watch} w
   * @param {number} run
   * @param {boolean} whole
   * @param {string[]} watching
   * @param {import("./watch.js").Refusal[]} refused
   */
  #asked(w, run, whole, watching, refused) {
    const passing = refused.filter((r) => r.code === "undecided" || r.code === "unavailable");
    const names = passing.flatMap((r) => r.patient ?? []), groups = passing.flatMap((r) => r.group ?? []);
    if (passing.length) this.#after(5000, () => { if (this.#watches.get(w) === run) this.#ask(w, groups, names); });
    if (whole) {
      w.refused = refused;
      // Nobody else tells who was taken away, or has left a group, while there was no line.
      const here = new Set([...watching, ...names]);
      if (!groups.length) for (const id of w.patients.keys()) if (!here.has(id)) this.#drop(w, id);
    }
    w.begun(watching);
    for (const id of watching) if (this.#logs.current(id)) w.reached(id);
    this.#change();
  }

  /** @param {Watch} w @param {string} id */
  #begin(w, id) {
    const p = this.patients.get(id) ?? new Patient(id, () => this.now(), () => this.#logs.current(id) && ["live", "quiet", "failing"].includes(this.#line.name));
    this.patients.set(id, p);
    w.patients.set(id, p);
    this.#logs.wait(id);
    this.#change().patients.add(id);
  }

  /** Takes somebody from one watch. @param {Watch} w @param {string} id */
  #drop(w, id) {
    w.patients.delete(id);
    w.reached(id);
    if (![...this.#watches.keys()].some((other) => other.patients.has(id))) this.#leave(id);
  }

  /** Forgets somebody who is not to be seen. @param {string} id */
  #leave(id) {
    this.#logs.all.delete(id);
    this.patients.get(id)?.clear();
    this.patients.delete(id);
    for (const w of this.#watches.keys()) {
      w.patients.delete(id);
      w.reached(id);
    }
    for (const [k, item] of this.inbox) if (item.patient === id) this.inbox.delete(k);
    Object.assign(this.#change(), {inbox: true}).patients.add(id);
    this.#emit("revoked", id);
  }

  /** @param {Watch} w */
  #unwatch(w) {
    const delivery = this.#delivery;
    if (!this.#watches.delete(w) || this.#stopped) return;
    const others = [...this.#watches.keys()], gone = [...w.patients.keys()].filter((id) => !others.some((o) => o.patients.has(id)));
    for (const id of gone) {
      this.#logs.all.delete(id);
      this.patients.delete(id);
      this.#change().patients.add(id);
    }
    if (this.#line.streams) return this.#line.restart();
    const groups = (w.spec.groups ?? []).filter((g) => !others.some((o) => o.spec.groups?.includes(g)));
    if (gone.length + groups.length) this.#line.ask({type: "unwatch", groups, patients: gone}, {once: true}, () => {});
    if (groups.length || delivery !== this.#delivery) this.#rewatch(false); // who is named may have come by the group
  }

  /** Asks for one patient of whom something is missing. @param {string} id */
  #again(id) {
    if (this.#line.streams) return this.#line.restart();
    this.#line.ask({type: "watch", patients: [id], since: this.#logs.since([id]), delivery: this.#delivery}, {once: true}, (reply) => {
      const code = reply.type === "ok" ? reply.refused[0]?.code : reply.code;
      if (code === "undecided" || code === "unavailable") this.#after(5000, () => { if (this.patients.has(id)) this.#again(id); });
      else if (code && code !== "lost") this.#leave(id);
    });
  }

  // ---- Inside: telling ----

  #look() {
    const {name} = this.#line;
    if (["live", "quiet", "failing"].includes(name)) this.#logs.look();
    if (name !== this.#name) {
      [this.#name, this.#nameSince] = [name, ticks()];
      for (const id of this.patients.keys()) this.#change().patients.add(id);
      this.#change().state = true;
      if (name !== "live") for (const c of this.commands) this.#commands.wait(c);
      if (name === "ended") this.#logs.waitAll();
      this.#emit("state", this.state);
    }
    this.#change();
  }

  /** Has subscribers called with the next frame. */
  #change() {
    if (this.#changes) return this.#changes;
    const changes = this.#changes = {state: false, inbox: false, commands: false, patients: new Set()};
    if (this.#stopped) return changes;
    const tell = () => {
      this.#changes = undefined;
      for (const f of this.#subscribers) call(f, changes);
    };
    if (globalThis.document?.visibilityState === "visible") {
      const frame = requestAnimationFrame(tell);
      this.#stopNotifying = () => cancelAnimationFrame(frame);
    } else {
      const timer = setTimeout(tell, 20);
      this.#stopNotifying = () => clearTimeout(timer);
    }
    return changes;
  }

  /** @param {keyof Events} name @param {any[]} args */
  #emit(name, ...args) {
    for (const f of this.#listeners.get(name) ?? []) call(f, ...args);
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
