package carewire

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"time"
)

// silences notices devices that are not heard: for each that promises its next
// vital there is a timer in the patient's log.
type silences struct {
	*background
	logs       *logs
	alerts     *alertLog
	open       *openIndex
	clock      *clock
	complaints *complaints
	raise      func(context.Context, Raise) error

	mu    sync.Mutex
	armed map[openKey]time.Time // patient and device: until when this need not be looked at again
}

func (s *silences) forget(k openKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.armed, k)
}

// noDataRule is the rule of the alert that a device is silent.
const noDataRule = "no-data"

// quietAfter is how long a device that sends every so often may be silent.
func quietAfter(every time.Duration) time.Duration { return max(3*every, 10*time.Second) }

func timerKey(device string, test bool) string {
	if test {
		return "t/" + device + "!test"
	}
	return "t/" + device
}

// noData is the key of the alert that a device is silent.
func noData(device string) string {
	key := strings.TrimSuffix("no-data."+device, ".")
	if len(key) > 64 {
		key = "no-data." + hexOf(digest([]byte(device)))
	}
	return key
}

// listen sees to it that the silence of v's device is noticed, and ends the
// alert that says so. The timer is written once; it is put off only when it
// comes due and the device has been heard since, and brought forward by a vital
// that promises the next one earlier.
func (s *silences) listen(v *Vital, now time.Time) {
	k := openKey{v.Patient, timerKey(v.Device, v.Test)}
	s.mu.Lock()
	until := s.armed[k]
	wait := quietAfter(v.Every)
	due := now.Add(wait)
	if now.Before(until) && !due.Before(until) {
		s.mu.Unlock()
		return
	}
	s.armed[k] = due
	s.mu.Unlock()
	patient, device, test := v.Patient, v.Device, v.Test
	s.startInsisting("listen/"+patient+"/"+k.key, func(ctx context.Context) error {
		old, err := s.logs.newest(ctx, patient, k.key)
		if err != nil {
			return err
		}
		if !old.Open || !old.Due.After(now) || old.Due.After(due) {
			err = s.arm(ctx, patient, device, test, old.Rev+1, wait, due)
			if errors.Is(err, ErrConflict) { // with a node that found it due, or heard the device, too
				return ErrBusy
			}
			if err != nil {
				return err
			}
		}
		return s.heard(ctx, patient, device, test)
	})
}

// heard ends the alert that a device is silent.
func (s *silences) heard(ctx context.Context, patient, device string, test bool) error {
	return s.alerts.endCondition(ctx, patient, noData(device), test)
}

// arm writes the timer by whose Due the device must have been heard.
func (s *silences) arm(ctx context.Context, patient, device string, test bool, rev uint64, wait time.Duration, due time.Time) error {
	now := s.clock.now()
	var e encoder
	e.b = append(e.b, '{')
	e.str("device", device)
	e.float("wait_s", wait.Seconds())
	e.bool("test", test)
	e.b = append(e.b, '}')
	_, err := s.logs.append(ctx, Entry{Patient: patient, Kind: KindTimer, Key: timerKey(device, test), Rev: rev, Open: !due.IsZero(), Due: due,
		Audience: AudienceNamed, Sender: host, Time: now, Received: now, Data: e.b}, true)
	return err
}

// lastHeard says when a device was last heard, and how long it may be silent
// after that, by the shortest Every that it kept until then: what it no longer
// measures, or less often, promises nothing. 0: nothing was promised.
func lastHeard(latest []Entry, device string, test bool) (heard time.Time, wait time.Duration) {
	var vitals []*Vital
	for i := range latest {
		if latest[i].Kind != KindVital {
			continue
		}
		if ev, err := latest[i].event(); err == nil && ev.Vital.Device == device && ev.Vital.Test == test {
			vitals = append(vitals, ev.Vital)
			if ev.Vital.Received.After(heard) {
				heard = ev.Vital.Received
			}
		}
	}
	for _, v := range vitals {
		quiet := quietAfter(v.Every)
		if kept := !v.Received.Add(quiet).Before(heard); v.Every > 0 && kept && (wait == 0 || quiet < wait) {
			wait = quiet
		}
	}
	return heard, wait
}

// timerWait returns what a timer says of how long its device may be silent; 0 if
// it cannot be read.
func timerWait(e *Entry) (wait time.Duration) {
	s := scanner{b: e.Data, open: true}
	s.object(func(name []byte) bool {
		if string(name) == "wait_s" {
			wait = s.seconds()
			return true
		}
		return false
	})
	if s.err != nil {
		return 0
	}
	return wait
}

// act puts a timer off if its device was heard, and else raises the alert.
func (s *silences) act(ctx context.Context, e *Entry) {
	device, test := strings.CutSuffix(strings.TrimPrefix(e.Key, "t/"), "!test")
	latest, _, err := s.logs.store.Latest(ctx, e.Patient)
	if err != nil {
		return
	}
	heard, wait := lastHeard(latest, device, test)
	if wait == 0 {
		if wait = timerWait(e); wait <= 0 {
			s.complaints.unreadable(ctx, e, "a stored timer cannot be read", "A stored timer cannot be read, and it is not noticed whether a device is silent.")
			return
		}
	}
	// While this Hub did not run it could hear nobody: no device is blamed for
	// that. Nor is a time believed that has not come yet: the clock was set back.
	now := s.clock.now()
	again := heard.Add(wait).After(now) && !heard.After(now)
	if awake := s.clock.awakeSince(); heard.Before(awake) || heard.After(now) {
		heard = awake
	}
	k := openKey{e.Patient, e.Key}
	if due := heard.Add(wait); due.After(now) {
		if again && s.open.get(openKey{e.Patient, alertKey(noData(device), test)}) != nil { // raised as it was heard again
			s.heard(ctx, e.Patient, device, test)
		}
		if s.arm(ctx, e.Patient, device, test, e.Rev+1, wait, due) == nil {
			s.mu.Lock()
			s.armed[k] = due
			s.mu.Unlock()
		}
		return
	}
	err = s.raise(ctx, Raise{Patient: e.Patient, Key: noData(device), ID: rand.Text(), Kind: AlertTechnical, Priority: PriorityMedium, Test: test,
		Text: "No data from a device that should be sending.", Source: Source{Rule: noDataRule, Limits: wait.String()}})
	if err == nil {
		s.forget(k)
		s.arm(ctx, e.Patient, device, test, e.Rev+1, wait, time.Time{})
	}
}
