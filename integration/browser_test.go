package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
)

// A browser is Chromium, driven by js/browser.mjs. It is one test's own.
type browser struct {
	t     testing.TB
	run   *process.Run
	input io.Writer
	next  int // line of the next answer
}

func openBrowser(t testing.TB) *browser {
	t.Helper()
	need(t, needNode, needChromium)
	cmd := exec.Command("node", "js/browser.mjs", chromium)
	input, err := cmd.StdinPipe()
	require.NoError(t, err)
	b := &browser{t: t, run: process.Start(t, cmd), input: input}
	t.Cleanup(func() { // before it is killed: the browser is to end too
		input.Close()
		select {
		case <-b.run.Ended:
		case <-time.After(process.Patience):
			t.Error("the browser does not end")
		}
	})
	return b
}

// do has a command carried out and its answer put into result, if that is not nil.
func (b *browser) do(command map[string]string, result any) {
	b.t.Helper()
	text, err := json.Marshal(command)
	require.NoError(b.t, err)
	_, err = fmt.Fprintf(b.input, "%s\n", text)
	require.NoError(b.t, err)
	line, next := b.run.Out.Await(b.t, b.next, `^\{.*\}$`)
	b.next = next
	var answer struct {
		OK    json.RawMessage
		Error string
	}
	require.NoError(b.t, json.Unmarshal([]byte(line[0]), &answer))
	require.Empty(b.t, answer.Error, "%v", command)
	if result != nil {
		require.NoError(b.t, json.Unmarshal(answer.OK, result))
	}
}

// A tab shows one page.
type tab struct {
	*browser
	name string
}

func (b *browser) open(name, url string) tab {
	b.t.Helper()
	b.do(map[string]string{"do": "open", "tab": name, "url": url}, nil)
	return tab{b, name}
}

func (p tab) texts(find string) (texts []string) {
	p.t.Helper()
	p.do(map[string]string{"do": "texts", "tab": p.name, "find": find}, &texts)
	return texts
}

// shows waits until one of the texts that find finds has want in it.
func (p tab) shows(find, want string) {
	p.t.Helper()
	process.Poll(p.t, process.Patience, func() (bool, string) {
		texts := p.texts(find)
		return slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(s, want) }),
			fmt.Sprintf("%q in %s of %s, which shows %q", want, find, p.name, texts)
	})
}

// alerts returns the IDs of the alerts that are shown, in order.
func (p tab) alerts() (ids []string) {
	p.t.Helper()
	p.do(map[string]string{"do": "values", "tab": p.name, "find": "#alerts li.row", "name": "data-id"}, &ids)
	slices.Sort(ids)
	return ids
}

func (p tab) click(find string) {
	p.t.Helper()
	p.do(map[string]string{"do": "click", "tab": p.name, "find": find}, nil)
}

func (p tab) fill(find, text string) {
	p.t.Helper()
	p.do(map[string]string{"do": "fill", "tab": p.name, "find": find, "text": text}, nil)
}

// resize gives the page another width, in pixels.
func (p tab) resize(width int) {
	p.t.Helper()
	p.do(map[string]string{"do": "resize", "tab": p.name, "width": fmt.Sprint(width)}, nil)
}

func (p tab) run(script string) {
	p.t.Helper()
	p.do(map[string]string{"do": "run", "tab": p.name, "script": script}, nil)
}

// said is the page's output on its console.
func (p tab) said() (lines []string) {
	p.t.Helper()
	p.do(map[string]string{"do": "said", "tab": p.name}, &lines)
	return lines
}

// shoot keeps a picture of the page in the directory that SCREENSHOTS names, for
// people to look at. Without that it does nothing: a picture tests nothing.
func (p tab) shoot(name string) {
	p.t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	file := filepath.Join(dir, name+".png")
	p.do(map[string]string{"do": "shoot", "tab": p.name, "file": file}, nil)
	info, err := os.Stat(file)
	require.NoError(p.t, err)
	require.NotZero(p.t, info.Size())
}

// The codes of the vitals that tiles show.
var codes = map[string]string{"Heart rate": "8867-4", "SpO₂": "59408-5", "Pressure": "85354-9", "Temperature": "8310-5", "NEWS2": "1104051000000101"}

// card finds the part of a patient's tile that shows a vital sign.
func card(patient, label string) string {
	return fmt.Sprintf(`cw-patients cw-patient[patient="%s"] [data-code="%s"]`, patient, codes[label])
}

// row finds an alert in the list by its text.
func row(text string) string { return fmt.Sprintf(`#alerts li.row:has(.line2:text-is("%s"))`, text) }

// The parts of the page that say how the line is.
const (
	lineWord = "#line p"
	trouble  = "#trouble .bar"
)

// Two clinicians have the ward's page open in two tabs: numbers change, an alert
// appears, one accepts it and the other sees the name.
func TestBrowserTwoClinicians(t *testing.T) {
	b := openBrowser(t)
	w := openWard(t, "-quiet", "-step", "600") // no other alert and nobody else is told while the page is looked at
	gateway := dial(t, w.url(), "gateway-1")
	const patient = "p-13"
	publish(t, gateway, carewire.HeartRate.Of("p-01", 70))
	simple := b.open("simple", w.http()+"/simple#token=nurse-ada")
	plain := b.open("plain", w.http()+"/elements#token=nurse-ada")
	ada := b.open("ada", w.http()+"/#token=nurse-ada")
	bell := b.open("bell", w.http()+"/#token=dr-bell")
	for _, p := range []tab{ada, bell} {
		p.shows(lineWord, "Live")
	}
	ada.shows("#who", "Nurse Ada · clinician")
	bell.shows("#who", "Dr. Bell · clinician")

	publish(t, gateway, carewire.HeartRate.Of(patient, 71))
	ada.shows(card(patient, "Heart rate"), "71")
	publish(t, gateway, carewire.HeartRate.Of(patient, 72))
	temp := carewire.BodyTemperature.Of(patient, 37)
	temp.Value = "37.0"
	publish(t, gateway, temp)
	for _, p := range []tab{ada, bell} {
		p.shows(card(patient, "Heart rate"), "72")
		p.shows(card(patient, "Temperature"), "37.0")
		p.shows(card("p-01", "Heart rate"), "70")
	}

	// A pressure that is too high: the ward raises an alert.
	publish(t, gateway, carewire.BloodPressure.Of(patient, 200, 110))
	alert := row("BP sys 200 > 180 mmHg") + `:has-text("Max Ortiz")`
	for _, p := range []tab{ada, bell} {
		p.shows(alert+" .accept", "Accept")
		p.shows(alert, "told Nurse Ada")
		p.shows("cw-banner section", "BP sys 200 > 180 mmHg")
		p.shows(card(patient, "Pressure"), "> 180")
	}
	ada.shoot("alert")
	ada.click(alert + " .accept")
	bell.shows(alert, "Nurse Ada has it until ")
	ada.shows(alert, "You have it until ")
	ada.shows(alert+" .accept", "Give back")
	require.NotContains(t, strings.Join(bell.texts(alert+" button"), " "), "Accept", "Dr. Bell is offered an alert that somebody else has")
	ada.click("#pageside summary")
	ada.shows("#pages", "Nurse Ada, level 1: Blood pressure high")
	ada.shoot("accepted")

	// The page of 40 lines shows the same.
	plain.shows("cw-line p", "Live")
	plain.shows(card(patient, "Temperature"), "37.0")
	plain.shows(`cw-alerts li.row:has-text("Max Ortiz")`, "You have it until ")
	plain.shoot("elements")
	require.Empty(t, plain.said())

	// It is over, and goes from both screens.
	publish(t, gateway, carewire.BloodPressure.Of(patient, 120, 80))
	for _, p := range []tab{ada, bell} {
		process.Poll(t, process.Patience, func() (bool, string) { texts := p.texts(alert); return len(texts) == 0, fmt.Sprint(texts) })
		require.Empty(t, p.said(), "%s wrote to its console", p.name)
	}

	// A device in Python, as the README of the examples has it.
	t.Run("Python device", func(t *testing.T) {
		need(t, needPython)
		device := startPython(t, "../examples/python/device.py", "--url", w.url(), "--patient", patient)
		process.Poll(t, process.Patience, func() (bool, string) { // the screen may be behind
			said, got := device.Out.String(), bell.texts(card(patient, "Heart rate")+" .value")
			shown := strings.Join(got, "")
			return shown != "72" && strings.Contains("\n"+said, "\n"+shown+" /min is number"), fmt.Sprintf("%q, and the device says\n%s", got, said)
		})
	})

	// The page with the four steps of a client sees the first patient's vitals, and leaves after half a minute.
	simple.shows("#out", "welcome")
	simple.shows("#out", "synced")
	simple.shows("#out", " 8867-4 ")
	process.Poll(t, 30*time.Second+process.Patience, func() (bool, string) {
		texts := simple.texts("#out")
		return len(texts) == 1 && strings.HasSuffix(strings.TrimSpace(texts[0]), "closed: 1000"), "closed: 1000"
	})
	require.Empty(t, simple.said())
	ada.shoot("ward")
	for _, p := range []tab{ada, bell} {
		require.Empty(t, p.said(), "%s wrote to its console", p.name)
	}
}

// A patient's page: she says how she feels and calls a nurse, who sees both.
func TestBrowserPatient(t *testing.T) {
	b := openBrowser(t)
	w := openWard(t, "-seed", "1")
	rosa := b.open("rosa", w.http()+"/#token=rosa")
	ada := b.open("ada", w.http()+"/#token=nurse-ada")
	rosa.shows("#who", "Rosa Alvarez · patient")
	require.Empty(t, rosa.texts("cw-patient article"), "a patient sees others")
	rosa.click(`#call [data-feel="pain"]`)
	rosa.shows("#call .ask", "Shall I call a nurse?")
	rosa.click("#call [data-yes]")
	rosa.shows("#call .status", "The nurses have been called")
	ada.click(`cw-patient[patient="p-01"] h3 button`)
	ada.shows(`#drawer cw-number[code="feeling"] dl`, "In pain")
	call := row("Patient is in pain and calls a nurse")
	ada.shows(call, "Rosa Alvarez")
	ada.click(call + " .accept")
	rosa.shows("#call .status", "Nurse Ada is coming.")
	rosa.shoot("patient")
	ada.shoot("drawer")
	rosa.click("#call .off")
	for _, p := range []tab{rosa, ada} {
		process.Poll(t, process.Patience, func() (bool, string) { texts := p.texts(call); return len(texts) == 0, fmt.Sprint(texts) })
		require.Empty(t, p.said(), "%s wrote to its console", p.name)
	}
}

// A proxy passes connections on, until it is cut.
type proxy struct {
	listener    net.Listener
	network, to string
	mu          sync.Mutex
	down        bool
	conns       []duplex
}

// A duplex is a TCP or a unix connection.
type duplex interface {
	net.Conn
	CloseWrite() error
}

func openProxy(t testing.TB, network, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: l, network: network, to: to}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { p.pass(in.(duplex)) })
		}
	})
	t.Cleanup(func() { l.Close(); p.cut(); serving.Wait() })
	return p
}

func (p *proxy) pass(in duplex) {
	defer in.Close()
	p.mu.Lock()
	if p.down {
		reset(in)
		p.mu.Unlock()
		return
	}
	c, err := net.Dial(p.network, p.to)
	if err != nil {
		p.mu.Unlock()
		return
	}
	out := c.(duplex)
	defer out.Close()
	p.conns = append(p.conns, in, out)
	p.mu.Unlock()
	go func() {
		io.Copy(out, in)
		out.CloseWrite()
	}()
	io.Copy(in, out)
}

// reset closes a connection so that the other end sees an error.
func reset(c duplex) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}

// cut resets all connections, and those to come until mend.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for _, c := range p.conns {
		reset(c)
	}
	p.conns = nil
}

func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

// The line of a browser is cut several times while alerts are raised and end.
// It says so, comes back, and shows each open alert once.
func TestBrowserComesBack(t *testing.T) {
	b := openBrowser(t)
	w := openWard(t, "-quiet")
	way := openProxy(t, "tcp", w.addr)
	gateway := dial(t, w.url(), "gateway-1")
	bell := b.open("bell", "http://"+way.listener.Addr().String()+"/#token=dr-bell")
	bell.shows(lineWord, "Live")

	var open []string
	raised := func(n int) {
		var ended []string
		for i := range n {
			a := raise(t, gateway, fmt.Sprintf("p-%02d", 1+(len(open)+i)%12), fmt.Sprintf("k%d", len(open)), "text")
			if open = append(open, a.ID); i == 0 && len(open) > 3 { // one that the page knows is closed meanwhile
				ended = append(ended, open[0])
			}
		}
		for _, id := range ended {
			closeAlert(t, w, id)
			open = slices.DeleteFunc(open, func(x string) bool { return x == id })
		}
		slices.Sort(open)
	}
	same := func() {
		t.Helper()
		process.Poll(t, process.Patience, func() (bool, string) {
			got := bell.alerts()
			return slices.Equal(got, open), fmt.Sprintf("shown are %v, open %v", got, open)
		})
		bell.shows("#alerts h3", fmt.Sprintf("(%d)", len(open)))
	}
	raised(3)
	same()
	for range 3 {
		way.cut()
		bell.shows(trouble, "The connection is lost")
		raised(4)
		publish(t, gateway, carewire.HeartRate.Of("p-13", float64(60+len(open))))
		way.mend()
		bell.shows(lineWord, "Live")
		bell.shows(card("p-13", "Heart rate"), fmt.Sprint(60+len(open)))
		same()
		process.Poll(t, process.Patience, func() (bool, string) { return len(bell.texts(trouble)) == 0, "the warning goes" })
		require.Empty(t, bell.texts("cw-patient article.away"))
	}
	way.cut() // and at once again, in the midst of raising
	raised(2)
	way.mend()
	raised(2)
	way.cut()
	way.mend()
	raised(2)
	same()
	bell.shoot("back")
	for _, text := range bell.said() { // of lost connections only
		require.Regexp(t, `net::ERR_|WebSocket is already`, text)
	}
}

// closeAlert closes an alert as Nurse Ada, wherever it is.
func closeAlert(t testing.TB, w *ward, id string) {
	t.Helper()
	ada := dial(t, w.url(), "nurse-ada")
	defer ada.Close()
	watch(t, ada, carewire.WatchOptions{Groups: []string{"ward-5", "ward-6"}, Delivery: carewire.DeliverAlerts})
	var ref carewire.AlertRef
	await(t, ada, "the alert", func(e *carewire.Event) bool {
		if e.Alert != nil && e.Alert.ID == id {
			ref = e.Alert.Ref()
		}
		return ref.ID != ""
	})
	_, err := ada.Answer(t.Context(), ref, carewire.Answer{Do: carewire.AnswerClose, Force: true, Reason: "seen to"})
	require.NoError(t, err)
}
