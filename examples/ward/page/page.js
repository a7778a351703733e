// The page of the ward example: what is known of the patients, and how it is
// shown. What concerns the connection is in line.js.
import {Line} from "./line.js";
import {$, ago, buttons, clock, list, make, parts, prompt, span, text} from "./screen.js";

const patients = new Map(); // by ID: names, and what the Hub has sent of each
let line, token, me = {role: ""}, ward = {groups: [], patients: [], names: {}}, pages = [];
const done = new Set();     // announcements made and receipts sent
const did = {accept: "accepted", reject: "rejected", release: "released", assign: "assigned", close: "closed"};

// ---- Coming in ----

const get = (path) => fetch(path, {headers: {Authorization: "Bearer " + token}, signal: AbortSignal.timeout(30000)});

function start() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token"); // a fragment is not sent to any server
  if (given) history.replaceState(null, "", location.pathname);
  token = given ?? sessionStorage.getItem("token");
  if (!token) return signIn("");
  sessionStorage.setItem("token", token);
  line = new Line(location.origin.replace("http", "ws") + "/carewire", token, {
    before, event, change: render, granted: meet,
    welcome(f) { me = f.principal; document.body.dataset.role = me.role; getPages(); },
    forget(id) { Object.assign(patient(id), nothing()); },
    revoked(id) {
      patients.delete(id);
      ward.patients = ward.patients.filter((p) => p.id !== id);
      for (const [alert_id, t] of titles) if (t.patient === id) titles.delete(alert_id);
    },
  });
}

// before asks for the ward, and so finds out whether the token is good.
async function before() {
  const answer = await get("ward");
  if (answer.status === 401) return signIn("This token is not known.");
  ward = await answer.json();
  meet();
  if (ward.groups.length === 0) return {patients: ward.patients.map((p) => p.id)};
  return ward.system ? {groups: ward.groups, patients: ["@system"]} : {groups: ward.groups};
}

async function meet(id) {
  if (id) ward = await (await get("ward")).json(); // somebody new
  for (const x of ward.patients) Object.assign(patient(x.id), x);
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
$("leave").onclick = () => { sessionStorage.removeItem("token"); line.close(); location.reload(); };

// ---- What is known ----

const nothing = () => ({vitals: new Map(), alerts: new Map(), notices: new Map(), read: new Map()});
function patient(id) {
  if (!patients.has(id)) patients.set(id, {id, name: id === "@system" ? "carewire itself" : id, bed: "", ...nothing()});
  return patients.get(id);
}
const rank = {high: 4, medium: 3, low: 2, info: 1};
const mine = (to) => to.some((t) => t === "person:" + me.id || t === "role:" + me.role || ward.groups.includes(t.replace("group:", "")) ||
  t === "patient" && me.role === "patient");
const say = (text) => { $("say").textContent = text; };

function event(f) {
  const p = patient(f.patient);
  if (f.type === "vital") {
    const v = f.vital, key = [v.code, v.system, v.device, v.site, v.test].join(" "), old = p.vitals.get(key);
    v.at = Math.min(Date.parse(v.time), Date.parse(v.received));
    if (!old || v.at >= old.at) p.vitals.set(key, v); // a late one does not take the place of a newer one
  } else if (f.type === "alert") {
    takeAlert(p, f.alert);
  } else if (f.type === "notice") {
    p.notices.set(f.notice.notice_id, f.notice);
    if (line.current(p.id) && f.notice.from !== me.id) say("New message: " + f.notice.text);
  } else if (f.type === "receipt" && f.receipt.notice_id) {
    p.read.set(f.receipt.notice_id, f.receipt);
  }
}

const idOf = (a) => `${a.alert_id} ${a.patient}`; // another patient's alert may have the same ID

function takeAlert(p, a) {
  const key = (a.test ? "test " : "") + a.key, id = idOf(a); // a test has keys of its own
  if (a.ended) p.alerts.delete(key); else p.alerts.set(key, a);
  if (!done.has(id) || a.ended) {
    if (line.current(p.id)) say(`${a.ended ? "Ended" : `New alert, ${a.priority} priority`}: ${a.text}. ${p.name}, ${p.bed}.`);
    done.add(id);
  }
  const level = `${id}/${a.escalation?.level}`;
  if (!done.has(level)) { done.add(level); getPages(); }
  sendReceipts(a);
}

// sendReceipts tells the Hub, at each level of which the user is told, that the alert is here and on the screen.
function sendReceipts(a) {
  if (a.ended || me.role === "viewer" || !mine([...(a.to ?? []), ...(a.escalation?.told ?? [])])) return;
  for (const stage of document.visibilityState === "visible" ? ["delivered", "presented"] : ["delivered"]) {
    const once = [idOf(a), a.escalation?.level, stage].join("/");
    if (!done.has(once)) line.ask("receipt", {patient: a.patient, key: a.key, alert_id: a.alert_id, stage});
    done.add(once);
  }
}
document.addEventListener("visibilitychange", () => patients.forEach((p) => p.alerts.forEach(sendReceipts)));

async function getPages() {
  if (me.role !== "clinician") return;
  const answer = await get("pages").catch(() => undefined);
  if (answer?.ok) pages = await answer.json();
}

// ---- What people do ----

// request reports whether it was done, and shows why not. What becomes of a vital stands in an ok, too.
async function request(type, members) {
  $("failed").textContent = "";
  const reply = await line.ask(type, members), error = reply.type === "ok" ? reply.results?.[0].error : reply;
  if (!error) return true;
  if (error.retry === "later") {
    await new Promise((again) => setTimeout(again, Math.max(error.retry_ms ?? 0, 1000)));
    return request(type, members);
  }
  const by = reply.alert?.responsibility?.by;
  const why = {conflict: `${by?.name ?? "Somebody"} was faster.`, ended: "This alert is over.", refused: "That is not possible now.", forbidden: "You may not do this."};
  $("failed").textContent = why[error.code] ?? "That did not work: " + error.code;
  return false;
}

const answer = (a, what, more) => request("answer", {patient: a.patient, key: a.key, alert_id: a.alert_id, event_id: crypto.randomUUID(), do: what, ...more});
async function close(a) {
  const present = a.condition === "present";
  const reason = await prompt(present ? "Close although the condition is still present?" : "Close this alert?", present ? "Why? (required)" : "Why?", "Close it", present);
  if (reason !== undefined) answer(a, "close", {...(reason ? {reason} : {}), ...(present ? {force: true} : {})});
}

const notify = (p, to, text, more) => request("notify", {notice: {patient: p.id, notice_id: crypto.randomUUID(), to, text, ...more}});
async function write(p, to, replies_to) {
  const words = await prompt(me.role === "patient" ? "Write to your nurses" : "Write to " + p.name, "Message", "Send", true);
  if (!words) return;
  notify(p, [to], words, {...(replies_to ? {replies_to} : {}), ...(to === "patient" ? {audience: "staff"} : {})});
  if (replies_to) read(p, replies_to);
}
const read = (p, notice_id) => request("receipt", {patient: p.id, notice_id, stage: "read"});

function feel(p, code) {
  const vital = {patient: p.id, code: "feeling", system: "ward-example", coded: {system: "ward-example", code}, vital_id: crypto.randomUUID(), time: new Date(line.now()).toISOString()};
  request("publish", {vitals: [vital]}).then((ok) => ok && say("Thank you, your nurses can see it."));
}
function callNurse(p) {
  const alert = {patient: p.id, key: "call-nurse", text: "Patient calls a nurse", priority: "medium", kind: "advisory", audience: "all", to: ["group:" + p.group]};
  request("raise", {event_id: crypto.randomUUID(), alert});
}
const clear = (a) => request("clear", {patient: a.patient, key: a.key, alert_id: a.alert_id, event_id: crypto.randomUUID()});

// ---- What is on the screen ----

const shown = [["8867-4", "Heart rate"], ["59408-5", "SpO₂"], ["9279-1", "Breathing"], ["85354-9", "Pressure"], ["8310-5", "Temperature"], ["feeling", "Feels"]];
const pressures = ["8480-6", "8462-4"]; // systolic, diastolic
const feelings = {good: "Good", fair: "So-so", bad: "Bad", pain: "In pain"};
const signs = {high: "▲ High", medium: "◆ Medium", low: "● Low", info: "○ Info"};
const nameOf = (id) => ward.names[id] ?? id;
const addressee = (to) => to === "patient" ? "patient" : to.startsWith("person:") ? nameOf(to.slice(7)) : to.replace(/^\w+:/, "").replace("-", " ");
const titles = new Map(); // of alerts, for the pager

let drawn = false;
function render() {
  if (!drawn) requestAnimationFrame(() => { drawn = false; draw(); });
  drawn = true;
}

function draw() {
  if (!me.role) return;
  document.querySelector("main").hidden = $("leave").hidden = false;
  text($("who"), `${me.name} · ${me.role}`);
  text($("line"), {live: "Live", connecting: "Connecting", lost: "Trying again", ended: "Disconnected"}[line.state]);
  $("line").className = line.state === "live" && line.quiet() <= 50 ? "live" : "";
  const trouble = line.quiet() > 50 ? "Nothing has come from the server for more than 50 seconds. What you see is old." :
    line.state === "ended" ? `The server has ended this connection (${line.closed}). What you see is old.` :
    line.state !== "live" ? "The connection is lost. What you see is not current." :
    line.store === "failing" ? "The server cannot store anything now. What you see may be incomplete, and what you send may be lost." : "";
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
  const all = [...patients.values()].flatMap((p) => [...p.alerts.values()].map((a) => ({p, a, over: a.condition === "over", taken: a.responsibility?.state === "accepted"})));
  all.sort((x, y) => x.taken - y.taken || x.over - y.over || rank[y.a.priority] - rank[x.a.priority] || x.a.onset.localeCompare(y.a.onset));
  text($("alerts-title"), me.role === "patient" ? "Your calls" : `Open alerts (${all.length})`);
  document.title = (all.length ? `(${all.length}) ` : "") + "Ward";
  $("calm").hidden = all.length > 0;
  list($("alerts"), all.map((x) => [idOf(x.a), x]), parts("article", "", ["badge", "span"], ["head", "h3"], ["where"], ["why"], ["has"], ["told"], ["said"], ["buttons", "div"]), (e, {p, a, over, taken}) => {
    const r = a.responsibility ?? {}, x = a.escalation ?? {}, s = a.source ?? {}, due = (Date.parse(x.due) - line.now()) / 1000;
    e.className = `alert ${a.priority} ${taken || over ? "" : "untaken"}`;
    titles.set(a.alert_id, {patient: p.id, text: `${a.text} (${p.name})`});
    text(e.badge, signs[a.priority] + (a.kind === "technical" ? " · technical" : "") + (a.test ? " · TEST" : ""));
    text(e.head, a.text);
    text(e.where, `${p.name}${p.bed ? " · " + p.bed : ""}`);
    text(e.why, (s.value !== undefined && s.unit ? `${s.value} ${human(s.unit)}, limit ${s.limits}. ` : "") +
      `Since ${clock(a.onset)} (${span((line.now() - Date.parse(a.onset)) / 1000)})${over ? ". It is over, and nobody has seen to it" : ""}`);
    text(e.has, taken ? `${r.by.name ?? r.by.id} has it, until ${clock(r.until)}` : r.state === "rejected" ? `${r.by.name ?? r.by.id} cannot. Nobody has it` : "Nobody has it");
    text(e.told, taken || me.role === "patient" ? "" : (x.told ? `Told: ${x.told.map(addressee).join(", ")} (level ${x.level})` : "Nobody told yet") +
      (due > 0 && !over ? `, next in ${span(due)}` : ""));
    text(e.said, (a.answers ?? []).slice(-3).map((w) => `${clock(w.at)} ${w.by.name ?? w.by.id}: ${did[w.do] ?? w.do}${w.reason ? ", " + w.reason : ""}`).join(" · "));
    const own = taken && r.by.id === me.id, acts = {};
    if (me.role === "clinician") {
      if (!taken) Object.assign(acts, {Accept: () => answer(a, "accept"), Reject: () => answer(a, "reject")});
      if (own) acts.Release = () => answer(a, "release");
      acts.Close = () => close(a);
    } else if (s.by === me.id && !over) {
      acts["I am fine now"] = () => clear(a);
    }
    buttons(e.buttons, acts, `${a.text}, ${p.name}`);
  });
}
const human = (unit) => ({"mm[Hg]": "mmHg", Cel: "°C", "[degF]": "°F"})[unit] ?? unit;

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
    top.append(who, e.write = make("button", {textContent: "Write"}));
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
    const present = [...p.alerts.values()].filter((a) => a.condition === "present");
    const worst = present.sort((a, b) => rank[b.priority] - rank[a.priority])[0], current = line.current(p.id);
    e.className = `patient ${worst?.priority ?? ""} ${current ? "" : "notcurrent"}`;
    text(e.name, p.name);
    text(e.bed, current ? p.bed : p.bed + " · not current");
    e.badge.hidden = !worst;
    text(e.badge, worst ? `${signs[worst.priority]}: ${worst.text}` : "");
    e.write.hidden = me.role !== "clinician";
    e.write.onclick = () => write(p, "patient");
    e.write.ariaLabel = "Write to " + p.name;
    for (const [code] of shown) {
      const d = e[code], v = [...p.vitals.values()].filter((v) => v.code === code).sort((a, b) => b.at - a.at)[0];
      d.hidden = !v && code === "feeling";
      const late = v ? line.now() - v.at : 0, old = v && (!current || late > 1000 * (v.every ? Math.max(10, 3 * v.every) : 900));
      d.className = old ? "old" : "";
      const [number, unit] = reading(v);
      text(d.number, number);
      text(d.unit, unit);
      text(d.age, !v ? "no reading" : v.absent ? "no signal, " + ago(late) : number === "–" ? "not valid, " + ago(late) : (!old ? ago(late) : ago(late) === "now" ? "⚠ old" : "⚠ old, " + ago(late)) + (v.test ? ", TEST" : ""));
    }
  });
}

function drawNotices() {
  $("noticeside").hidden = me.role === "viewer";
  $("self").hidden = $("write").hidden = me.role !== "patient";
  const own = ward.patients[0];
  if (me.role === "patient" && own) {
    buttons($("feelings"), Object.fromEntries(Object.entries(feelings).map(([code, label]) => [label, () => feel(own, code)])), "how you feel");
    $("call").disabled = patient(own.id).alerts.get("call-nurse")?.condition === "present";
    $("call").onclick = () => callNurse(own);
    $("write").onclick = () => write(own, "group:" + own.group);
  }
  const all = [...patients.values()].flatMap((p) => [...p.notices.values()].map((n) => ({p, n})));
  all.sort((x, y) => y.n.time.localeCompare(x.n.time));
  $("silent").hidden = all.length > 0;
  list($("notices"), all.slice(0, 20).map((x) => [`${x.n.notice_id} ${x.p.id}`, x]), parts("li", "", ["head"], ["body"], ["state"], ["buttons", "div"]), (e, {p, n}) => {
    const r = p.read.get(n.notice_id), toMe = n.from !== me.id && mine(n.to ?? []);
    e.className = toMe && !r ? "unread" : "";
    e.head.className = e.state.className = "quiet";
    text(e.head, `${nameOf(n.from)} to ${(n.to ?? []).map((t) => t === "patient" ? p.name : addressee(t)).join(", ")}, ${clock(n.time)}`);
    text(e.body, n.text);
    text(e.state, r ? `Read by ${r.by.name ?? r.by.id}, ${clock(r.at)}` : "Not read yet");
    buttons(e.buttons, toMe ? {...(r ? {} : {Read: () => read(p, n.notice_id)}),
      Reply: () => write(p, me.role === "patient" ? "person:" + n.from : "patient", n.notice_id)} : {}, "message from " + nameOf(n.from));
  });
}

start();
