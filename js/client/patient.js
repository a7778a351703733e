// The state of one patient.
import {signalOf} from "./waves.js";

/** @typedef {import("./wire.js").Frame} Frame */
/** @typedef {import("./types.js").Vital & {at: number}} HeldVital `at` is the server's time of measurement in ms */

/** The key of an alert among a patient's: a test has keys of its own. @param {{key: string, test?: boolean}} a */
export const keyOf = (a) => a.test ? a.key + " test" : a.key;

const maxNotices = 200; // of one patient; the oldest leave

export class Patient {
  /** @type {string} */ id;
  /** The newest vital of each kind, by code, system, device, site and test. @type {Map<string, HeldVital>} */ vitals = new Map();
  /** The open alerts, by key; tests by key and " test". @type {Map<string, import("./types.js").Alert>} */ alerts = new Map();
  /** The last 200, by notice_id. @type {Map<string, import("./types.js").Notice>} */ notices = new Map();
  /** By notice_id, or by alert_id of an open alert. @type {Map<string, import("./types.js").Receipt[]>} */ receipts = new Map();
  /** The emergency accesses, by principal. @type {Map<string, import("./types.js").Access>} */ emergencies = new Map();
  /** The pause of the alerts: by which person, until when and why. @type {import("./types.js").Access | undefined} */ pause;
  /** @type {() => number} */ #now;
  /** @type {() => boolean} */ #current;
  /** The last chunks of each signal. @type {Map<string, string[]>} */ #chunks = new Map();

  /**
   * @param {string} id
   * @param {() => number} now the server's time
   * @param {() => boolean} current
   */
  constructor(id, now, current) {
    [this.id, this.#now, this.#current] = [id, now, current];
  }

  /** Whether the held state is complete. A state that is not current is shown so, or not at all. */
  get current() { return this.#current(); }

  /** The newest vital with this code, whichever device it is from. @param {string} code */
  newest(code) {
    let best;
    for (const v of this.vitals.values()) if (v.code === code && (!best || v.at >= best.at)) best = v;
    return best;
  }

  /** How many seconds ago the newest vital with this code was measured. @param {string} code */
  age(code) {
    const v = this.newest(code);
    return v && Math.max(0, (this.#now() - v.at) / 1000);
  }

  /**
   * Whether the newest vital with this code is too old to be shown as the present one: the patient is not current, or its
   * `every` has passed three times (at least 10 s; 15 min where nothing is promised).
   * @param {string} code
   */
  stale(code) {
    const v = this.newest(code);
    return !v || !this.current || this.#now() - v.at > 1000 * (v.every ? Math.max(10, 3 * v.every) : 900);
  }

  /** Whether a chunk has not come before: a new connection brings some again, and each of several streams. @param {import("./types.js").Wave} w */
  isNew(w) {
    const signal = signalOf(w), had = this.#chunks.get(signal) ?? [], chunk = `${w.n} ${w.received}`;
    if (had.includes(chunk)) return false;
    this.#chunks.set(signal, [...had.slice(-255), chunk]);
    return true;
  }

  /** The held state, as events. @returns {Frame[]} */
  frames() {
    const events = (/** @type {string} */ type, /** @type {Iterable<any>} */ items) => [...items].map((x) => ({type, patient: this.id, [type]: x}));
    return [...events("vital", this.vitals.values()), ...events("alert", this.alerts.values()), ...events("notice", this.notices.values()),
      ...events("receipt", [...this.receipts.values()].flat()), ...events("access", this.emergencies.values()), ...events("access", this.pause ? [this.pause] : [])];
  }

  clear() {
    for (const held of [this.vitals, this.alerts, this.notices, this.receipts, this.emergencies]) held.clear();
    this.pause = undefined;
  }

  /** @param {Frame} f an event of this patient's log */
  take(f) {
    switch (f.type) {
    case "vital": return this.#takeVital(f.vital);
    case "alert": return this.#takeAlert(f.alert);
    case "receipt": return this.#takeReceipt(f.receipt);
    case "notice":
      this.notices.set(f.notice.notice_id, f.notice);
      for (const id of this.notices.keys()) {
        if (this.notices.size <= maxNotices) break;
        this.notices.delete(id);
        this.receipts.delete(id);
      }
      return;
    case "access":
      if (f.access.kind === "emergency") this.emergencies.set(f.access.principal, f.access);
      if (f.access.kind === "emergency_ended") this.emergencies.delete(f.access.principal);
      if (f.access.kind === "pause") this.pause = f.access;
      if (f.access.kind === "pause_ended") this.pause = undefined;
    }
  }

  /** @param {HeldVital} v */
  #takeVital(v) {
    const key = [v.code, v.system ?? "loinc", v.device, v.site, v.test].join(" "), old = this.vitals.get(key);
    const received = Date.parse(v.received ?? "");
    v.at = v.quality?.includes("clock") ? received : Math.min(Date.parse(v.time ?? ""), received);
    const replaces = v.replaces && (old?.vital_id === v.replaces || old?.replaces === v.replaces);
    if (old && !replaces && v.at < old.at && old.at <= received) return; // a late one does not take the place of a newer one
    if (v.status === "entered-in-error") this.vitals.delete(key); else this.vitals.set(key, v);
  }

  /** @param {import("./types.js").Alert} a */
  #takeAlert(a) {
    const key = keyOf(a), old = this.alerts.get(key);
    if (old && (a.ended || old.alert_id !== a.alert_id)) this.receipts.delete(old.alert_id);
    if (a.ended) this.alerts.delete(key); else this.alerts.set(key, a);
  }

  /** @param {import("./types.js").Receipt} r */
  #takeReceipt(r) {
    const id = r.notice_id ?? r.alert_id ?? "", list = this.receipts.get(id) ?? [];
    const other = list.filter((x) => x.by.id !== r.by.id || x.stage !== r.stage || x.level !== r.level);
    this.receipts.set(id, [...other.slice(-49), r]);
  }
}
