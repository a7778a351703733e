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

/**
 * The fault of the line, or the patients who were asked for and are not shown; "": none.
 * @param {CarewireElement} e
 */
export function troubleOf({words, context}) {
  const {client} = context, {name, silent, code} = client.state, {refused} = client;
  if (name !== "live") return words.say("trouble." + name, {age: words.span(silent), code});
  if (refused.length === 0) return "";
  const who = refused.slice(0, 3).map(({patient, group, code}) => {
    const p = context.patient(patient ?? "", words), name = group === undefined ? [p.bed, p.name].filter(Boolean).join(" ") : context.addressee("group:" + group, words);
    return `${name} (${words.has("notShown." + code) ? words.say("notShown." + code) : code})`;
  });
  if (refused.length > who.length) who.push(words.say("rest", {n: refused.length - who.length}));
  return words.say("notShown", {who: who.join(", ")});
}

/** `<cw-trouble>`: a bar that names a fault of the line, and patients who were asked for and are not shown; without either it is hidden. Slot: more, such as a way to sign in. Parts: bar. */
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
    const {name, nextTry} = /** @type {import("@carewire/client").Client} */ (this.client).state, trouble = troubleOf(this), lost = name === "lost";
    show(this.#bar, trouble !== "");
    attr(this.#bar, "class", "bar " + name);
    text(this.#what, trouble);
    text(this.#next, !lost ? "" : nextTry === undefined ? this.say("trouble.trying") : this.say("trouble.try", {age: this.words.span(Math.ceil(nextTry))}));
    text(this.#try, this.say("tryNow"));
    show(this.#try, lost);
  }
}
