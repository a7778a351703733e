package carewire

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A withdrawn vital is not the newest any more, a correction takes its place, and
// the correction of an older one leaves the newest as it is. A vital that does not
// exist, or is another sender's, cannot be replaced.
func TestWithdrawnIsNotTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		c := w.dial("nurse")
		c.send(`{"type":"watch","req":"1","patients":["p1"],"delivery":"every"}`)
		c.until("synced")
		send := func(v Vital) error {
			v.Device = "mon-1"
			_, err := w.hub.Publish(t.Context(), v)
			return err
		}
		vital := func(id string, value float64) Vital {
			v := HeartRate.Of("p1", value)
			v.ID = id
			return v
		}
		replaces := func(v Vital, s VitalStatus, id string) Vital {
			v.Status, v.Replaces = s, id
			return v
		}
		newest := func() string {
			events, _, err := w.hub.Latest(t.Context(), "p1")
			require.NoError(t, err)
			for _, e := range events {
				return string(e.Vital.Value)
			}
			return ""
		}
		began := time.Now()
		require.NoError(t, send(vital("a", 60)))
		time.Sleep(time.Second)
		require.NoError(t, send(vital("b", 70)))
		time.Sleep(time.Second)

		require.NoError(t, send(replaces(vital("b2", 71), VitalCorrected, "b")))
		require.Equal(t, "71", newest())
		older := replaces(vital("a2", 61), VitalCorrected, "a")
		requireInvalid(t, send(older), "time")
		older.Time = time.Now()
		requireInvalid(t, send(older), "time")
		older.Time = began
		require.NoError(t, send(older))
		require.Equal(t, "71", newest())
		gone := replaces(vital("", 61), VitalEnteredInError, "a2")
		gone.Time = began
		require.NoError(t, send(gone))
		require.Equal(t, "71", newest())
		require.NoError(t, send(replaces(vital("", 71), VitalEnteredInError, "b2")))
		require.Empty(t, newest())
		require.NoError(t, send(vital("c", 80)))
		require.Equal(t, "80", newest())

		requireInvalid(t, send(replaces(vital("", 80), VitalEnteredInError, "x")), "replaces")
		other := replaces(SpO2.Of("p1", 97), VitalCorrected, "c")
		requireInvalid(t, send(other), "replaces")
		_, err := w.hub.Publish(t.Context(), vital("d", 1), replaces(vital("d2", 2), VitalCorrected, "d"))
		require.NoError(t, err, "one of the same publish")
		d := w.dial("device")
		d.send(`{"type":"publish","req":"1","vitals":[{"patient":"p1","code":"8867-4","value":80,"unit":"/min","device":"mon-1","status":"entered-in-error","replaces":"c"}]}`)
		require.Equal(t, "replaces", valueAt(d.until("ok"), "results", 0, "error", "field"), "another sender's")
		values := []float64{}
		for range 9 {
			values = append(values, valueAt(c.until("vital"), "vital", "value").(float64))
		}
		require.Equal(t, []float64{60, 70, 71, 61, 61, 71, 80, 1, 2}, values)
	})
}

func requireInvalid(t *testing.T, err error, field string) {
	t.Helper()
	var v *ValidationError
	require.ErrorAs(t, err, &v)
	require.Equal(t, field, v.Field)
}
