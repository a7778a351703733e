package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
)

// python is an interpreter that has websocket-client: Debian's before another.
var python = sync.OnceValues(func() (string, error) {
	var errs error
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		out, err := exec.Command(name, "-c", "import websocket; websocket.WebSocketApp").CombinedOutput()
		if err == nil {
			return name, nil
		}
		errs = errors.Join(errs, fmt.Errorf("%s: %w %s", name, err, out))
	}
	return "", errs
})

var (
	needPython = needed{"Python with websocket-client", func() error { _, err := python(); return err }}
	needNode   = needed{"Node with its packages (npm ci in integration)", func() error {
		for _, dir := range []string{"ws", "playwright-core", "http_ece", "web-push", "jws"} {
			if _, err := os.Stat(filepath.Join("node_modules", dir)); err != nil {
				return err
			}
		}
		return exec.Command("node", "--version").Run()
	}}
	needChromium = needed{"Chromium", func() error { _, err := os.Stat(chromium); return err }}
)

const chromium = "/usr/bin/chromium"

func startPython(t testing.TB, args ...string) *process.Run {
	t.Helper()
	name, err := python()
	require.NoError(t, err)
	return process.Start(t, exec.Command(name, append([]string{"-u"}, args...)...))
}

// raise raises an alert as the gateway.
func raise(t testing.TB, device *carewire.Client, patient, key, text string) carewire.Alert {
	t.Helper()
	a, err := device.Raise(t.Context(), carewire.Raise{Patient: patient, Key: key, Text: text, Priority: carewire.PriorityHigh})
	require.NoError(t, err)
	return a
}

func publish(t testing.TB, device *carewire.Client, v carewire.Vital) uint64 {
	t.Helper()
	got, err := device.Publish(t.Context(), v)
	require.NoError(t, err)
	require.NoError(t, got[0].Err)
	return got[0].Seq
}

// The Python examples publish and answer; after a restart of the ward they go
// on, and nothing is missing.
func TestPythonExamples(t *testing.T) {
	need(t, needPython)
	w := openWard(t, "-quiet")
	const patient = "p-13"
	bell, gateway := dial(t, w.url(), "dr-bell"), dial(t, w.url(), "gateway-1")
	watch(t, bell, carewire.WatchOptions{Patients: []string{patient}, Waves: []string{"150452"}})

	clinician := startPython(t, "../examples/python/clinician.py", "--url", w.url(), "--patient", patient)
	clinician.Out.Await(t, 0, `^watching p-13 refused \[\]$`)
	device := startPython(t, "../examples/python/device.py", "--url", w.url(), "--patient", patient)
	published, dn := device.Out.Await(t, 0, `^(\d+) /min is number (\d+) `)
	_, cn := clinician.Out.Await(t, 0, `^\S+ p-13 8867-4 `+published[1]+` /min$`)
	await(t, bell, "the value of the device", func(e *carewire.Event) bool {
		return e.Vital != nil && e.Vital.Device == "python" && string(e.Vital.Value) == published[1] && strconv.FormatUint(e.Seq, 10) == published[2]
	})
	await(t, bell, "a wave of the device", func(e *carewire.Event) bool {
		return e.Wave != nil && e.Wave.Device == "python" && e.Wave.Number > 1 && len(e.Wave.Samples) == 31 && slices.Max(e.Wave.Samples) > 0
	})

	raised := raise(t, gateway, patient, "spo2-low", "SpO2 low")
	_, cn = clinician.Out.Await(t, cn, `^ALERT p-13 high SpO2 low present with nobody$`)
	_, cn = clinician.Out.Await(t, cn, `^ACCEPTED p-13 spo2-low$`)
	await(t, bell, "the name of the person who has accepted", func(e *carewire.Event) bool {
		return e.Alert != nil && e.Alert.ID == raised.ID && e.Alert.Responsibility.State == carewire.ResponsibilityAccepted &&
			e.Alert.Responsibility.By.ID == "nurse-ada" && e.Alert.Answers[0].Reason == "on my way"
	})

	w.stop()
	// Older releases of websocket-client do not know of code 1012, and tell of none.
	_, dn = device.Out.Await(t, dn, `^closed: (1012|None) `)
	_, cn = clinician.Out.Await(t, cn, `^closed: (1012|None) `)
	w.start()
	_, cn = clinician.Out.Await(t, cn, `^watching p-13 refused \[\]$`)
	_, dn = device.Out.Await(t, dn, `^connected$`)
	lines, _ := device.Out.All() // vitals that it has published before the other was back may have been replaced since
	dn = max(dn, len(lines))
	published, _ = device.Out.Await(t, dn, `^(\d+) /min is number (\d+) `)
	clinician.Out.Await(t, cn, `^\S+ p-13 8867-4 `+published[1]+` /min$`)

	// Every number that the device was told stands once in the log, as it was told.
	told, _ := device.Out.All()
	values := make(map[uint64]string)
	for _, line := range told {
		if m := regexp.MustCompile(`^(\d+) /min is number (\d+) `).FindStringSubmatch(line); m != nil {
			seq, _ := strconv.ParseUint(m[2], 10, 64)
			require.NotContains(t, values, seq)
			values[seq] = m[1]
		}
	}
	page, err := bell.History(t.Context(), carewire.HistoryQuery{Patient: patient, Kinds: []carewire.Kind{carewire.KindVital}})
	require.NoError(t, err)
	for _, e := range page.Events {
		if want, ok := values[e.Seq]; ok {
			require.Equal(t, want, string(e.Vital.Value))
			delete(values, e.Seq)
		}
	}
	require.Empty(t, values, "confirmed, and not in the log")
	for _, r := range []*process.Run{device, clinician} {
		require.Empty(t, r.Log.String())
	}
}

// The npm package ws watches, answers, leaves and resumes.
func TestNodeClient(t *testing.T) {
	need(t, needNode)
	w := openWard(t, "-quiet")
	const patient = "p-13"
	bell, gateway := dial(t, w.url(), "dr-bell"), dial(t, w.url(), "gateway-1")
	watch(t, bell, carewire.WatchOptions{Patients: []string{patient}})
	first := publish(t, gateway, carewire.HeartRate.Of(patient, 71)) // the ward's rules add their scores behind it

	cmd := exec.Command("node", "js/ws.mjs", w.url(), "nurse-ada", patient)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	node := process.Start(t, cmd)
	_, n := node.Out.Await(t, 0, `^open carewire\.v1 extensions=""$`)
	_, n = node.Out.Await(t, n, `^\{"type":"welcome".*"id":"nurse-ada"`)
	_, n = node.Out.Await(t, n, `^\{"type":"ok","req":"w","watching":\["p-13"\],"refused":\[\]`)
	_, n = node.Out.Await(t, n, `^\{"type":"sync".*"recovered":false`)
	_, n = node.Out.Await(t, n, fmt.Sprintf(`^\{"type":"vital".*"seq":%d,.*"value":71,`, first))
	_, n = node.Out.Await(t, n, `^\{"type":"synced".*"recovered":false`)
	next := publish(t, gateway, carewire.HeartRate.Of(patient, 72))
	_, n = node.Out.Await(t, n, fmt.Sprintf(`^\{"type":"vital".*"seq":%d,.*"value":72,`, next))
	raised := raise(t, gateway, patient, "hr-high", "Heart rate high")
	_, n = node.Out.Await(t, n, `^\{"type":"alert".*"alert_id":"`+raised.ID+`"`)
	_, n = node.Out.Await(t, n, `"responsibility":\{"state":"accepted","by":\{"id":"nurse-ada"`)
	_, n = node.Out.Await(t, n, `^closed 1000 `)
	await(t, bell, "the name of the person who has accepted", func(e *carewire.Event) bool {
		return e.Alert != nil && e.Alert.ID == raised.ID && e.Alert.Responsibility.By.ID == "nurse-ada" && e.Alert.Answers[0].Reason == "from node"
	})

	// While it is away: two vitals of one key, of which the newest is owed, and an alert.
	publish(t, gateway, carewire.HeartRate.Of(patient, 73))
	last := publish(t, gateway, carewire.HeartRate.Of(patient, 74))
	second := raise(t, gateway, patient, "hr-low", "Heart rate low")
	_, err = io.WriteString(stdin, "resume\n")
	require.NoError(t, err)
	_, sync := node.Out.Await(t, n, `^\{"type":"sync".*"recovered":true`)
	_, end := node.Out.Await(t, sync, `^\{"type":"synced".*"recovered":true`)
	node.Out.Await(t, end, `^closed 1000 `)
	<-node.Ended
	require.NoError(t, node.Err, node.Log)

	list, _ := node.Out.All()
	vitals, states := 0, 0
	for _, text := range list[sync : end-1] {
		var f struct {
			Type  string
			Seq   uint64
			Vital struct{ Code string }
			Alert struct {
				ID string `json:"alert_id"`
			}
		}
		require.NoError(t, json.Unmarshal([]byte(text), &f))
		switch f.Type {
		case "vital":
			if f.Vital.Code != carewire.HeartRate.Code {
				continue // a score
			}
			vitals++
			require.Equal(t, last, f.Seq)
		case "alert":
			require.Equal(t, second.ID, f.Alert.ID, "the first alert had come before")
			states++
		case "gap", "ok": // the answer to the second alert, a level's claim
		default:
			t.Errorf("unexpected %s", f.Type)
		}
	}
	require.Equal(t, 1, vitals)
	require.NotZero(t, states)
}

// history returns the entries of a kind in a patient's log.
func history(t testing.TB, c *carewire.Client, patient string, kind carewire.Kind) iter.Seq[carewire.Event] {
	t.Helper()
	return func(yield func(carewire.Event) bool) {
		q := carewire.HistoryQuery{Patient: patient, Kinds: []carewire.Kind{kind}}
		for {
			page, err := c.History(t.Context(), q)
			require.NoError(t, err)
			for _, e := range page.Events {
				if !yield(e) {
					return
				}
			}
			if q.Cursor = page.Next; page.Next == 0 {
				return
			}
		}
	}
}
