package fhir

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// Reads that the Hub does not count are counted here, for each principal by itself.
func TestLooksAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil, nil)
		defer w.close()
		body := wish("vitals", "Observation?patient=Patient/p1", "id-only")
		id := w.subscribe("nurse", body)
		for _, c := range []struct{ method, path, body string }{
			{"GET", "Flag?patient=p1", ""}, {"GET", "Flag/x", ""}, {"GET", "DetectedIssue?patient=p1", ""}, {"GET", "Observation/$lastn?patient=p1", ""},
			{"GET", "Subscription", ""}, {"GET", "Subscription/$status", ""}, {"GET", "Subscription/" + id, ""}, {"GET", "Subscription/" + id + "/$events", ""},
			{"GET", "Subscription/" + id + "/$resend", ""}, {"POST", "Subscription", body}, {"GET", "Subscription/$get-ws-binding-token", ""},
			{"PUT", "Subscription/" + id, strings.Replace(body, `"status"`, `"id":"`+id+`","status"`, 1)},
		} {
			for range looksBurst {
				w.server.looks.take("nurse", 1)
			}
			r := w.do("nurse", c.method, c.path, c.body)
			assert.Equal(t, 429, r.Code, c.path)
			assert.Equal(t, "1", r.Header().Get("Retry-After"), c.path)
			assert.Equal(t, 200, w.do("viewer", "GET", "Flag?patient=p1", "").Code)
			time.Sleep(time.Second)
			assert.NotEqual(t, 429, w.do("nurse", c.method, c.path, c.body).Code, c.path)
		}
	})
	var x looks
	x.init()
	for i := range 2*looksMost + 1 {
		require.NoError(t, x.take(itoa(i), 1))
	}
	require.LessOrEqual(t, len(x.by), looksMost)
	for range looksBurst {
		x.take("a", 1)
	}
	require.ErrorIs(t, x.take("a", 1), carewire.ErrBusy)
}

// A client with many subscriptions can come back many times.
func TestListsCostFewLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil, nil)
		defer w.close()
		body := wish("vitals", "Observation?patient=Patient/p1", "id-only")
		var id string
		for range 60 {
			id = w.subscribe("nurse", body)
		}
		time.Sleep(time.Minute)
		for range 10 { // the Hub keeps 20 tokens of one principal
			require.Equal(t, 200, w.do("nurse", "GET", "Subscription/$get-ws-binding-token", "").Code)
		}
		require.NoError(t, w.server.looks.take("nurse", 950))
		for range 2 {
			require.Equal(t, 200, w.do("nurse", "GET", "Subscription", "").Code)
		}
		assert.Equal(t, 429, w.do("nurse", "GET", "Subscription", "").Code, "but not without a limit")
		assert.Equal(t, 200, w.do("nurse", "GET", "Subscription/"+id, "").Code, "one costs one")
	})
}
