package rules

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/carewire/carewire"
)

// twelve are the rules of a ward, with delays and margins as wards have them.
func twelve() []Rule {
	limit := func(key string, m carewire.Measure, side Side, at, margin float64, delay time.Duration) Limit {
		return Limit{About: About{Key: key, Text: key}, Timing: Timing{Delay: delay, Clear: delay}, Code: m.Code, Unit: m.Units()[0], Side: side, At: at, Margin: margin}
	}
	spo2 := limit("spo2-low", carewire.SpO2, Below, 90, 2, 10*time.Second)
	spo2.Severe = &Severe{At: 85}
	return []Rule{
		spo2,
		limit("hr-high", carewire.HeartRate, Above, 130, 5, 10*time.Second),
		limit("hr-low", carewire.HeartRate, Below, 45, 5, 10*time.Second),
		limit("rr-high", carewire.RespiratoryRate, Above, 28, 3, 15*time.Second),
		limit("rr-low", carewire.RespiratoryRate, Below, 8, 2, 15*time.Second),
		limit("temp-high", carewire.BodyTemperature, Above, 38.5, 0.3, time.Minute),
		limit("bp-high", carewire.SystolicPressure, Above, 180, 10, 10*time.Second),
		limit("bp-low", carewire.SystolicPressure, Below, 90, 5, 10*time.Second),
		Change{About: About{Key: "hr-rise", Text: "Heart rate rises"}, Code: carewire.HeartRate.Code, Unit: "/min", Direction: Rise, By: 40, Within: 10 * time.Minute},
		Absent{About: About{Key: "spo2-off", Text: "No oxygen saturation"}, Code: carewire.SpO2.Code, For: time.Minute},
		Combination{About: About{Key: "shock", Text: "Fast heart and low pressure"}, All: []string{"hr-high", "bp-low"}},
		NEWS2(),
	}
}

// five are one second's numbers of a patient.
func five(patient string, k int) []carewire.Vital {
	wave := func(base, width float64, step int) float64 { return base + width*float64((k*step)%7-3)/3 }
	return []carewire.Vital{
		carewire.HeartRate.Of(patient, float64(int(wave(80, 6, 1)))),
		carewire.SpO2.Of(patient, float64(int(wave(96, 2, 2)))),
		carewire.RespiratoryRate.Of(patient, float64(int(wave(16, 3, 3)))),
		carewire.BodyTemperature.Of(patient, wave(37, 0.3, 1)),
		carewire.BloodPressure.Of(patient, float64(int(wave(120, 9, 2))), 70),
	}
}

// BenchmarkCase is the judging alone: one operation is one vital, by twelve rules.
func BenchmarkCase(b *testing.B) {
	for _, patients := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("patients=%d", patients), func(b *testing.B) {
			set, err := NewSet(twelve()...)
			if err != nil {
				b.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			cases := make([]*Case, patients)
			for i := range cases {
				cases[i] = NewCase(set, "p", adult)
				for k, v := range observed("p") {
					v.ID, v.Time, v.Received = fmt.Sprint("o", k), start, start
					cases[i].Vital(carewire.Position{Epoch: "e"}, &v)
				}
			}
			vitals := five("p", 0)
			for i := range vitals {
				vitals[i].ID = fmt.Sprintf("monitor-7.%06d", i)
			}
			now := start
			seq := uint64(0)
			round := func(c *Case) {
				for i := range vitals {
					vitals[i].Time, vitals[i].Received = now, now
					c.Vital(carewire.Position{Epoch: "e", Seq: seq}, &vitals[i])
				}
			}
			for range 20 { // the steady state is reached
				now, seq = now.Add(time.Second), seq+5
				for _, c := range cases {
					round(c)
					c.Owed()
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; {
				now, seq = now.Add(time.Second), seq+5
				for _, c := range cases {
					if round(c); len(c.owed) > 0 {
						c.Owed()
					}
					if n += len(vitals); n >= b.N {
						break
					}
				}
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(patients), "B/patient")
		})
	}
}

// observed are a patient's observations that are noted once, so that NEWS2 is complete.
func observed(patient string) []carewire.Vital {
	return []carewire.Vital{carewire.OxygenFlow.Of(patient, 0),
		{Patient: patient, Code: carewire.Consciousness, Coded: &carewire.Coding{System: House, Code: "A"}}}
}

// BenchmarkPublish publishes one second's numbers of 10,000 patients: to nobody,
// to a watch that only counts them, and to a Judge that judges them by twelve
// rules, NEWS2 among them. One operation is one vital. The cost of the Judge is the
// difference of cpu-ns/op, and of B/patient.
func BenchmarkPublish(b *testing.B) {
	const patients = 10_000
	for _, with := range []string{"nobody", "watch", "judge"} {
		b.Run(with, func(b *testing.B) {
			judged := with == "judge"
			nobody := carewire.AuthenticatorFunc(func(*http.Request) (carewire.Principal, error) {
				return carewire.Principal{}, carewire.ErrUnauthenticated
			})
			hub, err := carewire.New(nobody, carewire.NewMemoryStore(&carewire.MemoryOptions{Vitals: 20}), &carewire.Options{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			defer hub.Shutdown(context.Background())
			names := make([]string, patients)
			for i := range names {
				names[i] = fmt.Sprintf("p%d", i)
			}
			var j *Judge
			var seen atomic.Uint64
			if judged {
				set, err := NewSet(twelve()...)
				if err != nil {
					b.Fatal(err)
				}
				j, err = New(hub, set, &Options{Patients: func(context.Context) ([]string, error) { return names, nil }, Node: "bench", Logger: slog.New(slog.DiscardHandler),
					Settings: func(context.Context, string) (Settings, error) { return adult, nil }})
				if err != nil {
					b.Fatal(err)
				}
				ctx, stop := context.WithCancel(context.Background())
				done := make(chan struct{})
				go func() { defer close(done); j.Run(ctx) }()
				defer func() { stop(); <-done }()
				for j.count() < patients {
					runtime.Gosched()
				}
			}
			if with == "watch" {
				ctx, stop := context.WithCancel(context.Background())
				var watching sync.WaitGroup
				for list := range slices.Chunk(names, 500) {
					watching.Go(func() {
						hub.WatchEach(ctx, carewire.WatchOptions{Patients: list, Delivery: carewire.DeliverEvery}, func(*carewire.Event) { seen.Add(1) })
					})
				}
				defer func() { stop(); watching.Wait() }()
			}
			for _, p := range names {
				if _, err := hub.Publish(context.Background(), observed(p)...); err != nil {
					b.Fatal(err)
				}
			}
			k := 0
			publish := func(n int) {
				for sent := 0; sent < n; k++ {
					list := five(names[k%patients], k/patients)
					if _, err := hub.Publish(context.Background(), list...); err != nil {
						b.Fatal(err)
					}
					sent += len(list)
				}
			}
			publish(10 * patients)
			if judged { // the score is complete, so that its calculation is measured
				for j.judgedVitals() < uint64(k*5+2*patients) {
					time.Sleep(time.Millisecond)
				}
				if s, err := j.Explain(names[0]); err != nil || s[11].State == StandingUnknown {
					b.Fatal("NEWS2 is not reckoned", err)
				}
			}
			var memory runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&memory)
			b.ReportAllocs()
			b.ResetTimer()
			cpu := cpuTime()
			publish(b.N)
			if judged {
				for j.judgedVitals() < uint64(k*5+2*patients) {
					time.Sleep(time.Millisecond)
				}
			}
			b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(memory.HeapAlloc)/patients, "B/patient")
		})
	}
}
