package carewire

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The thresholds for the outage of a gateway.
const (
	outageDevices = 3 // silent devices that make an outage
	outagePrefix  = noDataRule + "-from."
	outageSlack   = 2 * time.Second  // the devices of one gateway fall silent within
	outageLook    = 30 * time.Second // a device that is held back is looked at again after, at least
	verdictLife   = 2 * time.Second
	bedsListed    = 100
)

// A sourceKey names the sender of devices' vitals, and whether these are tests.
type sourceKey struct {
	sender string
	test   bool
}

// A waitingDevice is a device that is expected to send.
type waitingDevice struct {
	*Entry // its timer
	deadline
}

// An outage is a recent finding about a gateway.
type outage struct {
	found    int64 // in ticks
	devices  []waitingDevice
	silent   int       // how many of the devices are silent
	heard    time.Time // when any of them was
	promised bool      // one of the silent ones has promised to send
}

// outageKey is the key of the alert that a gateway is silent.
func outageKey(sender string) string {
	if key := outagePrefix + sender; validID(key) {
		return key
	}
	return outagePrefix + hexOf(digest([]byte(sender)))
}

// expectedDevices returns all devices that are expected to send.
func (s *silences) expectedDevices(ctx context.Context) (list []waitingDevice) {
	entries, _ := s.logs.store.waitingAll(ctx) // timers of a member that fails are missing
	for i := range entries {
		if e := &entries[i]; e.Kind == KindTimer {
			list = append(list, waitingDevice{e, readDeadline(e)})
		}
	}
	return list
}

// outageOf returns the open alert that the gateway of a device is silent, as this
// node knows.
func (s *silences) outageOf(patient string, d deadline) *Alert {
	for _, p := range []string{SystemPatient, patient} {
		if o := s.open.get(openKey{p, alertKey(outageKey(d.sender), d.test)}); o != nil && o.alert != nil {
			return o.alert
		}
	}
	return nil
}

// heldBack returns until when a silent device's own alert is held back, because
// its gateway is silent, or was until a moment ago; zero: it is not.
func (s *silences) heldBack(ctx context.Context, patient string, d deadline, heard, now time.Time) time.Time {
	if d.sender == "" {
		return time.Time{}
	}
	again := now.Add(max(d.wait, outageLook))
	if a := s.outageOf(patient, d); a != nil && a.Condition == ConditionPresent {
		return again
	}
	for _, p := range []string{SystemPatient, patient} { // it is back: its devices have their time anew
		a, err := s.alerts.newest(ctx, change{patient: p, key: outageKey(d.sender), test: d.test})
		if err == nil && a != nil && a.Condition == ConditionOver && a.Updated.After(heard) && a.Updated.Add(d.wait).After(now) {
			return a.Updated.Add(d.wait)
		}
	}
	o := s.checkSource(ctx, d, now)
	if o == nil || o.heard.After(heard.Add(outageSlack)) || o.silent < min(outageDevices, max(2, len(o.devices))) {
		return time.Time{}
	}
	if s.raise(ctx, s.outageAlert(ctx, d, o)) != nil {
		return time.Time{}
	}
	return again
}

// checkSource finds out which devices of a device's sender are heard. It stops at the first
// of its devices that was heard while d was not.
func (s *silences) checkSource(ctx context.Context, d deadline, now time.Time) *outage {
	k := sourceKey{d.sender, d.test}
	s.mu.Lock()
	known := s.verdicts[k]
	s.mu.Unlock()
	if known != nil && time.Duration(s.clock.ticks()-known.found) < verdictLife {
		return known
	}
	o := &outage{found: s.clock.ticks()}
	newest := make(map[string][]Entry)
	for _, x := range s.expectedDevices(ctx) {
		if x.sender != d.sender || x.test != d.test {
			continue
		}
		if _, ok := newest[x.Patient]; !ok {
			latest, _, err := s.logs.store.Latest(ctx, x.Patient)
			if err != nil {
				return nil
			}
			newest[x.Patient] = latest
		}
		heard, wait := lastHeard(vitalsOf(newest[x.Patient], x.deadline))
		if wait > 0 {
			x.wait, x.promised = wait, true
		}
		o.devices = append(o.devices, x)
		if heard.After(o.heard) {
			o.heard = heard
		}
		if o.heard.Add(d.wait).After(now.Add(outageSlack)) { // it sends
			break
		}
		if !heard.Add(x.wait).After(now.Add(outageSlack)) {
			o.silent++
			o.promised = o.promised || x.promised
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.verdicts) > 1000 {
		clear(s.verdicts)
	}
	s.verdicts[k] = o
	return o
}

// outageAlert is the alert that a gateway is silent. It stands in the log of the
// system, or of the patient if there is but one.
func (s *silences) outageAlert(ctx context.Context, d deadline, o *outage) Raise {
	var beds []string
	for _, x := range o.devices {
		if !slices.Contains(beds, x.Patient) {
			beds = append(beds, x.Patient)
		}
	}
	slices.Sort(beds)
	patient := SystemPatient
	if len(beds) == 1 {
		patient = beds[0]
	}
	listed, more := beds, ""
	if len(beds) > bedsListed {
		listed, more = beds[:bedsListed], fmt.Sprintf(" and %d more", len(beds)-bedsListed)
	}
	var p Priority
	for _, bed := range listed {
		if q := s.alertPriority(ctx, bed, o.promised); q.rank() > p.rank() {
			p = q
		}
		if s.priority == nil {
			break
		}
	}
	name := d.sender
	if len(name) > 64 {
		name = name[:64] + "…"
	}
	return Raise{Patient: patient, Key: outageKey(d.sender), ID: rand.Text(), Kind: AlertTechnical, Priority: p, Test: d.test,
		Text:   "No data from " + strings.ToValidUTF8(name, "") + ", which sends for " + strings.Join(listed, ", ") + more + ".",
		Source: Source{Rule: noDataRule, Limits: d.wait.String()}}
}
