// A screen in a corridor: no scrolling, no buttons, digits to be read from three metres.
import {brief, shapes, untaken} from "./alert.js";
import {arrange, attr, h, show, text} from "./dom.js";
import {CarewireElement} from "./element.js";
import {troubleOf} from "./line.js";
import {NumberView, numberStyles} from "./number.js";
import {alertsOf} from "./patient.js";
import {news2} from "./vital.js";

const shown = ["8867-4", "59408-5", "9279-1", news2], perPage = 40, turn = 10000;

/**
 * How many columns fill a screen best with a number of beds: as large as can be, 237 pixels wide for 200 high.
 * @param {number} beds @param {number} width @param {number} height
 */
export function columnsFor(beds, width, height) {
  let best = 1, size = 0;
  for (let c = 1; c <= beds; c++) {
    const w = width / c, h = height / Math.ceil(beds / c), fits = Math.min(w / 237, h / 200);
    if (fits > size + 0.001) [best, size] = [c, fits];
  }
  return {columns: best, scale: size};
}

/** `<cw-wall>`: all beds at once, by initials; beyond 40 in pages, with those that need somebody on each. Slot: more, in the bar. Parts: bar, tile. */
export class WallElement extends CarewireElement {
  static styles = numberStyles + `
    :host { display: grid; grid-template-rows: auto minmax(0, 1fr); height: 100vh; overflow: hidden; padding: 6px; gap: 6px; } .bar { display: flex; gap: 1.5rem; align-items: center; font-size: 28px; padding-inline: 8px; min-height: 40px; white-space: nowrap; }
    .bar .clock { font-weight: 700; } .bar .trouble { background: var(--high); color: var(--on-high); padding-inline: 12px; border-radius: 8px; font-weight: 700; } .tiles { display: grid; gap: 6px; min-height: 0; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); grid-auto-rows: minmax(0, 1fr); }
    article { position: relative; overflow: hidden; border-radius: 8px; background: var(--card); padding: 0 6px; border: 2px solid var(--edge); display: flex; flex-direction: column; } article.away { border-style: dashed; }
    header { display: flex; justify-content: space-between; gap: 6px; font-size: calc(34px * var(--scale)); line-height: 1.1; font-weight: 700; white-space: nowrap; } header { margin-inline: -6px; padding-inline: 8px; justify-content: flex-start; } header span { overflow: hidden; text-overflow: ellipsis; } header .mark { flex: none; }
    dl { display: grid; grid-template-columns: 1fr 1fr; gap: 0 4px; flex: 1; align-content: space-evenly; } .number { --cw-label-size: calc(24px * var(--scale)); --cw-number-size: calc(48px * var(--scale)); padding: 0 2px; line-height: 1; } .number dt { color: var(--ink); line-height: 1; } .number dd { line-height: 1; font-weight: 500; } .number dd > span:first-child { position: absolute; inset-block-start: 0; inset-inline-end: 4px; font-size: var(--cw-label-size); }
    .number .unit, .number small { display: none; } `;
  #clock = h("span", {className: "clock"}); #fresh = h("span"); #counts = h("span"); #page = h("span"); #trouble = h("span", {className: "trouble", role: "alert"}); #tiles = h("div", {className: "tiles", part: "tiles"});
  /** @type {Map<string, {element: HTMLElement, bed: HTMLElement, mark: HTMLElement, word: HTMLElement, head: HTMLElement, views: NumberView[]}>} */ #beds = new Map();
  /** @type {any} */ #lock;
  #turned = 0; #shows = 0; #size = new ResizeObserver(() => this.redraw());

  constructor() {
    super();
    this.root.append(h("div", {className: "bar", part: "bar"}, this.#clock, this.#fresh, this.#counts, this.#page, this.#trouble, h("slot")), this.#tiles);
  }

  connectedCallback() {
    super.connectedCallback();
    this.#size.observe(this);
    document.addEventListener("visibilitychange", this.#wake);
    this.#wake();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.#size.disconnect();
    document.removeEventListener("visibilitychange", this.#wake);
    this.#lock?.release?.();
  }

  /** Keeps the screen on, where a browser lets us. */
  #wake = async () => {
    if (document.visibilityState === "visible") this.#lock = await navigator.wakeLock?.request("screen").catch(() => undefined);
  };

  draw() {
    const {words, context} = this, client = context.client, {name, silent} = client.state, ids = [...client.patients.keys()].filter((id) => id !== "@system");
    const now = client.now(), byBed = (/** @type {string} */ a, /** @type {string} */ b) => context.patient(a, words).bed.localeCompare(context.patient(b, words).bed, undefined, {numeric: true}) || a.localeCompare(b);
    ids.sort(byBed);
    const open = /** @type {import("./alert.js").Alert[]} */ (client.alerts).filter(untaken), n = (/** @type {string} */ p) => open.filter((a) => a.priority === p).length;
    text(this.#clock, new Date(now).toLocaleTimeString(words.lang, {hourCycle: "h23", hour: "2-digit", minute: "2-digit"}));
    text(this.#fresh, this.say("updated", {age: words.span(silent)}));
    text(this.#counts, ["high", "medium", "low"].map((p) => `${shapes[p]} ${words.say("priority." + p)} ${n(p)}`).join("   "));
    text(this.#trouble, troubleOf(this));
    show(this.#trouble, this.#trouble.textContent !== "");
    const page = this.#paged(ids, now), {columns, scale} = columnsFor(page.length || 1, this.clientWidth - 12, this.clientHeight - 58);
    this.#tiles.style.setProperty("--columns", String(columns));
    this.#tiles.style.setProperty("--scale", String(Math.max(0.3, Math.min(3, scale))));
    arrange(this.#tiles, page.map((id) => this.#draw(id)));
    if (document.visibilityState === "visible") for (const a of client.alerts) client.presented(a);
  }

  /** The patients shown now. @param {string[]} ids @param {number} now */
  #paged(ids, now) {
    const pages = Math.ceil(ids.length / perPage);
    text(this.#page, pages > 1 ? this.say("page", {n: this.#shows % pages + 1, of: pages}) : "");
    if (pages <= 1) return ids;
    if (now - this.#turned > turn) [this.#turned, this.#shows] = [now, this.#turned ? this.#shows + 1 : 0];
    const pinned = ids.filter((id) => alertsOf(/** @type {any} */ (this.client), id).some(untaken)).slice(0, perPage / 2), rest = ids.filter((id) => !pinned.includes(id)), room = perPage - pinned.length, of = Math.ceil(rest.length / room), at = this.#shows % of;
    text(this.#page, this.say("page", {n: at + 1, of}));
    return [...pinned, ...rest.slice(at * room, (at + 1) * room)];
  }

  /** @param {string} id */
  #draw(id) {
    const {words, context} = this, client = context.client, held = client.patients.get(id), who = context.patient(id, words);
    let e = this.#beds.get(id);
    if (!e) {
      const bed = h("span"), mark = h("span", {className: "mark"}), word = h("span", {className: "unseen"}), head = h("header", {}, mark, word, bed), views = shown.map((c) => new NumberView(c));
      e = {bed, mark, word, head, views, element: h("article", {part: "tile"}, h("span", {className: "frame"}), head, h("dl", {}, ...views.map((v) => v.element)))};
      e.element.dataset.patient = id;
      this.#beds.set(id, e);
    }
    const a = alertsOf(client, id)[0], need = a && untaken(a);
    attr(e.element, "class", [a ? a.priority : "", need ? "untaken" : "", held?.current ? "" : "away"].filter(Boolean).join(" "));
    text(e.bed, `${who.bed.replace(/^.*·\s*/, "")} ${who.initials}`);
    attr(e.head, "class", need ? "filled" : "");
    show(e.mark, a !== undefined);
    text(e.mark, a ? shapes[a.priority] + (a.test ? " " + words.say("test") : "") : "");
    text(e.word, a ? `${words.say("priority." + a.priority)}: ${brief(a, words)}` : "");
    for (const v of e.views) v.draw(this, id);
    return e.element;
  }
}
