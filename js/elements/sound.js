// Sounds for alerts that nobody has.
import {mostUrgent, rank} from "./alert.js";
import {attr, button, h, show, text} from "./dom.js";
import {CarewireElement} from "./element.js";

/** @typedef {import("./alert.js").Alert} Alert */

/** When the pulses of a burst begin, in seconds; their pitch in Hz, and how often the burst is repeated. @type {Record<string, {pulses: number[], pitch: number, every: number}>} */
export const bursts = {
  high: {pulses: [0, 0.2, 0.4, 0.75, 0.95, 1.6, 1.8, 2, 2.35, 2.55], pitch: 660, every: 6},
  medium: {pulses: [0, 0.35, 0.7], pitch: 520, every: 12},
  low: {pulses: [0], pitch: 440, every: 30},
};

const pause = 120; // seconds at most

/** `<cw-sound>`: sounds while somebody is needed. It is off until somebody turns it on, and its state is always to be seen. Event: `cw-sound` {priority}, for each burst, which may be called off. Parts: sound, note. */
export class SoundElement extends CarewireElement {
  static styles = ":host { display: inline-block; } div { display: flex; gap: .6rem; align-items: center; flex-wrap: wrap; } .off { font-weight: 650; } small { font-size: .875rem; color: var(--soft); }";
  #state = h("span", {role: "status"}); #switch = button("", () => this.#turn()); #pause = button("", () => this.#hush()); #note = h("small", {part: "note"});
  /** @type {AudioContext | undefined} */ #audio;
  /** Bursts of a priority, in ms of performance.now(). @type {{priority: string, next: number}} */ #due = {priority: "", next: 0};
  #until = 0; #quietOf = 0;

  constructor() {
    super();
    this.root.append(h("div", {part: "sound"}, this.#state, this.#pause, this.#switch, this.#note));
  }

  /** off, on, paused or blocked */
  get state() {
    if (!this.#audio) return "off";
    if (this.#audio.state !== "running") return "blocked";
    return performance.now() < this.#until ? "paused" : "on";
  }

  /** Turns it on, in an event of the user's own. */
  async start() {
    this.#audio ??= new AudioContext();
    await this.#audio.resume();
    this.redraw();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.#audio?.close();
    this.#audio = undefined;
  }

  draw() {
    const a = mostUrgent(/** @type {Alert[]} */ (this.context.client.alerts)), now = performance.now();
    if (a && rank[a.priority] > this.#quietOf) this.#until = 0; // a worse alert breaks a pause
    const state = this.state;
    text(this.#state, this.say("sound." + state, {age: this.words.span(Math.ceil((this.#until - now) / 1000))}));
    attr(this.#state, "class", state === "on" ? "" : "off");
    text(this.#switch, this.say(state === "off" || state === "blocked" ? "soundOn" : "soundOff"));
    text(this.#pause, this.say("soundPause"));
    show(this.#pause, state === "on");
    text(this.#note, this.say("soundNote"));
    if (state === "on") this.#sound(a, now);
  }

  /** @param {Alert | undefined} a @param {number} now */
  #sound(a, now) {
    const priority = a && a.priority in bursts && !a.test ? a.priority : "";
    if (priority !== this.#due.priority) this.#due = {priority, next: now};
    if (!priority || now < this.#due.next) return;
    this.#due.next = now + 1000 * bursts[priority].every;
    if (this.ask("cw-sound", {priority})) this.#play(bursts[priority]);
  }

  /** @param {{pulses: number[], pitch: number}} burst */
  #play({pulses, pitch}) {
    const audio = /** @type {AudioContext} */ (this.#audio);
    for (const at of pulses) {
      const start = audio.currentTime + 0.05 + at, gain = audio.createGain();
      gain.connect(audio.destination);
      gain.gain.setValueAtTime(0, start);
      gain.gain.linearRampToValueAtTime(0.3, start + 0.02);
      gain.gain.setValueAtTime(0.3, start + 0.13);
      gain.gain.linearRampToValueAtTime(0, start + 0.15);
      for (const harmonic of [1, 2, 3, 4]) { // several, so that it can be found by ear
        const o = audio.createOscillator();
        o.frequency.value = pitch * harmonic;
        o.connect(gain);
        o.start(start);
        o.stop(start + 0.16);
      }
    }
  }

  #turn() {
    if (this.state === "off" || this.state === "blocked") return void this.start();
    this.#audio?.close();
    this.#audio = undefined;
    this.redraw();
  }

  #hush() {
    const a = mostUrgent(/** @type {Alert[]} */ (this.context.client.alerts));
    [this.#until, this.#quietOf] = [performance.now() + 1000 * pause, a ? rank[a.priority] : 0];
    this.redraw();
    this.#switch.focus();
  }
}
