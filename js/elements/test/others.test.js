// A patient's view, a wall, waves and messages.
import assert from "node:assert/strict";
import {readFileSync} from "node:fs";
import {join} from "node:path";
import test from "node:test";
import {gunzipSync} from "node:zlib";
import {backend, device, heartRate, here, nurse, openScreens, publish, raise, rosa, shoot, viewer, violations, wave, waveSender} from "./screen.js";

const call = '<cw-trouble></cw-trouble><cw-call patient="p-1" to="group:ward" feel-code="feeling" feel-system="test"></cw-call><cw-messages patient="p-1" to="group:ward"></cw-messages>', hers = {who: rosa, watch: {patients: ["p-1"]}};
const staff = {...backend, groups: ["ward"], patients: device.patients};

test("A patient calls, and is told in plain words how the call goes on", async (t) => {
  const {hub, open} = await openScreens(t), page = await open(call, hers, {viewport: {width: 390, height: 844}}), e = page.locator("cw-call"), button = e.getByRole("button", {name: "Call a nurse"});
  const before = await button.boundingBox(), ada = hub.client(nurse), watch = ada.watch({groups: ["ward"]});
  await watch.ready;
  await button.click();
  await e.getByText(/^The nurses have been called \d\d:\d\d\.$/).waitFor();
  const [a] = ada.alerts;
  assert.deepEqual([a.text, a.priority, a.patient], ["Patient calls a nurse", "medium", "p-1"]);
  assert.deepEqual(await violations(page), []);
  assert.equal((await ada.accept(a).over).state, "done");
  await e.getByText("Ada is coming.").waitFor();
  assert.deepEqual(await button.boundingBox(), before, "it stays where it is");
  assert.equal(await button.isEnabled(), true);
  assert.doesNotMatch(await page.evaluate("document.querySelector('cw-call').shadowRoot.textContent"), /nobody|cannot/i);
  await shoot(page, "patient");
  await e.getByRole("button", {name: "I am fine now"}).click();
  await page.waitForFunction("client.alerts.length === 0");
});

test("A patient in pain is asked whether to call, Yes first", async (t) => {
  const {hub, open} = await openScreens(t), page = await open(call, hers), e = page.locator("cw-call");
  for (const [feels, text] of [["In pain", "Patient is in pain and calls a nurse"], ["Unwell", "Patient feels unwell and calls a nurse"]]) {
    await e.getByRole("button", {name: feels}).click();
    await e.getByText("Shall I call a nurse?").waitFor();
    assert.deepEqual(await e.locator(".ask button").allInnerTexts(), ["Yes", "No"]);
    await page.keyboard.press("Enter"); // it has the focus
    await page.waitForFunction((text) => client.alerts[0]?.text === text, text);
    await e.getByText("Thank you.").waitFor();
    await e.getByRole("button", {name: "I am fine now"}).click();
    await page.waitForFunction("client.alerts[0].condition === 'over'"); // it stays until a nurse has seen it
  }
  await e.getByRole("button", {name: "Good"}).click();
  await e.getByText("Thank you.").waitFor();
  assert.equal(await e.locator(".ask").isVisible(), false);
});

test("A patient whose line is dead is told at once where to press, and a message is not lost", async (t) => {
  const {hub, open} = await openScreens(t), page = await open(call, {...hers, client: {storage: "rosa"}}), e = page.locator("cw-call"), messages = page.locator("cw-messages");
  await page.evaluate(`void (window.told = new Promise((done) => { const s = document.querySelector("cw-call").shadowRoot.querySelector(".status");
    new MutationObserver(() => s.textContent.includes("red button") && done(performance.now())).observe(s, {childList: true, characterData: true, subtree: true}); }));`);
  await page.evaluate("void (window.lost = new Promise((done) => client.on('state', (s) => s.name === 'lost' && done(performance.now()))))");
  await hub.kill();
  await e.getByText("This does not work now. Press the red button at your bed.").waitFor();
  t.diagnostic(`told ${await page.evaluate("Promise.all([told, lost]).then(([a, b]) => Math.round(a - b))")} ms after the line was lost`);
  await messages.getByRole("textbox").fill("May I get up?");
  await messages.getByRole("button", {name: "Send"}).click();
  await messages.getByText("waiting for the line; it is kept").waitFor();
  assert.deepEqual(await violations(page), []);
  await hub.start();
  await page.reload();
  await page.waitForFunction("client.state.name === 'live' && client.commands.size === 0");
  await messages.getByText("May I get up?").waitFor();
  await messages.getByText("not read yet").waitFor();
});

test("Messages: to her, from her, read and answered; a draft stays", async (t) => {
  const {hub, open} = await openScreens(t), page = await open(call, hers), desk = await open('<cw-counts></cw-counts><cw-messages></cw-messages>'), there = desk.locator("cw-messages"), here = page.locator("cw-messages");
  await here.getByRole("textbox").fill("I have chest pain");
  await here.getByRole("button", {name: "Send"}).click();
  await there.getByText("I have chest pain").waitFor();
  await desk.locator('cw-counts [data-count="messages"]', {hasText: "1"}).waitFor();
  await there.getByRole("button", {name: /^Reply/}).click();
  await there.getByRole("textbox").fill("I am");
  await desk.keyboard.press("Escape");
  await hub.client(staff).notify({patient: "p-1", to: ["group:ward"], text: "Blood is taken."}).over;
  await there.getByText("Blood is taken.").waitFor();
  assert.equal(await there.getByRole("textbox").inputValue(), "I am", "a new message takes no draft away");
  await there.getByRole("textbox").fill("I am coming.");
  await there.getByRole("button", {name: "Send"}).click();
  await here.getByText("I am coming.").waitFor();
  await here.getByText(/read by Ada/).waitFor();
  await here.getByRole("button", {name: /^Read/}).click();
  await there.getByText(/read by/).first().waitFor();
  assert.equal(await here.locator("li", {hasText: "I am coming."}).getByText("not read yet").count(), 0, "of a message to her");
  assert.deepEqual(await violations(desk), []);
});

test("A wall of 40 beds: nothing is scrolled or pressed, and the digits are large", async (t) => {
  const {hub, open, ids} = await openScreens(t, 40), monitor = hub.client(device), service = hub.client(staff);
  await publish(monitor, ...ids.map((id, i) => heartRate(id, 100 + i)), ...ids.map((patient) => ({patient, code: "1104051000000101", system: "snomed", value: 12, unit: "{score}"})));
  await publish(monitor, ...ids.map((patient) => ({patient, code: "59408-5", value: 100, unit: "%"})), ...ids.map((patient) => ({patient, code: "9279-1", value: 14, unit: "/min"})));
  const page = await open("<cw-wall></cw-wall>", {who: viewer}, {viewport: {width: 1920, height: 1080}});
  await page.evaluate("document.querySelector('main').style.padding = 0");
  await raise(service, {patient: "p-7", key: "k", text: "Oxygen saturation low", code: "59408-5", source: {limits: "≥ 90 %", value: 84, unit: "%"}});
  await page.locator('cw-wall [data-patient="p-7"].untaken').waitFor();
  await page.waitForFunction("document.querySelector('cw-wall').shadowRoot.querySelectorAll('article').length === 40");
  const seen = await page.evaluate(() => {
    const root = document.querySelector("cw-wall").shadowRoot, size = (find) => parseFloat(getComputedStyle(root.querySelector(find)).fontSize);
    const boxes = [...root.querySelectorAll("article")], outside = boxes.filter((e) => { const r = e.getBoundingClientRect(); return r.bottom > innerHeight || r.right > innerWidth; }).length;
    const cut = boxes.flatMap((e) => [...e.querySelectorAll("header, dd, dl")]).filter((e) => e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 8).map((e) => e.tagName + e.textContent + e.scrollWidth + "/" + e.clientWidth + " " + e.scrollHeight + "/" + e.clientHeight).slice(0, 3);
    return {digits: size("dd"), bed: size("header"), label: size("dt"), outside, cut, scrolls: document.documentElement.scrollHeight > innerHeight, buttons: root.querySelectorAll("button").length};
  });
  await shoot(page, "wall");
  assert.deepEqual({...seen, digits: seen.digits >= 48, bed: seen.bed >= 33, label: seen.label >= 24}, {digits: true, bed: true, label: true, outside: 0, cut: [], scrolls: false, buttons: 0}, JSON.stringify(seen));
  assert.deepEqual(await violations(page), []);
  assert.doesNotMatch(await page.evaluate("document.querySelector('cw-wall').shadowRoot.textContent"), /Rosa Alvarez/, "initials only");
  await hub.kill();
  await page.locator("cw-wall", {hasText: "The connection is lost"}).waitFor();
});

test("Beyond 40 beds there are pages, with those who need somebody on each", async (t) => {
  const {hub, open} = await openScreens(t, 60), page = await open("<cw-wall></cw-wall>", {who: viewer}, {viewport: {width: 1920, height: 1080}});
  await raise(hub.client(staff), {patient: "p-60", key: "k", text: "last bed"});
  await page.locator('cw-wall [data-patient="p-60"].untaken').waitFor();
  const first = await page.locator("cw-wall article").nth(1).getAttribute("data-patient");
  await page.waitForFunction((first) => document.querySelector("cw-wall").shadowRoot.querySelectorAll("article")[1].dataset.patient !== first, first);
  assert.equal(await page.locator('cw-wall [data-patient="p-60"]').count(), 1);
});

test("Sixteen strips sweep with a recorded ECG, and missing stretches stay empty", async (t) => {
  const {open} = await openScreens(t, 1), page = await open(Array.from({length: 16}, (_, i) => `<cw-wave patient="p-1" code="131330" label="II, bed ${i + 1}"></cw-wave>`).join(""));
  const raw = gunzipSync(readFileSync(join(here, "../../../examples/ward/ecg-mitdb208.i16.gz"))), samples = Array.from({length: 2500}, (_, i) => raw.readInt16LE(2 * i));
  const figures = await page.evaluate(async (samples) => {
    const waves = [...document.querySelectorAll("cw-wave")], began = Date.now();
    const packed = (list) => btoa(String.fromCharCode(...list.flatMap((s, i) => {
      let z = s - (i ? list[i - 1] : 0);
      z = z < 0 ? -2 * z - 1 : 2 * z;
      const bytes = [];
      for (; z > 127; z = Math.floor(z / 128)) bytes.push(z % 128 + 128);
      return [...bytes, z];
    })));
    const timer = setInterval(() => {
      for (; sent < (Date.now() - began) / 250; sent++) {
        if (sent > 7 && sent < 12) continue; // a second is lost
        const at = (sent * 90) % 2300, wave = {patient: "p-1", code: "131330", system: "mdc", unit: "mV", rate: 360, n: sent, time: new Date(began + 250 * sent).toISOString(), data: packed(samples.slice(at, at + 90))};
        for (const w of waves) w.push(wave);
      }
    }, 50), frames = [];
    let sent = 0;
    for (let last = await new Promise(requestAnimationFrame), end = last + 5000; last < end;) {
      const now = await new Promise(requestAnimationFrame);
      frames.push(now - last);
      last = now;
    }
    frames.sort((a, b) => a - b);
    const pieces = waves.map((w) => {
      const c = w.shadowRoot.querySelector("canvas"), data = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
      const columns = Array.from({length: c.width}, (_, x) => { for (let y = 0; y < c.height; y++) if (data[4 * (y * c.width + x) + 3] > 0) return "x"; return " "; }).join("");
      return columns.trim().split(/ {20,}/).length;
    });
    return {p50: frames[Math.floor(frames.length / 2)], p95: frames[Math.floor(0.95 * frames.length)], pieces, timer};
  }, samples);
  t.diagnostic(`a frame lasts ${figures.p50.toFixed(1)} ms, p95 ${figures.p95.toFixed(1)} ms, with 16 strips`);
  for (const pieces of figures.pieces) assert.ok(pieces >= 2, `drawn in ${pieces} pieces: it is joined over the gap, or empty`);
  await shoot(page, "waves");
  await page.evaluate("clearInterval(" + figures.timer + ")");
  await page.locator("cw-wave").first().getByText("No wave").waitFor();
  assert.deepEqual(await violations(page), []);
  assert.deepEqual(page.said, []);
});

test("One of several devices is drawn, no test, and the strip of an alert is there afterwards", async (t) => {
  const {hub, open} = await openScreens(t, 1), html = `<cw-wave patient="p-1" code="131330"></cw-wave><cw-wave patient="p-1" code="131330" device="other"></cw-wave>
    <cw-wave patient="p-1" code="131330" test></cw-wave><cw-history patient="p-1"></cw-history>`;
  const page = await open(html), send = await waveSender(t, hub, device), began = Date.now();
  await page.evaluate("client.watch({patients: ['p-1'], waves: ['*']}).ready");
  let n = 0;
  const chunk = (more) => ({...wave(n), time: new Date(began + 250 * n).toISOString(), rate: 20, ...more});
  const timer = setInterval(() => {
    for (; n < (Date.now() - began) / 250; n++) if (n % 24 > 3) send(chunk({n: n + 1}), chunk({n: n + 1, device: "other"})); // one second of six is lost
  }, 50);
  t.after(() => clearInterval(timer));
  const notes = ["", "", "No wave"]; // no test comes
  await page.waitForFunction((notes) => [...document.querySelectorAll("cw-wave")].every((e, i) => e.shadowRoot.querySelector(".late").textContent === notes[i]), notes);
  const alert = await raise(hub.client(staff), {patient: "p-1", key: "k", text: "asystole"});
  await page.locator("cw-history button.strip").click();
  await page.locator("cw-strip figure").nth(1).waitFor();
  const later = await open(`<cw-strip patient="p-1" key="k" alert="${alert.alert_id}"></cw-strip><cw-strip patient="p-1" key="k" alert="none"></cw-strip>`);
  await later.locator("cw-strip figure").nth(1).waitFor();
  await later.locator("cw-strip").nth(1).getByText("No waves were kept").waitFor();
  const pieces = await later.evaluate(() => [...document.querySelector("cw-strip").shadowRoot.querySelectorAll("canvas")].map((c) => {
    const {data} = c.getContext("2d").getImageData(0, 0, c.width, c.height);
    return Array.from({length: c.width}, (_, x) => { for (let y = 0; y < c.height; y++) if (data[4 * (y * c.width + x) + 3] > 0) return "x"; return " "; }).join("").trim().split(/ {20,}/).length;
  }));
  assert.ok(pieces.length === 2 && pieces.every((n) => n > 1), "each has its gaps: " + pieces);
  for (const p of [page, later]) {
    assert.deepEqual(await violations(p), []);
    assert.deepEqual(p.said, []);
  }
});

test("A pause is said to everybody, with its reason, and ends", async (t) => {
  const {open} = await openScreens(t), html = '<cw-pause patient="p-1"></cw-pause><cw-patients></cw-patients>', page = await open(html), other = await open(html, {who: viewer}), form = page.locator("cw-pause");
  await form.getByLabel("Minutes").fill("3");
  await form.getByLabel("Reason (needed)").fill("X-ray");
  await form.getByRole("button", {name: "Pause alerts"}).click();
  await form.getByText(/alerts paused until .* by Ada: X-ray/).waitFor();
  await other.locator('cw-patient[patient="p-1"]').getByText(/paused until/).waitFor();
  assert.equal(await other.locator("cw-pause button:visible").count(), 0, "a viewer may not");
  await form.getByRole("button", {name: "End the pause"}).click();
  await other.locator('cw-patient[patient="p-1"]').getByText(/paused until/).waitFor({state: "detached"});
});
