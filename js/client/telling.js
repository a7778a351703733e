// The subscribers of each event, and the moment at which they are called.
import {call} from "./wire.js";

/**
 * The changes since subscribers were last called.
 * @typedef {object} Changes
 * @property {boolean} state
 * @property {boolean} inbox
 * @property {boolean} commands
 * @property {Set<string>} patients with a new event, or who became current or are not any more
 */

/** @typedef {{live: boolean, inbox: boolean}} Context `live` is true of an event that has just happened, not of one that was missed before */

/**
 * @typedef {object} Events
 * @property {[vital: import("./types.js").Vital, context: Context]} vital
 * @property {[alert: import("./types.js").Alert, context: Context]} alert
 * @property {[notice: import("./types.js").Notice, context: Context]} notice
 * @property {[receipt: import("./types.js").Receipt, context: Context]} receipt
 * @property {[access: import("./types.js").Access, context: Context]} access
 * @property {[wave: import("./types.js").Wave]} wave a chunk of a live signal; `waves.js` reads its samples
 * @property {[patient: string]} forget the held state of a patient is discarded; it comes again
 * @property {[patient: string]} granted somebody came to a group
 * @property {[patient: string]} revoked somebody is not to be seen any more; the held state is gone
 * @property {[state: import("./client.js").State]} state
 */

export class Telling {
  /** @type {Map<string, Set<Function>>} */ #listeners = new Map();
  /** @type {Set<(changes: Changes) => void>} */ #subscribers = new Set();
  /** @type {Changes | undefined} */ #changes;
  #stopped = false; #cancel = () => {};

  /**
   * @template {keyof Events} K
   * @param {K} name
   * @param {(...args: Events[K]) => void} f
   */
  on(name, f) {
    const all = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, all.add(f));
    return () => { all.delete(f); };
  }

  /** @param {(changes: Changes) => void} f */
  subscribe(f) {
    this.#subscribers.add(f);
    return () => { this.#subscribers.delete(f); };
  }

  /** Tells at once. @param {keyof Events} name @param {any[]} args */
  emit(name, ...args) {
    for (const f of this.#listeners.get(name) ?? []) call(f, ...args);
  }

  /** The changes that subscribers will be told with the next frame. */
  get changes() {
    if (this.#changes) return this.#changes;
    const changes = this.#changes = {state: false, inbox: false, commands: false, patients: new Set()};
    if (this.#stopped) return changes;
    const tell = () => {
      this.#changes = undefined;
      for (const f of this.#subscribers) call(f, changes);
    };
    if (globalThis.document?.visibilityState === "visible") {
      const frame = requestAnimationFrame(tell);
      this.#cancel = () => cancelAnimationFrame(frame);
    } else {
      const timer = setTimeout(tell, 20);
      this.#cancel = () => clearTimeout(timer);
    }
    return changes;
  }

  stop() {
    this.#stopped = true;
    this.#cancel();
  }
}
