// The page of the ward example: the sign-in and the view of each role. The views consist of js/elements.
import {createClient} from "./elements.js";
import {startDesk} from "./desk.js";
import {$, make} from "./screen.js";

const news2 = "1104051000000101"; // the total, in SNOMED CT
const usual = ["8867-4", "59408-5", "9279-1", "85354-9", "8310-5"];

let client, watch, watched, token, ward = {groups: [], patients: [], names: {}, limits: false};
const unscored = new Map(); // why a patient has no score

/** The requests that views make to the ward. */
export const ask = (method, path, body) => fetch(path, {method, body, headers: {Authorization: "Bearer " + token}, signal: AbortSignal.timeout(30000)});
const get = (path) => ask("GET", path);

// ---- Coming in ----

async function start() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token"); // a fragment is not sent to any server
  if (given) history.replaceState(null, "", location.pathname + location.search);
  token = given ?? sessionStorage.getItem("token");
  if (!token) return signIn("");
  sessionStorage.setItem("token", token);
  if (await askWard().catch(() => true) === undefined) return; // where it fails, it is asked for again
  client = createClient({url: "carewire", storage: ward.me ?? token, token: async () => (await askWard()) && token});
  client.on("state", ({name, code}) => {
    if (name === "ended" && code !== 1000) signIn("Your access has ended.");
    if (client.me && !document.body.dataset.role) meet(client.me);
  });
  client.on("granted", askWard); // somebody new
  client.on("revoked", (id) => { ward.patients = ward.patients.filter((p) => p.id !== id); });
  $("app").names = names;
  $("app").client = client;
  $("app").hidden = false;
  watchWard();
}

// meet shows the view for the signed-in user.
function meet(me) {
  document.body.dataset.role = me.role;
  const view = me.role === "patient" ? "self" : new URLSearchParams(location.search).get("view") ?? (me.role === "viewer" ? "wall" : "desk");
  document.body.dataset.view = view;
  $("who").textContent = `${me.name} · ${me.role}`;
  if (view === "wall") showWall();
  else if (view === "self") showSelf();
  else startDesk(client, {ask, ward: () => ward, me});
  askScores();
  setInterval(askScores, 15000);
  offerPush();
}

// askWard asks for the patients of the ward, and so finds out whether the token is good.
async function askWard() {
  const answer = await get("ward");
  if (answer.status === 401) return signIn("This token is not known.");
  ward = await answer.json();
  $("app").names = names;
  watchWard();
  return true;
}

// watchWard watches the user's groups, or the named patients of a user without groups.
function watchWard() {
  const all = ward.groups.length === 0 ? {patients: ward.patients.map((p) => p.id)} : {groups: ward.groups, patients: ward.system ? ["@system"] : []};
  if (!client || watched === JSON.stringify(all) || ward.groups.length + ward.patients.length === 0) return;
  watched = JSON.stringify(all);
  watch?.stop();
  watch = client.watch(all);
  watch.ready.then(askWard).then(askScores).catch(() => {}); // for patients who came before it stood, no "granted" comes
}

// signIn leaves nothing of the patients on the page.
function signIn(why) {
  sessionStorage.removeItem("token");
  client?.stop();
  $("app")?.remove();
  $("limits").close();
  $("refused").textContent = why;
  $("login-main").hidden = false;
  $("token").focus();
}
$("login").onsubmit = (e) => {
  e.preventDefault();
  location.hash = new URLSearchParams({token: $("token").value.trim()});
  location.reload();
};
$("leave").onclick = async () => {
  sessionStorage.removeItem("token");
  client?.stop();
  await forgetPush().catch(() => {});
  location.reload();
};

// ---- Names ----

const names = {
  patient: (id) => {
    const p = ward.patients.find((x) => x.id === id);
    return p && {name: p.name, bed: p.bed?.replace(/^Ward \d+ · /, "")}; // beds are numbered through all wards
  },
  person: (id) => ward.names[id],
  group: (id) => id.replace("-", " "),
  people: () => [...Object.entries(ward.names).filter(([id]) => !ward.patients.some((p) => p.name === ward.names[id])).map(([id, name]) => ({to: "person:" + id, name})),
    ...ward.groups.map((g) => ({to: "group:" + g, name: "everybody on " + g.replace("-", " ")}))],
  why: (patient, code) => code === news2 && unscored.has(patient) ? "no score: " + unscored.get(patient) : undefined,
};

// askScores asks why patients without a score have none.
async function askScores() {
  if (!["clinician", "viewer"].includes(client.me?.role)) return;
  for (const p of ward.patients) {
    const v = client.patients.get(p.id)?.newest(news2);
    if (v && !v.absent) { unscored.delete(p.id); continue; }
    const answer = await ask("POST", "rules", JSON.stringify({patient: p.id})).catch(() => undefined);
    const why = answer?.ok && (await answer.json()).find((r) => r.rule === "news2")?.detail;
    if (why) unscored.set(p.id, why); else unscored.delete(p.id);
  }
}

// ---- A patient, and a wall ----

function showSelf() {
  const [own] = ward.patients;
  if (!own) return;
  for (const e of [$("call"), $("own-messages")]) {
    e.setAttribute("to", "group:" + own.group);
    e.setAttribute("patient", own.id);
  }
  $("measure").onclick = () => measure(own);
  client.subscribe(() => { $("measure").hidden = !navigator.bluetooth; });
  $("own").append(...usual.map((code) => {
    const n = make("cw-number");
    n.setAttribute("patient", own.id);
    n.setAttribute("code", code);
    return n;
  }));
}

// measure publishes the measurements of a Bluetooth device that the patient chooses, for as long as the page is open.
async function measure(p) {
  const say = (text) => { $("measured").textContent = text; };
  const failed = (e) => { if (e.name !== "NotFoundError") say("The device cannot be read: " + e.message); }; // nothing was chosen
  const publish = async (vitals) => say((await client.publish(vitals).over).state === "done" ? "Measured. Your nurses can see it." : "What was measured was not taken.");
  try {
    const {listen} = await import("./ble.js");
    await listen({patient: p.id, zone: "local"}, publish, failed);
  } catch (e) {
    failed(e);
  }
}

function showWall() {
  $("wall").append(make("cw-wall"));
  const night = new Date();
  night.setHours(28, 0, 0, 0); // at four in the morning it begins anew
  setTimeout(() => location.reload(), night - Date.now());
}

// ---- Pushes ----

// offerPush offers alerts as notifications of this device. They are never the only way: browsers forget subscriptions.
async function offerPush() {
  if (localStorage.getItem("push") !== client.me.id) await forgetPush().catch(() => {}); // another person did not log out
  if (!ward.push || client.me.role !== "clinician" || !("PushManager" in window)) return;
  $("push").hidden = false;
  $("push").onclick = subscribe;
  if (Notification.permission === "granted" && localStorage.getItem("push")) subscribe();
}

async function subscribe() {
  const say = (text) => { $("push").textContent = text; };
  if (await Notification.requestPermission() !== "granted") return say("Notifications are not allowed");
  localStorage.setItem("push", client.me.id);
  await caches.open("ward-who").then((c) => c.put("token", new Response(token))); // for the service worker
  say("Asking the push service …");
  try {
    const {pushManager} = await navigator.serviceWorker.ready;
    let s = await pushManager.getSubscription();
    if (s && base64url(s.options.applicationServerKey) !== ward.push) { // the ward has another key than it had
      await s.unsubscribe();
      s = undefined;
    }
    s ??= await pushManager.subscribe({userVisibleOnly: true, applicationServerKey: ward.push});
    say((await ask("POST", "push", JSON.stringify(s))).ok ? "Told on this device" : "This device is not told");
  } catch {
    say("This device is not told");
  }
}

const base64url = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

// forgetPush ends pushes to this device.
async function forgetPush() {
  localStorage.removeItem("push");
  await self.caches?.delete("ward-who");
  const registration = await navigator.serviceWorker?.getRegistration();
  await (await registration?.pushManager?.getSubscription())?.unsubscribe();
}

navigator.serviceWorker?.register("sw.js").catch(() => {}); // without it the page needs the network to open
start();
