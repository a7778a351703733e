package hubtest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/carewire/carewire"
)

// Access tests on a Store that sessions which were ended, and people who were
// suspended, stay out: on every node, after a restart, and until they are let in
// again.
func Access(t *testing.T, store carewire.Store) {
	var issued map[string]time.Time // by token
	hub := func() *carewire.Hub {
		h, err := carewire.New(carewire.AuthenticatorFunc(func(r *http.Request) (carewire.Principal, error) {
			token := carewire.Token(r)
			return carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Session: token, Patients: []string{"p1"}, Issued: issued[token]}, nil
		}), store, &carewire.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := h.Shutdown(ctx); err != nil {
				t.Error(err)
			}
		})
		return h
	}
	one, other := hub(), hub()
	now := one.Now()
	issued = map[string]time.Time{"old": now.Add(-time.Hour), "fresh": now.Add(time.Hour)}
	expect := func(h *carewire.Hub, token string, want error) {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); ; {
			r, _ := http.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			_, err := h.Identify(r)
			if errors.Is(err, want) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %v, not %v", token, err, want)
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-t.Context().Done():
			}
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	nurse := carewire.Revocation{Principal: "nurse"}

	must(one.Revoke(t.Context(), nurse))
	expect(one, "old", carewire.ErrForbidden)
	expect(other, "old", carewire.ErrForbidden)
	expect(one, "fresh", nil)
	expect(other, "fresh", nil)
	third := hub()
	expect(third, "old", carewire.ErrForbidden)
	expect(third, "fresh", nil)

	must(other.Suspend(t.Context(), nurse))
	for _, h := range []*carewire.Hub{other, one, third, hub()} {
		expect(h, "fresh", carewire.ErrForbidden)
	}
	must(third.Restore(t.Context(), nurse))
	for _, h := range []*carewire.Hub{third, one, other, hub()} {
		expect(h, "fresh", nil)
		expect(h, "old", nil)
	}
}
