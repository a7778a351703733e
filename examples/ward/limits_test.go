package main

import (
	"slices"
	"testing"
	"time"
)

func TestLimit(t *testing.T) {
	high := limit{at: 180, margin: 5, delay: 0}
	slow := limit{at: 180, margin: 5, delay: 4 * time.Second}
	low := limit{at: 90, margin: 2, delay: 2 * time.Second, below: true}
	tests := []struct {
		name   string
		limit  limit
		every  time.Duration
		values []float64
		want   []string
	}{
		{"wavering at the limit gives one alert", high, time.Second, []float64{179, 181, 180, 181, 179, 182, 181}, []string{"raise@1"}},
		{"it is over when well inside", high, time.Second, []float64{181, 176, 175, 181}, []string{"raise@0", "clear@2", "raise@3"}},
		{"the limit itself is normal", high, time.Second, []float64{180, 180, 180}, nil},
		{"a short peak gives none", slow, time.Second, []float64{185, 185, 185, 170, 185}, nil},
		{"it must last", slow, time.Second, []float64{185, 185, 185, 185, 185, 185}, []string{"raise@4"}},
		{"wavering lasts too", slow, time.Second, []float64{181, 180, 181, 180, 181, 180}, []string{"raise@4"}},
		{"what lies between readings that stopped is not known", slow, 11 * time.Second, []float64{185, 185, 185}, nil},
		{"a lower limit", low, time.Second, []float64{91, 89, 89, 88, 91, 92, 93}, []string{"raise@3", "clear@5"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var s standing
			var got []string
			at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
			for i, v := range test.values {
				raise, clear := s.read(&test.limit, v, at)
				switch name := string(rune('0' + i)); {
				case raise:
					got = append(got, "raise@"+name)
				case clear:
					got = append(got, "clear@"+name)
				}
				if raise || clear {
					s.out, s.since = raise, time.Time{}
				}
				at = at.Add(test.every)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
