package hl7v2

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/carewire/carewire"
	"github.com/stretchr/testify/require"
)

// corrected is a Hub with a server before it.
type corrected struct {
	t      *testing.T
	hub    *carewire.Hub
	server *Server
}

// send gives the server an ORU^R01 and returns the answer: its code and its first error.
func (c *corrected) send(id string, obx ...string) string {
	c.t.Helper()
	message := lines(append([]string{strings.Replace(msh, "|M1|", "|"+id+"|", 1), "PID|||p-17", "OBR|1"}, obx...)...)
	m, err := Parse(c.server.Handle(c.t.Context(), Peer{}, message), nil)
	require.NoError(c.t, err)
	a, ok := parseAck(m)
	require.True(c.t, ok)
	if len(a.Errors) == 0 {
		return string(a.Code)
	}
	return fmt.Sprintf("%s OBX[%d]-%d", a.Code, a.Errors[0].Index, a.Errors[0].Field)
}

// log is the patient's vitals: number, value, status and number of the replaced one.
func (c *corrected) log() (list []string) {
	c.t.Helper()
	page, err := c.hub.History(c.t.Context(), carewire.HistoryQuery{Patient: "p-17", Kinds: []carewire.Kind{carewire.KindVital}})
	require.NoError(c.t, err)
	numbers := make(map[string]int)
	for i, e := range page.Events {
		v := e.Vital
		numbers[v.ID] = i + 1
		text := string(v.Value) + string(v.Absent)
		for _, part := range v.Components {
			text += fmt.Sprint(part.Code, "=", part.Value, part.Absent, " ")
		}
		list = append(list, strings.TrimSpace(text)+fmt.Sprintf(" %s %d", v.Status, numbers[v.Replaces]))
	}
	return list
}

func corrections(t *testing.T, f func(c *corrected)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(noon.Add(time.Hour)))
		hub, err := carewire.New(carewire.AuthenticatorFunc(nil), carewire.NewMemoryStore(nil), &carewire.Options{Logger: silent})
		require.NoError(t, err)
		server, err := NewServer(hub, &ServerOptions{Logger: silent})
		require.NoError(t, err)
		defer func() {
			require.NoError(t, server.Shutdown(context.Background()))
			require.NoError(t, hub.Shutdown(context.Background()))
		}()
		f(&corrected{t, hub, server})
	})
}

// rate is an OBX of a heart rate at a minute of the hour.
func rate(n int, value, status, at string) string {
	return fmt.Sprintf("OBX|%d|NM|%s||%s|%s|||||%s|||202601051%s+0000", n, hr, value, bpm, status, at)
}

// OBX-11 corrects or withdraws the vital of the same measurement. A message that
// comes again changes nothing.
func TestCorrections(t *testing.T) {
	t.Parallel()
	corrections(t, func(c *corrected) {
		require.Equal(t, "AA", c.send("1", rate(1, "72", "F", "20000"), rate(2, "75", "F", "20100")))
		for range 2 {
			require.Equal(t, "AA", c.send("2", rate(1, "73", "C", "20000")))
		}
		for range 2 { // the correction is withdrawn too, by its value or without one
			require.Equal(t, "AA", c.send("3", rate(1, "", "D", "20000")))
			require.Equal(t, "AA", c.send("4", rate(1, "75", "W", "20100")))
		}
		require.Equal(t, []string{"72  0", "75  0", "73 corrected 1", "73 entered-in-error 3", "75 entered-in-error 2"}, c.log())
	})
}

// A correction of an unknown vital is a vital of its own; a withdrawal of one is
// refused, and so is one that could mean two.
func TestCorrectionsOfTheUnknown(t *testing.T) {
	t.Parallel()
	corrections(t, func(c *corrected) {
		require.Equal(t, "AE OBX[2]-11", c.send("1", rate(1, "72", "F", "20000"), rate(2, "75", "W", "20100")))
		require.Equal(t, "AA", c.send("2", rate(1, "76", "C", "20100")))
		require.Equal(t, "AA", c.send("2", rate(1, "76", "C", "20100")), "the same again")
		require.Equal(t, "AA", c.send("3", rate(1, "77", "F", "20000")))
		require.Equal(t, "AE OBX[1]-11", c.send("4", rate(1, "77", "D", "20000")), "which of the two?")
		require.Equal(t, []string{"72  0", "76  0", "77  0"}, c.log())
	})
	s := &sink{} // which recalls nothing
	server, err := NewServer(s, &ServerOptions{Logger: silent})
	require.NoError(t, err)
	c := &corrected{t: t, server: server}
	require.Equal(t, "AE OBX[2]-11", c.send("1", rate(1, "72", "C", "20000"), rate(2, "75", "W", "20100")))
	require.Len(t, s.got, 1)
	require.Empty(t, s.got[0].Status)
}

// Of one message a correction may mean an observation before it.
func TestCorrectionWithinAMessage(t *testing.T) {
	t.Parallel()
	corrections(t, func(c *corrected) {
		require.Equal(t, "AA", c.send("1", rate(1, "72", "F", "20000"), rate(2, "73", "C", "20000"), rate(3, "80", "F", "20200")))
		require.Equal(t, []string{"72  0", "73 corrected 1", "80  0"}, c.log())
	})
}

// A pressure is corrected or withdrawn as a part of its panel.
func TestCorrectionsOfPanels(t *testing.T) {
	t.Parallel()
	pressure := func(n int, code, value, status, at string) string {
		return fmt.Sprintf("OBX|%d|NM|%s^^MDC|1.1.9.%s|%s|%s|||||%s|||202601051%s+0000", n, code, code, value, mmhg, status, at)
	}
	const sys, dia = "150021", "150022"
	for _, row := range []struct {
		name string
		obx  []string
		want string
	}{
		{"both", []string{pressure(1, sys, "125", "C", "20000"), pressure(2, dia, "85", "C", "20000")}, "8480-6=125 8462-4=85 corrected 1"},
		{"one of two that are sent", []string{pressure(1, sys, "120", "F", "20000"), pressure(2, dia, "85", "C", "20000")}, "8480-6=120 8462-4=85 corrected 1"},
		{"one alone", []string{pressure(1, dia, "85", "C", "20000")}, "8462-4=85 8480-6=120 corrected 1"},
		{"both withdrawn", []string{pressure(1, sys, "", "D", "20000"), pressure(2, dia, "", "D", "20000")}, "8480-6=120 8462-4=80 entered-in-error 1"},
		{"one withdrawn", []string{pressure(1, dia, "80", "D", "20000")}, "8462-4=error 8480-6=120 corrected 1"},
		{"one withdrawn, one corrected", []string{pressure(1, sys, "125", "C", "20000"), pressure(2, dia, "80", "W", "20000")}, "8480-6=125 8462-4=error corrected 1"},
		{"one corrected, one withdrawn", []string{pressure(1, dia, "80", "W", "20000"), pressure(2, sys, "125", "C", "20000")}, "8462-4=error 8480-6=125 corrected 1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			corrections(t, func(c *corrected) {
				require.Equal(t, "AA", c.send("1", pressure(1, sys, "120", "F", "20000"), pressure(2, dia, "80", "F", "20000")))
				require.Equal(t, "AA", c.send("2", row.obx...))
				require.Equal(t, []string{"8480-6=120 8462-4=80  0", row.want}, c.log())
			})
		})
	}
}
