// Drives a browser for a test: each line of input is a command as JSON, and is
// answered by a line. The test, not this program, decides about the result.
//
//   {"do": "open", "tab": NAME, "url": URL}
//   {"do": "texts", "tab": NAME, "find": SELECTOR}           the texts of all that match and are shown
//   {"do": "values", "tab": NAME, "find": SELECTOR, "name": ATTRIBUTE}
//   {"do": "click", "tab": NAME, "find": SELECTOR}
//   {"do": "fill", "tab": NAME, "find": SELECTOR, "text": TEXT}
//   {"do": "run", "tab": NAME, "script": SOURCE}             as a script of the page
//   {"do": "said", "tab": NAME}                              the page's output on its console
//   {"do": "resize", "tab": NAME, "width": TEXT}             in pixels
//   {"do": "wide", "tab": NAME}                              whether the page is wider than its window
//   {"do": "look", "tab": NAME, "width": TEXT, "height": TEXT, "scheme": "light" or "dark", "file": PATH}   a picture of the window
//   {"do": "shoot", "tab": NAME, "file": PATH}
//   {"do": "leave", "tab": NAME, "url": URL}                 to another page, in the same tab
//   {"do": "grant", "url": URL}                              notifications may be shown
//   {"do": "push", "tab": NAME, "data": TEXT}                to the service worker of the tab's origin
//   {"do": "notified", "tab": NAME}                          the notifications shown: "title|body|actions", and "|again" if it sounds again
//   {"do": "press", "tab": NAME, "action": TEXT}             a button of the notification that is shown
//   {"do": "subscribed", "tab": NAME, "token": TEXT}         from now on the page finds a push subscription that was made with the ward's key
//   {"do": "uninstallable", "tab": NAME}                     why the page cannot be installed
//   {"do": "close", "tab": NAME}
import {createInterface} from "node:readline";
import {chromium} from "playwright-core";

const patience = 60000; // ms
const browser = await chromium.launch({executablePath: process.argv[2], args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
  "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"], timeout: patience});
const context = await browser.newContext({viewport: {width: 1400, height: 900}, ignoreHTTPSErrors: true});
context.setDefaultTimeout(patience);
const tabs = new Map();

// stand says where a page that does nothing stands: the functions that run, whether it
// answers, and whether it draws.
async function stand({cdp}) {
  const soon = (promise) => Promise.race([promise.catch(String), new Promise((done) => setTimeout(done, 5000, "nothing within 5 s"))]);
  const paused = new Promise((done) => cdp.once("Debugger.paused", (p) => done(p.callFrames.map((f) => `${f.functionName} ${f.url}:${f.location.lineNumber + 1}`))));
  await soon(cdp.send("Debugger.pause"));
  const running = await soon(paused);
  await soon(cdp.send("Debugger.resume"));
  const value = async (expression) => (await soon(cdp.send("Runtime.evaluate", {expression, awaitPromise: true})))?.result?.value ?? "nothing";
  return {running, answers: await value("document.visibilityState"), draws: await value("new Promise((done) => requestAnimationFrame(() => done(true)))")};
}

async function carry(c) {
  const tab = tabs.get(c.tab);
  switch (c.do) {
  case "open": {
    const page = await context.newPage();
    const said = [];
    page.on("console", (m) => said.push(`${m.type()}: ${m.text()}`));
    page.on("pageerror", (e) => said.push(`uncaught: ${e}`));
    const cdp = await context.newCDPSession(page);
    await cdp.send("Debugger.enable"); // else a page that runs for ever could not be paused
    tabs.set(c.tab, {page, said, cdp});
    await page.goto(c.url);
    return page.url();
  }
  case "texts": return await tab.page.locator(c.find).filter({visible: true}).allInnerTexts();
  case "values": return await tab.page.locator(c.find).evaluateAll((all, name) => all.map((e) => e.getAttribute(name) ?? ""), c.name);
  case "click": {
    try {
      await tab.page.locator(c.find).click({timeout: patience / 2});
    } catch (e) { // on a busy machine Chromium has not answered a press for ever, though the page did
      const {answers, draws} = await stand(tab);
      if (!String(e).includes("performing click action") || answers !== "visible" || !draws) throw e;
      console.error(`${c.tab}: ${c.find} is pressed again: ${e}`);
      await tab.page.locator(c.find).click({timeout: patience / 2});
    }
    return await tab.page.mouse.move(0, 0); // a list holds its rows while a pointer is in it
  }
  case "fill": return await tab.page.locator(c.find).fill(c.text);
  case "run": return void await tab.page.addScriptTag({content: c.script});
  case "said": return tab.said;
  case "resize": return await tab.page.setViewportSize({width: Number(c.width), height: 900});
  case "wide": return await tab.page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  case "look":
    await tab.page.setViewportSize({width: Number(c.width), height: Number(c.height)});
    await tab.page.emulateMedia({colorScheme: c.scheme});
    await tab.page.waitForTimeout(1500); // it has drawn
    return void await tab.page.screenshot({path: c.file});
  case "shoot": return void await tab.page.screenshot({path: c.file, fullPage: true});
  case "leave": return void await tab.page.goto(c.url);
  case "grant": return await context.grantPermissions(["notifications"], {origin: c.url});
  case "push": return await push(tab.page, c.data);
  case "notified": return await worker().evaluate(async () =>
    (await self.registration.getNotifications()).map((n) => `${n.title}|${n.body}|${n.actions.map((a) => a.action).join()}${n.renotify ? "|again" : ""}`));
  case "press": return await worker().evaluate(async (action) => { // the protocol has nothing for it
    const [notification] = await self.registration.getNotifications(), event = new NotificationEvent("notificationclick", {notification, action});
    let over;
    event.waitUntil = (promise) => { over = promise; };
    self.dispatchEvent(event);
    await over;
  }, c.action);
  case "subscribed": return await tab.page.evaluate(subscribed, c.token);
  case "uninstallable": {
    const {installabilityErrors} = await (await context.newCDPSession(tab.page)).send("Page.getInstallabilityErrors");
    return installabilityErrors.map((e) => e.errorId).filter((id) => id !== "in-incognito"); // as each context here is
  }
  case "close": return await tab.page.close();
  }
  throw new Error("no such command");
}

const worker = () => context.serviceWorkers()[0];

// subscribed replaces the page's subscription: a browser without a push service has no subscription.
async function subscribed(token) {
  const {push} = await (await fetch("ward", {headers: {Authorization: "Bearer " + token}})).json();
  const applicationServerKey = Uint8Array.from(atob(push.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0)).buffer;
  const toJSON = () => ({endpoint: "https://push.test/1", keys: {p256dh: push, auth: "AAAAAAAAAAAAAAAAAAAAAA"}});
  const unsubscribe = () => { throw new Error("it is good"); };
  PushManager.prototype.getSubscription = async () => ({options: {applicationServerKey}, toJSON, unsubscribe});
}

// push has the browser deliver a push, as if its push service had sent it.
async function push(page, data) {
  const cdp = await context.newCDPSession(page), {origin} = new URL(page.url());
  const registered = new Promise((done) => cdp.on("ServiceWorker.workerRegistrationUpdated", ({registrations}) => {
    const of = registrations.find((r) => r.scopeURL.startsWith(origin) && !r.isDeleted);
    if (of) done(of.registrationId);
  }));
  await cdp.send("ServiceWorker.enable");
  await cdp.send("ServiceWorker.deliverPushMessage", {origin, registrationId: await registered, data});
  await cdp.detach();
}

for await (const line of createInterface({input: process.stdin})) {
  const command = JSON.parse(line);
  try {
    console.log(JSON.stringify({ok: await carry(command) ?? null}));
  } catch (e) {
    const stands = [];
    for (const [name, tab] of tabs) stands.push(name, await stand(tab));
    console.log(JSON.stringify({error: `${e}\n${JSON.stringify(stands)}`}));
  }
}
await browser.close();
