package ble

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/carewire/carewire"
	"github.com/stretchr/testify/require"
)

// source is whose the measurements of the vectors are.
var source = Source{Patient: "p-17", Device: "meter-1", Zone: time.FixedZone("", 3600), Session: time.Date(2026, time.January, 5, 8, 0, 0, 0, time.UTC)}

// vector is a value of a characteristic and its meaning, from testdata/vectors.json.
type vector struct {
	Name           string          `json:"name"`
	Characteristic string          `json:"characteristic"`
	Value          string          `json:"value"`
	NoZone         bool            `json:"no_zone"`
	Error          string          `json:"error"`
	Vitals         json.RawMessage `json:"vitals"`
}

func readVectors(t testing.TB) (list []vector) {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &list))
	return list
}

func (v *vector) bytes(t testing.TB) (characteristic uint16, value []byte) {
	t.Helper()
	n, err := strconv.ParseUint(v.Characteristic, 16, 16)
	require.NoError(t, err)
	value, err = hex.DecodeString(v.Value)
	require.NoError(t, err)
	return uint16(n), value
}

// Each value has the meaning that the vectors give it, and the Hub accepts it.
func TestVectors(t *testing.T) {
	t.Parallel()
	seen := make(map[uint16]int)
	for _, row := range readVectors(t) {
		t.Run(row.Name, func(t *testing.T) {
			s := source
			if row.NoZone {
				s.Zone = nil
			}
			characteristic, value := row.bytes(t)
			seen[characteristic]++
			got, err := s.Decode(characteristic, value)
			if row.Error != "" {
				require.ErrorContains(t, err, row.Error)
				require.Empty(t, got)
				return
			}
			require.NoError(t, err)
			for i := range got {
				require.Equal(t, "p-17", got[i].Patient)
				require.Equal(t, "meter-1", got[i].Device)
				require.NoError(t, got[i].Validate())
				got[i].Patient, got[i].Device = "", ""
			}
			// The vectors hold numbers as text, for their digits count; JSON does not.
			text := string(row.Vitals)
			require.JSONEq(t, text, asText(t, got))
		})
	}
	for _, c := range []uint16{GlucoseMeasurement, TemperatureMeasurement, IntermediateTemperature, BloodPressure, HeartRate, PulseOximeterSpot,
		PulseOximeterContinuous, Weight, CGMMeasurement} {
		require.NotZero(t, seen[c], "%04X", c)
	}
}

// asText writes vitals as JSON, their numbers as text.
func asText(t *testing.T, vitals []carewire.Vital) string {
	t.Helper()
	list := make([]map[string]any, len(vitals))
	for i, v := range vitals {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		d := json.NewDecoder(strings.NewReader(string(b)))
		d.UseNumber()
		require.NoError(t, d.Decode(&list[i]))
	}
	b, err := json.Marshal(list)
	require.NoError(t, err)
	return numbers(string(b))
}

// numbers puts every "value" into quotes.
func numbers(text string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, `"value":`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		end := strings.IndexAny(after, ",}")
		b.WriteString(`"value":"` + after[:end] + `"`)
		text = after[end:]
	}
}

// No byte string makes it panic, and the result is a vital or nothing: a
// number or a reason, never both and never neither.
func FuzzDecode(f *testing.F) {
	for _, v := range readVectors(f) {
		characteristic, value := v.bytes(f)
		f.Add(characteristic, value)
	}
	f.Fuzz(func(t *testing.T, characteristic uint16, value []byte) {
		vitals, err := source.Decode(characteristic, value)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) && err != ErrCharacteristic && err != ErrZone {
				t.Fatal("an error of another type")
			}
			if len(vitals) > 0 {
				t.Fatal("an error and vitals")
			}
			return
		}
		for _, v := range vitals {
			if len(v.Components) == 0 && (v.Value == "") == (v.Absent == "") {
				t.Fatal("a number and a reason, or neither")
			}
			for _, c := range v.Components {
				if (c.Value == "") == (c.Absent == "") {
					t.Fatal("a number and a reason, or neither")
				}
			}
			var invalid *carewire.ValidationError
			if err := v.Validate(); err != nil && (!errors.As(err, &invalid) || !strings.HasSuffix(invalid.Field, "value") && invalid.Field != "time") {
				t.Fatalf("refused for another cause than its number: %v", err)
			}
			if _, err := json.Marshal(v); err != nil {
				t.Fatalf("cannot be written: %v", err)
			}
		}
	})
}
