package sessions_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/sessions"
)

type revocations struct {
	got  []carewire.Revocation
	fail error
}

func (r *revocations) Revoke(_ context.Context, x carewire.Revocation) error {
	if r.fail == nil {
		r.got = append(r.got, x)
	}
	return r.fail
}

// A session in memory lasts for its time, and ends with the provider's.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sessions.NewMemory()
		is := func(value string) bool {
			_, err := m.Find(t.Context(), value)
			if err != nil {
				require.ErrorIs(t, err, carewire.ErrUnauthenticated)
			}
			return err == nil
		}
		begin := func(who, provider string) string {
			return m.Begin(carewire.Principal{ID: who, Role: carewire.RoleClinician, Session: provider}, time.Hour)
		}
		one := begin("ada", "s1")
		p, err := m.Find(t.Context(), one)
		require.NoError(t, err)
		require.Equal(t, carewire.Principal{ID: "ada", Role: carewire.RoleClinician, Session: "s1", Issued: time.Now(), Expires: time.Now().Add(time.Hour)}, p)
		require.False(t, is(""))
		require.False(t, is(one+"x"))
		time.Sleep(59 * time.Minute)
		m.Prolong(one, time.Hour)
		time.Sleep(59 * time.Minute)
		require.True(t, is(one))
		time.Sleep(2 * time.Minute)
		m.Prolong(one, time.Hour)
		require.False(t, is(one), "an ended session stays ended")

		one, two, other := begin("ada", "s1"), begin("ada", "s2"), begin("ben", "s1")
		hub := &revocations{fail: carewire.ErrUnavailable}
		require.ErrorIs(t, m.Revoker(hub).Revoke(t.Context(), carewire.Revocation{Principal: "ada", Session: "s1"}), carewire.ErrUnavailable)
		require.True(t, is(one), "it is tried again")
		hub.fail = nil
		require.NoError(t, m.Revoker(hub).Revoke(t.Context(), carewire.Revocation{Principal: "ada", Session: "s1"}))
		require.Equal(t, []bool{false, true, true}, []bool{is(one), is(two), is(other)})
		require.Equal(t, []carewire.Revocation{{Principal: "ada", Session: sessions.ID(one), Until: time.Now().Add(time.Hour)}, {Principal: "ada", Session: "s1"}}, hub.got)
		require.NoError(t, m.Revoker(hub).Revoke(t.Context(), carewire.Revocation{Principal: "ada"}))
		require.Equal(t, []bool{false, true}, []bool{is(two), is(other)})
		m.End(other)
		require.False(t, is(other))
	})
}

// A sign-in that is under way while the provider ends its session does not begin one.
func TestLogoutDuringSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sessions.NewMemory()
		revoke := func(principal, session string) {
			require.NoError(t, m.Revoker(&revocations{}).Revoke(t.Context(), carewire.Revocation{Principal: principal, Session: session}))
		}
		begins := func(p carewire.Principal) bool {
			_, err := m.Find(t.Context(), m.Begin(p, time.Hour))
			if err != nil {
				require.ErrorIs(t, err, carewire.ErrUnauthenticated)
			}
			return err == nil
		}
		before := time.Now()
		time.Sleep(time.Second)
		revoke("ada", "s1")
		require.False(t, begins(carewire.Principal{ID: "ada", Session: "s1", Issued: before}))
		require.False(t, begins(carewire.Principal{ID: "ada", Session: "s1"}))
		require.True(t, begins(carewire.Principal{ID: "ada", Session: "s2", Issued: before}))
		require.True(t, begins(carewire.Principal{ID: "ben", Session: "s1", Issued: before}))
		revoke("ada", "")
		require.False(t, begins(carewire.Principal{ID: "ada", Session: "s2", Issued: before}))
		require.True(t, begins(carewire.Principal{ID: "ada", Session: "s3", Issued: time.Now().Add(time.Second)}), "one that began afterwards")
		require.True(t, begins(carewire.Principal{ID: "ada"}), "when it began there is not known")
		require.True(t, begins(carewire.Principal{ID: "ben", Issued: before}))
	})
}

// A logout of a person that is heard of late ends the sessions of before it, by
// the provider's clock, and none of those since.
func TestLateLogout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, hub := sessions.NewMemory(), &revocations{}
		begin := func(issued time.Time) string {
			return m.Begin(carewire.Principal{ID: "ada", Issued: issued}, time.Hour)
		}
		is := func(value string) bool {
			_, err := m.Find(t.Context(), value)
			return err == nil
		}
		logout := time.Now()
		slow := begin(logout.Add(-time.Minute)) // a provider whose clock is behind
		time.Sleep(time.Second)
		before := begin(logout.Add(-time.Second))
		after, unknown := begin(logout.Add(time.Second)), begin(time.Time{})
		time.Sleep(time.Minute)
		late := carewire.Revocation{Principal: "ada", Issued: logout}
		require.NoError(t, m.Revoker(hub).Revoke(t.Context(), late))
		require.Equal(t, []bool{false, false, true, true}, []bool{is(slow), is(before), is(after), is(unknown)})
		require.Contains(t, hub.got, late)
		require.False(t, is(begin(logout)), "a sign-in that was under way")
		require.True(t, is(begin(logout.Add(time.Second))))
		require.NoError(t, m.Revoker(hub).Revoke(t.Context(), carewire.Revocation{Principal: "ada"}))
		require.NoError(t, m.Revoker(hub).Revoke(t.Context(), late))
		require.False(t, is(begin(logout.Add(time.Second))), "a later logout still counts")
	})
}
