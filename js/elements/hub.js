// The parts that elements in it share: a client, and the host's names.
import {contextOf} from "./context.js";
import {HTMLBase} from "./element.js";
import {useWords, Words} from "./words.js";

/** @typedef {import("@carewire/client").Client} Client */

/** `<cw-hub words="/words/fr.json">`: draws nothing; gives the elements in it their client. */
export class HubElement extends HTMLBase {
  static observedAttributes = ["lang", "words"];
  /** @type {Set<import("./element.js").CarewireElement>} those in it */ elements = new Set();
  /** @type {Client | undefined} */ #client;
  /** @type {import("./context.js").Names} */ #names = {};

  /** @type {Client | undefined} */
  get client() { return this.#client; }
  set client(client) {
    this.#client = client;
    if (client) contextOf(client).names = this.#names;
    for (const e of this.elements) e.follow();
  }

  /** The host's names. They are asked for at each drawing: the host has to know them at once. */
  get names() { return this.#names; }
  set names(names) {
    this.#names = names;
    if (!this.#client) return;
    contextOf(this.#client).names = names;
    contextOf(this.#client).redraw();
  }

  /** @param {string} name @param {string | null} _old @param {string | null} value */
  attributeChangedCallback(name, _old, value) {
    if (name === "words" && value) this.#load(value); else this.#speak();
  }

  /** Takes words from a file: JSON, with the keys of words/en.js. @param {string} url */
  async #load(url) {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`cw-hub: words: ${answer.status}`);
    useWords(this.lang || document.documentElement.lang || "en", await answer.json());
    this.#speak();
  }

  #speak() {
    for (const e of this.elements) {
      e.words = new Words(e.closest("[lang]")?.getAttribute("lang") ?? (this.lang || document.documentElement.lang || "en"));
      e.redraw();
    }
  }
}
