// Which events of which patients have come: docs/protocol.md, section 5.
import {backoff, ticks} from "./wire.js";

/** @typedef {import("./wire.js").Frame} Frame */
/** @typedef {{epoch?: string, seq: number}} Position */

/**
 * One patient's log. It waits for `sync`, takes in a snapshot or the events after its position, and is live after `synced`.
 * @typedef {object} Log
 * @property {"waiting" | "snapshot" | "catching" | "live"} state
 * @property {Position} [position] of the last event that came
 * @property {number} [count] of undroppable entries up to there; with `position` only
 * @property {number} heard in ticks
 * @property {number} misses in a row
 * @property {number} missed when the last was, in ticks
 */

/**
 * The events of logs.
 * @typedef {object} LogEvents
 * @property {(patient: string) => void} forget the held state: it comes again
 * @property {(frame: Frame, live: boolean) => void} event in the order of the log. If it is not live, it came before `synced`
 * @property {(patient: string) => void} current or not any more
 * @property {(patient: string) => void} again something is missing: it is to be watched anew
 */

const patience = 60000; // for anything of a patient, and for a sync

export class Logs {
  /** @type {Map<string, Log>} */ all = new Map();
  /** @type {LogEvents} */ #on;
  /** @type {() => boolean} */ #every;
  /** @type {Set<ReturnType<typeof setTimeout>>} */ #timers = new Set();

  /**
   * @param {LogEvents} on
   * @param {() => boolean} every whether every vital is owed
   */
  constructor(on, every) {
    [this.#on, this.#every] = [on, every];
  }

  /** Whether the held state of a patient is complete, on a live line. @param {string} patient */
  current(patient) {
    const log = this.all.get(patient);
    return log?.state === "live" && ticks() - log.heard < patience;
  }

  /** The positions from which to resume. @param {Iterable<string>} patients */
  since(patients) {
    /** @type {Record<string, Position>} */
    const since = {};
    for (const id of patients) {
      const position = this.all.get(id)?.position;
      if (position) since[id] = position;
    }
    return since;
  }

  /** A snapshot of the held state of a patient, as a server sends it. @param {string} patient @param {Frame[]} frames */
  snapshot(patient, frames) {
    const log = this.all.get(patient), at = {patient, ...log?.position, must: log?.count, recovered: false};
    return [{type: "sync"}, ...frames, {type: "synced"}].map((f) => ({...at, ...f}));
  }

  /** Waits for `sync`: events before it belong to an older watch. @param {string} patient */
  wait(patient) {
    const log = this.all.get(patient);
    if (!log) return;
    log.state = "waiting";
    log.heard = ticks();
    this.#on.current(patient);
  }

  waitAll() { for (const id of this.all.keys()) this.wait(id); }

  /** Resumes logs whose events should have come by now, and have not. */
  look() {
    for (const [id, log] of this.all) if (ticks() - log.heard > patience) this.#miss(id, log);
  }

  stop() {
    for (const t of this.#timers) clearTimeout(t);
    this.all.clear();
  }

  /** @param {Frame} f one that has a position, or a head */
  take(f) {
    if (f.type === "head") return f.heads.forEach((/** @type {Frame} */ h) => this.#takeHead(h));
    let log = this.all.get(f.patient);
    if (!log && f.type !== "sync") return;
    if (!log) this.all.set(f.patient, log = {state: "waiting", heard: 0, misses: 0, missed: 0});
    log.heard = ticks();
    if (f.type === "sync") return this.#sync(f, log);
    if (log.state === "waiting") return;
    if (f.type === "synced") return this.#synced(f, log);
    const live = log.state === "live";
    if (log.state !== "snapshot") {
      if (this.#before(f, log)) return;
      if (!this.#next(f, log)) return this.#miss(f.patient, log);
      this.#stand(f, log);
    }
    if (f.type !== "gap") this.#on.event(f, live);
  }

  /** @param {Frame} f @param {Log} log */
  #sync(f, log) {
    if (f.recovered && !log.position) return this.#miss(f.patient, log); // from where? the held state may be incomplete
    log.state = f.recovered ? "catching" : "snapshot";
    if (!f.recovered) {
      log.position = log.count = undefined;
      this.#on.forget(f.patient);
    }
    this.#on.current(f.patient);
  }

  /** @param {Frame} f @param {Log} log */
  #synced(f, log) {
    const whole = log.state === "snapshot" || f.must === log.count && (!this.#every() || f.seq === log.position?.seq);
    if (!whole) return this.#miss(f.patient, log);
    this.#stand(f, log);
    log.state = "live";
    this.#on.current(f.patient);
  }

  /** @param {Frame} f @param {Log} log */
  #stand(f, log) {
    log.position = f.epoch === undefined ? {seq: f.seq} : {epoch: f.epoch, seq: f.seq};
    log.count = f.must;
  }

  /** @param {Frame} f @param {Log} log */
  #before(f, log) { return f.epoch === log.position?.epoch && f.seq <= (log.position?.seq ?? 0); }

  /** @param {Frame} f @param {Log} log */
  #next(f, log) {
    const more = f.must - (log.count ?? 0), further = f.seq - (log.position?.seq ?? 0);
    const fits = f.type === "vital" ? more === 0 : f.type === "gap" ? more === 0 || more === 1 : more === 1;
    return fits && (this.#every() ? further === 1 : further > 0);
  }

  /** @param {Frame} h */
  #takeHead(h) {
    const log = this.all.get(h.patient);
    if (log?.state !== "live" || !log.position) return;
    const {epoch, seq} = log.position;
    if (h.epoch === epoch && h.seq < seq) return; // older than the newest event
    const was = this.current(h.patient);
    log.heard = ticks();
    if (h.epoch !== epoch && h.seq <= seq || h.must !== log.count || this.#every() && h.seq !== seq) this.#miss(h.patient, log);
    else if (!was) this.#on.current(h.patient);
  }

  /**
   * Asks again for missing events: from the position at first, then from the beginning, after longer and longer.
   * @param {string} patient
   * @param {Log} log
   */
  #miss(patient, log) {
    this.wait(patient);
    if (ticks() - log.missed > 60000) log.misses = 0;
    log.missed = ticks();
    if (log.misses++ === 0) return this.#on.again(patient);
    log.position = log.count = undefined;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (log.state === "waiting" && this.all.get(patient) === log) this.#on.again(patient);
    }, 500 + backoff(log.misses));
    this.#timers.add(timer);
  }
}
