package carewire

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRevocationsAreKeptOnceAndForgotten(t *testing.T) {
	r, now := newRevocations(), time.Now()
	nurse := &Principal{ID: "nurse", Session: "s1"}
	for range 2 { // this node's own, and as it comes back from the Store
		r.add(Revocation{Principal: "nurse", Patients: []string{"p1", "p2"}, Until: now.Add(time.Hour)}, now)
		r.add(Revocation{Principal: "nurse", Session: "s2", Until: now.Add(time.Hour)}, now)
		r.add(Revocation{Principal: "nurse", Patients: []string{"p1"}, Until: now.Add(time.Minute)}, now)
	}
	require.Equal(t, 3, r.n)
	require.True(t, r.covers(nurse, "p1", now))
	require.True(t, r.covers(nurse, "p1", now.Add(2*time.Minute)), "the longer one counts")
	require.False(t, r.covers(nurse, "p3", now))
	require.False(t, r.covers(nurse, "", now))
	require.True(t, r.covers(&Principal{ID: "nurse", Session: "s2"}, "", now))
	require.False(t, r.covers(&Principal{ID: "doctor"}, "p1", now))
	for i := range 10000 {
		r.add(Revocation{Principal: fmt.Sprint("a", i), Until: now.Add(time.Minute)}, now.Add(time.Duration(i)*time.Second))
	}
	require.Less(t, len(r.by), 1000, "those that are over are forgotten")
	require.True(t, r.any())
}
