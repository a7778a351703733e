// Keeps the page's own files, and nothing of patients: the page opens while the network is away, and says so itself.
const shell = ["./", "page.css", "page.js", "desk.js", "limits.js", "screen.js", "elements.js", "icon.svg", "manifest.json"], name = "ward-shell";
const wanted = new Set(shell.map((path) => new URL(path, self.location).href));

self.addEventListener("install", (e) => e.waitUntil(caches.open(name).then((c) => c.addAll(shell)).then(() => self.skipWaiting())));
self.addEventListener("activate", (e) => e.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (e) => {
  if (e.request.method === "GET" && wanted.has(e.request.url)) e.respondWith(newest(e.request));
});

// newest asks the server, which answers 304 while nothing has changed, and takes the kept copy where there is no network.
async function newest(request) {
  const cache = await caches.open(name);
  try {
    const answer = await fetch(request, {signal: AbortSignal.timeout(5000)});
    if (answer.ok) cache.put(request, answer.clone());
    return answer;
  } catch (failed) {
    const kept = await cache.match(request);
    if (kept) return kept;
    throw failed;
  }
}

// ---- Pushes: a push names an alert, and nothing more. The ward tells the rest, to the person's token. ----

self.addEventListener("push", (e) => e.waitUntil(told(e.data?.json() ?? {})));
self.addEventListener("notificationclick", (e) => {
  e.notification.close();
  e.waitUntil(e.action === "accept" ? accept(e.notification.data) : self.clients.openWindow("./"));
});

// report tells the ward the outcome of a page, and gets the alert's text and bed. A real host would use a session cookie.
async function report(push, outcome) {
  const token = await (await (await caches.open("ward-who")).match("token"))?.text();
  return fetch("page", {method: "POST", headers: {Authorization: "Bearer " + token}, body: JSON.stringify({key: push.key, outcome}), signal: AbortSignal.timeout(15000)});
}

const show = (push, title, more) => self.registration.showNotification((push.test ? "TEST: " : "") + title, {tag: push.alert_id, icon: "icon.svg", data: push, ...more});

// told shows a push. Where the ward cannot be asked there is no receipt, and others are told.
async function told(push) {
  const urgent = {requireInteraction: true, renotify: Boolean(push.alert_id)}; // a later page of the alert sounds again; that needs a tag
  const answer = await report(push, "delivered").catch(() => undefined);
  if (answer?.status === 404) return show(push, "An alert is over");
  if (!answer?.ok) return show(push, "There is an alert. Open the ward.", urgent);
  const about = await answer.json();
  if (about.accepted) return show(push, about.text, {body: about.bed + " · somebody has accepted it"});
  return show(push, about.text, {...urgent, body: about.bed, actions: [{action: "accept", title: "Accept"}]});
}

// accept takes the alert, by one POST.
async function accept(push) {
  const answer = await report(push, "accepted").catch(() => undefined);
  if (answer?.ok) return show(push, "You have accepted: " + (await answer.json()).text);
  return show(push, answer?.status === 404 ? "The alert is over" : "Not accepted. Open the ward.", {requireInteraction: true});
}
