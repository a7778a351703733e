// The form of frames on the wire, and the clock.

/** @typedef {Record<string, any>} Frame */

// A string, and the number behind it if it names a member.
const member = /("(?:[^"\\]|\\.)*")(?:\s*:\s*(-?\d[\d.]*(?:[eE][+-]?\d+)?))?/g;
// The same with a decimal as text.
const textMember = /("(?:[^"\\]|\\.)*")(?::"(-?(?:0|[1-9]\d*)(?:\.\d+)?)")?/g;

/**
 * Reads JSON. Each member `value` that is a number becomes its text, so that 37.0 stays 37.0. null counts as left out.
 * @param {string} text
 */
export function parse(text) {
  if (text.includes('"value"')) text = text.replace(member, (all, name, number) => name === '"value"' && number ? `"value":"${number}"` : all);
  return JSON.parse(text, text.includes("null") ? (_, v) => v ?? undefined : undefined);
}

const isObject = (/** @type {any} */ x) => typeof x === "object" && x !== null && !Array.isArray(x);
const isCount = (/** @type {any} */ x) => Number.isSafeInteger(x) && x >= 0;
const isText = (/** @type {any} */ x) => typeof x === "string";
const isPosition = (/** @type {Frame} */ f) => isText(f.patient) && isCount(f.seq) && isCount(f.must) && (f.epoch === undefined || isText(f.epoch));
const isTime = (/** @type {any} */ x) => !Number.isNaN(Date.parse(x));

/** Further conditions of a frame, by its type. @type {Record<string, (f: Frame) => boolean>} */
const forms = {
  sync: isPosition, synced: isPosition, gap: isPosition,
  head: (f) => Array.isArray(f.heads) && f.heads.every(isPosition),
  inbox: (f) => Array.isArray(f.items) && f.items.every((/** @type {Frame} */ x) => isObject(x.alert ?? x.notice)),
  welcome: (f) => isTime(f.time) && isObject(f.principal),
  heartbeat: (f) => isTime(f.time),
  wave: (f) => isObject(f.wave) && isText(f.wave.data) && isCount(f.wave.n) && isTime(f.wave.time) && f.wave.rate > 0,
  granted: (f) => isText(f.patient), revoked: (f) => isText(f.patient),
  closed: (f) => isCount(f.code),
  ok: (f) => isText(f.req),
};
for (const type of ["vital", "alert", "notice", "receipt", "access"]) forms[type] = (f) => isPosition(f) && isObject(f[type]);

/**
 * Reads a frame of a server. A text that is no frame of the protocol is an error.
 * @param {string} text
 * @returns {Frame}
 */
export function decode(text) {
  const f = parse(text);
  if (!isObject(f) || forms[f.type]?.(f) === false) throw new Error("carewire: a server's frame is broken");
  return f;
}

/**
 * Writes a frame. Each member `value` that is the text of a decimal becomes a number.
 * @param {Frame} frame
 */
export function encode(frame) {
  return JSON.stringify(frame).replace(textMember, (all, name, number) => name === '"value"' && number ? `"value":${number}` : all);
}

/** Makes an ID that nobody else makes. */
export const newID = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");

let passed = 1, date = Date.now(), steady = performance.now();

/**
 * Tells how many milliseconds have passed. The clock of the machine may be set, and the browser's own may stand still
 * while the machine sleeps: neither makes an old value look new.
 */
export function ticks() {
  const d = Date.now() - date, s = performance.now() - steady;
  passed += Math.max(0, d > s + 1000 ? d : s);
  [date, steady] = [date + d, steady + s];
  return passed;
}

/**
 * Says how long to wait before the next attempt: a random time, within bounds that double.
 * @param {number} attempts that have failed
 */
export const backoff = (attempts) => Math.random() * Math.min(30000, 500 * 2 ** attempts);

/**
 * Calls a function that somebody else has given. Its fault is reported as uncaught, and stops nothing here.
 * @param {Function} f
 * @param {any[]} args
 */
export function call(f, ...args) {
  try {
    f(...args);
  } catch (e) {
    (globalThis.reportError ?? ((e) => setTimeout(() => { throw e; })))(e);
  }
}
