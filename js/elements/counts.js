// How many alerts nobody has.
import {count, shapes} from "./alert.js";
import {attr, h, text} from "./dom.js";
import {CarewireElement} from "./element.js";
import {unreadOf} from "./notice.js";

/** `<cw-counts>`: how many alerts of each priority nobody has, technical ones, and messages that are not read. Parts: count. */
export class CountsElement extends CarewireElement {
  static styles = `
    :host { display: inline-block; } ul { display: flex; flex-wrap: wrap; gap: .3rem; } li { display: inline-flex; gap: .35em; padding: .15rem .45rem; border-radius: .5rem; border: 1px solid var(--edge); color: var(--soft); white-space: nowrap; }
    li.some { color: var(--ink); font-weight: 650; } li.filled { color: var(--on-tone); } b { min-width: 1ch; text-align: end; }`;
  /** @type {Map<string, {li: HTMLElement, word: HTMLElement, n: HTMLElement}>} */ #counts = new Map();
  #list = h("ul", {role: "list"});

  constructor() {
    super();
    for (const name of ["high", "medium", "low", "technical", "messages"]) {
      const n = h("b"), word = h("span"), li = h("li", {part: "count " + name, "data-count": name}, h("span", {ariaHidden: "true", textContent: shapes[name] ?? ""}), word, n);
      this.#counts.set(name, {li, word, n});
      this.#list.append(li);
    }
    this.root.append(this.#list);
  }

  draw() {
    const client = /** @type {import("@carewire/client").Client} */ (this.client), known = client.state.name !== "connecting";
    const n = {...count(/** @type {any} */ (client.alerts)), messages: unreadOf(client).length};
    attr(this.#list, "aria-label", this.say("counts"));
    for (const [name, e] of this.#counts) {
      const many = n[/** @type {keyof typeof n} */ (name)];
      text(e.word, this.say("count." + name));
      text(e.n, known ? String(many) : "?");
      attr(e.li, "class", many === 0 ? "" : name === "messages" ? "some" : `some filled ${name === "technical" ? "low" : name}`);
    }
  }
}
