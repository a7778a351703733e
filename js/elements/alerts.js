// The list of open alerts.
import {byUrgency, groupOf, idOf, untaken} from "./alert.js";
import {arrange, attr, button, h, show, text} from "./dom.js";
import {CarewireElement} from "./element.js";
import {Row, rowStyles} from "./row.js";

/** @typedef {import("./alert.js").Alert} Alert */
/** @typedef {import("./alert.js").Group | "technicals"} Part */

/** @type {Part[]} */
const parts = ["needs", "mine", "others", "technicals"];
const many = 100; // rows that are drawn of one part, unless more are asked for

/**
 * `<cw-alerts>`: all open alerts, in groups by the person who has them. Rows never move while a pointer or the focus is inside; alerts that came meanwhile are counted on top.
 * Attribute: `patient`, for those of one. Event: `cw-answer` {alert, verb}, which may be called off. Parts: alert, panel, heading.
 */
export class AlertsElement extends CarewireElement {
  static observedAttributes = ["patient"];
  static styles = rowStyles + `
    :host { overflow-y: auto; container-type: inline-size; } .news { position: sticky; inset-block-start: 0; z-index: 1; width: 100%; } ul { display: grid; gap: .15rem; } h3, summary { margin-block: .3rem .1rem; font-size: .9rem; font-weight: 650; color: var(--soft); }
    summary { cursor: pointer; min-height: 1.5rem; } .none { padding: .6rem; }`;
  /** By idOf. @type {Map<string, Row>} */ #rows = new Map();
  /** In the order in which they stand. @type {Map<Part, string[]>} */ #order = new Map(parts.map((p) => [p, []]));
  /** @type {Map<Part, {box: HTMLElement, title: HTMLElement, list: HTMLElement, rest: HTMLButtonElement}>} */ #groups = new Map();
  #news = button("", () => this.#release(), {className: "news main", "data-news": ""}); #none = h("p", {className: "none soft", tabIndex: -1}); #said = h("p", {className: "unseen", "aria-live": "assertive"});
  #inside = false; #all = new Set(); /** @type {Set<string>} said already */ #known = new Set(); #first = true;

  constructor() {
    super();
    const groups = parts.map((part) => {
      const fold = part === "technicals", title = h(fold ? "summary" : "h3", {part: "heading"}), list = h("ul", {role: "list"}), rest = button("", () => { this.#all.add(part); this.redraw(); });
      const box = h(fold ? "details" : "div", {"data-group": part}, title, list, rest);
      this.#groups.set(part, {box, title, list, rest});
      return box;
    });
    this.root.append(this.#said, this.#news, this.#none, ...groups);
    this.addEventListener("pointerenter", () => { this.#inside = true; });
    this.addEventListener("pointerdown", () => { this.#inside = true; });
    for (const over of ["pointerleave", "pointercancel"]) this.addEventListener(over, () => { this.#inside = false; this.redraw(); });
    this.addEventListener("focusout", () => queueMicrotask(() => this.redraw()));
    document.addEventListener("visibilitychange", this.#present);
  }

  /** Whether rows must stay where they are: a pointer is inside, or somebody goes through them by the keyboard, or writes. */
  get held() {
    const focused = this.root.activeElement;
    return this.#inside || focused !== null && focused !== this.#news && focused.matches(":focus-visible");
  }

  /** Takes the new alerts into the list. */
  #release() {
    this.#inside = false;
    /** @type {HTMLElement | null} */ (this.root.activeElement)?.blur();
    this.redraw();
    (this.#first0() ?? {focus: () => this.#none.focus()}).focus();
  }

  #first0() { return parts.flatMap((p) => this.#order.get(p) ?? []).map((id) => this.#rows.get(id))[0]; }

  /** @param {import("@carewire/client").Client} client */
  followed(client) {
    this.#rows.clear();
    for (const p of parts) this.#order.set(p, []);
    this.#first = true;
    return [client.on("revoked", () => this.#drop())];
  }

  #drop() {
    text(this.#said, "");
    for (const [id, row] of this.#rows) if (!this.client?.patients.has(row.alert.patient)) this.#forget(id);
    this.redraw();
  }

  /** @param {string} id */
  #forget(id) {
    this.#rows.get(id)?.element.remove();
    this.#rows.delete(id);
    for (const p of parts) this.#order.set(p, (this.#order.get(p) ?? []).filter((x) => x !== id));
  }

  draw() {
    const client = /** @type {import("@carewire/client").Client} */ (this.client), only = this.getAttribute("patient");
    const open = new Map(/** @type {Alert[]} */ (client.alerts).filter((a) => only === null || a.patient === only).map((a) => [idOf(a), a]));
    const sorted = [...open.values()].sort(byUrgency);
    const wanted = new Map(parts.map((p) => [p, sorted.filter((a) => (a.kind === "technical" ? "technicals" : groupOf(a, client.me)) === p).map(idOf)]));
    const held = this.held, focused = /** @type {HTMLElement | null} */ (this.root.activeElement), standing = new Set(parts.flatMap((p) => this.#order.get(p) ?? []));
    const fresh = [...open.keys()].filter((id) => !standing.has(id));
    if (!held) for (const p of parts) this.#order.set(p, wanted.get(p) ?? []);
    const waiting = held ? fresh.length : 0;
    show(this.#news, waiting > 0);
    text(this.#news, waiting === 1 ? this.say("new.one") : this.say("new.many", {n: waiting}));
    for (const p of parts) this.#drawGroup(p, open);
    const known = only ? ["live", "failing"].includes(client.state.name) : this.context.knows, nothing = parts.every((p) => this.#order.get(p)?.length === 0);
    show(this.#none, nothing);
    text(this.#none, this.say(known && this.#current(only) ? "none" : "unknown"));
    for (const id of this.#rows.keys()) if (!parts.some((p) => this.#order.get(p)?.includes(id))) this.#rows.delete(id);
    if (focused?.isConnected && this.root.activeElement !== focused) focused.focus({preventScroll: true}); // it was moved
    this.#announce(sorted);
    this.#present();
  }

  /** Whether all that would be in the list is. @param {string | null} only */
  #current(only) {
    const watched = [...this.client?.patients.values() ?? []].filter((p) => only === null || p.id === only);
    return watched.length > 0 && watched.every((p) => p.current);
  }

  /** @param {Part} part @param {Map<string, Alert>} open */
  #drawGroup(part, open) {
    const g = /** @type {NonNullable<ReturnType<typeof this.groupOf>>} */ (this.groupOf(part)), order = this.#order.get(part) ?? [];
    const drawn = this.#all.has(part) ? order : order.slice(0, many);
    show(g.box, order.length > 0);
    text(g.title, `${this.say(part)} (${order.length})`);
    const rows = drawn.map((id) => {
      let row = this.#rows.get(id);
      const a = open.get(id) ?? {.../** @type {Row} */ (row).alert, ended: /** @type {Row} */ (row).alert.ended ?? "over"};
      if (!row) this.#rows.set(id, row = new Row(this, a, (r, verb, o) => this.#answer(r, verb, o)));
      row.draw(a, this.client?.patients.get(a.patient)?.current ?? this.client?.state.name === "live");
      return row.element;
    });
    arrange(g.list, rows);
    show(g.rest, order.length > drawn.length);
    text(g.rest, this.say("rest", {n: order.length - drawn.length}));
    if (part === "technicals" && order.some((id) => { const a = open.get(id); return a && untaken(a) && a.priority === "high"; })) {
      if (!this.#known.has("opened")) attr(g.box, "open", true);
      this.#known.add("opened");
    }
  }

  /** @param {Part} part */
  groupOf(part) { return this.#groups.get(part); }

  /** Announces the new alerts in one sentence: those who cannot see would otherwise hear the last only. @param {Alert[]} sorted */
  #announce(sorted) {
    const fresh = sorted.filter((a) => !this.#known.has(idOf(a)));
    for (const a of fresh) this.#known.add(idOf(a));
    const first = this.#first;
    this.#first = first && this.client?.state.name !== "live";
    const a = fresh[0];
    if (!a || first) return;
    const p = this.context.patient(a.patient, this.words), values = {n: fresh.length, text: a.text, who: `${p.name} ${p.bed}`, priority: this.say("priority." + a.priority)};
    text(this.#said, this.say(fresh.length === 1 ? "heard.new" : "heard.many", values));
  }

  #present = () => {
    if (document.visibilityState !== "visible" || !this.isConnected) return;
    for (const [id, row] of this.#rows) if (!row.alert.ended) this.client?.presented(row.alert);
  };

  /** @param {Row} row @param {string} verb @param {{to?: string, reason?: string, force?: boolean}} [o] */
  #answer(row, verb, o) {
    if (!this.ask("cw-answer", {alert: row.alert, verb, ...o})) return;
    this.context.answer(row.alert, verb, o);
    const ids = parts.flatMap((p) => this.#order.get(p) ?? []), at = ids.indexOf(idOf(row.alert)), next = this.#rows.get(ids[at + 1] ?? ids[at - 1] ?? "");
    (next ?? row).focus();
  }
}
