package carewire

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestVitalAlertAndAnswerEndToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		nurse, device := w.dial("nurse"), w.dial("device")
		defer nurse.ws.CloseNow()
		defer device.ws.CloseNow()

		require.Equal(t, "welcome", nurse.read()["type"])
		require.Equal(t, object{"type": "inbox", "items": []any{}, "done": true}, nurse.read())
		require.Equal(t, []any{"p1"}, nurse.ask(`{"type":"watch","req":"1","patients":["p1"]}`)["watching"])
		require.Equal(t, false, nurse.read()["recovered"])
		require.Equal(t, "synced", nurse.read()["type"])

		ok := device.ask(`{"type":"publish","req":"a","vitals":[{"patient":"p1","code":"8867-4","value":72.0,"unit":"/min"}]}`)
		require.Equal(t, []any{object{"seq": 1.0}}, ok["results"])
		v := nurse.read()
		require.Equal(t, "vital", v["type"])
		require.EqualValues(t, 72, valueAt(v, "vital", "value"))

		raised := device.ask(`{"type":"raise","req":"b","event_id":"e1","alert":{"patient":"p1","key":"hr","text":"HR high","priority":"high"}}`)
		require.Equal(t, "ok", raised["type"], raised)
		a := nurse.until("alert")
		require.Equal(t, "e1", valueAt(a, "alert", "alert_id"))

		done := nurse.ask(`{"type":"answer","req":"2","patient":"p1","key":"hr","alert_id":"e1","event_id":"e2","do":"accept"}`)
		require.Equal(t, "accepted", valueAt(done, "alert", "responsibility", "state"))
	})
}
