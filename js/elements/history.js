// The history of a patient's alerts: the whole chain of each.
import {rank, recognised, shapes} from "./alert.js";
import {button, h, show, text} from "./dom.js";
import {CarewireElement} from "./element.js";

/** @typedef {import("./alert.js").Alert} Alert */
/** @typedef {import("@carewire/client").Receipt} Receipt */
/** @typedef {{at: string, key: string, values: Record<string, any>}} Step */

/**
 * The history of one alert, from its revisions in the log and its receipts.
 * @param {Alert[]} revisions in order @param {Receipt[]} receipts
 * @returns {Step[]} each with the words' key for it
 */
export function chain(revisions, receipts) {
  /** @type {Step[]} */
  const steps = [];
  /** @type {Alert | undefined} */
  let last;
  for (const a of revisions) {
    const add = (/** @type {string} */ key, /** @type {string | undefined} */ at, values = {}) => steps.push({at: at ?? a.updated, key, values: {priority: a.priority, text: a.text, ...values}});
    if (!last) add("event.raised", a.raised, {source: a.source?.recognition});
    else if (rank[a.priority] > rank[last.priority]) add("event.worse", a.updated);
    if (last && a.condition !== last.condition) add(a.condition === "over" ? "event.over" : "event.again", a.updated);
    const x = a.escalation, before = last?.escalation;
    if (x && (x.level !== before?.level || x.state !== before?.state)) {
      if (x.state === "notified" && x.told?.length) add("event.told", undefined, {who: x.told, level: x.level});
      if (x.state === "failed") add("event.failed", undefined, {level: x.level});
    }
    const fresh = (a.answer_count ?? 0) - (last?.answer_count ?? 0);
    for (const w of fresh > 0 ? (a.answers ?? []).slice(-fresh) : []) if (w.do !== "close" || !a.closed) add("did." + w.do, w.at, {by: w.by, to: w.to, reason: w.reason, source: w.source});
    if (last?.responsibility?.state === "accepted" && a.responsibility?.state !== "accepted" && !a.ended && fresh <= 0) add("event.lost", a.updated);
    if (a.ended) add(a.closed ? "event.closed" : "event.ended", a.ended, {by: a.closed?.by, reason: a.closed?.reason});
    last = a;
  }
  for (const r of receipts) steps.push({at: r.at, key: "stage." + r.stage, values: {by: r.by}});
  return steps.sort((a, b) => a.at.localeCompare(b.at));
}

/** `<cw-history patient="p-1" hours="24">`: a patient's alerts with all that happened to them. Parts: alert. */
export class HistoryElement extends CarewireElement {
  static observedAttributes = ["patient", "hours"];
  static styles = `
    li.alert { padding: .5rem 0; border-block-end: 1px solid var(--edge); } li.alert > b { display: block; overflow-wrap: anywhere; } ol { margin: .2rem 0 0; padding-inline-start: 0; list-style: none; font-size: .9rem; }
    ol li { display: grid; grid-template-columns: 6.5rem 1fr; gap: .5rem; overflow-wrap: anywhere; } time { color: var(--soft); }`;
  #list = h("ul", {role: "list"}); #note = h("p", {className: "soft", role: "status"}); #again = button("", () => { this.#asked = ""; this.redraw(); });
  /** By alert_id, in the order of the log. @type {Map<string, {revisions: Alert[], receipts: Receipt[]}>} */ #alerts = new Map();
  /** Strips that were opened, by alert_id. @type {Map<string, HTMLElement>} */ #strips = new Map();
  #asked = ""; #state = ""; #stale = false;

  constructor() {
    super();
    this.root.append(this.#note, this.#again, this.#list);
  }

  get #patient() { return this.getAttribute("patient") ?? ""; }

  /** @param {import("@carewire/client").Changes} changes */
  concerns(changes) { return this.#stale || this.#asked === "" && changes.state; }

  /** @param {import("@carewire/client").Client} client */
  followed(client) {
    this.#asked = "";
    return [client.on("alert", (a, {inbox}) => { if (!inbox && a.patient === this.#patient) this.#add(/** @type {Alert} */ (a)); }),
      client.on("receipt", (r) => { if (r.patient === this.#patient) this.#received(r); })];
  }

  draw() {
    const client = this.context.client, asked = `${this.#patient} ${this.getAttribute("hours") ?? 24}`;
    if (this.#asked !== asked && ["live", "failing"].includes(client.state.name)) {
      this.#asked = asked;
      this.#load();
      return;
    }
    this.#stale = false;
    text(this.#note, this.#state ? this.say(this.#state) : this.#alerts.size === 0 ? this.say("nothing") : "");
    show(this.#again, this.#state === "loadFailed");
    text(this.#again, this.say("again"));
    const items = [...this.#alerts.values()].filter((x) => x.revisions.length > 0).reverse();
    this.#list.replaceChildren(...items.map((x) => this.#item(x)));
  }

  async #load() {
    const client = this.context.client, asked = this.#asked, from = new Date(client.now() - 3600000 * Number(this.getAttribute("hours") ?? 24)).toISOString();
    [this.#state, this.#alerts, this.#strips] = ["loading", new Map(), new Map()];
    this.redraw();
    try {
      for await (const e of client.history({patient: this.#patient, kinds: ["alert", "receipt"], from})) {
        if (this.#asked !== asked) return;
        if (e.type === "alert") this.#add(e.alert); else if (e.type === "receipt") this.#received(e.receipt);
      }
      this.#state = "";
    } catch {
      this.#state = "loadFailed";
    }
    this.redraw();
  }

  /** @param {string} id */
  #of(id) {
    let x = this.#alerts.get(id);
    if (!x) this.#alerts.set(id, x = {revisions: [], receipts: []});
    this.#stale = true;
    return x;
  }

  /** @param {Alert} a */
  #add(a) {
    const {revisions} = this.#of(a.alert_id), said = JSON.stringify(a);
    if (!revisions.some((x) => JSON.stringify(x) === said)) revisions.push(a);
  }

  /** @param {Receipt} r */
  #received(r) {
    if (!r.alert_id) return;
    const {receipts} = this.#of(r.alert_id);
    if (!receipts.some((x) => x.by.id === r.by.id && x.stage === r.stage && x.level === r.level)) receipts.push(r);
  }

  /** @param {{revisions: Alert[], receipts: Receipt[]}} x */
  #item({revisions, receipts}) {
    const a = /** @type {Alert} */ (revisions.at(-1)), {words, context} = this, list = h("ol", {});
    for (const s of chain(revisions, receipts)) {
      const v = s.values, who = Array.isArray(v.who) ? v.who.map((t) => context.addressee(t, words)).join(", ") : v.by ? context.person(v.by) : "";
      const did = s.key.startsWith("did."), how = recognised(v.source, words), said = this.say(s.key, {...v, who, to: v.to ? context.addressee(v.to, words) : "", reason: v.reason ?? "", priority: this.say("priority." + v.priority)});
      list.append(h("li", {}, h("time", {dateTime: s.at, textContent: new Date(s.at).toLocaleTimeString(words.lang, {hourCycle: "h23"})}), h("span", {textContent: did ? `${who} ${said}${how}${v.reason ? ": " + v.reason : ""}` : said + how})));
    }
    return h("li", {className: "alert", part: "alert"}, h("b", {textContent: `${shapes[a.priority]} ${words.time(a.onset)} · ${a.text}${a.test ? " · " + this.say("test") : ""}`}), list, ...this.#waves(a));
  }

  /** The strip of an alert that may have one, or the button that opens it. @param {Alert} a @returns {HTMLElement[]} */
  #waves(a) {
    if (a.kind && a.kind !== "physiological") return [];
    const opened = this.#strips.get(a.alert_id);
    if (opened) return [opened];
    const open = button(this.say("strip"), () => {
      const strip = document.createElement("cw-strip");
      for (const [name, value] of [["patient", a.patient], ["key", a.key], ["alert", a.alert_id]]) strip.setAttribute(name, value);
      strip.toggleAttribute("test", Boolean(a.test));
      /** @type {import("./strip.js").StripElement} */ (strip).client = this.client;
      this.#strips.set(a.alert_id, strip);
      this.redraw();
    });
    open.className = "strip";
    return [open];
  }
}
