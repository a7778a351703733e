package faults

import (
	"fmt"
	"strings"
	"time"

	"github.com/carewire/carewire"
)

// A crossing is something that a rule must have said: that its alert is present
// with a priority, or over.
type crossing struct {
	priority carewire.Priority // "": it is over
	by       string            // the vital_id of the reading that completed it; "" where none did
	onset    time.Time         // of one that is raised: since when it is so
	at       time.Time         // when it could be said; of a Judge's crossing, when it was said
}

func (c crossing) String() string {
	if c.priority == "" {
		return "over " + c.at.Format("15:04:05.000")
	}
	return fmt.Sprintf("%s by %q since %s at %s", c.priority, c.by, c.onset.Format("15:04:05.000"), c.at.Format("15:04:05.000"))
}

// onsetWithin is by how much an alert's onset may be before the reading was
// received: it is when that was measured.
var onsetWithin = map[string]time.Duration{"at-once": 10 * time.Second, "three": 10 * time.Second, "rise": 10 * time.Second}

// clocksApart is by how much the clocks of two nodes may differ: each estimates
// the database's from how long an answer took, and one that has just begun takes any
// answer. The onset of an alert and the reading that brought it may bear the time of
// different nodes.
const clocksApart = 5 * time.Second

// firstDifference returns where two lists are not the same, but for when it was
// said; -1: nowhere.
func firstDifference(key string, want, got []crossing) int {
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || want[i].priority != got[i].priority || want[i].by != got[i].by {
			return i
		}
		early := want[i].onset.Sub(got[i].onset)
		if most := onsetWithin[key] + clocksApart; early < -clocksApart || early > most {
			return i
		}
	}
	return -1
}

// said lists a rule's crossings in the log.
func said(alerts []carewire.Alert) (list []crossing) {
	var priority carewire.Priority
	for i := range alerts {
		a := &alerts[i]
		now := a.Priority
		if a.Condition != carewire.ConditionPresent {
			now = ""
		}
		if now == priority {
			continue
		}
		c := crossing{priority: now, at: a.Updated}
		if now != "" && a.Key != "spo2-off" && a.Key != "score" { // whose source is no single reading
			c.by = a.Source.VitalID
		}
		if priority == "" {
			c.onset = a.Onset
		}
		priority = now
		list = append(list, c)
	}
	if n := len(list); n > 0 && list[n-1].priority != "" && strings.Contains(alerts[len(alerts)-1].Text, "one reading counts") {
		list = list[:n-1] // by the readings' end, of which no reference knows
	}
	return list
}

// references compute, for each rule, the crossings that it must have found in a log.
// They are written apart from the package rules.
var references = map[string]func([]carewire.Vital) []crossing{
	"at-once":  func(v []carewire.Vital) []crossing { return expectLimit(v, 1) },
	"three":    func(v []carewire.Vital) []crossing { return expectLimit(v, 3) },
	"rise":     expectRise,
	"spo2-off": expectAbsent,
	"score":    expectScore,
}

// expectLimit: above 180 for so many readings in a row, well at 175.
func expectLimit(vitals []carewire.Vital, readings int) (list []crossing) {
	present, inARow := false, 0
	var began time.Time // of being beyond, or of not being well since
	for i := range vitals {
		v := &vitals[i]
		if v.Code != carewire.HeartRate.Code {
			continue
		}
		rate := v.Value.Float64()
		switch {
		case rate > 180:
			if inARow++; began.IsZero() {
				began = v.Received
			}
		case rate > 175:
			if !began.IsZero() && inARow == 0 { // a second one in between
				began = time.Time{}
			}
			inARow = 0
		default:
			inARow, began = 0, time.Time{}
		}
		switch {
		case !present && inARow >= readings:
			present = true
			list = append(list, crossing{priority: carewire.PriorityMedium, by: v.ID, onset: began, at: v.Received})
		case present && rate <= 175:
			present = false
			list = append(list, crossing{at: v.Received})
		}
	}
	return list
}

// expectRise: 90 more than the lowest within the hour; over with less than 70 more.
func expectRise(vitals []carewire.Vital) (list []crossing) {
	present, lowest := false, 1000.0
	for i := range vitals {
		v := &vitals[i]
		if v.Code != carewire.HeartRate.Code {
			continue
		}
		rate := v.Value.Float64()
		lowest = min(lowest, rate)
		switch by := rate - lowest; {
		case !present && by >= 90:
			present = true
			list = append(list, crossing{priority: carewire.PriorityMedium, by: v.ID, onset: v.Received, at: v.Received})
		case present && by <= 70:
			present = false
			list = append(list, crossing{at: v.Received})
		}
	}
	return list
}

// expectAbsent: no saturation for two seconds, while rates have come in the last
// of them. If none have, it is so a second after they come again. The seventh in an
// hour stays until the saturation has come for ten minutes.
func expectAbsent(vitals []carewire.Vital) (list []crossing) {
	const forTime, grace = 2 * time.Second, time.Second
	var last, due, well time.Time // the last saturation; when it is missing; since when it comes again
	var raised []time.Time
	present, others, flaps := false, false, false
	raise := func(now time.Time) {
		if due.IsZero() || !due.Before(now) {
			return
		}
		if well = (time.Time{}); !present {
			present, raised = true, append(raised, due)
			flaps = len(raised) > 6 && due.Sub(raised[len(raised)-7]) < time.Hour
			list = append(list, crossing{priority: carewire.PriorityMedium, onset: due, at: due})
		}
	}
	for i := range vitals {
		v := &vitals[i]
		now := v.Received
		raise(now)
		if v.Code == carewire.SpO2.Code {
			if well.IsZero() {
				well = now
			}
			if present && (!flaps || now.Sub(well) >= 10*time.Minute) {
				list, present = append(list, crossing{at: now}), false
			}
			last, due, others = now, time.Time{}, false
			continue
		}
		switch since := now.Sub(last); {
		case last.IsZero() || since < forTime/2:
		case since < forTime:
			others, due = true, last.Add(forTime)
		case !others && due.IsZero():
			due = now.Add(grace)
		}
	}
	raise(time.Now())
	return list
}

// expectScore: a rate above 110 is one point and above 180 two, a saturation of 91
// or less two; two points are medium and four are high. A saturation that is three
// seconds old is none, and then nothing is said.
func expectScore(vitals []carewire.Vital) (list []crossing) {
	var rate, spo2 *carewire.Vital
	var priority carewire.Priority
	for i := range vitals {
		v := &vitals[i]
		if v.Code == carewire.SpO2.Code {
			spo2 = v
		} else {
			rate = v
		}
		if rate == nil || spo2 == nil || v.Received.Sub(spo2.Received) >= 3*time.Second {
			continue
		}
		points := 0
		for _, p := range []struct {
			is     bool
			points int
		}{{rate.Value.Float64() > 110, 1}, {rate.Value.Float64() > 180, 1}, {spo2.Value.Float64() <= 91, 2}} {
			if p.is {
				points += p.points
			}
		}
		now := carewire.Priority("")
		switch {
		case points >= 4:
			now = carewire.PriorityHigh
		case points >= 2:
			now = carewire.PriorityMedium
		}
		if now == priority {
			continue
		}
		c := crossing{priority: now, at: v.Received}
		if priority == "" {
			c.onset = v.Received
		}
		list = append(list, c)
		priority = now
	}
	return list
}
