// The view of those who look after many: tabs on a phone, the drawer of one patient, the pager.
import {showLimits} from "./limits.js";
import {$, clock, human, make, signs} from "./screen.js";

const signals = ["131330", "131331", "150452"];

/** Starts the view. host.ask asks the ward, host.ward() is its answer, host.me is the user. */
export function startDesk(client, host) {
  const drawer = new Drawer(client, host);
  $("app").addEventListener("cw-open", (e) => drawer.open(e.detail.patient));
  client.on("revoked", (id) => { if (id === drawer.patient) drawer.close(); });
  $("order").onchange = () => $("patients").setAttribute("order", $("order").value);
  $("group").append(...host.ward().groups.map((g) => make("option", {value: g, textContent: g.replace("-", " ")})));
  $("group").onchange = () => {
    const g = $("group").value;
    $("patients").filter = g ? (id) => host.ward().patients.find((p) => p.id === id)?.group === g : () => true;
  };
  for (const b of document.querySelectorAll("[data-tab]")) b.onclick = () => showTab(b.dataset.tab);
  showTab("alertside");
  client.subscribe(() => {
    $("clock").textContent = clock(client.now()).slice(0, 5);
    document.title = (client.alerts.length ? `(${client.alerts.length}) ` : "") + "Ward";
  });
  if (host.me.role !== "clinician") return;
  const levels = new Set(); // of alerts: each is a page more
  client.on("alert", (a) => {
    const level = `${a.patient} ${a.alert_id} ${a.escalation?.level}`;
    if (levels.has(level)) return;
    levels.add(level);
    drawPages(client, host);
  });
  drawPages(client, host);
}

// showTab shows one part on a phone; where there is room all are shown.
function showTab(id) {
  $("desk").dataset.shows = id;
  for (const b of document.querySelectorAll("[data-tab]")) b.setAttribute("aria-pressed", b.dataset.tab === id);
}

async function drawPages(client, host) {
  const answer = await host.ask("GET", "pages").catch(() => undefined);
  if (!answer?.ok) return;
  const texts = new Map(client.alerts.map((a) => [a.alert_id, a.text]));
  const name = (to) => host.ward().names[to.replace("person:", "")] ?? to.replace(/^\w+:/, "").replace("-", " ");
  $("pages").replaceChildren(...(await answer.json()).toReversed().slice(0, 12).map((s) =>
    make("li", {textContent: `${clock(s.at)}  ${name(s.to)}, level ${s.level}: ${texts.get(s.alert_id) ?? "an alert that is over"}`})));
}

/** The drawer of one patient. */
class Drawer {
  patient = "";

  constructor(client, host) {
    [this.client, this.host, this.box] = [client, host, $("drawer")];
    $("drawer-close").onclick = () => this.close();
    $("drawer-limits").onclick = () => showLimits(this.named, host.me.role === "clinician", host.ask, signs, human);
    $("drawer-limits").hidden = !host.ward().limits;
    $("drawer-print").onclick = () => this.print();
    $("hours").onchange = () => this.each("cw-trend", (e) => e.setAttribute("hours", $("hours").value));
    client.on("wave", (w) => { if (w.patient === this.patient) this.wave(w); });
  }

  get named() { return this.host.ward().patients.find((p) => p.id === this.patient) ?? {id: this.patient, name: this.patient, bed: ""}; }

  each(selector, f) { this.box.querySelectorAll(selector).forEach(f); }

  open(patient) {
    this.close();
    this.patient = patient;
    $("drawer-name").textContent = `${this.named.bed} · ${this.named.name}`;
    this.each("cw-news2, cw-number, cw-pause, cw-trend, cw-messages, cw-history", (e) => e.setAttribute("patient", patient));
    this.box.hidden = false;
    this.watch = this.client.watch({patients: [patient], waves: signals});
    $("drawer-name").focus();
  }

  close() {
    this.watch?.stop();
    this.watch = undefined;
    [this.patient, this.box.hidden] = ["", true];
    $("waves").replaceChildren();
    this.each("[patient]", (e) => e.removeAttribute("patient"));
  }

  // wave shows a signal from when it comes: each device's by itself.
  wave({patient, code, system, device = "", site = "", test}) {
    const of = [system, code, device, site, test].join(" ");
    if (!signals.includes(code) || [...$("waves").children].some((e) => e.dataset.of === of)) return;
    const e = make("cw-wave");
    e.dataset.of = of;
    for (const [name, value] of Object.entries({patient, code, system, device, site})) e.setAttribute(name, value);
    e.toggleAttribute("test", Boolean(test));
    $("waves").append(e);
  }

  // print puts one day of the patient on paper.
  print() {
    $("hours").value = "24";
    $("hours").onchange();
    setTimeout(() => window.print(), 1500); // the trends are loaded
  }
}
