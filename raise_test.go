package carewire

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Everything that a Raise can hold is encoded and decoded, and is in the alert that
// it opens, and nothing else is.
func TestRaise(t *testing.T) {
	t.Parallel()
	r := Raise{Patient: "p-17", Key: "spo2-low", ID: "ev-1", Code: "c", System: "s", Text: "SpO2 low", Priority: PriorityHigh, Kind: AlertTechnical, Test: true,
		NoLatch: true, Unpausable: true, Audience: AudienceNamed, To: []string{"person:ann"},
		Source: Source{Rule: "r", Limits: "90-110", Value: "84", Unit: "%", VitalID: "v"}, Onset: wireTime}
	require.NoError(t, r.Validate())
	text, err := json.Marshal(r)
	require.NoError(t, err)
	var back Raise
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, r, back)

	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		require.NotContains(t, fmt.Sprintf(verb, r)+fmt.Sprintf(verb, &r), "low", verb)
	}
	require.NotContains(t, r.LogValue().String(), "low")

	a := raiseAlert(nil, r, "monitor", wireTime)
	again := a.Again()
	want := r
	want.ID = ""
	require.Equal(t, want, again)
	text, err = json.Marshal(a)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &back))
	want.ID, want.Source.By = "ev-1", "monitor"
	require.Equal(t, want, back, "an alert's JSON reads as the Raise that raised it")

	ended := endCondition(&a, wireTime.Add(time.Minute))
	require.True(t, ended.Again().Onset.IsZero(), "a new occurrence has an onset of its own")
}

// An alert that was read can be raised again: it says that it is still so,
// changes, or begins anew; it is never taken for another event.
func TestRaiseAnAlertThatWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", ID: "ev", Text: "x", Priority: PriorityInfo, To: []string{"person:nurse"}})
		require.NoError(t, err)
		read, err := w.hub.Alert(t.Context(), "p1", "ev")
		require.NoError(t, err)
		again, err := w.hub.Raise(t.Context(), read.Again())
		require.NoError(t, err)
		assert.Equal(t, read.Rev, again.Rev, "it is so already")
		worse := read.Again()
		worse.Priority = PriorityHigh
		again, err = w.hub.Raise(t.Context(), worse)
		require.NoError(t, err)
		assert.Equal(t, PriorityHigh, again.Priority)
		assert.Equal(t, "ev", again.ID, "the same occurrence")
		again, err = w.hub.Answer(t.Context(), people["nurse"], again.Ref(), Answer{Do: AnswerClose, Force: true, Reason: "x"})
		require.NoError(t, err)
		time.Sleep(time.Hour)
		anew, err := w.hub.Raise(t.Context(), again.Again())
		require.NoError(t, err)
		assert.NotEqual(t, "ev", anew.ID)
		assert.True(t, anew.Onset.After(again.Onset))

		// The same by a client, of an alert that the host has raised.
		device, err := Dial(t.Context(), "ws://localhost/", &DialOptions{Token: func(context.Context) (string, error) { return "device", nil },
			HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return w.net.Dial(ctx) }}}})
		require.NoError(t, err)
		defer device.Close()
		got, err := device.Raise(t.Context(), anew.Again())
		require.NoError(t, err)
		assert.Len(t, got.Sources, 2)
		_, err = device.Raise(t.Context(), Raise{Patient: "p1", Key: "cable", Text: "off", Priority: PriorityLow, Kind: AlertTechnical, NoLatch: true, Unpausable: true})
		require.NoError(t, err)
		cable, err := w.hub.Alert(t.Context(), "p1", "cable")
		require.NoError(t, err)
		assert.True(t, cable.NoLatch && cable.Unpausable, "the client sends all that it is given")
	})
}

// A clear that is repeated under its event ID does not end an alert that has come back since,
// though the alert is still the same.
func TestClearOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		say := func(id string) Alert {
			a, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", ID: id, Text: "x", Priority: PriorityHigh})
			require.NoError(t, err)
			return a
		}
		a := say("r1")
		over, err := w.hub.ClearOnce(t.Context(), a.Ref(), "c1")
		require.NoError(t, err)
		require.Equal(t, ConditionOver, over.Condition)
		require.Equal(t, a.ID, say("r2").ID, "nobody has accepted it: it is the same alert")
		again, err := w.hub.ClearOnce(t.Context(), a.Ref(), "c1")
		require.NoError(t, err)
		require.Equal(t, over.Rev, again.Rev)
		now, err := w.hub.Alert(t.Context(), "p1", "k")
		require.NoError(t, err)
		require.Equal(t, ConditionPresent, now.Condition)

		_, err = w.hub.ClearOnce(t.Context(), a.Ref(), "r2")
		require.ErrorIs(t, err, ErrIDReused)
		_, err = w.hub.ClearOnce(t.Context(), a.Ref(), "no id")
		require.ErrorContains(t, err, "event_id")
		now, err = w.hub.ClearOnce(t.Context(), a.Ref(), "c2")
		require.NoError(t, err)
		require.Equal(t, ConditionOver, now.Condition)
	})
}
