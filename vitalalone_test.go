package carewire

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// Of a hundred vitals each wrong one refuses itself only; the others are
// stored.
func TestOneBadVitalInAHundred(t *testing.T) {
	bad := map[int]struct{ vital, code, field string }{
		3:  {`{"patient":"p1","code":"8867-4","value":null,"unit":"/min"}`, "invalid", "value"},
		11: {`{"patient":"p1","code":"8867-4","value":"72","unit":"/min"}`, "invalid", "value"},
		12: {`{"patient":"p1","code":"8867-4","value":7.2e1,"unit":"/min"}`, "invalid", "value"},
		20: {`{"patient":"p1","code":"8867-4","value":1234567890123456789012345,"unit":"/min"}`, "invalid", "value"},
		31: {`{"patient":"p1","code":"8867-4","value":72,"unit":"/min","time":"2026-03-01T08:00:00"}`, "invalid", "time"},
		44: {`{"patient":"p1","code":"8867-4","value":72,"unit":"/min","bpm":{"a":[1,"}]"]}}`, "malformed", ""},
		45: {`{"patient":"p1","patient":"p2","code":"8867-4","value":72,"unit":"/min"}`, "malformed", ""},
		46: {`null`, "malformed", ""},
		57: {`[` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `]`, "malformed", ""},
		63: {`{"patient":"p1","code":"8867-4","value":72,"unit":"/min","site":"\ud800"}`, "invalid", "site"},
		64: {`{"patient":"p1","code":"85354-9","components":[{"code":"8480-6","value":"120","unit":"mm[Hg]"}]}`, "invalid", "components[0].value"},
		99: {`{"patient":"p1","code":"8867-4","value":72,"unit":"bpm"}`, "invalid", "unit"},
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		d := w.dial("device")
		list := make([]string, 100)
		for i := range list {
			if list[i] = bad[i].vital; list[i] == "" {
				list[i] = fmt.Sprintf(`{"patient":"p1","code":"8867-4","value":%d,"unit":"/min"}`, i)
			}
		}
		list[0] = `{"patient":"p1","code":"8310-5","value":36.600000000000001,"unit":"Cel"}`
		results := listAt(d.ask(`{"type":"publish","req":"1","vitals":[`+strings.Join(list, ",")+`]}`), "results")
		require.Len(t, results, 100)
		seq := 0
		for i, r := range results {
			if want, wrong := bad[i]; wrong {
				e := objectAt(r, "error")
				require.Equal(t, want.code, e["code"], "%d", i)
				require.Equal(t, "never", e["retry"])
				if want.field != "" {
					require.Equal(t, want.field, e["field"], "%d", i)
				}
				continue
			}
			seq++
			require.EqualValues(t, seq, valueAt(r, "seq"), "%d", i)
		}
		latest, _, err := w.store.Latest(t.Context(), "p1")
		require.NoError(t, err)
		var kept []string
		for i := range latest {
			var v Vital
			require.NoError(t, v.UnmarshalJSON(latest[i].Data))
			kept = append(kept, fmt.Sprint(v.Code, " ", v.Value, " ", v.Quality))
		}
		require.ElementsMatch(t, []string{"8310-5 36.6000000000000 [rounded]", "8867-4 98 []"}, kept)

		list[7] = `{"patient":"p1","code":"8867-4","value":NaN,"unit":"/min"}`
		e := d.ask(`{"type":"publish","req":"2","vitals":[` + strings.Join(list, ",") + `]}`)
		require.Equal(t, "error", e["type"])
		require.Equal(t, "vitals[7].value", e["field"])
		require.EqualValues(t, seq, w.hub.Stats().EventsIn)
	})
}
