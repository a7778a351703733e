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

// A message that comes again is answered as the first time and stored once, by
// another server on the same store too; one that only has the same MSH-10 is
// another message.
func TestRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := carewire.NewMemoryStore(nil)
		run := func(message []byte) string {
			hub, err := carewire.New(carewire.AuthenticatorFunc(nil), store, &carewire.Options{Logger: silent})
			require.NoError(t, err)
			defer func() { require.NoError(t, hub.Shutdown(t.Context())) }()
			server, err := NewServer(hub, &ServerOptions{Logger: silent})
			require.NoError(t, err)
			var answers [2]string
			for i := range answers {
				m, err := Parse(server.Handle(t.Context(), Peer{}, message), nil)
				require.NoError(t, err)
				for _, s := range m.Segments()[1:] {
					answers[i] += s.text + "\n"
				}
			}
			require.Equal(t, answers[0], answers[1])
			return answers[0]
		}
		count := func() uint64 {
			heads, err := store.Heads(t.Context(), []string{"p-17"})
			require.NoError(t, err)
			return heads[0].Seq
		}
		first := run(oru("1", "72", "fast", "73"))
		require.Contains(t, first, "MSA|AE|1\nERR||OBX^2^5|")
		require.EqualValues(t, 2, count())
		require.Equal(t, first, run(oru("1", "72", "fast", "73")), "after a restart")
		require.EqualValues(t, 2, count())
		require.Contains(t, run(oru("1", "80")), "MSA|AA|1\n", "a sender that counts from 1 again")
		require.EqualValues(t, 3, count())
		run(oru("2", "80"))
		require.EqualValues(t, 4, count(), "another message with the same content")
	})
}

// A sender whose acknowledgement was lost repeats the message, though the patient
// was discharged, or is back, meanwhile: it is accepted as before and moves nobody.
func TestRepeatedAfterAMovement(t *testing.T) {
	t.Parallel()
	c, s := &census{}, &sink{}
	gone := false
	server, err := NewServer(s, &ServerOptions{Census: c, Logger: silent, Patient: func(context.Context, Visit) (string, error) {
		if gone {
			return "", nil
		}
		return "p-17", nil
	}})
	require.NoError(t, err)
	send := func(message []byte) string {
		m, err := Parse(server.Handle(t.Context(), Peer{}, message), nil)
		require.NoError(t, err)
		a, _ := parseAck(m)
		return string(a.Code)
	}
	long := strings.Repeat("x", 300)
	reading := oru(long, "72")
	m, err := Parse(server.Handle(t.Context(), Peer{}, reading), nil)
	require.NoError(t, err)
	require.Equal(t, long, m.Segment("MSA").Field(2).String(), "MSA-2 is MSH-10, however long")
	discharge := adt("A03", "P")
	require.Equal(t, "AA", send(discharge))
	gone = true
	require.Equal(t, "AA", send(reading))
	require.Len(t, s.got, 1)
	gone = false
	require.Equal(t, "AA", send(adt("A13", "P")))
	told := len(c.told)
	require.Equal(t, "AA", send(discharge))
	require.Len(t, c.told, told, "discharged again")
}

// The digests are bounded: the oldest goes.
func TestAcceptedMessagesAreBounded(t *testing.T) {
	t.Parallel()
	var a accepted
	for i := range acceptedKept + 10 {
		a.add([]byte(fmt.Sprint(i)))
	}
	require.Len(t, a.known, acceptedKept)
	require.False(t, a.has([]byte("9")))
	require.True(t, a.has([]byte("10")))
}

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

// After any number of values, a repeated ADT message moves nobody.
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

// A value with more digits than the wire takes is stored once, rounded; one that
// cannot be rounded refuses itself only. Both also after a restart.
func TestManyDigits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := carewire.NewMemoryStore(nil)
		for range 2 {
			hub, err := carewire.New(carewire.AuthenticatorFunc(nil), store, &carewire.Options{Logger: silent})
			require.NoError(t, err)
			server, err := NewServer(hub, &ServerOptions{Logger: silent})
			require.NoError(t, err)
			for range 2 {
				answer := string(server.Handle(t.Context(), Peer{}, oru("D1", "71.6666666666666666", "1234567890123456789012345", "72")))
				require.Contains(t, answer, "MSA|AE|D1\rERR||OBX^2^5|102^")
				require.Equal(t, 1, strings.Count(answer, "\rERR|"))
			}
			page, err := hub.History(t.Context(), carewire.HistoryQuery{Patient: "p-17"})
			require.NoError(t, err)
			require.Len(t, page.Events, 2)
			first := page.Events[0].Vital
			require.Equal(t, carewire.Decimal("71.6666666666667"), first.Value)
			require.Contains(t, first.Quality, carewire.QualityRounded)
			require.NotEmpty(t, first.ID)
			require.EqualValues(t, "72", page.Events[1].Vital.Value)
			require.NoError(t, hub.Shutdown(t.Context()))
		}
	})
}

// Every vital gets an ID, and two different vitals get two.
func TestVitalID(t *testing.T) {
	t.Parallel()
	m, err := Parse(oru("1"), nil)
	require.NoError(t, err)
	seen := make(map[string]bool)
	for _, v := range []*carewire.Vital{heart(nil), heart(func(v *carewire.Vital) { v.Value = "72.0000000000000001" }),
		heart(func(v *carewire.Vital) { v.Value = "72.0000000000000002" }), heart(func(v *carewire.Vital) { v.Value, v.Patient = "72.0000000000000002", "p-18" }),
		heart(func(v *carewire.Vital) {
			v.Value, v.Components = "", []carewire.Component{{Code: "8480-6", Value: "120.00000000000000001", Unit: "mm[Hg]"}}
		})} {
		id := vitalID(m, Reading{Vital: *v, OBX: []int{1}})
		require.NotEmpty(t, id)
		require.False(t, seen[id])
		seen[id] = true
	}
}
