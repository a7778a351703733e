package boltstore_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/boltstore"
	"github.com/carewire/carewire/rules"
)

// BenchmarkTakeOver is how long a Judge takes for the 1,000 patients of another one that
// is gone, from when it knows that: until it has raised what is due by rules that look
// back a minute, and by those that look back ten. Each patient has five numbers a second.
func BenchmarkTakeOver(b *testing.B) {
	for name, open := range map[string]func() (carewire.Store, error){
		"memory": func() (carewire.Store, error) {
			return carewire.NewMemoryStore(&carewire.MemoryOptions{Vitals: 10_000}), nil
		},
		"bolt": func() (carewire.Store, error) {
			return boltstore.Open(filepath.Join(b.TempDir(), "log.db"), nil)
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				store, err := open()
				if err != nil {
					b.Fatal(err)
				}
				urgent, all := takeOver(b, store)
				b.ReportMetric(urgent.Seconds(), "s/urgent")
				b.ReportMetric(all.Seconds(), "s/all")
				if closer, ok := store.(io.Closer); ok {
					closer.Close()
				}
				b.StartTimer()
			}
		})
	}
}

func takeOver(b *testing.B, store carewire.Store) (urgent, all time.Duration) {
	const patients, seconds = 1000, 11 * 60
	quiet := slog.New(slog.DiscardHandler)
	nobody := carewire.AuthenticatorFunc(func(*http.Request) (carewire.Principal, error) {
		return carewire.Principal{}, carewire.ErrUnauthenticated
	})
	names := make([]string, patients)
	for i := range names {
		names[i] = fmt.Sprint("p", i)
	}
	numbers := func(p string, rate float64) []carewire.Vital {
		return []carewire.Vital{carewire.HeartRate.Of(p, rate), carewire.SpO2.Of(p, 96), carewire.RespiratoryRate.Of(p, 16),
			carewire.BodyTemperature.Of(p, 37), carewire.BloodPressure.Of(p, 120, 70)}
	}
	began := time.Now().Add(-seconds * time.Second)
	write(b, store, names, numbers, began, seconds)

	hub, err := carewire.New(nobody, store, &carewire.Options{Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer hub.Shutdown(context.Background())
	gone := time.Now().Add(-time.Minute).UnixMilli() // a Judge reports a minute less than it has done
	if _, err := hub.Share(b.Context(), "rules", func([]byte) []byte {
		list, _ := json.Marshal(map[string]any{"generation": 1, "gone": map[string]any{"a": map[string]any{"judged": gone, "own": gone, "generation": 1}}})
		return list
	}); err != nil {
		b.Fatal(err)
	}
	for _, p := range names {
		if _, err := hub.Publish(b.Context(), numbers(p, 200)...); err != nil {
			b.Fatal(err)
		}
	}
	limit := func(key string, m carewire.Measure, side rules.Side, at float64, delay time.Duration) rules.Rule {
		return rules.Limit{About: rules.About{Key: key, Text: key}, Timing: rules.Timing{Delay: delay, Clear: delay}, Code: m.Code, Unit: m.Units()[0], Side: side, At: at, Margin: 1}
	}
	set, err := rules.NewSet(limit("urgent", carewire.HeartRate, rules.Above, 130, 0),
		limit("hr-low", carewire.HeartRate, rules.Below, 45, 10*time.Second), limit("spo2-low", carewire.SpO2, rules.Below, 90, 10*time.Second),
		limit("rr-high", carewire.RespiratoryRate, rules.Above, 28, 15*time.Second), limit("rr-low", carewire.RespiratoryRate, rules.Below, 8, 15*time.Second),
		limit("temp-high", carewire.BodyTemperature, rules.Above, 38.5, time.Minute), limit("bp-high", carewire.SystolicPressure, rules.Above, 180, 10*time.Second),
		limit("bp-low", carewire.SystolicPressure, rules.Below, 90, 10*time.Second),
		rules.Change{About: rules.About{Key: "rise", Text: "rise"}, Code: carewire.HeartRate.Code, Unit: "/min", Direction: rules.Rise, By: 40, Within: 10 * time.Minute},
		rules.Absent{About: rules.About{Key: "spo2-off", Text: "off"}, Code: carewire.SpO2.Code, For: time.Minute},
		rules.Combination{About: rules.About{Key: "shock", Text: "shock"}, All: []string{"urgent", "bp-low"}}, rules.NEWS2())
	if err != nil {
		b.Fatal(err)
	}
	judge, err := rules.New(hub, set, &rules.Options{Logger: quiet, Node: "b", Patients: func(context.Context) ([]string, error) { return names, nil }})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	start := time.Now()
	go func() { defer close(done); judge.Run(ctx) }()
	defer func() { stop(); <-done }()
	raised := func(key string) time.Duration {
		for _, p := range names {
			for {
				if _, err := hub.Alert(b.Context(), p, key); err == nil {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		return time.Since(start)
	}
	return raised("urgent"), raised("rise")
}

// write fills the log as a Hub had done it from began on.
func write(b *testing.B, store carewire.Store, names []string, numbers func(string, float64) []carewire.Vital, began time.Time, seconds int) {
	for k := range seconds {
		var list []carewire.Entry
		for _, p := range names {
			for _, v := range numbers(p, 100) {
				v.Time = began.Add(time.Duration(k) * time.Second)
				v.Received = v.Time
				data, err := v.MarshalJSON()
				if err != nil {
					b.Fatal(err)
				}
				list = append(list, carewire.Entry{Patient: p, Kind: carewire.KindVital, Key: "v " + v.Code, Time: v.Time, Received: v.Received, Data: data})
			}
		}
		if _, err := store.Append(b.Context(), list); err != nil {
			b.Fatal(err)
		}
	}
}
