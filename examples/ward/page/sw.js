// Keeps what the page is made of, and nothing of patients: the page opens while the network is away, and says so itself.
const shell = ["./", "page.css", "page.js", "desk.js", "limits.js", "screen.js", "elements.js", "icon.svg", "manifest.json"], name = "ward-shell";
const wanted = new Set(shell.map((path) => new URL(path, self.location).href));

self.addEventListener("install", (e) => e.waitUntil(caches.open(name).then((c) => c.addAll(shell)).then(() => self.skipWaiting())));
self.addEventListener("activate", (e) => e.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (e) => {
  if (e.request.method === "GET" && wanted.has(e.request.url)) e.respondWith(newest(e.request));
});

// newest asks the server, which answers 304 while nothing has changed, and takes what is kept where there is none.
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
