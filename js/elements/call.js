// The patient's own elements: a button to call, and a way to say how they feel.
import {attr, button, h, show, text} from "./dom.js";
import {CarewireElement} from "./element.js";

/** @typedef {import("./alert.js").Alert} Alert */
/** @typedef {import("@carewire/client").Command} Command */

/**
 * `<cw-call patient="p-1" to="group:ward-5" key="call-nurse">`: calls a nurse, and shows the course of the call. It always stays where it is.
 * Attributes of how they feel, where the host has a code for it: `feel-code`, `feel-system`. Events: `cw-call` {text}, `cw-feel` {code}, which may be called off. Parts: call, status.
 */
export class CallElement extends CarewireElement {
  static observedAttributes = ["patient", "to"];
  static styles = `
    :host { font-size: 1.25rem; } .call { width: 100%; min-height: 5.5rem; font-size: 1.5rem; font-weight: 700; } .status { min-height: 3.4rem; padding: .7rem .2rem; font-weight: 600; } .dead { color: var(--high); }
    .feelings { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: 1rem; margin-block: .6rem; } .feelings button { min-height: 4rem; white-space: normal; overflow-wrap: anywhere; } .ask { padding: .8rem; border: 2px solid var(--accent); border-radius: .6rem; }
    .ask .buttons { margin-top: .6rem; } .ask button { min-width: 7rem; min-height: 4rem; } .off { width: 100%; }`;
  #call = button("", () => this.#give("callText"), {className: "call main", part: "call"}); #status = h("p", {className: "status", part: "status", role: "status"}); #off = button("", () => this.#end(), {className: "off"});
  #feel = h("h2"); #feelings = h("div", {className: "feelings"}); #thanks = h("p", {role: "status"}); #ask = h("div", {className: "ask", role: "group"}); #askText = h("p"); #yes; #no;
  /** @type {Map<string, HTMLButtonElement>} */ #choices = new Map();
  /** @type {Command | undefined} the last call */ #command; #asking = ""; #told = ""; #kept = "callText";

  constructor() {
    super();
    this.#yes = button("", () => { this.#asking = ""; this.#give(this.#kept); this.#call.focus(); }, {className: "main", "data-yes": ""});
    this.#no = button("", () => { this.#asking = ""; this.redraw(); });
    for (const code of ["good", "fair", "bad", "pain"]) {
      const b = button("", () => this.#feels(code), {"data-feel": code});
      this.#choices.set(code, b);
      this.#feelings.append(b);
    }
    this.#ask.append(this.#askText, h("div", {className: "buttons"}, this.#yes, this.#no));
    this.root.append(this.#call, this.#status, this.#off, this.#feel, this.#feelings, this.#ask, this.#thanks);
  }

  get #patient() { return this.getAttribute("patient") ?? ""; }
  get #key() { return this.getAttribute("key") ?? "call-nurse"; }

  /** The call that is open. @returns {Alert | undefined} */
  get #open() { return /** @type {any} */ (this.client?.patients.get(this.#patient)?.alerts.get(this.#key)); }

  draw() {
    const {words, context} = this, client = context.client, dead = !["live", "failing"].includes(client.state.name), a = this.#open, has = a?.responsibility?.state === "accepted";
    text(this.#call, this.say("call"));
    const waiting = this.#command && !this.#command.ended;
    const said = dead ? "callDead" : waiting ? "calling" : this.#command?.state === "refused" ? "callDead" : a?.condition === "present" ? has ? "coming" : "called" : "";
    attr(this.#status, "class", said === "callDead" ? "status dead" : "status");
    text(this.#status, said && this.say(said, {time: words.time(a?.raised, client.now()), who: context.person(a?.responsibility?.by)}));
    show(this.#off, !dead && !waiting && a?.condition === "present" && a.source !== undefined && /** @type {any} */ (a.source).by === client.me?.id);
    text(this.#off, this.say("callOff"));
    const feels = this.hasAttribute("feel-code");
    show(this.#feel, feels);
    show(this.#feelings, feels);
    text(this.#feel, this.say("feel"));
    for (const [code, b] of this.#choices) text(b, this.say("coded." + code));
    show(this.#ask, this.#asking !== "");
    text(this.#askText, this.say("shallICall"));
    attr(this.#ask, "aria-label", this.say("shallICall"));
    text(this.#yes, this.say("yes"));
    text(this.#no, this.say("no"));
    text(this.#thanks, this.#told && this.say(this.#told));
  }

  /** @param {string} key of the words that are said */
  #give(key) {
    const client = this.context.client, said = this.say(key), priority = /** @type {"medium"} */ (this.getAttribute("priority") ?? "medium");
    if (!this.ask("cw-call", {text: said})) return;
    this.#command = client.raise({patient: this.#patient, key: this.#key, text: said, priority, kind: "advisory", audience: "all", ...(this.hasAttribute("to") && {to: [/** @type {string} */ (this.getAttribute("to"))]})});
    this.#command.over.then(() => this.redraw());
    this.redraw();
  }

  #end() {
    const a = this.#open;
    if (a) this.context.client.clear(a);
    this.#call.focus();
  }

  /** @param {string} code */
  #feels(code) {
    if (!this.ask("cw-feel", {code})) return;
    const client = this.context.client, system = this.getAttribute("feel-system") ?? "";
    [this.#told, this.#asking, this.#kept] = ["", code === "pain" || code === "bad" ? code : "", code === "pain" ? "callPain" : "callBad"];
    const c = client.publish([{patient: this.#patient, code: this.getAttribute("feel-code") ?? "", system, coded: {system, code}}]);
    c.over.then(() => { this.#told = c.state === "done" ? "thanks" : "callDead"; this.redraw(); });
    this.redraw();
    if (this.#asking) this.#yes.focus();
  }
}
