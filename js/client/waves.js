// Waves: a reader of their samples, and a sweep that draws them as monitors do. It needs nothing of the client but the
// chunks that its `wave` events bring.
/** @typedef {import("./types.js").Wave} Wave */

const jitter = 100; // ms by which a chunk may be off and still follow the one before it
const late = 2000; // ms without a chunk after which a wave is old

/**
 * Reads the samples of a chunk, whole numbers: docs/protocol.md, section 9. A broken chunk is an error.
 * @param {string} data
 */
export function samples(data) {
  const bytes = atob(data), list = [];
  for (let i = 0, sample = 0; i < bytes.length; list.push(sample)) {
    let z = 0, scale = 1, byte;
    do {
      byte = bytes.charCodeAt(i++);
      z += byte % 128 * scale;
      scale *= 128;
    } while (byte > 127);
    sample += z % 2 ? -(z + 1) / 2 : z / 2;
    if (!(Math.abs(sample) <= 2 ** 31)) throw new Error("carewire: a wave is broken");
  }
  return list;
}

/** The values of a chunk, in its unit. @param {Pick<Wave, "data" | "factor" | "origin">} wave */
export function values(wave) {
  const {factor = 1, origin = 0} = wave;
  return samples(wave.data).map((s) => origin + factor * s);
}

/** When a chunk begins, in ms since 1970 by the device's clock. @param {Wave} wave */
const begins = (wave) => Date.parse(wave.time);

/** The name of a chunk's signal. @param {Wave} wave */
export const signalOf = (wave) => [wave.patient, wave.system, wave.code, wave.device, wave.site, wave.test].join(" ");

/**
 * Whether a chunk begins where another of the same signal ends. Where it does not there is a gap, which must not be drawn over.
 * @param {Wave} wave
 * @param {Wave} before
 */
export function follows(wave, before) {
  const off = begins(wave) - begins(before) - samples(before.data).length / before.rate * 1000;
  return wave.n === before.n + 1 && Math.abs(off) < jitter && signalOf(wave) === signalOf(before) &&
    ["rate", "unit", "factor", "origin"].every((m) => wave[/** @type {"rate"} */ (m)] === before[/** @type {"rate"} */ (m)]);
}

/**
 * Draws one signal into a canvas, from left to right and round again, at the pace of its time. Only new columns are drawn.
 * A lost stretch stays blank for as long as it lasted. The canvas's CSS `color` is the line's. Chunks of another signal, as of a
 * second device or of a test, are not drawn before the shown signal is old.
 */
export class Sweep {
  /** How many gaps came so far. */ gaps = 0;
  /** The newest chunk. @type {Wave | undefined} */ last;
  /** @type {HTMLCanvasElement} */ #canvas;
  /** @type {{at: number, value: number, joined: boolean}[]} points still to be drawn, in ms of the device's time */ #points = [];
  /** @type {number} */ #seconds;
  /** @type {number} */ #low;
  /** @type {number} */ #high;
  /** @type {[number, number]} */ #scale;
  /** @type {() => number} */ #now;
  /** @type {string[]} chunks that have come, lest they are drawn twice */ #had = [];
  #behind = Infinity; #heard = -Infinity; #frame = 0;
  #drawn = -Infinity; #x = -1; #y = 0;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{seconds?: number, low?: number, high?: number, now?: () => number}} [o] how long one round takes, 6 s if left out; the
   *   values at the bottom and the top, in the signal's unit: without these the scale grows as needed; the server's time in ms since
   *   1970, as `client.now()` tells it: the machine's if left out
   */
  constructor(canvas, {seconds = 6, low = Infinity, high = -Infinity, now = Date.now} = {}) {
    [this.#canvas, this.#seconds, this.#now] = [canvas, seconds, now];
    [this.#low, this.#high] = this.#scale = [low, high];
    this.#frame = requestAnimationFrame(this.#draw);
  }

  /**
   * Whether the shown signal is old, and must be marked so: the server has received the newest chunk more than two seconds ago, or
   * nothing has come for as long.
   */
  get old() {
    const received = Date.parse(this.last?.received ?? "");
    return performance.now() - this.#heard > late || this.#now() - received > late;
  }

  /** Ends the drawing. */
  stop() { cancelAnimationFrame(this.#frame); }

  /** Takes the next chunk of the signal. @param {Wave} wave @returns {boolean} whether it is drawn */
  push(wave) {
    if (this.last && signalOf(wave) !== signalOf(this.last)) {
      if (!this.old) return false;
      this.#empty();
    }
    const had = `${wave.n} ${wave.received}`;
    if (wave.received && this.#had.includes(had)) return false; // it comes again on a new connection
    if (this.#had.push(had) > 256) this.#had.shift();
    const list = values(wave), start = begins(wave), step = 1000 / wave.rate, now = performance.now();
    const joined = this.last !== undefined && follows(wave, this.last);
    if (this.last && !joined) this.gaps++;
    if (!joined && start < this.#drawn) this.#points.length = 0; // the device's clock was set back, or it began anew
    // How far the device's time is behind ours, at the least: the drawing lags by that and a little more.
    const behind = now - start - list.length * step;
    this.#behind = joined && now - this.#heard < late ? Math.min(this.#behind, behind) : behind;
    [this.last, this.#heard] = [wave, now];
    list.forEach((value, i) => this.#points.push({at: start + i * step, value, joined: joined || i > 0}));
    const most = 1000 * this.#seconds / step;
    if (this.#points.length > most) this.#points.splice(0, this.#points.length - most);
    if (this.#scale.every(Number.isFinite)) return true;
    for (const v of list) [this.#low, this.#high] = [Math.min(this.#low, v), Math.max(this.#high, v)];
    return true;
  }

  /** Forgets the signal that was shown. */
  #empty() {
    this.#canvas.width = this.#canvas.width;
    [this.last, this.#points, this.#had] = [undefined, [], []];
    [this.#behind, this.#drawn, this.#x] = [Infinity, -Infinity, -1];
    [this.#low, this.#high] = this.#scale;
  }

  #draw = () => {
    this.#frame = requestAnimationFrame(this.#draw);
    const canvas = this.#canvas, pen = canvas.getContext("2d");
    const ratio = globalThis.devicePixelRatio || 1, width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (!pen || !width || !this.last) return;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height, this.#x] = [width, height, -1];
    const until = performance.now() - this.#behind - 400, speed = width / (1000 * this.#seconds); // pixels a ms
    const place = (/** @type {number} */ at) => at * speed % width;
    const erase = (/** @type {number} */ from, /** @type {number} */ to) => {
      if (to - from >= width) return pen.clearRect(0, 0, width, height);
      const x = Math.floor(place(from)), n = Math.ceil(place(from) - x + (to - from) * speed);
      pen.clearRect(x, 0, n, height);
      if (x + n > width) pen.clearRect(0, 0, x + n - width, height);
    };
    const ahead = 40 / speed * ratio; // a blank bar runs before the line
    const from = Math.max(this.#drawn, until - 1000 * this.#seconds);
    if (until > from) erase(from + (this.#drawn > 0 ? ahead : 0), until + ahead);
    if (until < this.#drawn - 1000) this.#x = -1; // begun anew
    this.#drawn = until;
    pen.strokeStyle = getComputedStyle(canvas).color;
    pen.lineWidth = 1.5 * ratio;
    pen.lineJoin = "round";
    pen.beginPath();
    pen.moveTo(this.#x, this.#y);
    const room = 4 * ratio, scale = (height - 2 * room) / (this.#high - this.#low || 1);
    let n = 0;
    for (; n < this.#points.length && this.#points[n].at <= until; n++) {
      const {at, value, joined} = this.#points[n], x = place(at), y = height - room - (value - this.#low) * scale;
      if (joined && this.#x >= 0 && x >= this.#x) pen.lineTo(x, y);
      else pen.moveTo(x, y);
      [this.#x, this.#y] = [x, y];
    }
    this.#points.splice(0, n);
    pen.stroke();
  };
}
