// The end of a shift.
import {newID} from "@carewire/client";
import {attr, h, show, text} from "./dom.js";
import {CarewireElement} from "./element.js";

/** `<cw-handover>`: offers all alerts that one has to somebody else, who has to accept each. Event: `cw-handover` {to}, which may be called off. Parts: none. */
export class HandoverElement extends CarewireElement {
  static styles = "form { display: grid; gap: .6rem; } p { font-weight: 600; }";
  #mine = h("p"); #to = h("select"); #reason = h("input", {maxLength: 200}); #labels = [h("span"), h("span")]; #send = h("button", {type: "submit", className: "main"}); #said = h("p", {role: "status"}); #form;
  #word = ""; /** @type {import("./words.js").Values} */ #values = {};

  constructor() {
    super();
    this.#form = h("form", {onsubmit: (/** @type {Event} */ e) => { e.preventDefault(); this.#give(); }}, this.#mine, h("label", {}, this.#labels[0], this.#to), h("label", {}, this.#labels[1], this.#reason), this.#send, this.#said);
    this.root.append(this.#form);
  }

  draw() {
    const {context} = this, client = context.client, me = client.me?.id, people = (context.names.people?.() ?? []).filter((p) => p.to !== "person:" + me);
    const n = client.alerts.filter((a) => a.responsibility?.state === "accepted" && a.responsibility.by?.id === me).length;
    show(this.#form, client.me?.role === "clinician" && client.welcome?.features?.includes("handover"));
    text(this.#mine, this.say("youHaveN", {n}));
    text(this.#labels[0], this.say("to"));
    text(this.#labels[1], this.say("reason"));
    text(this.#send, this.say("handoverAll"));
    text(this.#said, this.#word && this.say(this.#word, this.#values));
    if (this.#to.options.length !== people.length) this.#to.replaceChildren(...people.map((p) => h("option", {value: p.to, textContent: p.name})));
    attr(this.#form, "aria-label", this.say("handoverAll"));
  }

  async #give() {
    const {context} = this, to = this.#to.value, reason = this.#reason.value.trim();
    if (!to || !this.ask("cw-handover", {to})) return;
    [this.#word, this.#values] = ["answer.sending", {}];
    this.redraw();
    await context.client.request({type: "handover", event_id: newID(), to, ...(reason && {reason})}).then(({count}) => { [this.#word, this.#values] = ["offeredN", {n: count ?? 0, who: context.addressee(to, this.words)}]; },
      (e) => { [this.#word, this.#values] = ["answer.failed", {code: e.code ?? "failed"}]; });
    this.redraw();
  }
}
