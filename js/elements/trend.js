// How a number has gone over hours.
import {attr, button, h, show, text} from "./dom.js";
import {CarewireElement} from "./element.js";
import uPlot from "./vendor/uplot/uPlot.esm.js";
import {human, numberOf, panels} from "./vital.js";

/** @typedef {import("@carewire/client").Vital} Vital */
/** @typedef {{at: number, value: number | null}} Point at is in seconds */

const most = 20000; // points of one code

/** The further lines of panels, beside the first one. */
const dashes = [[], [6, 4]];

/**
 * The points that are drawn: where longer passed than was promised, or than is usual, the line is broken.
 * @param {Point[]} points in order @param {number} [every] seconds
 * @returns {[number[], (number | null)[]]}
 */
export function broken(points, every) {
  const gaps = points.slice(1).map((p, i) => p.at - points[i].at).sort((a, b) => a - b), usual = gaps[Math.floor(gaps.length / 2)] ?? 0, most = Math.max(every ? 3 * every : 0, 5 * usual, 60);
  /** @type {number[]} */ const at = [];
  /** @type {(number | null)[]} */ const values = [];
  for (const p of points) {
    const last = at.at(-1);
    if (last !== undefined && p.at - last > most) {
      at.push(last + 0.001);
      values.push(null);
    }
    at.push(p.at);
    values.push(p.value);
  }
  return [at, values];
}

/** `<cw-trend patient="p-1" code="8867-4" hours="4">`: how a number has gone, and goes on. Parts: chart, summary. */
export class TrendElement extends CarewireElement {
  static observedAttributes = ["patient", "code", "hours"];
  static styles = `
    figure { margin: 0; } figcaption { display: flex; flex-wrap: wrap; gap: .2rem 1rem; align-items: baseline; font-size: .9rem; } figcaption b { font-size: 1rem; }
    .chart { height: var(--cw-trend-height, 8rem); overflow: hidden; direction: ltr; } .u-wrap { position: relative; user-select: none; } .u-over, .u-under { position: absolute; } .u-under { overflow: hidden; }
    .uplot canvas { display: block; position: relative; width: 100%; height: 100%; } .u-axis { position: absolute; } .u-legend { display: none; } .u-select { position: absolute; pointer-events: none; }
    .u-cursor-x, .u-cursor-y { position: absolute; left: 0; top: 0; pointer-events: none; } .u-hz .u-cursor-x { height: 100%; border-right: 1px dashed var(--soft); } .u-hz .u-cursor-y { width: 100%; border-bottom: 1px dashed var(--soft); } .u-cursor-pt { display: none; } .u-off { display: none; }`;
  #title = h("b"); #summary = h("span", {part: "summary"}); #chart = h("div", {className: "chart", part: "chart"}); #note = h("span", {role: "status", className: "soft"}); #again = button("", () => this.#load());
  /** By part of a panel; "" of others. @type {Map<string, Point[]>} */ #points = new Map();
  /** @type {any} */ #plot;
  /** @type {number | undefined} */ #every;
  #loaded = ""; #state = ""; #unit = ""; #drawn = 0; #size = new ResizeObserver(() => this.#fit());

  constructor() {
    super();
    this.root.append(h("figure", {}, h("figcaption", {}, this.#title, this.#summary, this.#note, this.#again), this.#chart));
  }

  connectedCallback() {
    super.connectedCallback();
    this.#size.observe(this.#chart);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.#size.disconnect();
    this.#plot?.destroy();
    this.#plot = undefined;
    this.#loaded = "";
  }

  get #code() { return this.getAttribute("code") ?? ""; }
  get #patient() { return this.getAttribute("patient") ?? ""; }
  get #hours() { return Number(this.getAttribute("hours") ?? 4); }
  get #parts() { return panels[this.#code] ?? [""]; }

  /** @param {import("@carewire/client").Client} client */
  followed(client) {
    this.#loaded = "";
    return [client.on("vital", (v, {live}) => { if (live && v.patient === this.#patient && v.code === this.#code) this.#take(v); })];
  }

  draw() {
    const asked = `${this.#patient} ${this.#code} ${this.#hours}`, client = this.context.client;
    if (this.#loaded !== asked && ["live", "failing"].includes(client.state.name)) {
      this.#loaded = asked;
      this.#load();
    }
    text(this.#title, this.words.code(this.#code));
    show(this.#again, this.#state === "loadFailed");
    text(this.#again, this.say("again"));
    text(this.#note, this.#state && this.say(this.#state));
    if (client.now() - this.#drawn > 5000) this.#redrawChart();
  }

  async #load() {
    const client = this.context.client, asked = this.#loaded, from = new Date(client.now() - 3600000 * this.#hours).toISOString();
    [this.#state, this.#points] = ["loading", new Map(this.#parts.map((p) => [p, []]))];
    this.redraw();
    try {
      for await (const e of client.history({patient: this.#patient, kinds: ["vital"], from})) {
        if (this.#loaded !== asked) return;
        if (e.type === "vital" && e.vital.code === this.#code) this.#take(e.vital);
      }
      this.#state = "";
    } catch {
      this.#state = "loadFailed";
    }
    if (!this.#points.values().some((list) => list.length > 0) && !this.#state) this.#state = "nothing";
    this.#drawn = 0;
    this.redraw();
  }

  /** @param {Vital} v */
  #take(v) {
    const at = Date.parse(v.time ?? "") / 1000;
    for (const part of this.#parts) {
      const list = this.#points.get(part), last = list?.at(-1);
      if (!list || v.test) continue;
      list.push({at, value: numberOf(v, part || undefined)});
      if (last && at < last.at) list.sort((a, b) => a.at - b.at);
      if (list.length > most) list.shift();
    }
    this.#unit = human(v.unit ?? v.components?.[0]?.unit) || this.#unit;
    this.#every = v.every ?? this.#every;
    if (this.#state === "nothing") this.#state = "";
  }

  #redrawChart() {
    const client = this.context.client, now = client.now() / 1000, from = now - 3600 * this.#hours, lists = this.#parts.map((p) => (this.#points.get(p) ?? []).filter((x) => x.at >= from));
    this.#drawn = client.now();
    this.#summarise(lists);
    const tables = lists.map((l) => broken(l, this.#every));
    const data = tables.length === 1 ? tables[0] : uPlot.join(/** @type {any} */ (tables), tables.map(() => [0, 2]));
    show(this.#chart, lists.some((l) => l.length > 0));
    if (this.#chart.hidden || this.#chart.clientWidth === 0) return;
    if (!this.#plot) this.#plot = this.#make(data);
    this.#plot.setData(data, false);
    this.#plot.setScale("x", {min: from, max: now});
  }

  /** @param {any} data */
  #make(data) {
    const style = getComputedStyle(this), ink = style.color, soft = style.getPropertyValue("--cw-grid") || "#8884";
    const axis = {stroke: ink, grid: {stroke: soft, width: 1}, ticks: {stroke: soft}, font: "14px system-ui, sans-serif"};
    const series = this.#parts.map((_, i) => ({stroke: ink, width: 1.5, dash: dashes[i], spanGaps: false, points: {show: false}}));
    return new uPlot({width: this.#chart.clientWidth, height: this.#chart.clientHeight, legend: {show: false}, cursor: {drag: {x: false, y: false}}, series: [{}, ...series],
      scales: {x: {time: true}}, axes: [{...axis, size: 30, space: 90, values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map((t) => this.words.time(1000 * t))}, {...axis, size: 52}]}, data, this.#chart);
  }

  /** @param {Point[][]} lists */
  #summarise(lists) {
    const said = lists.map((l) => {
      const values = /** @type {number[]} */ (l.map((p) => p.value).filter((v) => v !== null)), last = values.at(-1);
      return last === undefined ? "" : `${this.say("min")} ${Math.min(...values)} · ${this.say("max")} ${Math.max(...values)} · ${this.say("last")} ${last} ${this.#unit}`;
    }).filter(Boolean).join(" / ");
    text(this.#summary, said);
    attr(this.#chart, "role", "img");
    attr(this.#chart, "aria-label", `${this.say("trend")}: ${this.words.code(this.#code)}, ${this.say("hours", {n: this.#hours})}. ${said}`);
  }

  #fit() {
    if (this.#plot && this.#chart.clientWidth > 0) this.#plot.setSize({width: this.#chart.clientWidth, height: this.#chart.clientHeight});
    else if (this.client) this.#redrawChart();
  }
}
