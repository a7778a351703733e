// Something that a person, or a device, wants to happen.
/** @typedef {import("./wire.js").Frame} Frame */

/**
 * A command and its state. While it is not over, `state` is `sending` for two seconds at most and then `waiting`, as it is
 * where nothing can be sent. It ends as `done`, as `refused`, or as `expired`: it was too old to be sent.
 */
export class Command {
  /** @type {"sending" | "waiting" | "done" | "refused" | "expired"} */ state = "sending";
  /** The request that it is. @type {Frame} */ frame;
  /** When it was given, in ms of the server's time. @type {number} */ created;
  /** Whether it would survive a reload. */ kept = false;
  /** Of an expired one: whether it had been sent, so that it may have been carried out all the same. */ sent = false;
  /** Why it was refused: a code of the protocol. @type {string | undefined} */ code;
  /** The reply that ended it. @type {Frame | undefined} */ reply;
  /** Resolves with the command itself when it is over. @type {Promise<Command>} */ over;
  /** @type {(c: Command) => void} */ #resolve = () => {};

  /**
   * @param {Frame} frame
   * @param {number} created
   */
  constructor(frame, created) {
    [this.frame, this.created] = [frame, created];
    this.over = new Promise((resolve) => { this.#resolve = resolve; });
  }

  /** The alert as the reply says it is, of refused answers too. @type {import("./types.js").Alert | undefined} */
  get alert() { return this.reply?.alert; }

  get ended() { return this.state === "done" || this.state === "refused" || this.state === "expired"; }

  /** For the client. @param {Frame} reply */
  end(reply) {
    const failed = reply.type === "ok" ? reply.results?.find((/** @type {Frame} */ r) => r.error)?.error : reply;
    this.reply = reply;
    this.sent = reply.sent ?? true;
    this.code = failed?.code;
    this.state = !failed ? "done" : failed.code === "expired" ? "expired" : "refused";
    this.#resolve(this);
  }
}
