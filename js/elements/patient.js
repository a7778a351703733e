// Patients as tiles.
import {brief, byUrgency, rank, shapes, unseen, untaken} from "./alert.js";
import {arrange, attr, h, show, text} from "./dom.js";
import {CarewireElement} from "./element.js";
import {NumberView, numberStyles} from "./number.js";
import {news2, usual} from "./vital.js";

/** @typedef {import("./alert.js").Alert} Alert */

/** A patient's open alerts, the most urgent of those that nobody has first. @param {import("@carewire/client").Client} client @param {string} id */
export function alertsOf(client, id) {
  const all = /** @type {Alert[]} */ ([...client.patients.get(id)?.alerts.values() ?? []]).filter((a) => a.priority !== "info");
  return all.sort((a, b) => Number(untaken(b)) - Number(untaken(a)) || byUrgency(a, b));
}

/** `<cw-patient patient="p-1" codes="8867-4 59408-5">`: one patient. Event: `cw-open` {patient}. Slot: more. Parts: tile, number. */
export class PatientElement extends CarewireElement {
  static observedAttributes = ["patient", "codes"];
  static styles = numberStyles + `
    article { position: relative; height: 100%; padding: .5rem .6rem; border-radius: .6rem; background: var(--card); border: 1px solid var(--edge); border-block-start: .4rem solid var(--edge); }
    article.marked { border-block-start-color: var(--tone); } article.away { border-style: dashed; background: transparent; }
    header { display: flex; gap: .5rem; align-items: baseline; justify-content: space-between; } h3 { font-size: 1rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
    h3 button { min-height: 0; border: 0; padding: 0; background: none; font-weight: 650; text-align: start; } h3 button::after { content: ""; position: absolute; inset: 0; }
    .bed { font-weight: 700; white-space: nowrap; } .state { display: flex; gap: .3rem; align-items: center; min-height: 1.6rem; overflow: hidden; white-space: nowrap; font-size: .9rem; } .state .badge { overflow: hidden; text-overflow: ellipsis; display: inline-block; max-width: 100%; }
    dl { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .1rem .2rem; } dl > .number { --cw-number-size: 1.4rem; min-height: 4.1rem; } dl > .number[data-code="85354-9"] { --cw-number-size: 1.15rem; }
    :host { position: relative; }`;
  #box = h("article", {part: "tile"}); #bed = h("span", {className: "bed"}); #open = h("button", {type: "button"}); #badge = h("span", {className: "badge"}); #away = h("span", {className: "soft"}); #list = h("dl");
  /** @type {NumberView[]} */ #views = [];

  constructor() {
    super();
    this.#open.onclick = () => this.ask("cw-open", {patient: this.patient});
    this.#box.append(h("span", {className: "frame"}), h("header", {}, h("h3", {}, this.#open), this.#bed), h("div", {className: "state"}, this.#badge, this.#away), this.#list, h("slot"));
    this.root.append(this.#box);
  }

  get patient() { return this.getAttribute("patient") ?? ""; }
  set patient(id) { attr(this, "patient", id); }

  /** @param {import("@carewire/client").Changes} changes */
  concerns(changes) { return changes.state || changes.patients.size === 0 || changes.patients.has(this.patient); }

  draw() {
    const {words, context, patient} = this, client = context.client, held = client.patients.get(patient), who = context.patient(patient, words), codes = (this.getAttribute("codes") ?? [...usual, news2].join(" ")).split(/\s+/);
    if (codes.join() !== this.#views.map((v) => v.code).join()) this.#list.replaceChildren(...(this.#views = codes.map((c) => new NumberView(c))).map((v) => v.element));
    const alerts = alertsOf(client, patient), a = alerts[0], open = a && untaken(a), pause = held?.pause, paused = pause && Date.parse(pause.until ?? "") > client.now();
    attr(this.#box, "class", [a ? `marked ${a.priority}` : "", open ? "untaken" : "", held?.current ? "" : "away"].filter(Boolean).join(" "));
    text(this.#bed, who.bed);
    text(this.#open, who.name);
    attr(this.#open, "aria-label", this.say("open", {who: `${who.bed} ${who.name}`}));
    show(this.#badge, a !== undefined);
    attr(this.#badge, "class", open ? "badge filled" : "badge");
    const more = alerts.length > 1 ? ` +${alerts.length - 1}` : "";
    text(this.#badge, !a ? "" : [shapes[a.priority], a.test ? words.say("test") : "", brief(a, words), unseen(a) ? `(${words.say("overUnseen")})` : "", more].filter(Boolean).join(" "));
    attr(this.#badge, "title", a ? a.text : undefined);
    text(this.#away, [held?.current ? "" : this.say("notCurrent"), paused ? this.say("pausedShort", {time: words.time(pause.until)}) : ""].filter(Boolean).join(" · "));
    for (const v of this.#views) v.draw(this, patient);
  }
}

/** `<cw-patients order="bed" group="…">`: all watched patients, as tiles. Attribute `order`: bed, or acuity. Parts: tiles. */
export class PatientsElement extends CarewireElement {
  static observedAttributes = ["order", "codes"];
  static styles = "div { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--cw-tile-width, 15.5rem)), 1fr)); grid-auto-rows: var(--cw-tile-height, 13rem); } p { padding: 1rem; }";
  #box = h("div", {part: "tiles"}); #none = h("p", {className: "soft"});
  /** @type {Map<string, PatientElement>} */ #tiles = new Map();
  /** @type {((id: string) => boolean)} which patients are shown; it is asked each time */ #filter = () => true;

  constructor() {
    super();
    this.root.append(this.#none, this.#box);
  }

  /** Which patients are shown: a function of their ID. */
  get filter() { return this.#filter; }
  set filter(f) {
    this.#filter = f;
    this.redraw();
  }

  /** @param {import("@carewire/client").Changes} changes */
  concerns(changes) { return changes.state || changes.patients.size > 0; }

  draw() {
    const {words, context} = this, client = context.client, ids = [...client.patients.keys()].filter((id) => id !== "@system" && this.#filter(id));
    show(this.#none, ids.length === 0);
    text(this.#none, this.say(client.state.name === "live" ? "none" : "unknown"));
    const keys = new Map(ids.map((id) => { const p = context.patient(id, words); return [id, {p, acuity: this.#acuity(id)}]; })), byAcuity = this.getAttribute("order") === "acuity";
    ids.sort((x, y) => {
      const a = /** @type {any} */ (keys.get(x)), b = /** @type {any} */ (keys.get(y));
      return (byAcuity ? b.acuity - a.acuity : 0) || a.p.bed.localeCompare(b.p.bed, undefined, {numeric: true}) || a.p.name.localeCompare(b.p.name) || x.localeCompare(y);
    });
    for (const id of this.#tiles.keys()) if (!keys.has(id)) this.#tiles.delete(id);
    const codes = this.getAttribute("codes");
    arrange(this.#box, ids.map((id) => {
      let tile = this.#tiles.get(id);
      if (!tile) {
        this.#tiles.set(id, tile = /** @type {PatientElement} */ (document.createElement("cw-patient")));
        tile.patient = id;
        tile.setAttribute("exportparts", "tile, number");
      }
      attr(tile, "codes", codes ?? undefined);
      if (tile.client !== client) tile.client = client;
      return tile;
    }));
  }

  /** How urgent a patient is: alerts that nobody has, then NEWS2. @param {string} id */
  #acuity(id) {
    const client = /** @type {import("@carewire/client").Client} */ (this.client), a = alertsOf(client, id)[0], score = Number(client.patients.get(id)?.newest(news2)?.value ?? 0);
    return (a && untaken(a) ? 100 * rank[a.priority] : 0) + (Number.isNaN(score) ? 0 : score);
  }
}
