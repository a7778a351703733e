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
	hour := revoked{until: now.Add(time.Hour), issuedUntil: now}
	for rev := range uint64(2) { // this node's own, and as it comes back from the Store
		add := func(s revokedScope) {
			if rev == 0 {
				r.add("nurse", s, hour, now)
			} else {
				require.True(t, r.set("nurse", s, revoked{hour.until, hour.issuedUntil, rev}, now))
			}
		}
		add(revokedScope{patient: "p1"})
		add(revokedScope{patient: "p2"})
		add(revokedScope{session: "s2"})
	}
	require.Equal(t, 3, r.n)
	require.True(t, r.covers(nurse, "p1", now))
	require.False(t, r.covers(nurse, "p3", now))
	require.False(t, r.covers(nurse, "", now))
	require.True(t, r.covers(&Principal{ID: "nurse", Session: "s2"}, "", now))
	require.False(t, r.covers(&Principal{ID: "doctor"}, "p1", now))

	r.add("nurse", revokedScope{patient: "p1"}, revoked{until: now.Add(time.Minute), issuedUntil: now}, now)
	require.True(t, r.covers(nurse, "p1", now.Add(2*time.Minute)), "a revocation that is not in the log yet shortens nothing")
	require.True(t, r.set("nurse", revokedScope{patient: "p1"}, revoked{now.Add(time.Minute), now, 3}, now))
	require.False(t, r.covers(nurse, "p1", now.Add(2*time.Minute)), "one that is does")
	require.False(t, r.set("nurse", revokedScope{patient: "p1"}, revoked{now.Add(time.Hour), now, 2}, now), "a late revocation")
	require.True(t, r.set("nurse", revokedScope{patient: "p2"}, revoked{rev: 2}, now))
	require.False(t, r.covers(nurse, "p2", now), "lifted")
	for i := range 10000 {
		r.add(fmt.Sprint("a", i), revokedScope{}, revoked{until: now.Add(time.Minute), issuedUntil: now}, now.Add(time.Duration(i)*time.Second))
	}
	require.Less(t, len(r.byPrincipal), 1000, "those that are over are forgotten")
	require.True(t, r.any())
}

// Tokens that were issued up to a revocation have ended; later ones have not.
func TestRevocationEndsOlderSessions(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 5e6, time.UTC)
	for name, c := range map[string]struct {
		scope  revokedScope
		p      Principal
		covers bool
	}{
		"issued before":                   {revokedScope{}, Principal{Issued: at.Add(-time.Second)}, true},
		"issued in the same millisecond":  {revokedScope{}, Principal{Issued: at.Add(999 * time.Microsecond)}, true},
		"issued afterwards":               {revokedScope{}, Principal{Issued: at.Add(time.Millisecond)}, false},
		"not said when":                   {revokedScope{}, Principal{}, true},
		"a person, not a token":           {revokedScope{}, Principal{Issued: noToken}, false},
		"the session":                     {revokedScope{session: "s"}, Principal{Session: "s"}, true},
		"the session, renewed afterwards": {revokedScope{session: "s"}, Principal{Session: "s", Issued: at.Add(time.Hour)}, true},
		"another session":                 {revokedScope{session: "s"}, Principal{Session: "t"}, false},
		"no session":                      {revokedScope{session: "s"}, Principal{}, false},
		"suspended, issued afterwards":    {revokedScope{suspended: true}, Principal{Issued: at.Add(time.Hour)}, true},
		"suspended, as a person":          {revokedScope{suspended: true}, Principal{Issued: noToken}, true},
		"of a patient, issued afterwards": {revokedScope{patient: "p1"}, Principal{Issued: at.Add(time.Hour)}, false},
		"of a patient, suspended":         {revokedScope{patient: "p1", suspended: true}, Principal{Issued: at.Add(time.Hour)}, true},
		"of another patient, not of p1":   {revokedScope{patient: "p2", suspended: true}, Principal{}, false},
	} {
		r := newRevocations()
		r.add("nurse", c.scope, revoked{until: at.Add(24 * time.Hour), issuedUntil: at}, at)
		c.p.ID = "nurse"
		require.Equal(t, c.covers, r.covers(&c.p, "p1", at.Add(2*time.Hour)), name)
		require.False(t, r.covers(&c.p, "p1", at.Add(25*time.Hour)), name)
	}
}
