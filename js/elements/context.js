// The context that all elements of one client share.
import {idOf} from "./alert.js";
import {Marks} from "./marks.js";
import {Words} from "./words.js";

/** @typedef {import("@carewire/client").Client} Client */
/** @typedef {import("./alert.js").Alert} Alert */
/** @typedef {import("@carewire/client").Command} Command */

/**
 * The names of patients and people, as the host knows them. Each member may be left out, and may return undefined for those it does not know.
 * @typedef {object} Names
 * @property {(id: string) => {name?: string, bed?: string, initials?: string} | undefined} [patient]
 * @property {(id: string) => string | undefined} [person]
 * @property {(id: string) => string | undefined} [group]
 * @property {() => {to: string, name: string}[]} [people] the persons and groups to whom alerts can be given
 * @property {(patient: string, code: string) => string | undefined} [why] why a number is not there, such as a score
 */

/** @typedef {{verb: string, command: Command, expires: number}} Given an answer that was given here; expires is in ms of the server's time */

export class Context {
  /** @type {Client} */ client;
  /** @type {Names} */ names = {};
  /** @type {Map<string, Given>} the last answer given to each alert, by idOf */ given = new Map();
  /** @type {Marks} */ marks;
  /** Calls for a redrawing. @type {Set<() => void>} */ redraws = new Set();

  /** @param {Client} client */
  constructor(client) {
    this.client = client;
    this.marks = new Marks(client);
  }

  /** @param {string} id @param {Words} words */
  patient(id, words) {
    const p = this.names.patient?.(id), name = p?.name ?? (id === "@system" ? words.say("system") : id);
    return {name, bed: p?.bed ?? "", initials: p?.initials ?? name.split(/\s+/).map((w) => w[0] ?? "").join("").slice(0, 3)};
  }

  /** Whether the picture is complete: the line is there, and no patient who may still come is missing. */
  get knows() { return ["live", "failing"].includes(this.client.state.name) && this.client.refused.every((r) => r.code === "forbidden"); }

  /** @param {{id: string, name?: string} | undefined} who */
  person(who) { return who ? this.names.person?.(who.id) ?? who.name ?? who.id : ""; }

  /** An addressee as people read it. @param {string} to @param {Words} words */
  addressee(to, words) {
    const [kind, ...rest] = to.split(":"), id = rest.join(":");
    if (kind === "person") return this.person({id});
    if (kind === "group") return this.names.group?.(id) ?? id;
    return words.say(kind === "role" ? "role." + id : kind);
  }

  /**
   * Answers an alert. The outcome is shown wherever the alert is.
   * @param {Alert} a @param {string} verb accept, reject, release, assign, handover or close
   * @param {{to?: string, reason?: string, force?: boolean}} [o]
   * @returns {Command}
   */
  answer(a, verb, o = {}) {
    const {client} = this, members = {...(o.reason && {reason: o.reason}), ...(o.force && {force: true})};
    const command = verb === "accept" ? client.accept(a, members) : verb === "reject" ? client.reject(a, members) : verb === "release" ? client.release(a, members) :
      verb === "assign" ? client.assign(a, o.to ?? "", members) : verb === "handover" ? client.handover(a, o.to ?? "", members) : client.close(a, members);
    const id = idOf(a), given = {verb, command, expires: client.now() + 15000};
    this.given.set(id, given);
    command.over.then(() => setTimeout(() => { // it has been seen by then
      if (this.given.get(id) === given) this.given.delete(id);
      this.redraw();
    }, 8000));
    this.redraw();
    return command;
  }

  /** The outcome of an answer, in words; "" where none was given. @param {Alert} a @param {Words} words */
  outcome(a, words) {
    const g = this.given.get(idOf(a));
    if (!g) return "";
    const {state, code, sent, alert} = g.command, by = alert?.responsibility?.by;
    if (state === "expired") return words.say(sent ? "answer.expiredSent" : "answer.expired");
    if (state !== "refused") return words.say("answer." + state, {time: new Date(g.expires).toLocaleTimeString(words.lang, {hourCycle: "h23"})});
    if (code === "conflict") return by && alert?.responsibility?.state === "accepted" ? words.say("answer.faster", {who: this.person(by)}) : words.say("answer.changed");
    return words.has("answer." + code) ? words.say("answer." + code) : words.say("answer.failed", {code});
  }

  /** Has all elements drawn anew: names, words or answers have changed. */
  redraw() { for (const f of this.redraws) f(); }
}

/** @type {WeakMap<Client, Context>} */
const contexts = new WeakMap();

/** The context of a client, made when it is first asked for. @param {Client} client */
export function contextOf(client) {
  let c = contexts.get(client);
  if (!c) contexts.set(client, c = new Context(client));
  return c;
}
