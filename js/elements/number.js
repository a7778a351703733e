// One number.
import {attr, h, show, text} from "./dom.js";
import {CarewireElement} from "./element.js";
import {look} from "./vital.js";

export const numberStyles = `
  .number { position: relative; min-width: 0; padding: .1rem .3rem; border-radius: .35rem; border: 2px solid transparent; }
  .number dt { font-size: var(--cw-label-size, .875rem); color: var(--soft); white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
  .number dd { font-size: var(--cw-number-size, 1.5rem); line-height: 1.15; font-weight: 620; white-space: nowrap; }
  .number dd > span:first-child { position: absolute; inset-block-start: 0; inset-inline-end: .3rem; font-size: 1.1rem; }
  .number .unit { font-size: .8em; font-weight: 400; color: var(--soft); margin-inline-start: .2em; }
  .number small { display: block; font-size: .875rem; font-weight: 600; color: var(--soft); white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
  .number.marked { background: var(--tone); color: var(--on-tone); } .number.marked :is(dt, .unit, small) { color: inherit; }
  .number.old dd .value { color: transparent; -webkit-text-stroke: 1px var(--ink); } .number.old { border: 2px dashed var(--edge); } .number.marked.old dd .value { -webkit-text-stroke-color: var(--on-tone); }
  @media (forced-colors: active) { .number.marked { forced-color-adjust: none; } .number.old dd .value { color: inherit; -webkit-text-stroke: 0; font-style: italic; } }`;

/** The part of the screen that shows one number: a pair of dt and dd. */
export class NumberView {
  element = h("div", {className: "number", part: "number"});
  #label = h("span"); #arrow = h("span"); #value = h("bdi", {className: "value"}); #unit = h("span", {className: "unit"}); #note = h("small");

  /** @param {string} code */
  constructor(code) {
    this.code = code;
    this.element.dataset.code = code;
    this.element.append(h("dt", {}, this.#label, this.#unit), h("dd", {}, this.#arrow, this.#value, this.#note));
  }

  /** @param {import("./element.js").CarewireElement} host @param {string} patient @param {boolean} [short] whether the label is the symbol */
  draw(host, patient, short = true) {
    const {words, context} = host, client = context.client;
    const l = look(client.patients.get(patient), this.code, client.now(), (c) => words.has("coded." + c) ? words.say("coded." + c) : c), mark = context.marks.of(patient, this.code);
    attr(this.element, "class", ["number", l.state, mark ? `marked ${mark.priority}` : ""].filter(Boolean).join(" "));
    text(this.#label, short ? words.symbol(this.code) : words.code(this.code));
    text(this.#arrow, mark?.up === undefined ? "" : mark.up ? "↑" : "↓");
    text(this.#value, l.text + (l.doubt ? "?" : ""));
    text(this.#unit, l.unit);
    const why = l.note ? context.names.why?.(patient, this.code) ?? (l.state === "none" && short ? "" : words.say(l.note)) : "";
    const note = [l.test ? words.say("test") : "", mark?.limit ?? "", mark?.closed ? words.say("mark.closed") : "", l.doubt ? words.say("questionable") : "",
      why, l.age === undefined ? "" : words.say("old", {age: words.span(l.age)})].filter(Boolean).join(" · ");
    text(this.#note, note);
    attr(this.#note, "title", note || undefined);
  }
}

/** `<cw-number patient="p-1" code="8867-4">`: one number with its unit, and with all that makes it less than present. Parts: number. */
export class NumberElement extends CarewireElement {
  static observedAttributes = ["patient", "code"];
  static styles = numberStyles + ":host { display: inline-block; }";
  #list = h("dl");
  /** @type {NumberView | undefined} */ #view;

  constructor() {
    super();
    this.root.append(this.#list);
  }

  /** @param {import("@carewire/client").Changes} changes */
  concerns(changes) { return changes.state || changes.patients.size === 0 || changes.patients.has(this.getAttribute("patient") ?? ""); }

  draw() {
    const code = this.getAttribute("code") ?? "";
    if (this.#view?.code !== code) this.#list.replaceChildren((this.#view = new NumberView(code)).element);
    this.#view.draw(this, this.getAttribute("patient") ?? "", false);
  }
}
