// Holding back the telling of one patient's alerts, as for a procedure.
import {attr, button, h, show, text} from "./dom.js";
import {CarewireElement} from "./element.js";

/** `<cw-pause patient="p-1">`: the pause of a patient's alerts, with its person and end, and for clinicians a way to pause. Event: `cw-pause` {patient}, which may be called off. Parts: pause. */
export class PauseElement extends CarewireElement {
  static observedAttributes = ["patient"];
  static styles = "form { display: grid; grid-template-columns: 6rem 1fr auto; gap: .6rem; align-items: end; } p { font-weight: 600; margin-block-end: .4rem; } @media (max-width: 30rem) { form { grid-template-columns: 1fr; } }";
  #says = h("p", {part: "pause", role: "status"}); #minutes = h("input", {type: "number", min: "1", max: "10", value: "5", required: true}); #reason = h("input", {maxLength: 200, required: true}); #labels; #form; #begin = h("button", {type: "submit"}); #end = button("", () => this.#ask("unpause")); #failed = "";

  constructor() {
    super();
    this.#labels = [h("span"), h("span")];
    this.#form = h("form", {onsubmit: (/** @type {Event} */ e) => { e.preventDefault(); this.#ask("pause", {for_s: 60 * Number(this.#minutes.value), reason: this.#reason.value.trim()}); }},
      h("label", {}, this.#labels[0], this.#minutes), h("label", {}, this.#labels[1], this.#reason), this.#begin);
    this.root.append(this.#says, this.#form, this.#end);
  }

  draw() {
    const {words, context} = this, client = context.client, p = client.patients.get(this.getAttribute("patient") ?? "")?.pause, on = p !== undefined && Date.parse(p.until ?? "") > client.now(), may = client.me?.role === "clinician" && client.welcome?.features?.includes("pause");
    text(this.#says, on ? this.say("pausedUntil", {time: words.time(p.until, client.now()), who: context.person({id: p.principal}), reason: p.reason}) : this.#failed && this.say("answer.failed", {code: this.#failed}));
    show(this.#form, may && !on);
    show(this.#end, may && on);
    text(this.#labels[0], this.say("minutes"));
    text(this.#labels[1], this.say("reasonNeeded"));
    text(this.#begin, this.say("pause"));
    text(this.#end, this.say("unpause"));
    attr(this.#form, "aria-label", this.say("pause"));
  }

  /** @param {string} type @param {Record<string, any>} [members] */
  async #ask(type, members) {
    const patient = this.getAttribute("patient") ?? "";
    if (!this.ask("cw-pause", {patient, type})) return;
    this.#failed = "";
    await this.context.client.request({type, patient, ...members}).then(() => { this.#reason.value = ""; }, (e) => { this.#failed = e.code ?? "failed"; });
    this.redraw();
  }
}
