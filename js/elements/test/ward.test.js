// The view and the actions of a nurse.
import assert from "node:assert/strict";
import test from "node:test";
import {backend, bell, device, heartRate, nurse, openScreens, publish, raise, shoot, until, violations, ward} from "./screen.js";

const spo2 = (value) => ({patient: "p-1", code: "59408-5", value, unit: "%", device: "monitor"});
const low = {patient: "p-1", key: "spo2-low", code: "59408-5", text: "Oxygen saturation low", source: {rule: "spo2-low v1", limits: "≥ 90 %, well at 92", value: 84, unit: "%"}};
const staff = {...backend, groups: ["ward"], patients: device.patients};

const row = (page, text) => page.locator("cw-alerts li.row", {hasText: text});
const tile = (page, id) => page.locator(`cw-patient[patient="${id}"]`);
const texts = (page, find) => page.locator(find).allInnerTexts();
const order = async (page) => (await texts(page, "cw-alerts .row .line2"));

/** The two principals that publish and raise. */
const sources = (hub) => ({monitor: hub.client(device), service: hub.client(staff)});

test("A number that is out is marked with its limit, also after somebody has closed the alert", async (t) => {
  const {hub, open} = await openScreens(t), {monitor, service} = sources(hub), page = await open(ward), number = tile(page, "p-1").locator('[data-code="59408-5"]');
  await publish(monitor, spo2(84));
  const a = await raise(service, low);
  await number.and(page.locator(".marked.high")).getByText("< 90").waitFor();
  assert.match(await number.innerText(), /↓\s*84/);
  const ada = hub.client(nurse);
  assert.equal((await ada.close(a, {force: true, reason: "seen to"}).over).state, "done");
  await number.getByText("closed, still out").waitFor();
  assert.equal(await tile(page, "p-2").locator(".marked").count(), 0);
  await publish(monitor, spo2(95));
  await number.and(page.locator(":not(.marked)")).getByText("95").waitFor();
  await raise(service, {patient: "p-2", key: "score", code: "9279-1", text: "Score high", source: {rule: "score v1", limits: "total of seven"}});
  await tile(page, "p-2").locator(".badge", {hasText: "Score high"}).waitFor();
  assert.equal(await tile(page, "p-2").locator(".number.marked").count(), 0, "a score is no limit of its first number");
  assert.deepEqual(page.said, []);
});

test("A high alert that nobody has seen stays on top, and marks its tile, when it is over", async (t) => {
  const {hub, open} = await openScreens(t), {service} = sources(hub), page = await open(ward);
  await raise(service, {patient: "p-2", key: "low", priority: "low", text: "the low one"});
  const a = await raise(service, {patient: "p-1", key: "high", text: "the high one"});
  await service.clear(a).over;
  await row(page, "the high one").getByText("nobody has seen it").waitFor();
  await page.mouse.move(1200, 880);
  assert.deepEqual(await order(page), ["the high one", "the low one"]);
  await tile(page, "p-1").locator(".badge.filled", {hasText: "nobody has seen it"}).waitFor();
  await page.locator("cw-banner", {hasText: "the high one"}).waitFor();
});

test("A thousand changes while somebody presses: the answer goes to the alert that was pressed", async (t) => {
  const {hub, open} = await openScreens(t), {service} = sources(hub), page = await open(ward);
  await raise(service, {patient: "p-1", key: "first", priority: "low", text: "the first"});
  const places = [page.locator("cw-banner button"), row(page, "the first").locator(".accept")];
  const answers = [];
  await page.exposeFunction("answered", (text) => { answers.push(text); });
  await page.evaluate("hub.addEventListener('cw-answer', (e) => { answered(e.detail.alert.text); e.preventDefault(); })");
  await page.waitForTimeout(500); // a new alert cannot be answered in the banner at once
  const ends = {};
  let n = 0;
  for (const place of places) {
    await place.scrollIntoViewIfNeeded();
    const box = await place.boundingBox();
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await page.mouse.down();
    for (let i = 0; i < 50; i++) {
      const found = [];
      for (let j = 0; j < 10; j++) found.push(service.raise({patient: j % 2 ? "p-1" : "p-2", key: `${i % 4}-${j}`, priority: ["high", "medium", "low"][(i + j) % 3], text: `another ${n++}`, to: ["group:ward"]}).over);
      for (const c of await Promise.all(found)) ends[c.state + (c.code ?? "")] = (ends[c.state + (c.code ?? "")] ?? 0) + 1;
    }
    await page.waitForFunction("client.alerts.length > 20");
    await page.mouse.up();
    await page.waitForTimeout(50);
  }
  await until(() => "two answers: " + answers, () => answers.length === 2);
  assert.deepEqual(answers, ["the first", "the first"]);
  assert.deepEqual([n, ends], [1000, {done: 1000}]);
});

test("Rows stay while a pointer or the focus is inside, and the focus goes to the next one", async (t) => {
  const {hub, open} = await openScreens(t), {service} = sources(hub), page = await open(ward);
  for (const text of ["one", "two"]) await raise(service, {patient: "p-1", key: text, priority: "medium", text});
  await row(page, "two").waitFor();
  await row(page, "one").locator(".accept").focus();
  await raise(service, {patient: "p-2", key: "three", text: "three"});
  await page.getByText("1 new").waitFor();
  assert.deepEqual(await order(page), ["one", "two"]);
  await page.keyboard.press("Enter");
  assert.match(await page.evaluate("document.activeElement.shadowRoot.activeElement.ariaLabel"), /^Accept: two/);
  await row(page, "one").getByText("You have it").waitFor();
  assert.deepEqual(await order(page), ["one", "two"], "they have not moved");
  await page.getByText("1 new").click();
  assert.match(await page.evaluate("document.activeElement.shadowRoot.activeElement.ariaLabel"), /^Accept: three/, "the most urgent has the focus");
  await page.mouse.move(1200, 880);
  assert.deepEqual(await order(page), ["three", "two", "one"]);
  const box = async (find) => await row(page, "two").locator(find).boundingBox(), accept = await box(".accept"), reject = await box(".reject"), more = await box(".more");
  for (const b of [accept, reject, more]) assert.ok(b.width >= 48 && b.height >= 48, JSON.stringify(b));
  assert.ok(reject.x - accept.x - accept.width >= 16 && more.x - reject.x - reject.width >= 24);
});

test("Two people accept at once: one is told the name of the other", async (t) => {
  const {hub, open} = await openScreens(t), {service} = sources(hub), ada = await open(ward), other = await open(ward, {who: bell});
  await raise(service, {patient: "p-1", key: "k", text: "one alert"});
  for (const page of [ada, other]) await row(page, "one alert").waitFor();
  await other.evaluate("client.subscribe = () => () => {}"); // events are not drawn any more before the press
  await ada.evaluate("window.held = client.alerts[0]");
  await other.evaluate("window.held = {...client.alerts[0]}");
  await row(ada, "one alert").locator(".accept").click();
  await row(ada, "one alert").getByText("You have it").waitFor();
  const state = await other.evaluate("client.accept(held).over.then((c) => c.code + ' ' + c.alert.responsibility.by.id)");
  assert.equal(state, "conflict ada");
});

test("An answer says that it is sent, that it waits, and that it was too late", async (t) => {
  const {hub, open} = await openScreens(t), {service} = sources(hub), page = await open(ward);
  await raise(service, {patient: "p-1", key: "k", text: "one alert"});
  const r = row(page, "one alert");
  await r.waitFor();
  hub.child.kill("SIGSTOP");
  try {
    await page.evaluate(`window.seen = []; new MutationObserver(() => {
      const s = document.querySelector("cw-alerts").shadowRoot.querySelector(".outcome").textContent;
      if (s !== seen.at(-1)?.[0]) seen.push([s, performance.now() - window.began]);
    }).observe(document.querySelector("cw-alerts").shadowRoot, {subtree: true, childList: true, characterData: true});
    hub.addEventListener("cw-answer", () => { window.began = performance.now(); });`);
    await r.locator(".accept").click();
    await r.getByText("not sent: too late").or(r.getByText("It may have been carried out")).waitFor();
    const seen = await page.evaluate("seen");
    const at = (word) => seen.find(([s]) => s.includes(word))?.[1];
    t.diagnostic(`sending after ${at("sending")} ms, waiting after ${at("waiting")} ms`);
    assert.ok(at("sending") < at("waiting"), JSON.stringify(seen));
    await page.locator("cw-trouble", {hasText: "Nothing for"}).or(page.locator("cw-trouble", {hasText: "lost"})).waitFor();
    assert.deepEqual(await violations(page), []);
  } finally {
    hub.child.kill("SIGCONT");
  }
});

test("A line that is lost is no calm", async (t) => {
  const {hub, open} = await openScreens(t), page = await open(ward), list = page.locator("cw-alerts");
  await list.getByText("None").waitFor();
  await hub.kill();
  await page.locator("cw-trouble", {hasText: "The connection is lost"}).waitFor();
  await list.getByText("Unknown: not current").waitFor();
  await page.locator("cw-banner", {hasText: "Unknown"}).waitFor();
  await tile(page, "p-1").getByText("not current").waitFor();
  assert.deepEqual(await violations(page), []);
  await hub.control().catch(() => {});
  await hub.start();
  await hub.control({Members: {ward: ["p-1", "p-2"]}});
  await page.locator("cw-trouble").getByText("Try now").click().catch(() => {}); // it may be back already
  await page.locator("cw-line", {hasText: "Live"}).waitFor();
});

test("A storm of 40: twelve rows are in sight, the counters are exact, high is said first", async (t) => {
  const {hub, open, ids} = await openScreens(t, 20), {service} = sources(hub), page = await open(ward), all = [];
  for (let i = 0; i < 40; i++) all.push(raise(service, {patient: ids[i % 20], key: "k" + i, priority: i % 10 === 9 ? "high" : i % 3 ? "low" : "medium", text: `storm ${i}`, kind: i === 5 ? "technical" : "physiological"}));
  await Promise.all(all);
  await page.waitForFunction("client.alerts.length === 40");
  await page.locator("cw-alerts", {hasText: "Needs somebody (39)"}).waitFor();
  const seen = await page.evaluate(() => [...document.querySelector("cw-alerts").shadowRoot.querySelectorAll(".row")].filter((e) => { const r = e.getBoundingClientRect(); return r.top >= 0 && r.bottom <= innerHeight; }).length);
  assert.ok(seen >= 12, `${seen} rows are in sight`);
  const counts = await page.evaluate(() => Object.fromEntries([...document.querySelector("cw-counts").shadowRoot.querySelectorAll("li")].map((e) => [e.dataset.count, e.querySelector("b").textContent])));
  assert.deepEqual(counts, {high: "4", medium: "12", low: "23", technical: "1", messages: "0"});
  assert.deepEqual((await order(page)).slice(0, 4).every((s) => ["storm 9", "storm 19", "storm 29", "storm 39"].includes(s)), true);
  assert.deepEqual(await violations(page), []);
  await shoot(page, "storm");
});

test("A test is marked as one everywhere, and comes last", async (t) => {
  const {hub, open} = await openScreens(t), {monitor, service} = sources(hub), page = await open(ward);
  await raise(service, {patient: "p-2", key: "real", priority: "low", text: "real"});
  await raise(service, {patient: "p-1", key: "try", text: "tried", test: true}).catch(() => t.skip("nobody may test here"));
  await row(page, "tried").getByText("TEST").waitFor();
  await page.mouse.move(1200, 880);
  assert.deepEqual(await order(page), ["real", "tried"]);
  await tile(page, "p-1").locator(".badge", {hasText: "TEST"}).waitFor();
  await publish(monitor, heartRate("p-1", 70, {test: true}));
  await tile(page, "p-1").locator('[data-code="8867-4"]', {hasText: "TEST"}).waitFor();
});

test("Assign, hand over, take over and close, each with its reason", async (t) => {
  const {hub, open} = await openScreens(t), {service} = sources(hub), page = await open(ward), other = await open(ward, {who: bell});
  await raise(service, {patient: "p-1", key: "k", text: "one alert"});
  const r = row(page, "one alert"), o = row(other, "one alert");
  await r.locator(".accept").click();
  await r.getByText("You have it").waitFor();
  await r.locator(".more").click();
  await r.locator("select").selectOption("person:bell");
  await r.locator('[data-do="handover"]').click();
  await o.getByText("Ada offers it to you").waitFor();
  await o.getByRole("button", {name: "Take over"}).click();
  await r.getByText("Dr. Bell has it").waitFor();
  await r.getByLabel("Reason (needed)").fill("I am there");
  await r.locator('[data-do="takeOver"]').click();
  await o.getByText("Ada has it").waitFor();
  await r.locator('[data-do="close"]').click();
  assert.equal(await r.getByLabel("Reason (needed)").evaluate((e) => e.validity.valid), false, "a reason is needed");
  await r.getByLabel("Reason (needed)").fill("probe was off");
  await r.locator('[data-do="close"]').click();
  await o.getByText("Over", {exact: true}).waitFor(); // a pointer is in the list
  await other.mouse.move(1200, 880);
  await o.waitFor({state: "detached"});
  const history = page.locator("cw-history");
  await page.evaluate(`document.querySelector("cw-hub").insertAdjacentHTML("beforeend", '<cw-history patient="p-1"></cw-history>')`);
  for (const step of ["raised, High", "Ada accepted", "Ada offered to Dr. Bell", "Dr. Bell accepted", "Ada accepted: I am there", "closed by Ada: probe was off"]) await history.getByText(step).first().waitFor();
  assert.deepEqual(page.said, []);
});

test("A number shows its state: old, invalid, questionable, absent", async (t) => {
  const {hub, open} = await openScreens(t), {monitor} = sources(hub), page = await open('<cw-number patient="p-1" code="8867-4"></cw-number> <cw-number patient="p-1" code="59408-5"></cw-number> <cw-number patient="p-1" code="85354-9"></cw-number>');
  const n = (code) => page.locator(`cw-number[code="${code}"]`);
  await n("8867-4").getByText("no reading").waitFor();
  await publish(monitor, {...heartRate("p-1", 71), time: new Date(Date.now() - 90 * 60000).toISOString()});
  await n("8867-4").getByText("1 h 30 min old").waitFor();
  await publish(monitor, {...spo2(97), quality: ["questionable"]});
  await n("59408-5").getByText("97?").waitFor();
  await publish(monitor, {patient: "p-1", code: "59408-5", device: "monitor", absent: "error"});
  await n("59408-5").getByText("no signal").waitFor();
  await publish(monitor, {patient: "p-1", code: "85354-9", components: [{code: "8478-0", value: 93, unit: "mm[Hg]"}, {code: "8462-4", value: 80, unit: "mm[Hg]"}, {code: "8480-6", value: 120, unit: "mm[Hg]"}]});
  await n("85354-9").getByText("120/80").waitFor();
  await publish(monitor, {patient: "p-1", code: "85354-9", components: [{code: "8480-6", value: 121, unit: "mm[Hg]"}, {code: "8462-4", absent: "error"}]});
  await n("85354-9").getByText("121/–").waitFor();
  await publish(monitor, {patient: "p-1", code: "85354-9", components: [{code: "8480-6", absent: "error"}, {code: "8462-4", absent: "error"}]});
  await n("85354-9").getByText("no signal").waitFor();
  await publish(monitor, heartRate("p-1", "72.0"));
  await n("8867-4").getByText("72.0").waitFor();
  assert.deepEqual(await violations(page), []);
});

test("Complaint 9: an old value looks old, with the alerts paused too", async (t) => {
  const {hub, open} = await openScreens(t), {monitor} = sources(hub), page = await open('<cw-patient patient="p-1"></cw-patient> <cw-pause patient="p-1"></cw-pause>'), number = tile(page, "p-1").locator('[data-code="8867-4"]');
  await publish(monitor, {...heartRate("p-1", 71), time: new Date(Date.now() - 90 * 60000).toISOString()});
  await number.getByText("1 h 30 min old").waitFor();
  await hub.client(nurse).request({type: "pause", patient: "p-1", for_s: 300, reason: "washing"});
  await page.locator("cw-pause").getByText("alerts paused until").waitFor();
  assert.match(await number.innerText(), /1 h 3\d min old/);
  await publish(monitor, heartRate("p-1", 72));
  await number.getByText("72").waitFor();
  assert.doesNotMatch(await number.innerText(), /old/);
});

test("What was said by speech is shown to be, and when the next measurement is due", async (t) => {
  const {hub, open} = await openScreens(t), {service} = sources(hub), page = await open(ward + '<cw-history patient="p-1"></cw-history>'), heard = {kind: "speech", model: "ears 2", confidence: 0.67};
  const call = await raise(service, {patient: "p-1", key: "call", text: "Nurse called", source: {rule: "speech", recognition: heard}});
  await raise(service, {patient: "p-2", key: "news2", text: "NEWS2 high", source: {rule: "news2 v1", continuous: true}});
  assert.equal((await hub.client(nurse).accept(call, {source: {...heard, confidence: 1}}).over).state, "done");
  for (const step of ["Nurse called (by speech, 67 %)", "Ada accepted (by speech, 100 %)"]) await page.locator("cw-history").getByText(step).first().waitFor();
  await row(page, "Nurse called").locator(".more").click();
  for (const line of ["Nurse called (by speech, 67 %)", "Ada accepted (by speech, 100 %)"]) await row(page, "Nurse called").locator(".panel").getByText(line).first().waitFor();
  await row(page, "NEWS2 high").locator(".more").click();
  await row(page, "NEWS2 high").locator(".panel").getByText("measure all the time").waitFor();
});

test("A trend shows the past, and goes on", async (t) => {
  const {hub, open} = await openScreens(t), {monitor} = sources(hub);
  for (let i = 30; i > 0; i--) await publish(monitor, {...heartRate("p-1", 60 + i), time: new Date(Date.now() - i * 60000).toISOString()});
  const page = await open('<cw-trend patient="p-1" code="8867-4" hours="1"></cw-trend><cw-trend patient="p-2" code="8867-4" hours="1"></cw-trend>'), trend = page.locator('cw-trend[patient="p-1"]');
  await trend.getByText("Lowest 61 · Highest 90 · Last 61 /min").waitFor();
  assert.ok(await trend.locator("canvas").evaluate((c) => c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some((x) => x > 0)), "something is drawn");
  await publish(monitor, heartRate("p-1", 55));
  await trend.getByText("Lowest 55").waitFor();
  await page.locator('cw-trend[patient="p-2"]').getByText("Nothing in this time").waitFor();
  assert.deepEqual(await violations(page), []);
  await shoot(page, "trend");
  assert.deepEqual(page.said, []);
});

test("Sound is off until it is turned on, says so, and a pause ends with a worse alert", async (t) => {
  const {hub, open} = await openScreens(t), {service} = sources(hub), page = await open(ward), sound = page.locator("cw-sound");
  await page.evaluate("window.bursts = []; hub.addEventListener('cw-sound', (e) => bursts.push(e.detail.priority))");
  await raise(service, {patient: "p-1", key: "low", priority: "low", text: "low"});
  await row(page, "low").waitFor();
  await sound.getByText("Sound off", {exact: true}).waitFor();
  assert.deepEqual(await page.evaluate("bursts"), []);
  await sound.getByText("Turn sound on").click();
  await sound.getByText("Sound on", {exact: true}).waitFor();
  await page.waitForFunction("bursts.join() === 'low'");
  await sound.getByText("Pause sound").click();
  await sound.getByText("Sound paused").waitFor();
  await raise(service, {patient: "p-1", key: "high", text: "high"});
  await page.waitForFunction("bursts.includes('high')");
  await sound.getByText("Sound on", {exact: true}).waitFor();
  await page.waitForFunction("bursts.filter((p) => p === 'high').length > 1", undefined, {timeout: 60000});
});

test("A patient who is taken away is gone from all of it", async (t) => {
  const {hub, open} = await openScreens(t), {monitor, service} = sources(hub), page = await open(ward);
  await publish(monitor, heartRate("p-2", 71));
  await raise(service, {patient: "p-2", key: "k", text: "of p-2 alone"});
  await row(page, "of p-2 alone").waitFor();
  await row(page, "of p-2 alone").locator(".accept").hover();
  await hub.control({Members: {ward: ["p-1"]}});
  await row(page, "of p-2 alone").waitFor({state: "detached"});
  await tile(page, "p-2").waitFor({state: "detached"});
  await page.locator("cw-banner", {hasText: "Nothing waits"}).waitFor();
  assert.equal(await page.getByText("of p-2 alone").count(), 0);
});

test("A ward that cannot be looked up is named as not shown, until it can", async (t) => {
  const {hub, open} = await openScreens(t), page = await open(ward, {who: {...nurse, groups: ["ward", "ward-7"]}}), trouble = page.locator("cw-trouble .bar");
  assert.equal(await trouble.isVisible(), false);
  await hub.control({FailWards: true});
  await page.evaluate("void client.watch({groups: ['ward-7'], patients: ['p-99']})");
  await trouble.getByText("Not shown: everybody on the ward (your right cannot be checked now; asked again soon), Bed 99 Name of p-99 (your right cannot be checked now; asked again soon).").waitFor();
  assert.equal(await page.getByText("Nothing waits").count(), 0);
  assert.deepEqual(await violations(page), []);
  await shoot(page, "not-shown");
  await hub.control({FailWards: false, Members: {"ward-7": ["p-2"]}});
  await trouble.getByText("Not shown: Bed 99 Name of p-99 (you may not see it).").waitFor();
  await page.locator("cw-banner", {hasText: "Nothing waits"}).waitFor();
});

test("German, another language from a file, and from right to left at 390 pixels and 200 %", async (t) => {
  const {hub, open} = await openScreens(t), {monitor, service} = sources(hub);
  await publish(monitor, spo2(84));
  await raise(service, low);
  const german = await open(ward, {lang: "de"});
  await row(german, "SpO₂ 84 < 90").getByText("Übernehmen").waitFor();
  const narrow = "<cw-banner></cw-banner><cw-alerts></cw-alerts><cw-patients></cw-patients>";
  for (const [dir, scale] of [["ltr", 1], ["rtl", 1], ["ltr", 2]]) {
    const page = await open(narrow, {dir}, {viewport: {width: 390, height: 844}});
    await row(page, "84").waitFor();
    await page.evaluate((scale) => { document.documentElement.style.fontSize = `${100 * scale}%`; }, scale);
    const over = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
    assert.ok(over <= 0, `${dir} at ${scale}: ${over} px too wide`);
    await shoot(page, `narrow-${dir}-${scale}`);
  }
  const page = await open(ward, {lang: "fr"});
  await page.route("**/fr.json", (r) => r.fulfill({json: {accept: "Accepter", needs: "Sans personne"}}));
  await page.evaluate("hub.setAttribute('words', '/fr.json')");
  await row(page, "84").getByText("Accepter").waitFor();
  await page.locator("cw-alerts", {hasText: "Sans personne (1)"}).waitFor();
});

for (const media of [{colorScheme: "dark"}, {forcedColors: "active"}, {reducedMotion: "reduce"}]) {
  test(`Axe finds nothing: ${JSON.stringify(media)}`, async (t) => {
    const {hub, open} = await openScreens(t), {monitor, service} = sources(hub);
    await publish(monitor, spo2(84), heartRate("p-1", 70));
    for (const [i, priority] of ["high", "medium", "low", "info"].entries()) await raise(service, {patient: i % 2 ? "p-1" : "p-2", key: priority, priority, text: "An alert of priority " + priority});
    await raise(service, low);
    const page = await open(ward, {}, media);
    await row(page, "SpO₂ 84").waitFor();
    await row(page, "SpO₂ 84").locator(".more").click();
    assert.deepEqual(await violations(page), []);
    await shoot(page, "axe-" + Object.values(media)[0]);
  });
}
