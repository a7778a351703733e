// The commands of one client: sent until they are over, and kept meanwhile where there is a place for it.
import {Command} from "./command.js";
import {newID} from "./wire.js";

/** @typedef {import("./wire.js").Frame} Frame */
/** @typedef {import("./types.js").Alert} Alert */

/**
 * @typedef {object} CommandsHost
 * @property {import("./line.js").Line} line
 * @property {import("./outbox.js").Outbox | undefined} outbox
 * @property {() => import("./tabs.js").Tabs | undefined} tabs
 * @property {() => string | undefined} me our user's ID, if that is known
 * @property {() => void} change something has changed
 * @property {(ms: number, f: () => void) => void} after
 */

export class Commands {
  /** Those that are not over. @type {Set<Command>} */ all = new Set();
  /** The kept commands, which wait for the line. @type {{c: Command, entry: import("./outbox.js").Entry}[]} */ #held = [];
  /** @type {CommandsHost} */ #host;

  /** @param {CommandsHost} host */
  constructor(host) { this.#host = host; }

  /**
   * Sends a command. If it expires, it is an answer, and not kept.
   * @param {Frame} frame
   * @param {{expires?: number, shown?: Alert}} [o] expires in ticks; shown: the alert of an answer, as it was shown
   */
  send(frame, o = {}) {
    const {line} = this.#host, c = new Command(frame, line.now());
    this.all.add(c);
    this.#ask(c, o);
    if (line.name !== "live") this.wait(c);
    else this.#host.after(2000, () => this.wait(c));
    this.#host.change();
    return c;
  }

  /** Sends a command that survives a reload. @param {Frame} frame */
  keep(frame) {
    const {outbox, tabs, me} = this.#host;
    const c = this.send(frame);
    if (!outbox) return c;
    const entry = {id: newID(), frame, created: c.created, tab: tabs()?.id ?? "", principal: me()};
    outbox.put(entry).then((kept) => {
      c.kept = kept;
      this.#host.change();
      return c.over;
    }).then(() => outbox.delete(entry.id));
    return c;
  }

  /** Takes over the kept commands of closed tabs: they wait for the line. */
  async adopt() {
    const {outbox, tabs, change} = this.#host, ours = tabs()?.id ?? newID();
    const list = await outbox?.all() ?? [], living = await tabs()?.living();
    for (const entry of list) {
      if (entry.tab === ours || living?.has(entry.tab) || !await outbox?.claim(entry, ours)) continue;
      const c = new Command(entry.frame, entry.created);
      c.kept = true;
      c.state = "waiting";
      this.all.add(c);
      this.#held.push({c, entry});
    }
    if (["live", "quiet", "failing"].includes(this.#host.line.name)) this.release();
    change();
  }

  /** Sends the commands taken over, except those of another user: our user is known now. */
  release() {
    const me = this.#host.me();
    for (const {c, entry} of this.#held.splice(0)) {
      if (me && entry.principal && entry.principal !== me) {
        this.all.delete(c);
        continue;
      }
      this.#ask(c, {});
      c.over.then(() => this.#host.outbox?.delete(entry.id));
    }
  }

  /** @param {Command} c */
  wait(c) {
    if (c.ended) return;
    c.state = "waiting";
    this.#host.change();
  }

  /** @param {Command} c @param {{expires?: number, shown?: Alert}} o */
  #ask(c, {expires, shown}) {
    const end = (/** @type {Frame} */ reply) => {
      if (reply.code === "lost") return; // we have stopped
      if (shown && unchanged(c.frame, shown, reply)) return ask({...c.frame, rev: reply.alert.rev});
      c.end(reply);
      this.all.delete(c);
      this.#host.change();
    };
    const ask = (/** @type {Frame} */ f) => this.#host.line.ask(f, {expires, late: end}, end);
    ask(c.frame);
  }
}

/** Whether an alert that somebody accepts was changed by its source only, and in nothing that they had seen. @param {Frame} frame @param {Alert} shown @param {Frame} reply */
function unchanged(frame, shown, reply) {
  const a = reply.alert;
  return frame.do === "accept" && reply.code === "conflict" && a && a.responsibility?.state !== "accepted" && a.alert_id === shown.alert_id &&
    a.priority === shown.priority && a.text === shown.text && a.condition === shown.condition;
}
