// How the line is.
import {attr, button, h, show, text} from "./dom.js";
import {CarewireElement} from "./element.js";

/** `<cw-line>`: one word for the state of the line, with its age. Parts: line. */
export class LineElement extends CarewireElement {
  static styles = `
    :host { display: inline-block; } p { white-space: nowrap; } p::before { content: ""; display: inline-block; width: .7em; height: .7em; margin-inline-end: .4em; border-radius: 50%; background: var(--tone, var(--soft)); }
    .live { --tone: var(--good); } .quiet, .failing, .connecting { --tone: var(--warn); } .lost, .ended { --tone: var(--high); font-weight: 700; }
    @media (forced-colors: active) { p::before { forced-color-adjust: none; } }`;
  #p = h("p", {part: "line", role: "status"}); #word = h("span"); #age = h("span", {className: "soft", ariaHidden: "true"});

  constructor() {
    super();
    this.#p.append(this.#word, this.#age);
    this.root.append(this.#p);
  }

  draw() {
    const {name, silent} = /** @type {import("@carewire/client").Client} */ (this.client).state;
    attr(this.#p, "class", name);
    text(this.#word, this.say("line." + name));
    text(this.#age, silent >= 3 && name !== "ended" ? " " + this.words.span(silent) : "");
  }
}

/** `<cw-trouble>`: a bar that says what is wrong with the line, while something is. Slot: more, such as a way to sign in. Parts: bar. */
export class TroubleElement extends CarewireElement {
  static styles = `
    .bar { display: flex; flex-wrap: wrap; gap: .3rem 1rem; align-items: center; padding: .4rem 1rem; background: var(--medium); color: var(--on-medium); font-weight: 600; }
    .lost, .ended { background: var(--high); color: var(--on-high); } p { flex: 1 1 auto; } button { background: transparent; color: inherit; border-color: currentColor; }
    @media (forced-colors: active) { .bar { border: 3px solid CanvasText; } }`;
  #bar = h("div", {className: "bar", part: "bar"}); #what = h("span", {role: "alert"}); #next = h("span"); #try = button("", () => this.client?.tryNow());

  constructor() {
    super();
    this.#bar.append(h("p", {}, this.#what, " ", this.#next), this.#try, h("slot"));
    this.root.append(this.#bar);
  }

  draw() {
    const {name, silent, nextTry, code} = /** @type {import("@carewire/client").Client} */ (this.client).state;
    show(this.#bar, name !== "live");
    attr(this.#bar, "class", "bar " + name);
    if (name === "live") return text(this.#what, "");
    text(this.#what, this.say("trouble." + name, {age: this.words.span(silent), code}));
    const lost = name === "lost";
    text(this.#next, !lost ? "" : nextTry === undefined ? this.say("trouble.trying") : this.say("trouble.try", {age: this.words.span(Math.ceil(nextTry))}));
    text(this.#try, this.say("tryNow"));
    show(this.#try, lost);
  }
}
