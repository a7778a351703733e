package integration

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
)

// phone is a client in Python with nothing but its standard library: it answers
// a push, and reads a stream.
const phone = `
import json, sys, urllib.error, urllib.request
url, token, patient, key, alert = sys.argv[1:]
def post(token, body, accept="application/json"):
    headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json", "Accept": accept}
    return urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=60)
print("reply", post(token, {"type": "answer", "req": "1", "patient": patient, "key": key, "alert_id": alert,
    "event_id": "phone-1", "do": "accept", "reason": "from my phone"}).read().decode(), flush=True)
try:
    post("thief", {"type": "watch", "req": "1", "patients": [patient]})
except urllib.error.HTTPError as e:
    print("thief", e.code, flush=True)
for line in post(token, {"type": "watch", "req": "2", "patients": [patient]}, "text/event-stream"):
    if line.startswith(b"data: "):
        print(line[6:].decode().strip(), flush=True)
print("end", flush=True)
`

// Python's own HTTP client answers an alert, watches the next events, and is told
// when the server ends.
func TestPythonPosts(t *testing.T) {
	need(t, needed{"Python", func() error { _, err := exec.LookPath("python3"); return err }})
	w := openWard(t, "-quiet")
	const patient = "p-13"
	bell, gateway := dial(t, w.url(), "dr-bell"), dial(t, w.url(), "gateway-1")
	watch(t, bell, carewire.WatchOptions{Patients: []string{patient}})
	raised := raise(t, gateway, patient, "spo2-low", "SpO2 low")
	r := process.Start(t, exec.Command("python3", "-u", "-c", phone, w.http()+"/carewire", "nurse-ada", patient, raised.Key, raised.ID))
	_, n := r.Out.Await(t, 0, `^reply \{"type":"ok","req":"1","alert":.*"state":"accepted","by":\{"id":"nurse-ada"`)
	await(t, bell, "the name of the person who has accepted", func(e *carewire.Event) bool {
		return e.Alert != nil && e.Alert.ID == raised.ID && e.Alert.Responsibility.By.ID == "nurse-ada" && e.Alert.Answers[0].Reason == "from my phone"
	})
	_, n = r.Out.Await(t, n, `^thief 401$`)
	for _, pattern := range []string{`^\{"type":"welcome".*"post"`, `^\{"type":"inbox"`, `^\{"type":"ok","req":"2","watching":\["p-13"\]`, `^\{"type":"sync"`, `^\{"type":"alert"`, `^\{"type":"synced"`} {
		_, n = r.Out.Await(t, n, pattern)
	}
	for i := range 3 {
		publish(t, gateway, carewire.HeartRate.Of(patient, float64(70+i)))
		_, n = r.Out.Await(t, n, fmt.Sprintf(`^\{"type":"vital".*"value":%d,`, 70+i))
	}
	w.stop()
	_, n = r.Out.Await(t, n, `^\{"type":"closed","code":1012\}$`)
	r.Out.Await(t, n, `^end$`)
	<-r.Ended
	require.NoError(t, r.Err, r.Log)
}

// fetches is a page's script. It probes, connects with a ticket, twice, and reads a stream.
const fetches = `
const say = (text) => { const p = document.createElement("p"); p.className = "post"; p.textContent = text; document.body.append(p); };
const post = (body, headers) => fetch("/carewire", {method: "POST", body,
  headers: {Authorization: "Bearer nurse-ada", "Content-Type": "application/json", ...headers}});
(async () => {
  say("probe " + (await post("")).status + " " + (await post("", {Authorization: "Bearer thief"})).status);
  const {ticket} = await (await post('{"type":"ticket","req":"1"}')).json();
  for (let i = 0; i < 2; i++) await new Promise((done) => {
    const ws = new WebSocket(location.href.replace(/^http/, "ws").replace("/simple", "/carewire"), ["carewire.v1", "carewire.ticket." + ticket]);
    ws.onmessage = (m) => { say("ticket " + JSON.parse(m.data).principal.id); ws.onclose = null; ws.close(); done(); };
    ws.onclose = (e) => { say("ticket " + e.code); done(); };
  });
  const reply = await post('{"type":"watch","req":"2","patients":["p-13"]}', {Accept: "text/event-stream"});
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = "";;) {
    const {done, value} = await reader.read();
    if (done) return say("end");
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const e of events) if (e.startsWith("data: ")) {
      const f = JSON.parse(e.slice(6));
      say("event " + f.type + " " + (f.vital?.value ?? f.code ?? ""));
    }
  }
})().catch((e) => say("failed: " + e));
`

// foreign is a script of another site's page, which tries both requests
// that need a preflight and requests that do not.
const foreign = `
const say = (text) => { const p = document.createElement("p"); p.className = "post"; p.textContent = text; document.body.append(p); };
(async () => {
  for (const [mode, type] of [["cors", "application/json"], ["cors", "text/plain"], ["no-cors", "text/plain"]]) {
    try {
      const r = await fetch("%s/carewire", {method: "POST", mode, credentials: "include", headers: {"Content-Type": type},
        body: '{"type":"history","req":"1","patient":"p-13"}'});
      say(mode + " " + type + " " + r.type + " " + r.status);
    } catch (e) { say(mode + " " + type + " " + e.name); }
  }
})();
`

// A page reads a stream by fetch, connects with a ticket once, and learns why
// it is refused; another site's page learns nothing.
func TestBrowserPosts(t *testing.T) {
	b := openBrowser(t)
	w := openWard(t, "-quiet")
	gateway := dial(t, w.url(), "gateway-1")
	page := b.open("page", w.http()+"/simple")
	page.run(fetches)
	page.shows(".post", "event synced")
	publish(t, gateway, carewire.HeartRate.Of("p-13", 71))
	page.shows(".post", "event vital 71")

	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<title>another site</title>")
	}))
	defer site.Close()
	other := b.open("other", site.URL)
	other.run(fmt.Sprintf(foreign, w.http()))
	other.shows(".post", "no-cors")
	require.Equal(t, []string{"cors application/json TypeError", "cors text/plain TypeError", "no-cors text/plain opaque 0"}, other.texts(".post"))

	w.stop()
	page.shows(".post", "end")
	said := page.texts(".post")
	require.Equal(t, []string{"probe 204 401", "ticket nurse-ada", "ticket 1006", "event welcome", "event inbox", "event ok", "event sync", "event synced", "event vital 71"}, said[:9])
	require.Equal(t, []string{"event closed 1012", "end"}, said[len(said)-2:])
}
