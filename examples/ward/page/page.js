// The page of the ward example: what is known of the patients, and how it is
// shown. What concerns the connection is in the client, js/client.
import {createClient} from "./client.js";
import {showLimits} from "./limits.js";
import {$, ago, buttons, clock, list, make, parts, prompt, span, text} from "./screen.js";

let client, watch, watched, token, me = {role: ""}, ward = {groups: [], patients: [], names: {}}, pages = [];
const done = new Set();     // announcements made
const did = {accept: "accepted", reject: "rejected", release: "released", assign: "assigned", close: "closed"};

// ---- Coming in ----

const ask = (method, path, body) => fetch(path, {method, body, headers: {Authorization: "Bearer " + token}, signal: AbortSignal.timeout(30000)});
const get = (path) => ask("GET", path);

async function start() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token"); // a fragment is not sent to any server
  if (given) history.replaceState(null, "", location.pathname);
  token = given ?? sessionStorage.getItem("token");
  if (!token) return signIn("");
  sessionStorage.setItem("token", token);
  if (await askWard().catch(() => true) === undefined) return; // where it fails, it is asked for again
  client = createClient({url: "carewire", storage: ward.me, token: async () => (await askWard()) && token});
  client.subscribe(draw);
  client.on("state", ({name}) => { if (name === "live" && me !== client.me) meet(client.me); });
  client.on("alert", (a, {live, inbox}) => { if (!inbox) heard(a, live); });
  client.on("notice", (n, {live, inbox}) => { if (live && !inbox && n.from !== me.id) say("New message: " + n.text); });
  client.on("granted", askWard); // somebody new
  client.on("revoked", (id) => {
    ward.patients = ward.patients.filter((p) => p.id !== id);
    for (const [alert_id, t] of titles) if (t.patient === id) titles.delete(alert_id);
  });
  watchWard();
}

function meet(who) {
  me = who;
  document.body.dataset.role = me.role;
  getPages();
}

// askWard asks who is on the ward, and so finds out whether the token is good.
async function askWard() {
  const answer = await get("ward");
  if (answer.status === 401) return signIn("This token is not known.");
  ward = await answer.json();
  watchWard();
  return true;
}

// watchWard watches the user's groups, or the patients who have none.
function watchWard() {
  const all = ward.groups.length === 0 ? {patients: ward.patients.map((p) => p.id)} : {groups: ward.groups, patients: ward.system ? ["@system"] : []};
  if (!client || watched === JSON.stringify(all) || ward.groups.length + ward.patients.length === 0) return;
  watched = JSON.stringify(all);
  watch?.stop();
  watch = client.watch(all);
  watch.ready.then(askWard).then(askScores).catch(() => {}); // who came before it stood is told by no "granted"
}

function signIn(why) {
  sessionStorage.removeItem("token");
  me = {role: ""}; // nothing is drawn any more
  $("refused").textContent = why;
  $("login").hidden = false;
  document.querySelector("main").hidden = true;
  $("token").focus();
}
$("login").onsubmit = (e) => {
  e.preventDefault();
  location.hash = new URLSearchParams({token: $("token").value.trim()});
  location.reload();
};
$("leave").onclick = () => { sessionStorage.removeItem("token"); client?.stop(); location.reload(); };

// ---- What is known ----

const nothing = {current: false, vitals: new Map(), alerts: new Map(), notices: new Map(), receipts: new Map(), newest() {}};

// patient is what the ward and the Hub say of one.
function patient(id) {
  const named = ward.patients.find((p) => p.id === id) ?? {id, name: id === "@system" ? "carewire itself" : id, bed: ""};
  return {...named, held: client.patients.get(id) ?? nothing};
}
const everybody = () => [...client.patients.keys()].map(patient);
const rank = {high: 4, medium: 3, low: 2, info: 1};
const mine = (to) => to.some((t) => t === "person:" + me.id || t === "role:" + me.role || ward.groups.includes(t.replace("group:", "")) ||
  t === "patient" && me.role === "patient");
const say = (text) => { $("say").textContent = text; };

const idOf = (a) => `${a.alert_id} ${a.patient}`; // another patient's alert may have the same ID

function heard(a, live) {
  const p = patient(a.patient), id = idOf(a);
  if (!done.has(id) || a.ended) {
    if (live) say(`${a.ended ? "Ended" : `New alert, ${a.priority} priority`}: ${a.text}. ${p.name}, ${p.bed}.`);
    done.add(id);
  }
  const level = `${id}/${a.escalation?.level}`;
  if (!done.has(level)) { done.add(level); getPages(); }
  present();
}

// present tells the Hub, at each level of which the user is told, that alerts are on the screen.
function present() {
  if (document.visibilityState === "visible") for (const p of client?.patients.values() ?? []) p.alerts.forEach((a) => client.presented(a));
}
document.addEventListener("visibilitychange", present);

async function getPages() {
  if (me.role !== "clinician") return;
  const answer = await get("pages").catch(() => undefined);
  if (answer?.ok) pages = await answer.json();
}

// why a patient has no score is asked for, of those who have none
const unscored = new Map();
async function askScores() {
  if (!["clinician", "viewer"].includes(me.role)) return;
  for (const p of ward.patients) {
    const v = client?.patients.get(p.id)?.newest(news2);
    if (v && !v.absent) { unscored.delete(p.id); continue; }
    const answer = await get("rules/" + p.id).catch(() => undefined);
    const why = answer?.ok && (await answer.json()).find((r) => r.rule === "news2")?.detail;
    if (why) unscored.set(p.id, why); else unscored.delete(p.id);
  }
  draw();
}
setInterval(askScores, 15000);

// ---- What people do ----

// request reports whether a command was done, and shows why not.
async function request(command) {
  $("failed").textContent = "";
  const {state, code, alert} = await command.over, by = alert?.responsibility?.by;
  if (state === "done") return true;
  const why = {conflict: by ? `${by.name ?? by.id} was faster.` : "This alert has changed. Look again.", ended: "This alert is over.",
    refused: "That is not possible now.", forbidden: "You may not do this.", expired: "That was not sent: there was no connection. Try again."};
  $("failed").textContent = why[code] ?? "That did not work: " + code;
  return false;
}

async function close(a) {
  const present = a.condition === "present";
  const reason = await prompt(present ? "Close although the condition is still present?" : "Close this alert?", present ? "Why? (required)" : "Why?", "Close it", present);
  if (reason !== undefined) request(client.close(a, {...(reason ? {reason} : {}), ...(present ? {force: true} : {})}));
}

async function write(p, to, replies_to) {
  const words = await prompt(me.role === "patient" ? "Write to your nurses" : "Write to " + p.name, "Message", "Send", true);
  if (!words) return;
  request(client.notify({patient: p.id, to: [to], text: words, ...(replies_to ? {replies_to: replies_to.notice_id} : {}), ...(to === "patient" ? {audience: "staff"} : {})}));
  if (replies_to) read(replies_to);
}
const read = (n) => request(client.read(n));

// measure publishes what a Bluetooth device of the patient's choice measures, for as long as the page is open.
async function measure(p) {
  const failed = (e) => { if (e.name !== "NotFoundError") text($("failed"), "The device cannot be read: " + e.message); }; // nothing was chosen
  try {
    const {listen} = await import("./ble.js");
    await listen({patient: p.id, zone: "local"}, (vitals) => request(client.publish(vitals)).then((ok) => ok && say("Measured. Your nurses can see it.")), failed);
  } catch (e) {
    failed(e);
  }
}

function feel(p, code) {
  const vital = {patient: p.id, code: "feeling", system: "ward-example", coded: {system: "ward-example", code}};
  request(client.publish([vital])).then((ok) => ok && say("Thank you, your nurses can see it."));
}
function callNurse(p) {
  request(client.raise({patient: p.id, key: "call-nurse", text: "Patient calls a nurse", priority: "medium", kind: "advisory", audience: "all", to: ["group:" + p.group]}));
}

// ---- What is on the screen ----

const news2 = "1104051000000101"; // the total, in SNOMED CT
const shown = [["8867-4", "Heart rate"], ["59408-5", "SpO₂"], ["9279-1", "Breathing"], ["85354-9", "Pressure"], ["8310-5", "Temperature"], [news2, "NEWS2"], ["feeling", "Feels"]];
const pressures = ["8480-6", "8462-4"]; // systolic, diastolic
const feelings = {good: "Good", fair: "So-so", bad: "Bad", pain: "In pain"};
const signs = {high: "▲ High", medium: "◆ Medium", low: "● Low", info: "○ Info"};
const nameOf = (id) => ward.names[id] ?? id;
const addressee = (to) => to === "patient" ? "patient" : to.startsWith("person:") ? nameOf(to.slice(7)) : to.replace(/^\w+:/, "").replace("-", " ");
const titles = new Map(); // of alerts, for the pager

function draw() {
  if (!me.role) return;
  const {name, silent, store, code} = client.state;
  document.querySelector("main").hidden = $("leave").hidden = false;
  text($("who"), `${me.name} · ${me.role}`);
  text($("line"), {live: "Live", failing: "Live", quiet: "Quiet", connecting: "Connecting", lost: "Trying again", ended: "Disconnected"}[name]);
  $("line").className = name === "live" || name === "failing" ? "live" : "";
  const trouble = name === "quiet" ? `Nothing has come from the server for ${span(silent)}. What you see may be old.` :
    name === "ended" ? `The server has ended this connection (${code}). What you see is old.` :
    name === "lost" || name === "connecting" ? "The connection is lost. What you see is not current." :
    store === "failing" ? "The server cannot store anything now. What you see may be incomplete, and what you send has to wait." : "";
  $("stale").hidden = !trouble;
  text($("stale"), trouble);
  drawAlerts();
  drawPatients();
  drawNotices();
  $("pageside").hidden = me.role !== "clinician";
  list($("pages"), pages.toReversed().slice(0, 12).map((s) => [`${s.alert_id}/${s.level}/${s.to}`, s]), parts("li", "", ["what", "span"]), (e, s) =>
    text(e.what, `${clock(s.at)}  ${addressee(s.to)}, level ${s.level}: ${titles.get(s.alert_id)?.text ?? "an alert that is over"}`));
}

function drawAlerts() {
  const all = everybody().flatMap((p) => [...p.held.alerts.values()].map((a) => ({p, a, over: a.condition === "over", taken: a.responsibility?.state === "accepted"})));
  all.sort((x, y) => x.taken - y.taken || x.over - y.over || rank[y.a.priority] - rank[x.a.priority] || x.a.onset.localeCompare(y.a.onset));
  text($("alerts-title"), me.role === "patient" ? "Your calls" : `Open alerts (${all.length})`);
  document.title = (all.length ? `(${all.length}) ` : "") + "Ward";
  $("calm").hidden = all.length > 0;
  list($("alerts"), all.map((x) => [idOf(x.a), x]), parts("article", "", ["badge", "span"], ["head", "h3"], ["where"], ["why"], ["has"], ["told"], ["said"], ["buttons", "div"]), (e, {p, a, over, taken}) => {
    const r = a.responsibility ?? {}, x = a.escalation ?? {}, s = a.source ?? {}, due = (Date.parse(x.due) - client.now()) / 1000;
    e.className = `alert ${a.priority} ${taken || over ? "" : "untaken"}`;
    titles.set(a.alert_id, {patient: p.id, text: `${a.text} (${p.name})`});
    text(e.badge, signs[a.priority] + (a.kind === "technical" ? " · technical" : "") + (a.test ? " · TEST" : ""));
    text(e.head, a.text);
    text(e.where, `${p.name}${p.bed ? " · " + p.bed : ""}`);
    text(e.why, (s.value !== undefined && s.unit && s.limits ? `${s.value} ${human(s.unit)}, limit ${s.limits.replace(/mm\[Hg\]|Cel|\[degF\]/g, human)}. ` : "") +
      `Since ${clock(a.onset)} (${span((client.now() - Date.parse(a.onset)) / 1000)})${over ? ". It is over, and nobody has seen to it" : ""}`);
    text(e.has, taken ? `${r.by.name ?? r.by.id} has it, until ${clock(r.until)}` : r.state === "rejected" ? `${r.by.name ?? r.by.id} cannot. Nobody has it` : "Nobody has it");
    text(e.told, taken || me.role === "patient" ? "" : (x.told ? `Told: ${x.told.map(addressee).join(", ")} (level ${x.level})` : "Nobody told yet") +
      (due > 0 && !over ? `, next in ${span(due)}` : ""));
    text(e.said, (a.answers ?? []).slice(-3).map((w) => `${clock(w.at)} ${w.by.name ?? w.by.id}: ${did[w.do] ?? w.do}${w.reason ? ", " + w.reason : ""}`).join(" · "));
    const own = taken && r.by.id === me.id, acts = {};
    if (me.role === "clinician") {
      if (!taken) Object.assign(acts, {Accept: () => request(client.accept(a)), Reject: () => request(client.reject(a))});
      if (own) acts.Release = () => request(client.release(a));
      acts.Close = () => close(a);
    } else if (s.by === me.id && !over) {
      acts["I am fine now"] = () => request(client.clear(a));
    }
    buttons(e.buttons, acts, `${a.text}, ${p.name}`);
  });
}
const human = (unit) => ({"{score}": "", "mm[Hg]": "mmHg", Cel: "°C", "[degF]": "°F"})[unit] ?? unit;

// reading returns a vital's value and its unit, as they are read. What is not to be used has neither.
function reading(v) {
  if (!v || v.absent || v.status === "entered-in-error" || v.quality?.includes("invalid")) return ["–", ""];
  if (v.coded) return [feelings[v.coded.code] ?? v.coded.code, ""];
  if (v.components) return [pressures.map((code) => v.components.find((c) => c.code === code)?.value ?? "–").join("/"), " " + human(v.components.find((c) => c.unit)?.unit ?? "")];
  return [(v.comparator ?? "") + v.value, " " + human(v.unit)];
}

function drawPatients() {
  text($("patients-title"), me.role === "patient" ? "Your vital signs" : "Patients");
  const create = () => {
    const e = make("article", {className: "patient"}), top = make("div", {className: "top"}), who = make("div");
    who.append(e.name = make("h3"), e.bed = make("p", {className: "quiet"}), e.badge = make("span", {className: "badge"}));
    top.append(who, make("div", {className: "buttons"}, e.limits = make("button", {textContent: "Limits"}), e.write = make("button", {textContent: "Write"})));
    e.append(top, make("dl", {className: "vitals"}));
    for (const [code, label] of shown) {
      const d = e[code] = make("div"), value = d.value = make("dd");
      d.append(make("dt", {textContent: label}), value);
      value.append(d.number = make("span"), d.unit = make("span", {className: "unit"}), d.age = make("small"));
      e.lastChild.append(d);
    }
    return e;
  };
  list($("patients"), ward.patients.map((x) => [x.id, patient(x.id)]), create, (e, p) => {
    const present = [...p.held.alerts.values()].filter((a) => a.condition === "present");
    const worst = present.sort((a, b) => rank[b.priority] - rank[a.priority])[0], current = p.held.current;
    e.className = `patient ${worst?.priority ?? ""} ${current ? "" : "notcurrent"}`;
    text(e.name, p.name);
    text(e.bed, current ? p.bed : p.bed + " · not current");
    e.badge.hidden = !worst;
    text(e.badge, worst ? `${signs[worst.priority]}: ${worst.text}` : "");
    e.write.hidden = me.role !== "clinician";
    e.write.onclick = () => write(p, "patient");
    e.write.ariaLabel = "Write to " + p.name;
    e.limits.hidden = !ward.limits;
    e.limits.onclick = () => showLimits(p, me.role === "clinician", ask, signs, human);
    e.limits.ariaLabel = "Limits of " + p.name;
    for (const [code] of shown) {
      const d = e[code], v = p.held.newest(code);
      d.hidden = !v && code === "feeling" || code === news2 && me.role === "patient";
      const late = v ? client.now() - v.at : 0, old = v && (code === news2 ? !current : p.held.stale(code));
      d.className = old ? "old" : "";
      const [number, unit] = reading(v);
      text(d.number, number);
      text(d.unit, unit);
      text(d.age, code === news2 && (!v || v.absent) ? "no score" + (unscored.has(p.id) ? ": " + unscored.get(p.id) : "") : !v ? "no reading" : v.absent ? "no signal, " + ago(late) : number === "–" ? "not valid, " + ago(late) : (!old ? ago(late) : ago(late) === "now" ? "⚠ old" : "⚠ old, " + ago(late)) + (v.test ? ", TEST" : ""));
    }
  });
}

function drawNotices() {
  $("noticeside").hidden = me.role === "viewer";
  $("self").hidden = $("write").hidden = me.role !== "patient";
  const own = ward.patients[0];
  if (me.role === "patient" && own) {
    buttons($("feelings"), Object.fromEntries(Object.entries(feelings).map(([code, label]) => [label, () => feel(own, code)])), "how you feel");
    $("call").disabled = patient(own.id).held.alerts.get("call-nurse")?.condition === "present";
    $("call").onclick = () => callNurse(own);
    $("write").onclick = () => write(own, "group:" + own.group);
    $("measure").hidden = !navigator.bluetooth;
    $("measure").onclick = () => measure(own);
  }
  const all = everybody().flatMap((p) => [...p.held.notices.values()].map((n) => ({p, n})));
  all.sort((x, y) => y.n.time.localeCompare(x.n.time));
  $("silent").hidden = all.length > 0;
  list($("notices"), all.slice(0, 20).map((x) => [`${x.n.notice_id} ${x.p.id}`, x]), parts("li", "", ["head"], ["body"], ["state"], ["buttons", "div"]), (e, {p, n}) => {
    const r = p.held.receipts.get(n.notice_id)?.findLast((r) => r.stage === "read"), toMe = n.from !== me.id && mine(n.to ?? []);
    e.className = toMe && !r ? "unread" : "";
    e.head.className = e.state.className = "quiet";
    text(e.head, `${nameOf(n.from)} to ${(n.to ?? []).map((t) => t === "patient" ? p.name : addressee(t)).join(", ")}, ${clock(n.time)}`);
    text(e.body, n.text);
    text(e.state, r ? `Read by ${r.by.name ?? r.by.id}, ${clock(r.at)}` : "Not read yet");
    buttons(e.buttons, toMe ? {...(r ? {} : {Read: () => read(n)}),
      Reply: () => write(p, me.role === "patient" ? "person:" + n.from : "patient", n)} : {}, "message from " + nameOf(n.from));
  });
}

start();
