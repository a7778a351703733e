// Subscribes to a patient's heart rates with @medplum/core's SubscriptionManager.
// The test that runs this cuts the connection. After each cut the manager makes a
// subscription anew; the events that the old one had missed are fetched with $events, from the
// number after the last that came. Prints a line for each event, once, and ends at
// the end of the standard input.
//
//   node subscribe.mjs BASE WEBSOCKET-URL TOKEN PATIENT
import { createInterface } from "node:readline";
import WebSocket from "ws";
import { MedplumClient, SubscriptionManager } from "@medplum/core";

globalThis.WebSocket = WebSocket;
const [base, socket, token, patient] = process.argv.slice(2);
const medplum = new MedplumClient({ baseUrl: base, fetch: (url, options) => fetch(url, { ...options, headers: { ...options?.headers, Authorization: "Bearer " + token } }) });
const manager = new SubscriptionManager(medplum, socket, { pingIntervalMs: 2000 });
const emitter = manager.addCriteria(`Observation?patient=Patient/${patient}&code=8867-4`);

const say = (what) => console.log(JSON.stringify(what));
const seen = new Set();
const last = new Map(); // by subscription: the number of the last event
let current;

function take(bundle, from) {
  const status = bundle.entry[0].resource;
  const id = status.subscription.reference.split("/").pop();
  for (const event of status.notificationEvent ?? []) {
    const number = Number(event.eventNumber);
    if (from === "socket" && number !== (last.get(id) ?? 0) + 1) say({ jump: number, after: last.get(id) ?? 0 });
    last.set(id, Math.max(number, last.get(id) ?? 0));
    if (!seen.has(event.focus.reference)) {
      seen.add(event.focus.reference);
      say({ focus: event.focus.reference, number, from });
    }
  }
}

emitter.addEventListener("connect", async ({ payload }) => {
  const old = current;
  current = payload.subscriptionId;
  say({ connected: current });
  if (old && old !== current) {
    // The form of the answer is asked for by nobody here: R4's Parameters.
    const answer = await medplum.get(`fhir/R4/Subscription/${old}/$events?eventsSinceNumber=${(last.get(old) ?? 0) + 1}`, { cache: "no-store" });
    const parameters = answer.entry[0].resource.parameter;
    const events = parameters.filter((p) => p.name === "notification-event").map(({ part }) => ({
      eventNumber: part.find((p) => p.name === "event-number").valueString,
      focus: part.find((p) => p.name === "focus").valueReference,
    }));
    take({ entry: [{ resource: { subscription: { reference: "Subscription/" + old }, notificationEvent: events } }] }, "$events");
    say({ filled: events.length });
  }
});
emitter.addEventListener("message", ({ payload }) => take(payload, "socket"));
emitter.addEventListener("error", ({ payload }) => say({ error: String(payload?.message ?? payload) }));
emitter.addEventListener("close", () => say({ closed: true }));

createInterface({ input: process.stdin }).on("close", () => {
  manager.closeWebSocket();
  process.exit(0);
});
