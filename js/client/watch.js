// The watch of one caller.
/** @typedef {import("./wire.js").Frame} Frame */

/**
 * The patients and groups to watch.
 * @typedef {object} WatchSpec
 * @property {string[]} [groups]
 * @property {string[]} [patients]
 * @property {"latest" | "every" | "alerts"} [delivery] latest if left out. All watches of a client get the most that one of them asks for
 * @property {string[]} [waves] codes of the signals that come besides, by `on("wave")`; "*": all. Chunks come that some watch of the client `wants`
 * @property {boolean} [emergency] break-glass; needs `reason`
 * @property {string} [reason]
 */

/** @typedef {{patient?: string, group?: string, code: string}} Refusal */

export class Watch {
  /** The patients watched now, those of groups included. @type {Map<string, import("./patient.js").Patient>} */ patients = new Map();
  /** The refusals; `undecided` and `unavailable` ones are asked for again by themselves. @type {Refusal[]} */ refused = [];
  /** Resolves when everybody has been caught up with for the first time. @type {Promise<void>} */ ready;
  /** The patients and groups to watch. @type {WatchSpec} */ spec;
  /** @type {() => void} */ #resolve = () => {};
  /** The patients not caught up with yet; undefined: the server has not listed the patients yet. @type {Set<string> | undefined} */ #behind;
  #stop;

  /**
   * @param {WatchSpec} spec
   * @param {(watch: Watch) => void} stop
   */
  constructor(spec, stop) {
    this.spec = spec;
    this.#stop = stop;
    this.ready = new Promise((resolve) => { this.#resolve = resolve; });
  }

  /** Whether it asks for the signal of a chunk. @param {import("./types.js").Wave} wave */
  wants({patient, code}) { return this.patients.has(patient) && Boolean(this.spec.waves?.some((c) => c === "*" || c === code)); }

  /** Ends the watch. Patients that no other watch has are forgotten. */
  stop() { this.#stop(this); }

  /** For the client: the server has listed the patients. @param {string[]} patients */
  begun(patients) {
    this.#behind ??= new Set(patients);
    this.reached();
  }

  /** For the client: a patient is caught up with, or not to be seen. @param {string} [patient] */
  reached(patient) {
    if (!this.#behind) return;
    if (patient !== undefined) this.#behind.delete(patient);
    if (this.#behind.size === 0) this.#resolve();
  }

  /**
   * For the client: the requests for this, none longer than limit bytes.
   * @param {string[]} groups
   * @param {string[]} names
   * @param {Record<string, import("./logs.js").Position>} since
   * @param {string} delivery of all watches
   * @param {number} limit
   */
  requests(groups, names, since, delivery, limit) {
    const {emergency, reason, waves} = this.spec;
    const rest = {delivery, ...(waves?.length && {waves}), ...(emergency && {emergency, reason})};
    const make = () => ({type: "watch", ...rest, patients: /** @type {string[]} */ ([]), since: /** @type {typeof since} */ ({})});
    let room = limit - 1000 - 6 * (reason?.length ?? 0);
    /** @type {Frame[]} */
    const list = groups.length ? [{...make(), groups}] : [];
    const size = (/** @type {string} */ id) => 2 * id.length + (since[id]?.epoch?.length ?? 0) + 60;
    let left = room - 3 * groups.join("").length - 3 * groups.length;
    const named = new Set(names);
    for (const id of groups.length ? Object.keys(since) : []) { // of groups: the others begin with a snapshot
      if (named.has(id) || (left -= size(id)) < 0) continue;
      list[0].since[id] = since[id];
    }
    for (const id of names) {
      if (list.length === 0 || (left -= size(id)) < 0) {
        list.push(make());
        left = room - size(id);
      }
      const f = list[list.length - 1];
      f.patients.push(id);
      if (since[id]) f.since[id] = since[id];
    }
    return list;
  }
}
