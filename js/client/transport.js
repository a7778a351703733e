// The two ways to a server: a WebSocket, and POST with streams of events.
import {encode} from "./wire.js";

/**
 * The events of a transport. After `closed` or `refused` it tells nothing more.
 * @typedef {object} Told
 * @property {(text: string) => void} text a frame has come
 * @property {(code: number, opened: boolean, after?: number) => void} closed the connection has ended with a close code
 * @property {(status: number, after: number) => void} refused by an HTTP status; come back after so many milliseconds
 */

/**
 * @typedef {object} Transport
 * @property {boolean} streams whether each watch has a stream of its own, and nothing can be unwatched
 * @property {(frame: import("./wire.js").Frame) => void} send
 * @property {() => void} close
 * @property {() => void} [check] asks whether the other end is there
 */

/**
 * @param {typeof WebSocket} Socket
 * @param {string} url
 * @param {string | undefined} credential a second subprotocol
 * @param {Told} on
 * @returns {Transport}
 */
export function openSocket(Socket, url, credential, on) {
  let over = false, opened = false;
  const socket = new Socket(url.replace(/^http/, "ws"), credential ? ["carewire.v1", credential] : ["carewire.v1"]);
  socket.onopen = () => { opened = true; };
  socket.onmessage = (m) => over || on.text(m.data);
  socket.onerror = () => {}; // close follows
  socket.onclose = (e) => {
    if (!over) on.closed(e.code, opened);
    over = true;
  };
  return {
    streams: false,
    send(frame) { if (socket.readyState === 1) socket.send(encode(frame)); },
    close() {
      over = true;
      socket.close(1000);
    },
  };
}

/** @param {string} token */
export function bearer(token) {
  const base64 = btoa(String.fromCharCode(...new TextEncoder().encode(token)));
  return "carewire.bearer." + base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/**
 * Sends one POST. Without a frame it is a probe.
 * @param {typeof fetch} request
 * @param {string} url
 * @param {string | undefined} token without one, cookies are sent
 * @param {import("./wire.js").Frame} [frame]
 * @param {{signal?: AbortSignal, accept?: string}} [o]
 */
export function post(request, url, token, frame, {signal, accept} = {}) {
  return request(url.replace(/^ws/, "http"), {
    method: "POST", cache: "no-store", credentials: token ? "omit" : "include", signal,
    headers: {...(token && {Authorization: "Bearer " + token}), ...(frame && {"Content-Type": "application/json"}), ...(accept && {Accept: accept})},
    ...(frame && {body: encode(frame)}),
  });
}

/** @param {Response} answer in milliseconds */
export const retryAfter = (answer) => 1000 * (Number(answer.headers.get("Retry-After")) || 0);

/**
 * Each watch becomes a stream, each other request a POST. The end of one stream is the end of all.
 * @param {typeof fetch} request
 * @param {string} url
 * @param {string | undefined} token
 * @param {Told} on
 * @returns {Transport}
 */
export function openStreams(request, url, token, on) {
  const off = new AbortController(), signal = off.signal;
  /** @param {() => void} tell */
  const end = (tell) => {
    if (signal.aborted) return;
    off.abort();
    tell();
  };
  /** @param {Response} answer */
  const fail = (answer) => end(() => on.refused(answer.status, retryAfter(answer)));
  /** @param {import("./wire.js").Frame} frame */
  async function stream(frame) {
    const answer = await post(request, url, token, frame, {signal, accept: "text/event-stream"});
    if (!answer.ok || !answer.body) return fail(answer);
    if (!answer.headers.get("Content-Type")?.startsWith("text/event-stream")) return on.text(await answer.text());
    const reader = answer.body.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
    for (let rest = ""; ;) {
      const {done, value} = await reader.read();
      if (done) throw new Error("cut");
      const lines = (rest + value).split("\n");
      rest = /** @type {string} */ (lines.pop());
      for (const line of lines) if (line.startsWith("data: ") && !signal.aborted) on.text(line.slice(6));
    }
  }
  /** @param {import("./wire.js").Frame} frame */
  async function send(frame) {
    const later = (/** @type {string} */ code, ms = 0) => on.text(JSON.stringify({type: "error", req: frame.req, code, retry: "later", retry_ms: ms}));
    try {
      const answer = await post(request, url, token, frame, {signal});
      if (answer.status === 429 || answer.status >= 500) return later("unavailable", retryAfter(answer));
      if (!answer.ok) return fail(answer);
      on.text(await answer.text());
    } catch {
      if (!signal.aborted) later("unknown"); // the network, which cannot be told from a reply that was lost
    }
  }
  return {
    streams: true,
    send(frame) {
      if (frame.type === "watch") stream(frame).catch(() => end(() => on.closed(1006, true)));
      else send(frame);
    },
    close() { off.abort(); },
  };
}
