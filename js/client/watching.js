// The patients that a client watches, by one or several watches.
import {Logs} from "./logs.js";
import {Patient} from "./patient.js";
import {Watch} from "./watch.js";

/** @typedef {import("./wire.js").Frame} Frame */
/** @typedef {import("./watch.js").Refusal} Refusal */

/**
 * @typedef {object} WatchingHost
 * @property {import("./line.js").Line} line
 * @property {import("./telling.js").Telling} telling
 * @property {(frame: Frame, live: boolean) => void} event has come, in the order of the log
 * @property {(patient: string) => void} left somebody is not to be seen any more
 * @property {(ms: number, f: () => void) => void} after
 */

const deliveries = ["alerts", "latest", "every"];
const logEvents = ["sync", "synced", "vital", "alert", "notice", "receipt", "access", "gap"];
const passing = (/** @type {string | undefined} */ code) => code === "undecided" || code === "unavailable";

export class Watching {
  /** By all watches. @type {Map<string, Patient>} */ patients = new Map();
  /** Each with the number of its last asking. @type {Map<Watch, number>} */ #all = new Map();
  /** @type {WatchingHost} */ #host;
  /** @type {Logs} */ #logs;
  #asking = 0; #stopped = false;

  /** @param {WatchingHost} host */
  constructor(host) {
    this.#host = host;
    this.#logs = new Logs({
      forget: (id) => {
        this.patients.get(id)?.clear();
        this.#changed(id);
        host.telling.emit("forget", id);
      },
      event: host.event,
      current: (id) => {
        this.#changed(id);
        if (this.#logs.current(id)) for (const w of this.#all.keys()) w.reached(id);
      },
      again: (id) => this.#again(id),
    }, () => this.#delivery === "every");
  }

  /** @param {import("./watch.js").WatchSpec} spec */
  watch(spec) {
    const before = this.#delivery, watch = new Watch({...spec}, (w) => this.#unwatch(w));
    this.#all.set(watch, 0);
    if (this.#all.size === 1 || this.#delivery === before) this.#ask(watch);
    else this.#rewatch(true); // all of them get more
    return watch;
  }

  /** A new connection knows of no watch. */
  opened() {
    this.#logs.waitAll();
    this.#rewatch(false);
  }

  look() { if (this.#alive) this.#logs.look(); }

  stop() {
    this.#stopped = true;
    this.#logs.stop();
  }

  /** @param {Frame} f an event, about a patient or a head */
  take(f) {
    if (f.type === "granted") {
      for (const w of this.#all.keys()) if (w.spec.groups?.length) this.#begin(w, f.patient);
      this.#host.telling.emit("granted", f.patient);
    } else if (f.type === "wave") {
      if ([...this.#all.keys()].some((w) => w.wants(f.wave)) && this.patients.get(f.wave.patient)?.isNew(f.wave)) this.#host.telling.emit("wave", f.wave);
    } else if (f.type === "revoked") {
      this.#leave(f.patient);
    } else if (f.type === "head" || logEvents.includes(f.type) && this.patients.has(f.patient)) {
      this.#logs.take(f);
    }
  }

  /** Whether a device keeps no promise any more that it still kept when the line fell silent. @param {number} silent in ms */
  overdue(silent) {
    const now = this.#host.line.now();
    for (const p of this.patients.values()) {
      for (const v of p.vitals.values()) {
        const limit = 1000 * Math.max(10, 3 * (v.every ?? Infinity)), late = now - v.at;
        if (late >= limit && late - silent < limit) return true;
      }
    }
    return false;
  }

  // ---- For other tabs ----

  /** Those that are not watched here. @param {string[]} groups @param {string[]} patients */
  unwatched(groups, patients) {
    const specs = [...this.#all.keys()].map((w) => w.spec);
    return {groups: groups.filter((g) => !specs.some((s) => s.groups?.includes(g))), patients: patients.filter((p) => !this.patients.has(p))};
  }

  /** The refusals of all watches. @returns {Refusal[]} */
  get refused() { return [...this.#all.keys()].flatMap((w) => w.refused); }

  /** Everything that is watched: the codes of signals are wanted of anybody. */
  get names() {
    const specs = [...this.#all.keys()].map((w) => w.spec);
    return {groups: specs.flatMap((s) => s.groups ?? []), patients: [...this.patients.keys()], waves: specs.flatMap((s) => s.waves ?? [])};
  }

  /** Where we stand, of all who are current. */
  since() { return this.#logs.since([...this.patients.keys()].filter((id) => this.#logs.current(id))); }

  /** A snapshot as a server sends it; nothing of a patient who is not current. @param {string} id */
  held(id) {
    const p = this.patients.get(id);
    return p && this.#logs.current(id) ? this.#logs.snapshot(id, p.frames()) : [];
  }

  // ---- Asking ----

  get #delivery() { return deliveries[Math.max(0, ...[...this.#all.keys()].map((w) => deliveries.indexOf(w.spec.delivery ?? "latest")))]; }

  get #alive() { return ["live", "quiet", "failing"].includes(this.#host.line.name); }

  /** @param {string} id */
  #changed(id) { this.#host.telling.changes.patients.add(id); }

  /** Asks for everybody anew. @param {boolean} fresh whether from the beginning */
  #rewatch(fresh) {
    if (fresh) for (const log of this.#logs.all.values()) log.position = log.count = undefined;
    for (const w of this.#all.keys()) this.#ask(w);
  }

  /**
   * Watches the patients and groups of a Watch, or a part of them.
   * @param {Watch} w
   * @param {{groups: string[], names: string[]}} [part]
   */
  #ask(w, part) {
    const {line} = this.#host, run = part ? this.#all.get(w) ?? 0 : ++this.#asking;
    this.#all.set(w, run);
    const {groups = [], patients: names = []} = part ? {groups: part.groups, patients: part.names} : w.spec;
    const since = this.#logs.since(groups.length ? new Set([...w.patients.keys(), ...names]) : names);
    const requests = w.requests(groups, names, since, this.#delivery, line.welcome?.limits?.frame ?? 65536);
    /** @type {string[]} */ const watching = [];
    /** @type {Refusal[]} */ const refused = [];
    let left = requests.length;
    for (const q of requests) {
      line.ask(q, {once: true}, (reply) => {
        if (this.#all.get(w) !== run || reply.code === "lost") return;
        for (const id of reply.watching ?? []) this.#begin(w, id);
        watching.push(...(reply.watching ?? []));
        refused.push(...(reply.refused ?? refusals(q, reply.code)));
        if (--left === 0) this.#asked(w, !part, watching, refused);
      });
    }
  }

  /** All replies have come. @param {Watch} w @param {boolean} whole @param {string[]} watching @param {Refusal[]} refused */
  #asked(w, whole, watching, refused) {
    const later = refused.filter((r) => passing(r.code)), run = this.#all.get(w);
    const names = later.flatMap((r) => r.patient ?? []), groups = later.flatMap((r) => r.group ?? []);
    if (later.length) this.#host.after(5000, () => { if (this.#all.get(w) === run) this.#ask(w, {groups, names}); });
    w.refused = whole ? refused : [...w.refused.filter((r) => !passing(r.code)), ...refused];
    this.#host.telling.changes.state = true;
    if (whole) {
      // No event tells of patients who were taken away, or have left a group, while there was no line.
      const here = new Set([...watching, ...names]);
      if (!groups.length) for (const id of w.patients.keys()) if (!here.has(id)) this.#drop(w, id);
    }
    w.begun(watching);
    for (const id of watching) if (this.#logs.current(id)) w.reached(id);
  }

  /** Asks for one patient whose events are incomplete. @param {string} id */
  #again(id) {
    const {line, after} = this.#host;
    if (line.streams) return line.restart();
    line.ask({type: "watch", patients: [id], since: this.#logs.since([id]), delivery: this.#delivery}, {once: true}, (reply) => {
      const code = reply.type === "ok" ? reply.refused[0]?.code : reply.code;
      if (passing(code)) after(5000, () => { if (this.patients.has(id)) this.#again(id); });
      else if (code && code !== "lost") this.#leave(id);
    });
  }

  // ---- Coming and going ----

  /** @param {Watch} w @param {string} id */
  #begin(w, id) {
    const p = this.patients.get(id) ?? new Patient(id, () => this.#host.line.now(), () => this.#alive && this.#logs.current(id));
    this.patients.set(id, p);
    w.patients.set(id, p);
    if (w.refused.some((r) => r.patient === id)) { // by name; a group gives them
      w.refused = w.refused.filter((r) => r.patient !== id);
      this.#host.telling.changes.state = true;
    }
    this.#logs.wait(id);
    this.#changed(id);
  }

  /** Takes somebody from one watch. @param {Watch} w @param {string} id */
  #drop(w, id) {
    w.patients.delete(id);
    w.reached(id);
    if (![...this.#all.keys()].some((other) => other.patients.has(id))) this.#leave(id);
  }

  /** Forgets somebody who is not to be seen. @param {string} id */
  #leave(id) {
    this.#logs.all.delete(id);
    this.patients.get(id)?.clear();
    this.patients.delete(id);
    for (const w of this.#all.keys()) {
      w.patients.delete(id);
      w.reached(id);
    }
    this.#changed(id);
    this.#host.left(id);
    this.#host.telling.emit("revoked", id);
  }

  /** @param {Watch} w */
  #unwatch(w) {
    const delivery = this.#delivery, {line} = this.#host;
    if (!this.#all.delete(w) || this.#stopped) return;
    const {groups, patients} = this.unwatched(w.spec.groups ?? [], []), others = [...this.#all.keys()];
    if (!line.streams) this.#endWaves(w, others);
    for (const id of w.patients.keys()) {
      if (others.some((o) => o.patients.has(id))) continue;
      patients.push(id);
      this.#logs.all.delete(id);
      this.patients.delete(id);
      this.#changed(id);
    }
    if (line.streams) return line.restart();
    if (patients.length + groups.length) line.ask({type: "unwatch", groups, patients}, {once: true}, () => {});
    if (groups.length || delivery !== this.#delivery) this.#rewatch(false); // a named patient may have come by the group
  }

  /** Ends the signals that only w has asked for: of a group those that nobody else wants of anybody. @param {Watch} w @param {Watch[]} others */
  #endWaves({spec: {waves = [], groups = []}, patients}, others) {
    const only = (/** @type {Watch[]} */ those) => waves.filter((c) => !those.some((o) => o.spec.waves?.includes(c)));
    const end = (/** @type {string[]} */ codes, /** @type {Frame} */ whose) => codes.length && this.#host.line.ask({type: "unwatch", ...whose, waves: codes}, {once: true}, () => {});
    if (groups.length) end(only(others), {groups});
    const ids = [...patients.keys()], having = (/** @type {string} */ id) => others.filter((o) => o.patients.has(id));
    const shared = ids.filter((id) => having(id).length), alone = ids.filter((id) => !having(id).length);
    for (const id of shared) end(only(having(id)), {patients: [id]});
    if (alone.length) end(only([]), {patients: alone}); // other tabs may watch them
  }
}

/** That a whole request was refused. @param {Frame} q @param {string} code @returns {Refusal[]} */
const refusals = (q, code) => [...(q.patients ?? []).map((/** @type {string} */ patient) => ({patient, code})),
  ...(q.groups ?? []).map((/** @type {string} */ group) => ({group, code}))];
