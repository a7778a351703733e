// How a measurement is read. Nothing here knows of a page.

/** @typedef {import("@carewire/client").HeldVital} HeldVital */
/** @typedef {import("@carewire/client").Patient} Patient */
/** @typedef {import("./marks.js").Mark} Mark */

/**
 * How one number is to be shown.
 * @typedef {object} Look
 * @property {"none" | "ok" | "old" | "invalid"} state
 * @property {string} text a dash where there is no number to be used
 * @property {string} unit as people read it
 * @property {string} note words' key for why there is none; "": there is one
 * @property {boolean} doubt whether it is questionable
 * @property {boolean} test
 * @property {number} [age] in seconds, where it is late
 * @property {Mark} [mark] the alert that it broke a limit of
 */

/** The score of NEWS2, in SNOMED CT. */
export const news2 = "1104051000000101";

/** The vitals of a tile, if it is told nothing else. */
export const usual = ["8867-4", "59408-5", "9279-1", "85354-9", "8310-5"];

/** The parts of panels, in the order in which they are read. @type {Record<string, string[]>} */
export const panels = {"85354-9": ["8480-6", "8462-4"], "96607-7": ["96608-5", "96609-3"]};

/** @type {Record<string, string>} */
const units = {"{score}": "", "mm[Hg]": "mmHg", Cel: "°C", "[degF]": "°F", "[lb_av]": "lb", "[in_i]": "in"};

/** A unit as people read it. @param {string} [unit] of UCUM */
export const human = (unit) => units[unit ?? ""] ?? unit ?? "";

/** Whether a code is another one, or part of it. @param {string | undefined} code @param {string} of */
export const belongs = (code, of) => code === of || (panels[of]?.includes(code ?? "") ?? false);

/** Whether nothing was measured, of a panel no part. @param {HeldVital} v */
const missing = (v) => v.absent !== undefined || (v.components?.every((c) => c.absent !== undefined) ?? false);

/** Whether a vital is not to be used. @param {HeldVital} v */
const unusable = (v) => missing(v) || v.status === "entered-in-error" || (v.quality?.includes("invalid") ?? false);

/**
 * How the newest vital of a code is to be shown.
 * @param {Patient | undefined} patient
 * @param {string} code
 * @param {number} now in ms, of the server
 * @param {(coded: string) => string} coded returns the words for a coded value
 * @returns {Look}
 */
export function look(patient, code, now, coded = (c) => c) {
  const v = patient?.newest(code);
  /** @type {Look} */
  const none = {state: "none", text: "–", unit: "", note: "noReading", doubt: false, test: false};
  if (!v || !patient) return none;
  const old = code === news2 ? !patient.current : patient.stale(code), age = Math.max(0, (now - v.at) / 1000), test = v.test ?? false;
  const late = old || v.every !== undefined && age > Math.max(10, 2 * v.every);
  if (unusable(v)) return {...none, state: "invalid", note: missing(v) ? code === news2 ? "noScore" : "noSignal" : "notValid", test, ...(late && {age})};
  return {...none, ...textOf(v, code, coded), state: old ? "old" : "ok", note: "", doubt: v.quality?.includes("questionable") ?? false, test, ...(late && {age})};
}

/** @param {HeldVital} v @param {string} code @param {(coded: string) => string} coded */
function textOf(v, code, coded) {
  if (v.coded) return {text: coded(v.coded.code), unit: ""};
  if (!v.components) return {text: (v.comparator ?? "") + v.value, unit: human(v.unit)};
  const parts = (panels[code] ?? v.components.map((c) => c.code)).map((c) => v.components?.find((x) => x.code === c));
  return {text: parts.map((c) => c?.value ?? "–").join("/"), unit: human(parts.find((c) => c?.unit)?.unit)};
}

/** The number that a trend draws of a vital; null where there is none. @param {import("@carewire/client").Vital} v @param {string} [part] of a panel */
export function numberOf(v, part) {
  if (unusable(/** @type {HeldVital} */ (v))) return null;
  const value = part ? v.components?.find((c) => c.code === part)?.value : v.value;
  return value === undefined ? null : Number(value);
}
