package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/pgstore/pgtest"
)

// shown is the content that two pages of one ward have in common, for any user.
func (p tab) shown() string {
	p.t.Helper()
	var patients []string
	p.do(map[string]string{"do": "values", "tab": p.name, "find": "cw-patients cw-patient", "name": "patient"}, &patients)
	alerts := p.texts("#alerts .line2")
	slices.Sort(alerts) // an alert that is mine for one is another's for the other
	return fmt.Sprint(patients, p.texts("cw-patient .value"), p.alerts(), alerts, p.texts("#notices li p:nth-child(2)"))
}

// same waits until two pages show the same, which is never nothing.
func same(t *testing.T, a, b tab) {
	t.Helper()
	process.Poll(t, process.Patience, func() (bool, string) {
		one, two := a.shown(), b.shown()
		return one == two && strings.Contains(one, "p-01"), fmt.Sprintf("%s shows %s\n%s shows %s", a.name, one, b.name, two)
	})
}

// kill ends the ward as a power cut would, as far as the program can tell.
func (w *ward) kill() {
	w.t.Helper()
	r := w.last()
	r.End = time.Now()
	require.NoError(w.t, r.Cmd.Process.Kill())
	<-r.Ended
}

// paged reports whether the ward has paged anybody of a level of any alert, in any
// of its runs: the audit trail names no alert.
func (w *ward) paged(level int) bool {
	for _, r := range w.runs {
		list, _ := r.Log.All()
		if slices.ContainsFunc(list, func(line string) bool {
			return strings.Contains(line, " event=page outcome=done ") && strings.Contains(line+" ", fmt.Sprintf(" level=%d ", level))
		}) {
			return true
		}
	}
	return false
}

// Two wards run on one database, and a browser on each shows the same
// measurements, alerts, answers and notes. One is killed and the other goes on,
// with the monitors too; when it is back, so is its page.
func TestBrowserTwoWards(t *testing.T) {
	t.Parallel()
	b := openBrowser(t)
	args := []string{"-store", "postgres", "-dsn", pgtest.Database(t), "-step", "1"}
	one := openWard(t, args...)
	two := openWard(t, args...)
	ada := b.open("ada", one.http()+"/#token=nurse-ada")
	bell := b.open("bell", two.http()+"/#token=dr-bell")
	rosa := b.open("rosa", two.http()+"/#token=rosa")
	for _, p := range []tab{ada, bell, rosa} {
		p.shows(lineWord, "Live")
	}
	same(t, ada, bell)

	// An alert through one ward, an answer at the other.
	gateway := dial(t, two.url(), "gateway-1")
	publish(t, gateway, carewire.BloodPressure.Of("p-13", 200, 110))
	pressure := row("BP sys 200 > 180 mmHg") + `:has-text("Max Ortiz")`
	for _, p := range []tab{ada, bell} {
		p.shows(pressure+" .accept", "Accept")
	}
	same(t, ada, bell)
	ada.click(pressure + " .accept")
	ada.shows(pressure, "You have it until ")
	bell.shows(pressure, "Nurse Ada has it until ")

	// A patient writes, and is read.
	rosa.fill("#own-messages textarea", "May I get up?")
	rosa.click("#own-messages button[type=submit]")
	for _, p := range []tab{ada, bell} {
		p.shows("#notices li", "May I get up?")
	}
	ada.click(`#notices li:has-text("May I get up?") button:text-is("Read")`)
	for _, p := range []tab{ada, bell} {
		p.shows("#notices li", "read by Nurse Ada")
	}
	rosa.shows("#own-messages li", "read by Nurse Ada")
	same(t, ada, bell)

	// One ward simulates the monitors, with a gateway for each group, not both.
	gateways := func(w *ward) (n int) {
		list, _ := w.last().Log.All()
		for _, line := range list {
			if strings.Contains(line, "event=connect") && strings.Contains(line, "role=device") {
				n++
			}
		}
		return n
	}
	process.Poll(t, process.Patience, func() (bool, string) { return gateways(one) == 2, "the first ward has the monitors" })
	process.Poll(t, process.Patience, func() (bool, string) { return gateways(two) > 0, "this test's gateway" })
	require.Equal(t, 1, gateways(two), "both wards have monitors")

	// The first ward, which has the monitors, is killed while nobody accepts.
	open := raise(t, gateway, "p-12", "unaccepted", "Nobody accepts this")
	one.kill()
	ada.shows(trouble, "The connection is lost")
	ada.shoot("killed")
	process.Poll(t, process.Patience, func() (bool, string) { return gateways(two) == 3, "the second ward takes over the monitors" })
	bell.shows("#alerts .line2", "Nobody accepts this")
	bell.shows(lineWord, "Live")
	require.Empty(t, bell.texts(trouble))
	require.Empty(t, bell.texts("cw-patient article.away"))
	reader := dial(t, two.url(), "nurse-ada")
	told := map[int]int{} // how often a level is recorded as told
	reaches := func(want int) {
		t.Helper()
		process.Poll(t, process.Patience, func() (bool, string) {
			clear(told)
			level := 0
			for e := range history(t, reader, "p-12", carewire.KindAlert) {
				if x := e.Alert.Escalation; e.Alert.ID == open.ID && x.State == carewire.EscalationNotified && x.Level != level {
					level = x.Level
					told[level]++
				}
			}
			return level >= want, fmt.Sprintf("level %d: %v", want, told)
		})
	}
	reaches(2)

	// It comes back, and its page by itself.
	one.start()
	ada.shows(lineWord, "Live")
	process.Poll(t, process.Patience, func() (bool, string) {
		return len(ada.texts(trouble+", cw-patient article.away")) == 0, "the warning goes"
	})
	same(t, ada, bell)
	reaches(3)
	bell.click(row("Nobody accepts this") + " .accept")
	ada.shows(row("Nobody accepts this"), "Dr. Bell has it until ")
	same(t, ada, bell)
	ada.shoot("two-wards")
	bell.resize(390)
	bell.shoot("two-wards-phone")
	for _, p := range []tab{bell, rosa} {
		require.Empty(t, p.said(), "%s wrote to its console", p.name)
	}
	for level, records := range told {
		require.Equal(t, 1, records, "records of level %d", level)
		require.True(t, one.paged(level) || two.paged(level), "level %d is recorded and nobody was paged", level)
	}
	one.stop()
	two.stop()
}
