// One alert in the list, with its actions.
import {brief, idOf, offered, shapes, unseen, untaken} from "./alert.js";
import {attr, button, h, show, text} from "./dom.js";
import {Panel} from "./panel.js";

/** @typedef {import("./alert.js").Alert} Alert */
/** @typedef {import("./element.js").CarewireElement} CarewireElement */

export const rowStyles = `
  .row { position: relative; padding: .15rem .5rem .15rem .6rem; border-inline-start: .5rem solid var(--tone); background: var(--card); border-radius: .5rem; }
  .row.test { border-inline-start-style: dotted; } .row.stale .line p { font-style: italic; }
  .line { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: .6rem; align-items: center; }
  .line p { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-size: .875rem; line-height: 1.25; } .line1, .line2 { font-weight: 650; } .line3 { color: var(--soft); }
  .line1 .badge { margin-inline-end: .4em; font-size: .875rem; padding: 0 .35rem; line-height: 1.15; border: 0; vertical-align: top; } .row > .frame { outline-width: 3px; outline-offset: -3px; }
  .acts { display: flex; flex-wrap: wrap; gap: 1rem; } .acts .more { margin-inline-start: .5rem; padding: 0; } .accept { min-width: 5.5rem; }
  .outcome { font-weight: 650; color: var(--ink); }
  .panel { padding-block: .6rem; } .panel p { overflow-wrap: anywhere; white-space: pre-line; } .long { max-height: 12rem; overflow: auto; margin-bottom: .5rem; }
  .panel form { display: grid; gap: .5rem; margin-top: .5rem; } .acts > .ended { align-self: center; }
  @container (max-width: 28rem) { .line { grid-template-columns: minmax(0, 1fr); } .acts .accept { flex: 1; } .line p { white-space: normal; display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical; } }`;

export class Row {
  /** @type {Alert} */ alert;
  element = h("li", {part: "alert"});
  /** @type {CarewireElement} */ #host;
  #badge = h("span", {className: "badge filled"}); #who = h("span"); #what = h("p", {className: "line2"}); #state = h("span"); #outcome = h("span", {className: "outcome", role: "status"});
  #accept; #reject; #more; #over = h("span", {className: "ended soft"});
  /** @type {Panel | undefined} made when it is first opened */ #panel;

  /**
   * @param {CarewireElement} host
   * @param {Alert} alert
   * @param {(row: Row, verb: string, o?: {to?: string, reason?: string, force?: boolean}) => void} answer
   */
  constructor(host, alert, answer) {
    [this.#host, this.alert] = [host, alert];
    this.#accept = button("", () => answer(this, this.#verb, this.#verb === "accept" ? undefined : {}), {className: "accept main"});
    this.#reject = button("", () => answer(this, "reject"), {className: "reject"});
    this.#more = button("⋯", () => this.#toggle(answer), {className: "more", ariaExpanded: "false"});
    const line1 = h("p", {className: "line1"}, this.#badge, this.#who), line3 = h("p", {className: "line3"}, this.#outcome, this.#state);
    const acts = h("div", {className: "acts"}, this.#over, this.#accept, this.#reject, this.#more);
    this.element.append(h("span", {className: "frame"}), h("div", {className: "line"}, h("div", {}, line1, this.#what, line3), acts));
    this.element.dataset.id = alert.alert_id;
    this.element.dataset.patient = alert.patient;
  }

  /** Draws its present state. @param {Alert} alert @param {boolean} current whether it can be trusted to be the present one */
  draw(alert, current) {
    this.alert = alert;
    const {words, context} = this.#host, client = context.client, a = alert, who = context.patient(a.patient, words), what = brief(a, words);
    attr(this.element, "class", ["row", a.priority, untaken(a) && current ? "untaken" : "", a.test ? "test" : "", current ? "" : "stale"].filter(Boolean).join(" "));
    const badge = `${shapes[a.priority]} ${words.say("priority." + a.priority)}` + (a.kind === "technical" ? " · " + words.say("technical") : "") + (a.test ? " · " + words.say("test") : "");
    text(this.#badge, badge);
    text(this.#who, [who.bed, who.name].filter(Boolean).join(" "));
    text(this.#what, what);
    attr(this.#what, "title", what.length > 30 ? what : undefined);
    const outcome = context.outcome(a, words);
    text(this.#outcome, outcome && outcome + " · ");
    text(this.#state, (current ? "" : words.say("notCurrent") + " · ") + stateOf(a, this.#host));
    this.#drawActs(a, `${what}, ${who.bed} ${who.name}`);
    this.#panel?.draw(a);
  }

  /** The action of its first button. */
  get #verb() { return this.alert.responsibility?.state !== "accepted" || offered(this.alert, this.#host.client?.me) ? "accept" : "release"; }

  /** @param {Alert} a @param {string} about */
  #drawActs(a, about) {
    const {words, client} = this.#host, me = client?.me, may = me?.role === "clinician" && !a.ended, state = a.responsibility?.state;
    const mine = state === "accepted" && a.responsibility.by?.id === me?.id, free = a.priority !== "info" && state !== "accepted" || offered(a, me);
    const name = free ? state === "accepted" ? "takeOver" : "accept" : "release";
    show(this.#accept, may && (free || mine));
    attr(this.#accept, "class", free ? "accept main" : "accept");
    show(this.#reject, may && free);
    show(this.#more, may || a.ended === undefined && me?.role === "viewer");
    show(this.#over, a.ended !== undefined);
    text(this.#over, words.say("ended"));
    for (const [e, key] of /** @type {const} */ ([[this.#accept, name], [this.#reject, "reject"], [this.#more, "more"]])) {
      if (e !== this.#more) text(e, words.say(key));
      attr(e, "aria-label", `${words.say(key)}: ${about}`);
    }
  }

  /** Puts the focus on its first action. */
  focus() { (this.element.querySelector(/** @type {any} */ (".acts button:not([hidden])")) ?? this.element).focus(); }

  /** @param {(row: Row, verb: string, o?: {to?: string, reason?: string, force?: boolean}) => void} answer */
  #toggle(answer) {
    if (!this.#panel) {
      this.#panel = new Panel(this.#host, (verb, o) => answer(this, verb, o));
      this.element.append(this.#panel.element);
      this.#panel.element.hidden = true;
    }
    const open = this.#panel.element.hidden;
    this.#panel.element.hidden = !open;
    attr(this.#more, "aria-expanded", String(open));
    this.#panel.draw(this.alert);
  }
}

/** In whose hands an alert is, since when, and the people who are told next. @param {Alert} a @param {CarewireElement} host */
export function stateOf(a, host) {
  const {words, context} = host, client = context.client, r = a.responsibility ?? {}, x = a.escalation, now = client.now();
  const said = [words.span((now - Date.parse(a.onset)) / 1000)];
  if (a.ended) said.push(words.say("ended"));
  else if (r.state === "accepted" && offered(a, client.me)) said.push(words.say("offered", {who: context.person(r.by)}));
  else if (r.state === "accepted") {
    const who = context.person(r.by), time = words.time(r.until, now);
    said.push(r.by?.id === client.me?.id ? words.say("youHave", {time}) : words.say("has", {who, time}));
    if (r.to) said.push(words.say("offering", {who: context.addressee(r.to, words)}));
  } else {
    if (unseen(a)) said.push(words.say("overUnseen"));
    if (r.state === "rejected") said.push(words.say("cannot", {who: context.person(r.by)}));
    const due = (Date.parse(x?.due ?? "") - now) / 1000, told = (x?.told ?? []).map((t) => context.addressee(t, words)).join(", ");
    if (due > 0) said.push("→ " + words.span(Math.ceil(due)));
    said.push(told ? words.say("told", {who: told}) : words.say("notTold"));
  }
  return said.join(" · ");
}
