package main

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/rules"
)

// numbers are the measurements of a monitor.
type numbers struct{ spo2, hr, rr, temp, systolic, diastolic float64 }

// episodes are events in a patient's course, which come now and then: by how much each number
// changes at its worst, and for how many seconds.
var episodes = []struct {
	change numbers
	length int
}{
	{numbers{spo2: -12, hr: 14, rr: 7}, 80},                      // oxygen falls
	{numbers{hr: 72, rr: 4}, 70},                                 // the heart races
	{numbers{systolic: 62, diastolic: 28, hr: 8}, 150},           // pressure rises
	{numbers{spo2: -4, rr: -10}, 75},                             // breathing slows
	{numbers{temp: 2.2, hr: 18, rr: 4}, 400},                     // fever
	{numbers{systolic: -38, diastolic: -20, hr: 22, rr: 3}, 150}, // pressure falls
}

// every is how often a monitor reports; pressure and temperature are measured
// once a minute.
const every = 2 * time.Second

// A monitor is a simulated one at a bed. Its readings follow from its seed and
// from how often it was asked alone.
type monitor struct {
	patient string
	hasECG  bool // its heart rate comes from the record instead
	hasICU  bool // it sends three recorded waves besides
	rng     *rand.Rand
	normal  numbers
	drift   numbers
	second  int
	episode int // which one is next, or under way
	begins  int // when, in seconds
	offset  int // of the minute in which pressure and temperature are measured
}

// newMonitor returns the monitor of the i-th patient. To have something to
// look at, the third and the seventh have their first episode soon.
func newMonitor(patient string, i int, seed uint64) *monitor {
	m := &monitor{patient: patient, hasECG: i == 0, hasICU: i == 1, rng: rand.New(rand.NewPCG(seed, uint64(i))), offset: i * 14 % 60 / 2 * 2}
	between := func(low, high float64) float64 { return low + m.rng.Float64()*(high-low) }
	m.normal = numbers{spo2: between(96, 98), hr: between(62, 88), rr: between(13, 17), temp: between(36.4, 37.2),
		systolic: between(112, 134), diastolic: between(66, 80)}
	m.episode, m.begins = m.rng.IntN(len(episodes)), 120+m.rng.IntN(900)
	switch i {
	case 2:
		m.episode, m.begins = 0, 12
	case 6:
		m.episode, m.begins = 1, 40
	}
	return m
}

// next returns the present measurements, and goes on to the next time.
func (m *monitor) next() []carewire.Vital {
	wander := func(x *float64, by float64) { *x = 0.95**x + by*m.rng.NormFloat64() }
	d := &m.drift
	wander(&d.spo2, 0.25)
	wander(&d.hr, 0.8)
	wander(&d.rr, 0.3)
	wander(&d.temp, 0.01)
	wander(&d.systolic, 1)
	wander(&d.diastolic, 0.7)

	e := &episodes[m.episode]
	into := float64(m.second-m.begins) / float64(e.length)
	depth := 0.0
	if into >= 0 {
		depth = min(1, 6*into, 6*(1-into)) // quickly down, long there, quickly back
	}
	if into >= 1 {
		depth = 0
		m.episode, m.begins = m.rng.IntN(len(episodes)), m.second+400+m.rng.IntN(1200)
	}
	value := func(normal, drift, change float64) float64 { return normal + drift + depth*change }
	first, minute := m.second%3600 == 0, m.second%60 == m.offset
	m.second += int(every / time.Second)

	list := []carewire.Vital{
		carewire.SpO2.Of(m.patient, math.Round(min(100, value(m.normal.spo2, d.spo2, e.change.spo2)))),
		carewire.RespiratoryRate.Of(m.patient, math.Round(max(4, value(m.normal.rr, d.rr, e.change.rr)))),
	}
	if !m.hasECG {
		list = append(list, carewire.HeartRate.Of(m.patient, math.Round(value(m.normal.hr, d.hr, e.change.hr))))
	}
	for i := range list {
		list[i].Every = every
	}
	if first || minute {
		temp := carewire.BodyTemperature.Of(m.patient, 0)
		temp.Value = carewire.Decimal(strconv.FormatFloat(value(m.normal.temp, d.temp, e.change.temp), 'f', 1, 64)) // 37.0 stays 37.0
		list = append(list, temp, carewire.BloodPressure.Of(m.patient,
			math.Round(value(m.normal.systolic, d.systolic, e.change.systolic)),
			math.Round(value(m.normal.diastolic, d.diastolic, e.change.diastolic))))
	}
	if first { // a nurse notes these on the first round; NEWS2 needs them
		list = append(list, carewire.OxygenFlow.Of(m.patient, 0),
			carewire.Vital{Patient: m.patient, Code: carewire.Consciousness, Coded: &carewire.Coding{System: rules.House, Code: "A"}, Method: "observed"})
	}
	return list
}

// A gateway brings the measurements of a ward's monitors to the Hub, over the
// network, as one in a hospital's cellar does.
type gateway struct {
	url, token string
	monitors   []*monitor
	log        *slog.Logger
}

const atOnce = 100 // vitals in one publish

// run sends until ctx ends.
func (g *gateway) run(ctx context.Context) {
	client, err := g.dial(ctx)
	if err != nil {
		return
	}
	defer client.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, m := range g.monitors {
		if m.hasECG {
			wg.Go(func() { g.sendBeats(ctx, client, m) })
		}
		if m.hasICU {
			wg.Go(func() { g.sendLeads(ctx, client, m.patient) })
		}
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		var list []carewire.Vital
		for _, m := range g.monitors {
			list = append(list, m.next()...)
		}
		for some := range slices.Chunk(list, atOnce) {
			g.send(ctx, client, some)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// dial connects for the first time, which a Client does not do by itself.
func (g *gateway) dial(ctx context.Context) (*carewire.Client, error) {
	for {
		client, err := carewire.Dial(ctx, g.url, &carewire.DialOptions{Logger: g.log,
			Token: func(context.Context) (string, error) { return g.token, nil }})
		if err == nil || ctx.Err() != nil {
			return client, err
		}
		g.log.Warn("the gateway cannot connect yet", "error", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// send publishes vitals that were measured now. While the line is down it
// waits: the Client sends them when it is back.
func (g *gateway) send(ctx context.Context, client *carewire.Client, list []carewire.Vital) {
	now := time.Now()
	for i := range list {
		list[i].Time, list[i].Device = now, "mon-"+list[i].Patient
	}
	results, err := client.Publish(ctx, list...)
	for _, r := range results {
		if err == nil {
			err = r.Err
		}
	}
	if err != nil && ctx.Err() == nil {
		g.log.Warn("vitals could not be published", "error", err)
	}
}

// sendBeats plays the electrocardiogram as it was recorded, over and over: it sends
// the wave, and the heart rate at each beat. Where the electrode was knocked no beat
// is found, and the monitor says that it has no rate.
func (g *gateway) sendBeats(ctx context.Context, client *carewire.Client, m *monitor) {
	const step = ecgRate / 10
	var find beatFinder
	var rate pulse
	wave := newPlayer(m.patient, carewire.Wave{Code: "131330", System: carewire.MDC, Unit: "mV", Factor: "0.005"}, ecgRate)
	ticker := time.NewTicker(time.Second / 10)
	defer ticker.Stop()
	for n, last := 0, 0; ; {
		for range step {
			sample := ecg()[n%len(ecg())]
			wave.add(client, sample)
			if found := find.add(sample); found {
				last = n
				if r := rate.beat(n); r > 0 {
					v := carewire.HeartRate.Of(m.patient, math.Round(r))
					v.Every, v.Method = every, "ECG"
					g.send(ctx, client, []carewire.Vital{v})
				}
			} else if n-last == 3*ecgRate {
				last = n
				g.send(ctx, client, []carewire.Vital{{Patient: m.patient, Code: carewire.HeartRate.Code, Method: "ECG",
					Absent: carewire.AbsentTemporary, Every: every}})
			}
			n++
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
