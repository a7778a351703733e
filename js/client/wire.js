// What frames look like on the wire, and the clock.

/** @typedef {Record<string, any>} Frame */

// A string, and the number behind it if it names a member.
const member = /("(?:[^"\\]|\\.)*")(?:\s*:\s*(-?\d[\d.]*))?/g;
// The same with a decimal as text.
const textMember = /("(?:[^"\\]|\\.)*")(?::"(-?(?:0|[1-9]\d*)(?:\.\d+)?)")?/g;

/**
 * Reads a frame. Each member `value` that is a number becomes its text, so that 37.0 stays 37.0.
 * @param {string} text
 * @returns {Frame}
 */
export function decode(text) {
  if (text.includes('"value"')) text = text.replace(member, (all, name, number) => name === '"value"' && number ? `"value":"${number}"` : all);
  return JSON.parse(text);
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
 * while the machine sleeps: neither makes what is old look new.
 */
export function ticks() {
  const d = Date.now() - date, s = performance.now() - steady;
  passed += d > s + 1000 ? d : s;
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
