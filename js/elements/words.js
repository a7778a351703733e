// The words of elements in each language, and the form of times.
import de from "./words/de.js";
import en from "./words/en.js";

/** @typedef {Record<string, string>} Table */
/** @typedef {Record<string, string | number | undefined>} Values */

/** @type {Map<string, Table>} by language */
const tables = new Map([["en", en], ["de", de]]);

/**
 * Sets the words of a language, or replaces some of them. A word that no table has is shown in English.
 * @param {string} lang such as "fr"
 * @param {Table} table with the keys of words/en.js
 */
export function useWords(lang, table) { tables.set(lang, {...tables.get(lang), ...table}); }

/** The keys that there are. */
export const keys = Object.keys(en);

export class Words {
  /** @type {string} */ lang;
  #table;

  /** @param {string} lang of the page, such as "de-AT" */
  constructor(lang) {
    this.lang = lang;
    this.#table = {.../** @type {Table} */ (en), ...tables.get(lang.split("-")[0]), ...tables.get(lang)};
  }

  /** Whether there are words for a key. @param {string} key */
  has(key) { return key in this.#table; }

  /** The words for a key, with values put in. @param {string} key @param {Values} [values] */
  say(key, values = {}) { return (this.#table[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? "")); }

  /** A code's short name; of one that has none, its own letters. @param {string} code */
  symbol(code) { return this.#table["symbol." + code] ?? this.#table["code." + code] ?? code; }

  /** A code's name. @param {string} code */
  code(code) { return this.#table["code." + code] ?? code; }

  /** A length of time. @param {number} seconds */
  span(seconds) {
    const s = Math.max(0, Math.floor(seconds)), min = Math.floor(s / 60), h = Math.floor(min / 60);
    if (s < 60) return s + " s";
    if (min < 60) return min + " min";
    return h < 24 ? `${h} h` + (min % 60 ? ` ${min % 60} min` : "") : `${Math.floor(h / 24)} d` + (h % 24 ? ` ${h % 24} h` : "");
  }

  /** A time of day, with its date if that is not today's. @param {string | number | undefined} at @param {number} [now] */
  time(at, now = Date.now()) {
    if (at === undefined) return "";
    const t = new Date(at), today = t.toDateString() === new Date(now).toDateString();
    return t.toLocaleString(this.lang, {hourCycle: "h23", hour: "2-digit", minute: "2-digit", ...(!today && {day: "numeric", month: "short"})});
  }
}
