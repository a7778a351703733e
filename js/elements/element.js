// The base of all elements: they find their client, follow it, and draw when something has changed.
import {contextOf} from "./context.js";
import {base, sheet} from "./style.js";
import {Words} from "./words.js";

/** @typedef {import("@carewire/client").Client} Client */
/** @typedef {import("@carewire/client").Changes} Changes */
/** @typedef {import("./hub.js").HubElement} HubElement */

/** @param {Element} e @param {string} selector @returns {Element | undefined} the nearest, out of shadow roots too */
function nearest(e, selector) {
  for (/** @type {Node | null} */ let n = e; n instanceof Element; n = /** @type {ShadowRoot} */ (n.getRootNode()).host) {
    const found = n.closest(selector);
    if (found) return found;
  }
  return undefined;
}

/** Where there is no page, as on a server that renders one, the modules can be read all the same. */
export const HTMLBase = globalThis.HTMLElement ?? /** @type {typeof HTMLElement} */ (class {});

export class CarewireElement extends HTMLBase {
  static styles = "";
  /** @type {ShadowRoot} */ root;
  /** @type {Words} */ words = new Words("en");
  /** @type {Client | undefined} */ #own;
  /** @type {Client | undefined} the client followed */ #followed;
  /** @type {HubElement | undefined} */ #hub;
  #end = () => {};

  constructor() {
    super();
    this.root = this.attachShadow({mode: "open"});
    this.root.adoptedStyleSheets = [sheet(base), sheet(/** @type {typeof CarewireElement} */ (this.constructor).styles)];
  }

  /** The client: one's own, or that of the `cw-hub` around. @type {Client | undefined} */
  get client() { return this.#own ?? this.#hub?.client; }
  set client(client) {
    this.#own = client;
    this.follow();
  }

  /** The context beside the client. It is asked for only while there is one. */
  get context() { return contextOf(/** @type {Client} */ (this.client)); }

  connectedCallback() {
    this.#hub = /** @type {HubElement | undefined} */ (nearest(this, "cw-hub"));
    this.#hub?.elements.add(this);
    this.words = new Words(nearest(this, "[lang]")?.getAttribute("lang") ?? "en");
    this.follow();
  }

  disconnectedCallback() {
    this.#hub?.elements.delete(this);
    this.#hub = undefined;
    this.#leave();
  }

  attributeChangedCallback() { if (this.#followed) this.redraw(); }

  /** Follows the present client. */
  follow() {
    this.#leave();
    const client = this.client;
    if (!this.isConnected || !client) return;
    const redraw = () => this.redraw(), end = client.subscribe((changes) => { if (this.concerns(changes)) this.draw(changes); });
    this.context.redraws.add(redraw);
    const more = this.followed(client);
    this.#followed = client;
    this.#end = () => {
      end();
      contextOf(client).redraws.delete(redraw);
      for (const f of more) f();
    };
    this.redraw();
  }

  /** Draws all of it now. */
  redraw() { if (this.isConnected && this.client) this.draw(); }

  /** Says something. @param {string} key @param {import("./words.js").Values} [values] */
  say(key, values) { return this.words.say(key, values); }

  /**
   * Sends an event that may be called off.
   * @param {string} name @param {any} detail
   * @returns {boolean} whether nobody has called it off
   */
  ask(name, detail) { return this.dispatchEvent(new CustomEvent(name, {detail, bubbles: true, composed: true, cancelable: true})); }

  // ---- For each element ----

  /** Whether changes concern it. @param {Changes} changes @returns {boolean} */
  concerns(changes) { return changes !== undefined; }

  /** Draws the present state; without changes all of it. @param {Changes} [changes] */
  draw(changes) {}

  /** A client is followed from now on. The functions returned are called when it is not any more. @param {Client} client @returns {(() => void)[]} */
  followed(client) { return []; }

  #leave() {
    this.#end();
    this.#end = () => {};
    this.#followed = undefined;
  }
}
