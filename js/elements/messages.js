// Messages between clinicians and a patient.
import {arrange, attr, button, h, show, text} from "./dom.js";
import {CarewireElement} from "./element.js";
import {noticesOf, readBy, toMe} from "./notice.js";

/** @typedef {import("@carewire/client").Notice} Notice */
/** @typedef {import("@carewire/client").Command} Command */

const shown = 50;

/**
 * `<cw-messages patient="p-1" to="patient">`: messages, newest first, and with `patient` and `to` a form to write one. Without `patient` those of all watched patients, and of the inbox.
 * A draft stays until it is sent, and a sent message is shown until the server has it. Event: `cw-message` {text, to}, which may be called off. Parts: message.
 */
export class MessagesElement extends CarewireElement {
  static observedAttributes = ["patient", "to"];
  static styles = `
    form { display: grid; gap: .4rem; margin-block-end: .8rem; } textarea { min-height: 4.5rem; resize: vertical; } li { padding: .5rem .7rem; margin-block-end: .5rem; border-radius: .5rem; background: var(--card); border-inline-start: .3rem solid transparent; overflow-wrap: anywhere; }
    li.unread { border-inline-start-color: var(--accent); } li p:nth-child(2) { white-space: pre-line; } .buttons:not(:empty) { margin-block-start: .3rem; } .waiting { border: 1px dashed var(--edge); }`;
  #form; #label = h("label"); #text = h("textarea", {maxLength: 1500, required: true}); #send = h("button", {type: "submit", className: "main"}); #cancel = button("", () => this.#reply(undefined)); #note = h("p", {className: "small", role: "status"});
  #pending = h("ul", {role: "list"}); #list = h("ul", {role: "list"}); #none = h("p", {className: "soft"});
  /** @type {Map<string, MessageItem>} */ #items = new Map();
  /** @type {Notice | undefined} the message replied to */ #to;
  /** @type {Command | undefined} */ #last;

  constructor() {
    super();
    this.#label.append(h("span"), this.#text);
    this.#form = h("form", {onsubmit: (/** @type {Event} */ e) => { e.preventDefault(); this.#give(); }}, this.#label, h("div", {className: "buttons"}, this.#send, this.#cancel), this.#note);
    this.root.append(this.#form, this.#pending, this.#list, this.#none);
  }

  draw() {
    const {words, context} = this, client = context.client, only = this.getAttribute("patient") ?? undefined, all = noticesOf(client, only).slice(0, shown);
    const writes = this.#to !== undefined || only !== undefined && this.hasAttribute("to"), about = this.#to ? context.person({id: this.#to.from}) : this.#addressee(this.getAttribute("to") ?? "", only ?? "");
    show(this.#form, writes && client.me?.role !== "viewer");
    text(/** @type {Element} */ (this.#label.firstChild), this.say("writeTo", {who: about}));
    text(this.#send, this.say("send"));
    show(this.#cancel, this.#to !== undefined);
    text(this.#cancel, this.say("cancel"));
    text(this.#note, this.#last?.state === "refused" ? this.say("message.refused", {code: this.#last.code}) : "");
    const waiting = [...client.commands].filter((c) => c.frame.type === "notify" && (only === undefined || c.frame.notice.patient === only));
    this.#pending.replaceChildren(...waiting.map((c) => h("li", {className: "waiting"}, h("p", {className: "small soft", textContent: this.say(c.state === "sending" ? "message.sending" : c.kept ? "message.waiting" : "message.lossy")}), h("p", {textContent: c.frame.notice.text}))));
    const ids = new Set(all.map((n) => n.patient + " " + n.notice_id));
    for (const id of this.#items.keys()) if (!ids.has(id)) this.#items.delete(id);
    arrange(this.#list, all.map((n) => {
      const id = n.patient + " " + n.notice_id;
      let item = this.#items.get(id);
      if (!item) this.#items.set(id, item = new MessageItem((x) => this.#reply(x)));
      item.draw(this, n, words);
      return item.element;
    }));
    show(this.#none, all.length === 0);
    text(this.#none, this.say("noMessages"));
  }

  /** @param {string} to @param {string} patient */
  #addressee(to, patient) { return to === "patient" ? this.context.patient(patient, this.words).name : this.context.addressee(to, this.words); }

  /** @param {Notice | undefined} n */
  #reply(n) {
    this.#to = n;
    this.redraw();
    if (n) this.#text.focus();
  }

  #give() {
    const client = this.context.client, n = this.#to, staff = client.me?.role !== "patient", to = n ? staff ? "patient" : "person:" + n.from : this.getAttribute("to") ?? "", said = this.#text.value.trim();
    if (!said || !this.ask("cw-message", {text: said, to})) return;
    this.#last = client.notify({patient: n?.patient ?? this.getAttribute("patient") ?? "", to: [to], text: said, ...(n && {replies_to: n.notice_id}), ...(to === "patient" && {audience: "staff"})});
    this.#last.over.then(() => this.redraw());
    if (n && toMe(client, n) && !readBy(client, n)) client.read(n);
    this.#text.value = "";
    this.#reply(undefined);
  }
}

class MessageItem {
  element = h("li", {part: "message"});
  #head = h("p", {className: "small soft"}); #body = h("p"); #state = h("p", {className: "small soft"}); #read; #reply;
  /** @type {Notice | undefined} */ #notice;
  /** @type {import("@carewire/client").Client | undefined} */ #client;

  /** @param {(n: Notice) => void} reply */
  constructor(reply) {
    this.#read = button("", () => { if (this.#notice) this.#client?.read(this.#notice); });
    this.#reply = button("", () => { if (this.#notice) reply(this.#notice); });
    this.element.append(this.#head, this.#body, this.#state, h("div", {className: "buttons"}, this.#read, this.#reply));
  }

  /** @param {MessagesElement} host @param {Notice} n @param {import("./words.js").Words} words */
  draw(host, n, words) {
    const {context} = host, client = context.client, r = readBy(client, n), mine = toMe(client, n), patient = context.patient(n.patient, words);
    [this.#notice, this.#client] = [n, client];
    attr(this.element, "class", mine && !r ? "unread" : "");
    const to = (n.to ?? []).map((t) => t === "patient" ? client.me?.role === "patient" ? words.say("you") : patient.name : context.addressee(t, words)).join(", ");
    text(this.#head, words.say("from", {who: context.person({id: n.from}), to, time: words.time(n.time, client.now())}) + (client.me?.role === "patient" ? "" : " · " + [patient.bed, patient.name].filter(Boolean).join(" ")));
    text(this.#body, n.text);
    text(this.#state, r ? words.say("readBy", {who: context.person(r.by), time: words.time(r.at, client.now())}) : mine ? "" : words.say("unread"));
    show(this.#read, mine && !r);
    show(this.#reply, mine);
    for (const [b, key] of /** @type {const} */ ([[this.#read, "read"], [this.#reply, "reply"]])) {
      text(b, words.say(key));
      attr(b, "aria-label", `${words.say(key)}: ${n.text.slice(0, 60)}`);
    }
  }
}
