// A wave as it comes.
import {Sweep} from "@carewire/client/waves.js";
import {attr, h, show, text} from "./dom.js";
import {CarewireElement} from "./element.js";

/** @typedef {import("@carewire/client").Wave} Wave */

/**
 * `<cw-wave patient="p-1" code="131330">`: a wave that sweeps over a strip, while it comes: the client has to watch it. It says when nothing new comes, and joins nothing over a gap.
 * It shows one signal. Where several devices send the same code, `device`, `site` and `system` say which; without them it is the first that comes, until that is old. Test data are
 * shown with the attribute `test` only, and nothing else then. Further attributes: `seconds` that the strip shows (6), `label`. Parts: strip.
 */
export class WaveElement extends CarewireElement {
  static observedAttributes = ["patient", "code", "system", "device", "site", "test", "seconds", "label"];
  static styles = `figure { margin: 0; position: relative; } canvas { display: block; width: 100%; height: var(--cw-wave-height, 5rem); color: var(--cw-wave, var(--good)); background: var(--card); border-radius: .4rem; direction: ltr; }
    figcaption { font-size: .9rem; } .late { position: absolute; inset-block-end: .3rem; inset-inline-start: .5rem; font-weight: 650; background: var(--card); padding-inline: .3rem; }`;
  #canvas = h("canvas", {part: "strip", role: "img"}); #label = h("figcaption"); #late = h("p", {className: "late", role: "status"});
  /** @type {Sweep | undefined} while it is in a page */ #sweep;

  constructor() {
    super();
    this.root.append(h("figure", {}, this.#label, this.#canvas, this.#late));
  }

  /** Takes the next chunk of the signal: for a page that has its waves from elsewhere. @param {Wave} wave */
  push(wave) { this.#sweep?.push(wave); }

  /** @param {import("@carewire/client").Client} client */
  followed(client) {
    this.#begin();
    return [client.on("wave", (w) => { if (this.#shows(w)) this.push(w); }), () => this.#end()];
  }

  attributeChangedCallback() {
    if (this.#sweep) this.#begin(); // it is another signal
    super.attributeChangedCallback();
  }

  draw() {
    const label = this.getAttribute("label") ?? this.words.symbol(this.getAttribute("code") ?? ""), old = this.#sweep?.old ?? true;
    text(this.#label, label + (this.#sweep?.last?.test ? " · " + this.say("test") : ""));
    attr(this.#canvas, "aria-label", `${this.say("wave")}: ${label}`);
    show(this.#late, old);
    text(this.#late, old ? this.say("waveNone") : "");
  }

  /** Whether a chunk is of the signal that the attributes name. @param {Wave} w */
  #shows(w) {
    const fits = (/** @type {"patient" | "code" | "system" | "device" | "site"} */ name) => (this.getAttribute(name) ?? w[name] ?? "") === (w[name] ?? "");
    return this.hasAttribute("patient") && this.hasAttribute("code") && Boolean(w.test) === this.hasAttribute("test") &&
      ["patient", "code", "system", "device", "site"].every((name) => fits(/** @type {"patient"} */ (name)));
  }

  #begin() {
    this.#end();
    this.#canvas.width = this.#canvas.width; // empties it
    const seconds = Number(this.getAttribute("seconds") ?? 6);
    this.#sweep = new Sweep(this.#canvas, {seconds: seconds > 0 ? seconds : 6, now: () => this.client?.now() ?? Date.now()});
  }

  #end() {
    this.#sweep?.stop();
    this.#sweep = undefined;
  }
}
