// Tabs of one browser that share a connection. The one that holds a Web Lock leads: it has the connection, relays the
// frames that come, and sends the others' requests. To these it is like a server. When it goes, the next one gets the lock.
import {encode, newID} from "./wire.js";

/** @typedef {import("./wire.js").Frame} Frame */

const deliveries = ["alerts", "latest", "every"];
const patience = 3000; // ms for a leader's answer

/**
 * The parts of a leader.
 * @typedef {object} Host
 * @property {import("./line.js").Line} line
 * @property {import("./watching.js").Watching} watching
 * @property {() => Frame} inbox
 * @property {() => void} gone some tab has gone, perhaps with something to send
 */

export class Tabs {
  leads = false;
  id = newID();
  /** @type {Host} */ #host;
  /** @type {string} */ #name;
  /** @type {BroadcastChannel} */ #channel;
  /** The tabs that have joined, with their watches. @type {Map<string, {patients: Set<string>, groups: Set<string>, waves: Set<string>}>} */ #joined = new Map();
  /** @type {import("./transport.js").Told | undefined} as a follower */ #on;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #queued = false; #strongest = 0; #off = new AbortController();
  /** Holds a lock until stop; its signal alone calls off only a lock that is not granted yet. */ #untilStop = () => new Promise((resolve) => this.#off.signal.addEventListener("abort", resolve));

  /** @param {string} name @param {Host} host */
  constructor(name, host) {
    [this.#name, this.#host] = ["carewire " + name, host];
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = (m) => this.#take(m.data);
    globalThis.addEventListener?.("pagehide", this.#leave);
  }

  /** Whether this browser can. */
  static get possible() { return Boolean(globalThis.navigator?.locks && globalThis.BroadcastChannel); }

  start() {
    navigator.locks.request(this.#name + " " + this.id, {signal: this.#off.signal}, this.#untilStop).catch(() => {}); // says that we live
    this.#queue();
  }

  stop() {
    clearTimeout(this.#timer);
    globalThis.removeEventListener?.("pagehide", this.#leave);
    this.#off.abort();
    this.#leave();
    this.#channel.close();
  }

  /** The IDs of all tabs that live. */
  async living() {
    const {held = []} = await navigator.locks.query();
    return new Set(held.map((l) => l.name?.slice(this.#name.length + 1)));
  }

  // ---- Following ----

  /** Joins the leader, as one connects to a server. @param {import("./transport.js").Told} on @returns {import("./transport.js").Transport} */
  join(on) {
    this.#on = on;
    this.#ask({hello: true});
    return {
      streams: false,
      send: (frame) => this.#post({send: encode(frame), waves: this.#host.watching.names.waves}),
      close: () => { this.#on = undefined; },
      check: () => this.#ask({look: true}),
    };
  }

  /** Has the leader try to connect now. */
  urge() { this.#post({urgent: true}); }

  /** Says something that a leader answers. One that does not is frozen: it is put out of office. @param {object} message */
  #ask(message) {
    this.#post(message);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      if (!this.leads && globalThis.document?.visibilityState !== "hidden") this.#queue({steal: true});
    }, patience);
  }

  #answered() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  // ---- Leading ----

  /** Passes on a frame that has come. @param {string} text @param {Frame} f */
  relay(text, f) {
    if (!this.leads || !this.#joined.size) return;
    for (const {groups, patients} of this.#joined.values()) { // as each of them does itself
      if (f.type === "granted" && groups.size) patients.add(f.patient);
      if (f.type === "revoked") patients.delete(f.patient);
    }
    this.#post({text});
  }

  /** Tells that the line is lost. @param {number} code @param {number} after ms until the next attempt */
  closed(code, after) {
    if (!this.leads) return;
    this.#joined.clear();
    this.#strongest = 0;
    this.#post({closed: code, after});
  }

  /** Tells that there is a line again. */
  opened() { if (this.leads) this.#post({open: true}); }

  /**
   * Makes a request fit for all tabs: a watch gets the most that any wants, and nothing is unwatched that another watches;
   * undefined: nothing is left of it.
   * @param {Frame} f
   * @param {string} [tab] that asks; undefined: this one
   */
  prepare(f, tab) {
    if (!this.leads) return f;
    if (f.type === "watch") {
      const rank = deliveries.indexOf(f.delivery), more = rank > this.#strongest;
      this.#strongest = Math.max(rank, this.#strongest);
      return {...f, delivery: deliveries[this.#strongest], ...(more && this.#joined.size && {since: {}})};
    }
    if (f.type !== "unwatch") return f;
    let {groups = [], patients = [], waves} = f;
    if (waves) {
      const {names} = this.#host.watching, tabs = [names, ...this.#joined.values()], own = tab ? this.#joined.get(tab) : names;
      const wants = (/** @type {typeof own} */ has, /** @type {string} */ code) => [...has?.waves ?? []].includes(code);
      waves = waves.filter((/** @type {string} */ c) => !tabs.some((has) => has !== own && wants(has, c)));
      if (waves.some((/** @type {string} */ c) => wants(own, c))) return {...f, waves}; // of others it still wants them
      // Some may still come of patients for whom another tab had kept them.
      const all = (/** @type {"groups" | "patients"} */ kind) => [...new Set([...f[kind] ?? [], ...tabs.flatMap((has) => [...has[kind]])])];
      return waves.length ? {...f, groups: all("groups"), patients: all("patients"), waves} : undefined;
    }
    if (tab) ({groups, patients} = this.#host.watching.unwatched(groups, patients));
    for (const [id, has] of this.#joined) {
      if (id === tab) continue;
      groups = groups.filter((/** @type {string} */ g) => !has.groups.has(g));
      patients = patients.filter((/** @type {string} */ p) => !has.patients.has(p));
    }
    return groups.length + patients.length ? {...f, groups, patients} : undefined;
  }

  /** @param {string} tab */
  #welcome(tab) {
    const {line} = this.#host, {welcome} = line;
    if (!welcome || !["live", "quiet", "failing"].includes(line.name)) return this.#post({to: tab, closed: 1006, after: line.nextTry ?? 1000});
    this.#joined.set(tab, {patients: new Set(), groups: new Set(), waves: new Set()});
    const frames = [{...welcome, time: new Date(line.now()).toISOString()}, this.#host.inbox(), {type: "status", store: line.store}];
    for (const f of frames) this.#post({to: tab, text: JSON.stringify(f)});
  }

  /** Sends a request of another tab. @param {string} tab @param {Frame} f @param {string[]} [waves] that it wants now */
  #carry(tab, f, waves = []) {
    const {req, ...rest} = f, has = this.#joined.get(tab), held = this.#host.watching.since();
    if (!has) return;
    has.waves = new Set(waves);
    const answer = (/** @type {Frame} */ reply) => this.#post({to: tab, text: JSON.stringify({...reply, req})});
    if (f.type !== "watch") {
      if (f.type === "unwatch" && !f.waves) for (const kind of /** @type {const} */ (["groups", "patients"])) for (const id of f[kind] ?? []) has[kind].delete(id);
      const q = this.prepare(rest, tab);
      if (!q || f.type === "unwatch" && this.#host.line.streams) {
        answer({type: "ok"});
        return q?.waves && this.#host.line.restart();
      }
      return this.#host.line.ask(q, {once: true, carried: true}, (reply) => reply.code === "lost" || answer(reply));
    }
    for (const g of f.groups ?? []) has.groups.add(g);
    // Of patients that we hold, the server sends the new events, and we the rest: so nobody begins anew.
    let room = 30000 - JSON.stringify(f.since ?? {}).length - JSON.stringify(f.patients ?? []).length;
    const ours = Object.entries(held).filter(([id, p]) => !f.since?.[id] && (room -= id.length + (p.epoch?.length ?? 0) + 40) > 0);
    const q = /** @type {Frame} */ (this.prepare({...rest, since: {...Object.fromEntries(ours), ...f.since}}, tab));
    const given = new Set(ours.map(([id]) => id));
    this.#host.line.ask(q, {once: true, carried: true}, (reply) => {
      if (reply.code === "lost") return;
      answer(reply);
      for (const id of reply.watching ?? []) {
        has.patients.add(id);
        if (given.has(id)) for (const frame of this.#host.watching.held(id)) this.#post({to: tab, text: JSON.stringify(frame)});
      }
    });
  }

  /** @param {string} tab */
  #part(tab) {
    const has = this.#joined.get(tab);
    const groups = [...has?.groups ?? []], patients = [...has?.patients ?? []], waves = [...has?.waves ?? []];
    if (waves.length && groups.length + patients.length) this.#carry(tab, {type: "unwatch", groups, patients, waves});
    if (has) this.#carry(tab, {type: "unwatch", groups, patients});
    this.#joined.delete(tab);
    this.#host.gone();
  }

  // ---- Both ----

  /** Leads as soon as nobody else does, or at once. @param {LockOptions} [options] */
  #queue(options = {signal: this.#off.signal}) {
    if (!options.steal && this.#queued) return;
    if (!options.steal) this.#queued = true;
    navigator.locks.request(this.#name, options, () => {
      if (this.#off.signal.aborted) return; // a lock that is stolen has no signal
      if (!options.steal) this.#queued = false;
      this.leads = true;
      this.#host.line.restart();
      return this.#untilStop();
    }).catch(() => {
      if (!this.leads || this.#off.signal.aborted) return;
      this.leads = false; // somebody has taken it: we were frozen
      this.#joined.clear();
      this.#host.line.restart();
      this.#queue();
    });
  }

  #leave = () => this.#post({bye: true});

  /** @param {object} message */
  #post(message) { this.#channel.postMessage({from: this.id, ...message}); }

  /** @param {any} m */
  #take(m) {
    if (m.to && m.to !== this.id) return;
    if (this.leads) {
      if (m.hello) this.#welcome(m.from);
      if (m.urgent) this.#host.line.tryNow();
      if (m.look) {
        this.#host.line.look();
        this.#post({to: m.from, alive: true});
      }
      if (m.send) this.#carry(m.from, JSON.parse(m.send), m.waves);
      if (m.bye) this.#part(m.from);
      return;
    }
    if (m.text !== undefined || m.closed || m.alive || m.open) this.#answered();
    if (m.text !== undefined) this.#on?.text(m.text);
    if (m.closed) this.#on?.closed(m.closed, true, m.after);
    if (m.open) this.#host.line.tryNow();
  }
}
