// Further actions on an alert, and all of its details.
import {idOf, recognised} from "./alert.js";
import {attr, button, h, show, text} from "./dom.js";

/** @typedef {import("./alert.js").Alert} Alert */
/** @typedef {{to?: string, reason?: string, force?: boolean}} Options */

export class Panel {
  element = h("div", {className: "panel", part: "panel"});
  /** @type {import("./element.js").CarewireElement} */ #host;
  /** @type {(verb: string, o: Options) => void} */ #answer;
  #long = h("p", {className: "long", tabIndex: 0}); #said = h("ul", {className: "small soft"});
  #to = h("select"); #reason = h("input", {maxLength: 300}); #toLabel = h("label"); #reasonLabel = h("label");
  /** @type {Record<string, HTMLButtonElement>} */ #buttons = {};
  /** @type {Alert | undefined} */ #alert;

  /** @param {import("./element.js").CarewireElement} host @param {(verb: string, o: Options) => void} answer */
  constructor(host, answer) {
    [this.#host, this.#answer] = [host, answer];
    for (const name of ["assign", "handover", "takeOver", "close"]) this.#buttons[name] = button("", () => this.#give(name), {"data-do": name});
    this.#toLabel.append(h("span"), this.#to);
    this.#reasonLabel.append(h("span"), this.#reason);
    const form = h("form", {onsubmit: (/** @type {Event} */ e) => e.preventDefault()}, this.#toLabel, this.#reasonLabel, h("div", {className: "buttons"}, ...Object.values(this.#buttons)));
    this.element.append(this.#long, this.#said, form);
  }

  /** @param {Alert} a */
  draw(a) {
    const {words, context, client} = this.#host, me = client?.me, state = a.responsibility?.state, mine = state === "accepted" && a.responsibility.by?.id === me?.id;
    this.#alert = a;
    const s = a.source;
    text(this.#long, [a.text + recognised(s?.recognition, words), s?.limits, s?.next_due && words.say("nextDue", {time: words.time(s.next_due)}), s?.continuous && words.say("continuous"), `${words.say("since", {time: words.time(a.onset)})}`].filter(Boolean).join("\n"));
    attr(this.#long, "aria-label", words.say("alerts"));
    const said = (a.answers ?? []).map((w) => `${words.time(w.at)} ${context.person(w.by)} ${words.say("did." + w.do, {to: w.to ? context.addressee(w.to, words) : ""})}${recognised(w.source, words)}${w.reason ? ": " + w.reason : ""}`);
    while (this.#said.children.length > said.length) this.#said.lastChild?.remove();
    said.forEach((line, i) => text(this.#said.children[i] ?? this.#said.appendChild(h("li")), line));
    text(/** @type {Element} */ (this.#toLabel.firstChild), words.say("to"));
    text(/** @type {Element} */ (this.#reasonLabel.firstChild), words.say(a.condition === "present" || state === "accepted" && !mine ? "reasonNeeded" : "reason"));
    const people = (context.names.people?.() ?? []).filter((p) => p.to !== "person:" + me?.id);
    if (this.#to.options.length !== people.length) this.#to.replaceChildren(...people.map((p) => h("option", {value: p.to, textContent: p.name})));
    const may = me?.role === "clinician" && !a.ended, on = {assign: may && state !== "accepted" && a.condition === "present" && people.length > 0,
      handover: may && mine && people.length > 0, takeOver: may && state === "accepted" && !mine, close: may};
    show(this.#toLabel, on.assign || on.handover);
    show(this.#reasonLabel, may);
    for (const [name, b] of Object.entries(this.#buttons)) {
      show(b, on[/** @type {keyof typeof on} */ (name)]);
      text(b, words.say(name === "close" && a.condition === "present" ? "closeForce" : name));
    }
  }

  /** @param {string} name */
  #give(name) {
    const a = /** @type {Alert} */ (this.#alert), reason = this.#reason.value.trim(), force = name === "takeOver" || name === "close" && a.condition === "present";
    this.#reason.required = force;
    if (force && !this.#reason.reportValidity()) return;
    this.#answer(name === "takeOver" ? "accept" : name, {reason, ...(force && {force}), ...(["assign", "handover"].includes(name) && {to: this.#to.value})});
    this.#reason.value = "";
  }
}
