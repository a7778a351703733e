// Which numbers are out of their limits: as the open alerts say, and after somebody has closed one that was still present.
import {against, rank} from "./alert.js";
import {belongs} from "./vital.js";

/** @typedef {import("./alert.js").Alert} Alert */
/** @typedef {{priority: string, up: boolean | undefined, limit: string, closed: boolean}} Mark `up`: above its limit; undefined: it is not said */

export class Marks {
  /** Closed while present, by patient and key. @type {Map<string, Alert>} */ #closed = new Map();
  #client; #end;

  /** @param {import("@carewire/client").Client} client */
  constructor(client) {
    this.#client = client;
    const ends = [
      client.on("alert", (a) => this.#take(/** @type {Alert} */ (a))),
      client.on("revoked", (id) => { for (const [k, a] of this.#closed) if (a.patient === id) this.#closed.delete(k); }),
    ];
    this.#end = () => ends.forEach((f) => f());
  }

  stop() { this.#end(); }

  /** The mark of a patient's number. @param {string} patient @param {string} code @returns {Mark | undefined} */
  of(patient, code) {
    const held = this.#client.patients.get(patient);
    let worst;
    for (const a of held?.alerts.values() ?? []) {
      if (a.condition === "present" && this.#about(a, code) && (!worst || rank[a.priority] > rank[worst.priority])) worst = a;
    }
    if (worst) return this.#mark(/** @type {Alert} */ (worst), false);
    for (const [key, a] of this.#closed) {
      if (a.patient !== patient || !this.#about(a, code)) continue;
      if (this.#out(a, code)) return this.#mark(a, true);
      this.#closed.delete(key);
    }
    return undefined;
  }

  /** @param {Alert} a */
  #take(a) {
    const key = `${a.patient} ${a.key} ${a.test ?? ""}`;
    if (a.ended && a.closed && a.condition === "present") this.#closed.set(key, a); else this.#closed.delete(key);
  }

  /** Whether an alert is about one number: a rule that says no limit has judged several. @param {import("@carewire/client").Alert} a @param {string} code */
  #about(a, code) {
    return belongs(a.code, code) && (!a.source?.rule || against(a.source.limits, Number(a.source.value)) !== undefined);
  }

  /** Whether the newest value is still out of the limit. @param {Alert} a @param {string} code */
  #out(a, code) {
    const v = this.#client.patients.get(a.patient)?.newest(code);
    const value = a.code === code ? v?.value : v?.components?.find((c) => c.code === a.code)?.value;
    return value === undefined || (against(a.source?.limits, Number(value))?.out ?? true);
  }

  /** @param {Alert} a @param {boolean} closed @returns {Mark} */
  #mark(a, closed) {
    const limit = against(a.source?.limits, Number(a.source?.value));
    return {priority: a.priority, up: limit?.out ? limit.up : undefined, limit: limit?.out ? limit.text : "", closed};
  }
}
