package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/boltstore"
)

// alerts replays recordings and returns how many alerts each rule has in each variant.
func alerts(t *testing.T, files ...string) (*report, map[string]map[string]int) {
	t.Helper()
	list, err := ruleList("", "")
	if err != nil {
		t.Fatal(err)
	}
	recordings, err := fromFiles(files)
	if err != nil {
		t.Fatal(err)
	}
	r, err := replay(list, recordings, 1)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]map[string]int{}
	for _, m := range r.Rules {
		if got[m.Rule] == nil {
			got[m.Rule] = map[string]int{}
		}
		got[m.Rule][m.Variant] = m.Alerts
	}
	return r, got
}

// The counts in docs/rules.md. Those of respiration were found by another program on
// the same data before this one was written.
func TestCounts(t *testing.T) {
	_, icu := alerts(t, "data/icu-numerics-s00001n.csv")
	_, ecg := alerts(t, "data/ecg-mitdb208-rate.csv")
	_, cgm := alerts(t, "data/cgm.csv")
	for _, c := range []struct {
		of                             map[string]map[string]int
		rule                           string
		plain, hysteresis, delay, both int
	}{
		{icu, "rr-low", 26, 25, 2, 2}, {icu, "hr-low", 5, 4, 3, 3}, {icu, "bp-high", 2, 2, 2, 2}, {icu, "spo2-low", 1, 1, 0, 0},
		{ecg, "hr-high", 25, 24, 0, 1}, {cgm, "glucose-low", 2, 2, 2, 2}, {cgm, "glucose-high", 1, 1, 1, 1},
	} {
		got := c.of[c.rule]
		if got["plain"] != c.plain || got["hysteresis"] != c.hysteresis || got["delay"] != c.delay || got["both"] != c.both {
			t.Errorf("%s: got %v", c.rule, got)
		}
	}
}

// The simulated hospital's messages, one of each of 24 patients: without a delay
// each value beyond a limit raises, and with one none does, because none lasts.
func TestMessages(t *testing.T) {
	r, got := alerts(t, "data/simhospital-vital-signs.hl7")
	if len(r.Patients) != 24 {
		t.Errorf("%d patients", len(r.Patients))
	}
	for rule, want := range map[string]int{"spo2-low": 23, "hr-high": 14, "bp-low": 6, "bp-high": 6} {
		if got[rule]["plain"] != want || got[rule]["both"] != 0 {
			t.Errorf("%s: got %v", rule, got[rule])
		}
	}
	if _, err := fromHL7("MSH|^~\\&|A\r\n\r\nnot HL7"); err == nil {
		t.Error("a text that is no message is accepted")
	}
}

// The bedside monitor called asystole in this recording. The electrocardiogram
// has beats all the time: the few that the beat finder misses raise nothing that
// has a delay.
func TestFalseAsystole(t *testing.T) {
	_, got := alerts(t, "data/icu-a103l-rate.csv")
	for variant, want := range map[string]int{"plain": 3, "hysteresis": 2, "delay": 0, "both": 0} {
		if n := got["hr-low"][variant]; n != want {
			t.Errorf("%s: %d alerts of a slow heart", variant, n)
		}
	}
}

// The table's row of a rule agrees with the rule's episodes.
func TestMeasures(t *testing.T) {
	r, _ := alerts(t, "data/icu-numerics-s00001n.csv")
	for _, m := range r.Rules {
		total := 0.0
		for _, e := range m.Episodes {
			if e.Ended.Before(e.Raised) {
				t.Errorf("%s %s: an alert ends before it is raised", m.Rule, m.Variant)
			}
			if m.Variant == "plain" && e.Later != 0 {
				t.Errorf("%s: a plain alert is late", m.Rule)
			}
			total += e.Ended.Sub(e.Raised).Seconds()
		}
		if total != m.TotalSeconds {
			t.Errorf("%s %s: total %v, want %v", m.Rule, m.Variant, m.TotalSeconds, total)
		}
		if m.Rule == "rr-low" && m.Variant == "both" && (m.MedianLater < 60 || m.WithoutAnAlert != 24) {
			t.Errorf("rr-low: later %v s, without one %d", m.MedianLater, m.WithoutAnAlert)
		}
	}
}

func TestTimelineAndJSON(t *testing.T) {
	r, _ := alerts(t, "data/icu-numerics-s00001n.csv", "data/cgm.csv")
	picture := timeline(r)
	for _, want := range []string{"<title>", "later: median", "rr-low both", "24h0m0s", r.split.String()} {
		if !bytes.Contains(picture, []byte(want)) {
			t.Errorf("the timeline has no %q", want)
		}
	}
	d := xml.NewDecoder(bytes.NewReader(picture))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var table bytes.Buffer
	r.print(&table)
	if !bytes.Contains(table.Bytes(), []byte("rr-low")) || !bytes.Contains(table.Bytes(), []byte("floods")) {
		t.Error(table.String())
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	type counts struct {
		Rule, Variant string
		Alerts        int
		Priorities    map[carewire.Priority]int
		Floods        *int
	}
	var got struct {
		counts
		Rules []counts
	}
	if err := json.Unmarshal(text, &got); err != nil || got.Floods == nil {
		t.Fatal("the JSON has no floods", err)
	}
	all := 0
	for _, m := range got.Rules {
		n := 0
		for _, k := range m.Priorities {
			n += k
		}
		if n != m.Alerts || m.Floods == nil {
			t.Errorf("%s %s: %v of %d alerts", m.Rule, m.Variant, m.Priorities, m.Alerts)
		}
		if m.Variant == "both" {
			all += n
		}
	}
	for _, k := range got.Priorities {
		all -= k
	}
	if all != 0 {
		t.Errorf("the priorities of all rules differ by %d from theirs", all)
	}
}

// Ten alerts in ten minutes are a flood; nine are none, and twenty in a row two at most.
func TestFloods(t *testing.T) {
	for n, want := range map[int]int{9: 0, 10: 1, 20: 1, 30: 2} {
		var list []episode
		for i := range n {
			list = append(list, episode{Raised: recorded.Add(time.Duration(i) * 40 * time.Second), Priority: carewire.PriorityHigh})
		}
		if s := splitOf(list); s.Floods != want || s.Priorities[carewire.PriorityHigh] != n {
			t.Errorf("%d alerts: %d floods, %s", n, s.Floods, s)
		}
	}
}

// A set that is written in Go runs like one in JSON, a model among its rules.
func TestSetWrittenInGo(t *testing.T) {
	list, err := ruleList("", "shock")
	if err != nil {
		t.Fatal(err)
	}
	recordings, err := fromFiles([]string{"data/icu-numerics-s00001n.csv"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := replay(list, recordings, 1)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, m := range r.Rules {
		found[m.Rule] = true
	}
	for _, key := range []string{"map-low", "shock-points", "shock-index"} {
		if !found[key] {
			t.Errorf("%s was not run", key)
		}
	}
	if _, err := ruleList("", "other"); err == nil {
		t.Error("a set that is not there is accepted")
	}
}

func TestBadRecordings(t *testing.T) {
	for name, text := range map[string]string{"column": "seconds,XYZ\n0,1\n", "time": "seconds,HR\nx,1\n", "shape": "seconds,HR\n0\n"} {
		file := filepath.Join(t.TempDir(), "bad.csv")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := fromFiles([]string{file}); err == nil {
			t.Errorf("a bad %s is accepted", name)
		}
	}
}

// The history of a Store is judged as a recording is.
func TestReplayOfAStore(t *testing.T) {
	recordings, err := fromFiles([]string{"data/icu-numerics-s00001n.csv"})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "node.db")
	store, err := boltstore.Open(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	var entries []carewire.Entry
	for i := range recordings[0].vitals {
		v := &recordings[0].vitals[i]
		if v.Code != carewire.RespiratoryRate.Code {
			continue
		}
		v.Patient = "p1"
		data, err := v.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, carewire.Entry{Patient: "p1", Kind: carewire.KindVital, Key: "v/ rr", Audience: carewire.AudienceAll, Sender: "monitor", Time: v.Time, Received: v.Received, Data: data})
	}
	if _, err := store.Append(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	from, err := fromBolt(file, []string{"p1"})
	if err != nil {
		t.Fatal(err)
	}
	list, _ := ruleList("", "")
	r, err := replay(list[:1], from, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{26, 25, 2, 2} {
		if r.Rules[i].Alerts != want {
			t.Errorf("%s: %d alerts, want %d", r.Rules[i].Variant, r.Rules[i].Alerts, want)
		}
	}
}
