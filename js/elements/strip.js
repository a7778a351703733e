// The waves around an alert, as they were kept with it.
import {signalOf, values} from "@carewire/client/waves.js";
import {button, h, show, text} from "./dom.js";
import {CarewireElement} from "./element.js";

/** @typedef {import("@carewire/client").Wave} Wave */
/** @typedef {import("@carewire/client").Strip} Strip */

const soon = 15000; // ms after an alert until its strip is in the log

/** When a piece of a signal begins and ends, in ms since 1970. @param {Wave} w */
const span = (w) => {
  const from = Date.parse(w.time);
  return [from, from + values(w).length / w.rate * 1000];
};

/**
 * `<cw-strip patient="p-1" key="asystole" alert="a-17">`: the waves of the ten seconds before and after an alert, days later too. `alert` is its `alert_id`; an alert that is a
 * test needs `test`. Lost stretches stay blank. A line shows when the alert was raised, if the device's clock allows it. Parts: strip.
 */
export class StripElement extends CarewireElement {
  static observedAttributes = ["patient", "key", "alert", "test"];
  static styles = `figure { margin: .3rem 0; } figcaption { font-size: .9rem; } canvas { display: block; width: 100%; height: var(--cw-wave-height, 5rem); color: var(--cw-wave, var(--good)); background: var(--card); border-radius: .4rem; direction: ltr; }`;
  #note = h("p", {className: "soft", role: "status"}); #again = button("", () => { this.#asked = ""; this.redraw(); }); #list = h("div");
  /** @type {Strip | undefined} */ #strip;
  #asked = ""; #state = ""; #due = Infinity;

  constructor() {
    super();
    this.root.append(this.#note, this.#again, this.#list);
  }

  /** @param {import("@carewire/client").Changes} changes */
  concerns(changes) { return this.#asked === "" && changes.state || this.context.client.now() >= this.#due; }

  draw() {
    const client = this.context.client, [patient, key, alert] = ["patient", "key", "alert"].map((name) => this.getAttribute(name) ?? ""), asked = `${patient} ${key} ${alert}`;
    if ((this.#asked !== asked || client.now() >= this.#due) && patient && key && alert && ["live", "failing"].includes(client.state.name)) {
      [this.#asked, this.#due] = [asked, Infinity];
      this.#load(patient, key, alert);
      return;
    }
    text(this.#note, this.#state ? this.say(this.#state) : this.#strip?.dropped ? this.say("stripDropped") : "");
    show(this.#again, this.#state === "loadFailed");
    text(this.#again, this.say("again"));
    this.#list.replaceChildren();
    if (this.#strip) this.#show(this.#strip);
  }

  /** @param {string} patient @param {string} key @param {string} alert */
  async #load(patient, key, alert) {
    const client = this.context.client, asked = this.#asked, test = this.hasAttribute("test");
    [this.#state, this.#strip] = ["loading", undefined];
    this.redraw();
    /** @type {Strip | undefined} */ let found;
    let failed = false;
    try {
      for await (const e of client.history({patient, kinds: ["strip"], ...(!test && {key})})) if (e.strip.alert_id === alert) found = e.strip;
    } catch {
      failed = true;
    }
    if (this.#asked !== asked) return;
    const raised = Date.parse(client.alerts.find((a) => a.alert_id === alert)?.raised ?? ""), comes = client.now() - raised < soon;
    this.#strip = found;
    this.#state = found ? "" : failed ? "loadFailed" : comes ? "stripSoon" : "stripNone";
    if (!found && !failed && comes) this.#due = client.now() + 3000;
    this.redraw();
  }

  /** @param {Strip} strip */
  #show(strip) {
    /** @type {Map<string, Wave[]>} */
    const signals = new Map();
    for (const w of strip.waves) signals.set(signalOf(w), [...signals.get(signalOf(w)) ?? [], w]);
    for (const pieces of signals.values()) {
      const {code, device, unit} = pieces[0], label = [this.words.symbol(code), device, unit === "1" ? "" : unit].filter(Boolean).join(" · ");
      const canvas = h("canvas", {part: "strip", role: "img", ariaLabel: `${this.say("strip")}: ${label}`});
      this.#list.append(h("figure", {}, h("figcaption", {textContent: label + (strip.test ? " · " + this.say("test") : "")}), canvas));
      paint(canvas, pieces, Date.parse(strip.raised));
    }
  }
}

/** Draws the pieces of a signal side by side, with nothing between them. @param {HTMLCanvasElement} canvas @param {Wave[]} pieces @param {number} raised */
function paint(canvas, pieces, raised) {
  const pen = canvas.getContext("2d"), ratio = globalThis.devicePixelRatio || 1, room = 4 * ratio;
  const width = canvas.width = Math.round((canvas.clientWidth || 300) * ratio), height = canvas.height = Math.round((canvas.clientHeight || 80) * ratio);
  if (!pen) return;
  const spans = pieces.map(span), lists = pieces.map(values), from = Math.min(...spans.map(([begin]) => begin)), to = Math.max(...spans.map(([, end]) => end));
  const low = lists.flat().reduce((a, b) => Math.min(a, b)), high = lists.flat().reduce((a, b) => Math.max(a, b));
  const x = (/** @type {number} */ at) => (at - from) / (to - from) * width, y = (/** @type {number} */ v) => height - room - (v - low) / (high - low || 1) * (height - 2 * room);
  pen.strokeStyle = getComputedStyle(canvas).color;
  pen.lineWidth = 1.5 * ratio;
  pen.beginPath();
  lists.forEach((list, i) => list.forEach((v, k) => pen[k ? "lineTo" : "moveTo"](x(spans[i][0] + k / pieces[i].rate * 1000), y(v))));
  pen.stroke();
  if (raised < from || raised > to) return; // the device's clock is another
  pen.setLineDash([4 * ratio, 4 * ratio]);
  pen.lineWidth = ratio;
  pen.beginPath();
  pen.moveTo(x(raised), 0);
  pen.lineTo(x(raised), height);
  pen.stroke();
}
