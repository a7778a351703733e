// The most urgent alert that nobody has, always in sight.
import {brief, idOf, mostUrgent, shapes} from "./alert.js";
import {attr, button, h, show, text} from "./dom.js";
import {CarewireElement} from "./element.js";
import {stateOf} from "./row.js";

/** @typedef {import("./alert.js").Alert} Alert */

const soon = 400; // ms within which nobody can have read a new alert

/** `<cw-banner>`: the most urgent alert that nobody has, with a button to accept it. Event: `cw-answer`. Parts: banner. */
export class BannerElement extends CarewireElement {
  static styles = `
    section { position: relative; display: flex; flex-wrap: wrap; gap: .3rem 1rem; align-items: center; min-height: 4rem; padding: .4rem 1rem; background: var(--card); border-block-end: 1px solid var(--edge); }
    section.untaken { background: var(--tone); color: var(--on-tone); } .words { flex: 1 1 12rem; min-width: 0; } p { overflow: hidden; text-overflow: ellipsis; display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical; }
    .what { font-weight: 700; font-size: 1.1rem; } button { min-width: 6.5rem; } .untaken .frame { outline-color: var(--on-tone); }
    .untaken.high .frame, .untaken.medium .frame { animation-name: inner; } @keyframes inner { from { outline-color: var(--on-tone); } to { outline-color: transparent; } }`;
  #box = h("section", {part: "banner"}); #what = h("p", {className: "what"}); #state = h("p"); #accept;
  /** @type {Alert | undefined} that is shown */ #alert;
  /** @type {Alert | undefined} that a press has begun on */ #pressed;
  #since = 0; #hint = false;

  constructor() {
    super();
    this.#accept = button("", () => this.#give());
    this.#accept.onpointerdown = () => { this.#pressed = this.#alert; };
    this.#box.append(h("span", {className: "frame"}), h("div", {className: "words"}, this.#what, this.#state), this.#accept);
    this.root.append(this.#box);
    for (const over of ["pointerup", "pointercancel"]) this.addEventListener(over, () => setTimeout(() => { this.#pressed = undefined; this.redraw(); }));
  }

  draw() {
    if (this.#pressed) return; // it stays while a finger is on it
    const {words, context} = this, client = context.client, a = mostUrgent(/** @type {Alert[]} */ (client.alerts)), live = ["live", "failing"].includes(client.state.name);
    if (idOf(a ?? {patient: "", alert_id: ""}) !== idOf(this.#alert ?? {patient: "", alert_id: ""})) [this.#since, this.#hint] = [performance.now(), false];
    this.#alert = a;
    attr(this.#box, "class", a ? `${a.priority} untaken` : "");
    attr(this.#box, "aria-label", this.say("bannerLabel"));
    show(this.#accept, a !== undefined && client.me?.role === "clinician");
    if (!a) {
      text(this.#what, this.say(context.knows ? "calm" : "unknown"));
      return text(this.#state, "");
    }
    const who = context.patient(a.patient, words), what = brief(a, words);
    text(this.#what, `${shapes[a.priority]} ${words.say("priority." + a.priority)}${a.test ? " · " + words.say("test") : ""} · ${[who.bed, who.name].filter(Boolean).join(" ")} · ${what}`);
    text(this.#state, [this.#hint ? this.say("lookAgain") : context.outcome(a, words), live ? "" : this.say("notCurrent"), stateOf(a, this)].filter(Boolean).join(" · "));
    text(this.#accept, this.say("accept"));
    attr(this.#accept, "aria-label", `${this.say("accept")}: ${what}, ${who.bed} ${who.name}`);
  }

  #give() {
    const a = this.#pressed ?? this.#alert;
    this.#pressed = undefined;
    if (!a) return;
    this.#hint = performance.now() - this.#since < soon;
    if (!this.#hint && this.ask("cw-answer", {alert: a, verb: "accept"})) this.context.answer(a, "accept");
    this.redraw();
  }
}
