// Alerts read for a screen: how urgent they are, and in whose hands. Nothing here knows of a page.
import {human} from "./vital.js";

/** @typedef {import("@carewire/client").Alert & {responsibility: {to?: string}}} Alert */
/** @typedef {import("@carewire/client").Person} Person */
/** @typedef {"needs" | "mine" | "others"} Group */

/** @type {Record<string, number>} */
export const rank = {high: 3, medium: 2, low: 1, info: 0};

/** A shape for each priority, so that it is not told by colour alone. @type {Record<string, string>} */
export const shapes = {high: "▲", medium: "◆", low: "●", info: "○"};

/** One alert among all that there are. @param {{patient: string, alert_id: string}} a */
export const idOf = (a) => `${a.patient} ${a.alert_id}`;

/** Whether nobody has it. @param {Alert} a */
export const untaken = (a) => !a.ended && a.responsibility?.state !== "accepted" && a.priority !== "info";

/** Whether it is over, and nobody has seen to it. @param {Alert} a */
export const unseen = (a) => untaken(a) && a.condition === "over";

/** Whether it is offered to a person. @param {Alert} a @param {Person | undefined} me */
export const offered = (a, me) => a.responsibility?.to !== undefined && a.responsibility.by?.id !== me?.id && a.responsibility.to === "person:" + me?.id;

/** In whose hands it is. @param {Alert} a @param {Person | undefined} me @returns {Group} */
export function groupOf(a, me) {
  if (a.responsibility?.state !== "accepted") return a.priority === "info" ? "others" : "needs";
  return a.responsibility.by?.id === me?.id || offered(a, me) ? "mine" : "others";
}

/**
 * The order of urgency: tests last, then by priority, present conditions before ended ones, and the oldest first.
 * @param {Alert} a @param {Alert} b
 */
export const byUrgency = (a, b) => Number(a.test ?? false) - Number(b.test ?? false) || rank[b.priority] - rank[a.priority] ||
  Number(a.condition === "over") - Number(b.condition === "over") || a.onset.localeCompare(b.onset) || idOf(a).localeCompare(idOf(b));

/** The most urgent that nobody has; technical ones only where there is no other. @param {Alert[]} alerts */
export function mostUrgent(alerts) {
  const open = alerts.filter(untaken).sort(byUrgency);
  return open.find((a) => a.kind !== "technical") ?? open[0];
}

/** How many nobody has, of each kind. @param {Alert[]} alerts */
export function count(alerts) {
  const n = {high: 0, medium: 0, low: 0, technical: 0};
  for (const a of alerts) if (untaken(a)) n[/** @type {keyof typeof n} */ (a.kind === "technical" ? "technical" : a.priority)]++;
  return n;
}

/**
 * Which side of its limit a value is on, as rules write limits: "≥ 90 %, …", "≤ 180 mmHg", "90-100".
 * @param {string | undefined} limits @param {number} value
 * @returns {{out: boolean, text: string, up: boolean} | undefined} undefined if there is nothing to be read
 */
export function against(limits, value) {
  const one = /^\s*([≥≤<>])\s*(-?\d+(?:\.\d+)?)/.exec(limits ?? ""), two = /^\s*(-?\d+(?:\.\d+)?)\s*[-–]\s*(-?\d+(?:\.\d+)?)/.exec(limits ?? "");
  if (!one && !two || Number.isNaN(value)) return undefined;
  const low = one ? "≥>".includes(one[1]) ? one[2] : undefined : two?.[1], high = one ? "≤<".includes(one[1]) ? one[2] : undefined : two?.[2];
  if (low !== undefined && value < Number(low)) return {out: true, text: "< " + low, up: false};
  if (high !== undefined && value > Number(high)) return {out: true, text: "> " + high, up: true};
  return {out: false, text: low !== undefined ? "≥ " + low : "≤ " + high, up: high !== undefined};
}

/**
 * How a machine has understood something, in brackets; "" where none has.
 * @param {import("@carewire/client").Recognition | undefined} r @param {import("./words.js").Words} words
 */
export function recognised(r, words) {
  if (!r) return "";
  return ` (${words.has("from." + r.kind) ? words.say("from." + r.kind) : r.model}, ${Math.floor(100 * r.confidence)} %)`;
}

/**
 * An alert's text in a line: the value and the limit that it broke where it has both.
 * @param {Alert} a
 * @param {import("./words.js").Words} words
 */
export function brief(a, words) {
  const s = a.source ?? {}, limit = s.value === undefined ? undefined : against(s.limits, Number(s.value));
  if (!limit?.out || !a.code || !words.has("symbol." + a.code)) return a.text;
  return `${words.symbol(a.code)} ${s.value} ${limit.text}` + (human(s.unit) && human(s.unit) !== "%" ? " " + human(s.unit) : "");
}
