package sessions

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// Sessions whose end the host does not tell are forgotten, too.
func TestCookiesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New("sid", func(context.Context, string) (carewire.Principal, error) { return carewire.Principal{ID: "ada"}, nil })
		for n := range 20_000 {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.AddCookie(&http.Cookie{Name: "sid", Value: fmt.Sprint(n)})
			p, err := c.Authenticate(r)
			require.NoError(t, err)
			require.Equal(t, time.Now().Add(time.Hour), p.Expires)
			time.Sleep(time.Minute)
		}
		require.Less(t, len(c.live), 300, "more than the sessions of two hours are there before they are looked through")
	})
}

// Sessions that the provider has ended are remembered for an hour.
func TestEndedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		for n := range 1000 {
			m.end(carewire.Revocation{Principal: "ada", Session: fmt.Sprint(n)})
			time.Sleep(time.Minute)
		}
		require.LessOrEqual(t, len(m.ended), 62)
	})
}
