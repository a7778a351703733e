package hl7v2

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/carewire/carewire"
	"github.com/stretchr/testify/require"
)

// A host that knows patients by their beds is told when a value was measured. So
// a message that is repeated after a restart and a transfer is still that of the
// patient in the bed at the time, and the Store recognises it.
func TestRepeatedAfterATransfer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := carewire.NewMemoryStore(nil)
		moved := noon.Add(time.Minute)
		inBed := func(_ context.Context, v Visit) (string, error) {
			if v.Time.Before(moved) {
				return "anna", nil
			}
			return "bert", nil
		}
		run := func(message []byte) {
			hub, err := carewire.New(carewire.AuthenticatorFunc(nil), store, &carewire.Options{Logger: silent})
			require.NoError(t, err)
			defer func() { require.NoError(t, hub.Shutdown(t.Context())) }()
			server, err := NewServer(hub, &ServerOptions{Logger: silent, Patient: inBed})
			require.NoError(t, err)
			require.Contains(t, string(server.Handle(t.Context(), Peer{}, message)), "MSA|AA|")
		}
		counts := func() [2]uint64 {
			heads, err := store.Heads(t.Context(), []string{"anna", "bert"})
			require.NoError(t, err)
			return [2]uint64{heads[0].Seq, heads[1].Seq}
		}
		before := oru("1", "72")
		run(before)
		require.Equal(t, [2]uint64{1, 0}, counts())
		run([]byte(strings.Replace(string(oru("2", "99")), minute, "20260105120200+0000", 1)))
		require.Equal(t, [2]uint64{1, 1}, counts())
		run(before)
		require.Equal(t, [2]uint64{1, 1}, counts(), "repeated")
	})
}

// The patient is asked for once for each time of a PID, with that time.
func TestVisitTime(t *testing.T) {
	t.Parallel()
	rate := func(i int, at string) string {
		return fmt.Sprintf("OBX|%d|NM|%s||7%d|%s|||||R|||%s", i, hr, i, bpm, at)
	}
	const later = "20260105130000+0000"
	m, err := Parse(lines(msh, "PID|||a", "OBR|1|||1^x|||"+minute, rate(1, ""), rate(2, later), rate(3, minute), "OBR|2", rate(4, later), "PID|||b", "OBR|1", rate(5, later)), nil)
	require.NoError(t, err)
	var asked []string
	got, errs := (*Mapping)(nil).Readings(m, func(v Visit) (string, error) {
		id, _ := FirstIdentifier(v)
		asked = append(asked, id+" "+v.Time.Format("15:04"))
		if id == "a" && v.Time.Hour() == 13 {
			return "", errors.New("the bed was empty")
		}
		return id + "-" + v.Time.Format("15"), nil
	})
	require.Equal(t, []string{"a 12:00", "a 13:00", "b 13:00"}, asked)
	require.Len(t, errs, 1)
	require.Equal(t, "hl7v2: PID[1]-3: names no known patient", errs[0].Error())
	var patients []string
	for _, r := range got {
		patients = append(patients, fmt.Sprint(r.OBX[0], " ", r.Vital.Patient))
	}
	require.Equal(t, []string{"1 a-12", "3 a-12", "5 b-13"}, patients)

	m, err = Parse(lines(strings.Replace(msh, "|20260105120001+0000|", "||", 1), "PID|||a", rate(1, "")), nil)
	require.NoError(t, err)
	_, errs = (*Mapping)(nil).Readings(m, func(v Visit) (string, error) {
		require.True(t, v.Time.IsZero(), "the message does not state it")
		return "a", nil
	})
	require.Empty(t, errs)

	server, err := NewServer(&sink{}, &ServerOptions{Census: &census{}, Logger: silent, Patient: func(_ context.Context, v Visit) (string, error) {
		require.Equal(t, "11:00", v.Time.Format("15:04"))
		return "a", nil
	}})
	require.NoError(t, err)
	require.Contains(t, string(server.Handle(t.Context(), Peer{}, adt("A02", "P"))), "MSA|AA|")
}

// However many values come after it, a repeated ADT message moves nobody.
func TestValuesDoNotEvictMovements(t *testing.T) {
	t.Parallel()
	c := &census{}
	server, err := NewServer(&sink{}, &ServerOptions{Census: c, Logger: silent})
	require.NoError(t, err)
	discharge := adt("A03", "P")
	for range 2 {
		require.Contains(t, string(server.Handle(t.Context(), Peer{}, discharge)), "MSA|AA|")
		require.Len(t, c.told, 1)
		for i := range acceptedKept {
			server.Handle(t.Context(), Peer{}, lines(strings.Replace(msh, "|M1|", fmt.Sprintf("|x%d|", i), 1)))
		}
	}
}
