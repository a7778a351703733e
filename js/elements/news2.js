// The early-warning score.
import {h, text} from "./dom.js";
import {CarewireElement} from "./element.js";
import {look, news2} from "./vital.js";

/** `<cw-news2 patient="p-1">`: the newest NEWS2, when it was reckoned, and why there is none. Parts: score. */
export class News2Element extends CarewireElement {
  static observedAttributes = ["patient"];
  static styles = "p { display: flex; gap: .6rem; align-items: baseline; flex-wrap: wrap; } b { font-size: 1.6rem; }";
  #score = h("b", {part: "score"}); #note = h("span", {className: "soft"}); #mark = h("span");

  constructor() {
    super();
    this.root.append(h("p", {}, h("span", {textContent: "NEWS2"}), this.#score, this.#mark, this.#note));
  }

  /** @param {import("@carewire/client").Changes} changes */
  concerns(changes) { return changes.state || changes.patients.has(this.getAttribute("patient") ?? ""); }

  draw() {
    const patient = this.getAttribute("patient") ?? "", {context, words} = this, client = context.client, held = client.patients.get(patient), l = look(held, news2, client.now()), v = held?.newest(news2), mark = context.marks.of(patient, news2);
    text(this.#score, l.text);
    this.#mark.className = mark ? `badge filled ${mark.priority}` : "";
    text(this.#mark, mark ? words.say("priority." + mark.priority) : "");
    const why = context.names.why?.(patient, news2), note = l.text === "–" ? why ?? words.say("noScore") : words.say("since", {time: words.time(v?.time, client.now())});
    text(this.#note, [held?.current ? "" : words.say("notCurrent"), l.test ? words.say("test") : "", note].filter(Boolean).join(" · "));
  }
}
