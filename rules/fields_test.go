package rules

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// Each field of a rule, and of a patient's Settings, changes what is raised, or how it is
// explained: none is read and never heeded, as on the page of rules of another system.
func TestEachFieldCounts(t *testing.T) {
	limit := func() Limit {
		r := high(Timing{Flaps: 3})
		r.Margin, r.Severe = 5, &Severe{At: 220}
		return r
	}
	combined := Combination{About: About{Key: "any", Text: "Any", Optional: true}, Any: []string{"hr-high"}}
	run := func(s Settings, list ...Rule) string {
		h := chartWith(t, s, list...)
		h.rate(time.Second, repeat(3, 170)...)
		h.rate(time.Second, 185, 185, 178, 172, 185, 210, 230, 100, 100)
		arm := carewire.HeartRate.Of("p1", 190)
		arm.Site, arm.Device = "arm", "other"
		h.vital(arm)
		h.rate(10*time.Second, 100, 185, 185, 185, 100)
		for range 2 { // it flaps, and settles
			h.rate(time.Second, repeat(5, 185, 100)...)
			h.rate(time.Minute, repeat(12, 100)...)
		}
		h.rate(time.Second, 185)
		if raised := only(h.found, Raised); len(raised) > 0 {
			h.force(raised[len(raised)-1].Alert, 99)
		}
		h.rate(time.Minute, repeat(45, 185)...)
		h.observe(wellOnAir(observations{"pulse": "100"}))
		h.wait(time.Minute)
		text := fmt.Sprint(h.c.Explain(h.now))
		for _, x := range h.found {
			text += fmt.Sprintf("\n%v %v %v %v %+v", x.Rule, x.Kind, x.At, x.Alert.Source.Limits, shown(x.Alert))
			for _, v := range x.Vitals {
				text += fmt.Sprint(v.Code, v.Value, v.Absent)
			}
		}
		return text
	}
	check := func(name string, of any, usual string, changed map[string]string) {
		t.Helper()
		kind := reflect.TypeOf(of)
		for i := range kind.NumField() {
			f := kind.Field(i)
			if !f.IsExported() || f.Anonymous {
				continue
			}
			got, ok := changed[f.Name]
			require.True(t, ok, "%s.%s is not tried", name, f.Name)
			require.NotEqual(t, usual, got, "%s.%s has no effect", name, f.Name)
		}
	}
	with := func(change func(*Limit)) string {
		r := limit()
		change(&r)
		return run(adult, r)
	}
	usual := run(adult, limit())
	check("Limit", Limit{}, usual, map[string]string{
		"Code":    with(func(r *Limit) { r.Code = carewire.SpO2.Code; r.At = 50; r.Severe = nil; r.Unit = "%" }),
		"System":  with(func(r *Limit) { r.System = House }),
		"Unit":    with(func(r *Limit) { r.Unit = "/s"; r.At, r.Severe = 3, nil }),
		"Side":    with(func(r *Limit) { r.Side, r.Severe = Below, nil }),
		"At":      with(func(r *Limit) { r.At = 175 }),
		"Margin":  with(func(r *Limit) { r.Margin = 20 }),
		"Severe":  with(func(r *Limit) { r.Severe = nil }),
		"Sensors": with(func(r *Limit) { r.Sensors = SensorsAll }),
	})
	check("Severe", Severe{}, usual, map[string]string{
		"At":       with(func(r *Limit) { r.Severe.At = 205 }),
		"Priority": with(func(r *Limit) { r.Severe.Priority = carewire.PriorityMedium; r.Priority = carewire.PriorityLow }),
		"Text":     with(func(r *Limit) { r.Severe.Text = "Very high" }),
	})
	check("Timing", Timing{}, usual, map[string]string{
		"Delay":    with(func(r *Limit) { r.Delay = 2 * time.Second }),
		"Readings": with(func(r *Limit) { r.Readings = 2 }),
		"Clear":    with(func(r *Limit) { r.Clear = 2 * time.Second }),
		"Hold":     with(func(r *Limit) { r.Hold = 40 * time.Minute }),
		"Flaps":    with(func(r *Limit) { r.Flaps = 1 }),
		"Settle":   with(func(r *Limit) { r.Settle = 3 * time.Minute }),
	})
	check("About", About{}, usual, map[string]string{
		"Key":      with(func(r *Limit) { r.Key = "pulse" }),
		"Version":  with(func(r *Limit) { r.Version = "7" }),
		"Text":     with(func(r *Limit) { r.Text = "Fast" }),
		"Priority": with(func(r *Limit) { r.Priority = carewire.PriorityLow }),
		"Kind":     with(func(r *Limit) { r.Kind = carewire.AlertTechnical }),
		"To":       with(func(r *Limit) { r.To = []string{"group:x"} }),
		"Quiet":    run(adult, quiet(limit()), always()),
		"Optional": run(adult, optional(limit()), always()),
	})

	set := func(change func(*Settings)) string {
		s := Settings{Born: adult.Born}
		change(&s)
		return run(s, limit(), combined, NEWS2())
	}
	own := func(l LimitSetting) func(*Settings) {
		return func(s *Settings) { s.Limits = map[string]LimitSetting{"hr-high": l} }
	}
	off := func(o Off) func(*Settings) {
		return func(s *Settings) { s.Off = map[string]Off{"hr-high": o} }
	}
	scale := func(x Scale) func(*Settings) {
		return func(s *Settings) { s.Scales = map[string]Scale{"news2": x} }
	}
	until := start.Add(20 * time.Second)
	usual = set(func(*Settings) {})
	check("Settings", Settings{}, usual, map[string]string{
		"Limits":   set(own(LimitSetting{At: new(190.0)})),
		"Off":      set(off(Off{Until: until})),
		"On":       set(func(s *Settings) { s.On = []string{"any"} }),
		"Born":     set(func(s *Settings) { s.Born = time.Time{} }),
		"Pregnant": set(func(s *Settings) { s.Pregnant = true }),
		"Scales":   set(scale(Scale{"2", "Dr Gray"})),
	})
	check("LimitSetting", LimitSetting{}, set(own(LimitSetting{At: new(180.0)})), map[string]string{
		"At":     set(own(LimitSetting{At: new(190.0)})),
		"Margin": set(own(LimitSetting{At: new(180.0), Margin: new(20.0)})),
		"Severe": set(own(LimitSetting{At: new(180.0), Severe: new(205.0)})),
		"By":     set(own(LimitSetting{At: new(180.0), By: "Dr Gray"})),
		"Reason": set(own(LimitSetting{At: new(180.0), Reason: "known"})),
	})
	check("Off", Off{}, set(off(Off{Until: until})), map[string]string{
		"By":     set(off(Off{Until: until, By: "Dr Gray"})),
		"Reason": set(off(Off{Until: until, Reason: "known"})),
		"Until":  set(off(Off{Until: until.Add(2 * time.Minute)})),
	})
	check("Scale", Scale{}, set(scale(Scale{})), map[string]string{
		"Name": set(scale(Scale{"2", "Dr Gray"})),
		"By":   set(scale(Scale{"2", "Dr Brown"})),
	})
}

// shown is an alert as people see it.
func shown(r carewire.Raise) string {
	return fmt.Sprint(r.Text, r.Priority, r.Kind, r.To, r.Onset, r.Source.Rule, r.Code, r.System)
}

func quiet(r Limit) Limit    { r.Quiet = true; return r }
func optional(r Limit) Limit { r.Optional = true; return r }

// always is a rule beside one that raises nothing.
func always() Rule {
	return Absent{About: About{Key: "off", Text: "Off"}, Code: carewire.SpO2.Code, For: time.Second, Required: true}
}
