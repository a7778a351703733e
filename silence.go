package carewire

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"
)

// silences notices devices that are not heard: for each that promises its next
// vital, or has kept a pace, there is a timer in the patient's log.
type silences struct {
	*core
	complaints    *complaints
	raise         func(context.Context, Raise) error
	priority      func(ctx context.Context, patient string, promised bool) (Priority, error) // nil: by default
	priorityCalls *hostCall
	promisedOnly  bool

	mu       sync.Mutex
	armed    map[openKey]armed // patient and device
	verdicts map[sourceKey]*outage
	raising  map[string]int        // alerts about devices of a patient that are being raised
	raised   map[openKey]time.Time // when a raise of a device was last taken for a sign of life
}

// newSilences returns silences whose alerts are raised by raise. They take
// Options.SilencePriority, which is called by call, and Options.PromisedOnly.
func newSilences(c *core, x *complaints, raise func(context.Context, Raise) error, o *Options, call *hostCall) *silences {
	return &silences{core: c, complaints: x, raise: raise, priority: o.SilencePriority, priorityCalls: call, promisedOnly: o.PromisedOnly,
		armed: make(map[openKey]armed), verdicts: make(map[sourceKey]*outage), raising: make(map[string]int), raised: make(map[openKey]time.Time)}
}

// armed holds the time until which a device need not be looked at again, and
// whether it has promised its readings.
type armed struct {
	until    time.Time
	promised bool
}

func (s *silences) forget(k openKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.armed, k)
}

// noDataRule is the rule of the alert that a device is silent.
const noDataRule = "no-data"

// quietAfter is how long a device with the given interval may be silent.
func quietAfter(every time.Duration) time.Duration { return max(3*every, 10*time.Second) }

// quietAfterPace is the same for one that has promised nothing.
func quietAfterPace(pace time.Duration) time.Duration { return max(3*pace, time.Minute) }

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

// A deadline is the content of a timer: how long a device may be silent.
type deadline struct {
	device   string
	test     bool
	wait     time.Duration
	promised bool      // by Vital.Every; else the device has kept a pace
	sender   string    // its sender
	since    time.Time // when it was first expected at this patient
	grouped  bool      // it is silent, and the alert about several devices says so
}

func (d *deadline) encode() []byte {
	var e encoder
	e.b = append(e.b, '{')
	e.str("device", d.device)
	e.float("wait_s", d.wait.Seconds())
	e.bool("test", d.test)
	e.bool("promised", d.promised)
	e.str("sender", d.sender)
	e.time("since", d.since)
	e.bool("grouped", d.grouped)
	return append(e.b, '}')
}

// readDeadline reads a timer; a wait of 0 says that it cannot be read.
func readDeadline(e *Entry) (d deadline) {
	s := scanner{b: e.Data, open: true}
	s.object(func(name []byte) bool {
		switch string(name) {
		case "wait_s":
			d.wait = s.seconds()
		case "promised":
			d.promised = s.bool()
		case "sender":
			d.sender = s.str()
		case "since":
			d.since = s.time()
		case "grouped":
			d.grouped = s.bool()
		default:
			return false
		}
		return true
	})
	if s.err != nil {
		d.wait = 0
	}
	d.device, d.test = strings.CutSuffix(strings.TrimPrefix(e.Key, "t/"), "!test")
	return d
}

// noteHeard takes in that the lane has stored a vital: it sees to it that the silence
// of its device is noticed, and ends the alert that says so. A vital that was
// stored before says nothing new, nor does one that is withdrawn.
func (s *silences) noteHeard(v *Vital, of *series, e *Entry, repeated bool) {
	d := deadline{device: v.Device, test: v.Test, sender: e.Sender}
	switch {
	case v.Status == VitalEnteredInError || of == nil:
		return
	case v.Absent == AbsentNotPerformed:
		if !repeated {
			of.pace, of.count, of.listened = 0, 0, time.Time{}
			s.begin("goodbye", s.noteStopped, e.Patient, d)
		}
		return
	case v.Every > 0:
		d.wait, d.promised = quietAfter(v.Every), true
	case v.Device == "" || e.Received.Before(of.listened):
		return
	default:
		d.wait = quietAfterPace(of.pace)
		of.listened = e.Received.Add(d.wait)
		if of.pace > 0 && !s.promisedOnly {
			break
		}
		if s.open.get(openKey{e.Patient, alertKey(noData(d.device), d.test)}) != nil { // it was expected before this Hub began
			s.begin("heard", s.endSilence, e.Patient, d)
		}
		return
	}
	s.listen(e.Patient, d, e.Received, !repeated)
}

const (
	raisedEvery = 10 * time.Second // raises of a device that come sooner say nothing new
	raisedMost  = 10000            // devices of which this is kept in mind
)

// noteRaised takes in that a source has raised an alert, or the same alert again:
// a device that sends for itself is not silent then. A vital that it has
// promised is missed all the same.
func (s *silences) noteRaised(patient, sender string, test bool) {
	d, now := deadline{device: sender, test: test}, s.clock.now()
	k := openKey{patient, timerKey(sender, test)}
	s.mu.Lock()
	last, known := s.raised[k]
	soon := known && now.Sub(last).Abs() < raisedEvery
	if !soon {
		if len(s.raised) >= raisedMost {
			clear(s.raised)
		}
		s.raised[k] = now
	}
	s.mu.Unlock()
	if !soon {
		s.begin("raised", s.heardRaise, patient, d)
	}
}

// heardRaise puts the timer of a device off that has raised an alert, and ends the
// alert that it is silent.
func (s *silences) heardRaise(ctx context.Context, patient string, d deadline) error {
	old, err := s.logs.newest(ctx, patient, timerKey(d.device, d.test))
	if err != nil {
		return err
	}
	was, now := readDeadline(&old), s.clock.now()
	said := s.open.get(openKey{patient, alertKey(noData(d.device), d.test)}) != nil
	if was.wait <= 0 || was.promised || was.sender != d.device || !old.Open && !said || old.Due.After(now.Add(was.wait*3/4)) {
		return nil
	}
	if err := s.setTimer(ctx, patient, was, old.Rev+1, now.Add(was.wait)); errors.Is(err, ErrConflict) {
		return ErrBusy
	} else if err != nil {
		return err
	}
	if !said {
		return nil
	}
	return s.endSilence(ctx, patient, was)
}

// begin has do called for a device, and called again until it succeeds. It is a
// function of its own so that a vital that begins nothing allocates nothing.
func (s *silences) begin(name string, do func(context.Context, string, deadline) error, patient string, d deadline) {
	s.startRetrying(name+"/"+patient+"/"+timerKey(d.device, d.test), func(ctx context.Context) error { return do(ctx, patient, d) })
}

// listen has a device's timer written. That is done once; it is put off only when
// it comes due and the device has been heard since, and brought forward by a vital
// that promises the next one earlier.
func (s *silences) listen(patient string, d deadline, now time.Time, heard bool) {
	k := openKey{patient, timerKey(d.device, d.test)}
	s.mu.Lock()
	was := s.armed[k]
	due := now.Add(d.wait)
	if now.Before(was.until) && (!due.Before(was.until) || was.promised && !d.promised) {
		s.mu.Unlock()
		return
	}
	s.armed[k] = armed{due, d.promised}
	s.mu.Unlock()
	s.startRetrying("listen/"+patient+"/"+k.key, func(ctx context.Context) error {
		old, err := s.logs.newest(ctx, patient, k.key)
		if err != nil {
			return err
		}
		was := readDeadline(&old)
		fresh := !old.Open || was.sender != d.sender
		if d.since = was.since; fresh || d.since.IsZero() {
			d.since = now
		}
		if !old.Open || !old.Due.After(now) || old.Due.After(due) && (d.promised || !was.promised) {
			err = s.setTimer(ctx, patient, d, old.Rev+1, due)
			if errors.Is(err, ErrConflict) { // with a node that also found it due, or heard the device
				return ErrBusy
			}
			if err != nil {
				return err
			}
		}
		if !heard {
			return nil
		}
		if fresh {
			s.endElsewhere(ctx, patient, d)
		}
		return s.endSilence(ctx, patient, d)
	})
}

// endSilence ends the alerts that a device is silent, and its gateway.
func (s *silences) endSilence(ctx context.Context, patient string, d deadline) error {
	if a := s.outageOf(patient, d); a != nil && a.Condition == ConditionPresent {
		if err := s.alerts.endCondition(ctx, a.Patient, a.Key, a.Test); maySucceedLater(err) {
			return err
		}
	}
	err := s.alerts.endCondition(ctx, patient, noData(d.device), d.test)
	if maySucceedLater(err) {
		return err
	}
	return s.endGroup(ctx, patient, d.test)
}

// setTimer writes the timer by whose due the device must have been heard; a zero due
// ends it.
func (s *silences) setTimer(ctx context.Context, patient string, d deadline, rev uint64, due time.Time) error {
	now := s.clock.now()
	_, err := s.logs.append(ctx, Entry{Patient: patient, Kind: KindTimer, Key: timerKey(d.device, d.test), Rev: rev, Open: !due.IsZero(), Due: due,
		Audience: AudienceNamed, Sender: hostSender, Time: now, Received: now, Data: d.encode()}, true)
	return err
}

// vitalsOf returns a device's vitals among the newest of its patient.
func vitalsOf(latest []Entry, d deadline) (vitals []*Vital) {
	for i := range latest {
		if latest[i].Kind != KindVital {
			continue
		}
		if ev, err := latest[i].event(); err == nil && ev.Vital.Device == d.device && ev.Vital.Test == d.test && ev.Vital.Status != VitalEnteredInError {
			vitals = append(vitals, ev.Vital)
		}
	}
	return vitals
}

// lastHeard returns when a device was last heard, and how long it may be silent
// after that, by the shortest Every that it kept until then. Vitals that it no
// longer measures, or less often, promise nothing. A wait of 0 means that
// nothing was promised.
func lastHeard(vitals []*Vital) (heard time.Time, wait time.Duration) {
	for _, v := range vitals {
		if v.Received.After(heard) {
			heard = v.Received
		}
	}
	for _, v := range vitals {
		quiet := quietAfter(v.Every)
		if kept := !v.Received.Add(quiet).Before(heard); v.Every > 0 && v.Absent != AbsentNotPerformed && kept && (wait == 0 || quiet < wait) {
			wait = quiet
		}
	}
	return heard, wait
}

// heardLate looks for a device's last vitals where they are late, and therefore not
// among the newest.
func (s *silences) heardLate(ctx context.Context, patient string, d deadline, head Head, heard time.Time) time.Time {
	const back = 500
	after := Position{head.Epoch, max(head.Seq, back) - back}
	list, err := s.logs.store.Read(ctx, patient, after, ReadQuery{Kinds: []Kind{KindVital}, Limit: back})
	if err != nil {
		return heard
	}
	for _, v := range vitalsOf(list, d) {
		if v.Received.After(heard) {
			heard = v.Received
		}
	}
	return heard
}

// handleDue puts a timer off if its device was heard; otherwise it raises the alert.
func (s *silences) handleDue(ctx context.Context, e *Entry) {
	d := readDeadline(e)
	latest, head, err := s.logs.store.Latest(ctx, e.Patient)
	if err != nil {
		return
	}
	heard, wait := lastHeard(vitalsOf(latest, d))
	if wait > 0 {
		d.wait, d.promised = wait, true
	} else if d.wait <= 0 {
		s.complaints.unreadable(ctx, e, "a stored timer cannot be read", "A stored timer cannot be read, and it is not noticed whether a device is silent.")
		return
	}
	now := s.clock.now()
	if !heard.Add(d.wait).After(now) {
		heard = s.heardLate(ctx, e.Patient, d, head, heard)
	}
	// While this Hub did not run it could hear nobody: no device is blamed for
	// that. Nor is a time believed that has not come yet: the clock was set back.
	again := heard.Add(d.wait).After(now) && !heard.After(now)
	from := heard
	if awake := s.clock.awakeSince(); from.Before(awake) || from.After(now) {
		from = awake
	}
	if due := from.Add(d.wait); due.After(now) {
		if again && (s.open.get(openKey{e.Patient, alertKey(noData(d.device), d.test)}) != nil || s.outageOf(e.Patient, d) != nil || d.grouped) { // raised as it was heard again
			s.endSilence(ctx, e.Patient, d)
		}
		s.putOff(ctx, e, d, due, true)
		return
	}
	if s.moved(ctx, e, d, heard) {
		s.stop(ctx, e.Patient, d)
		return
	}
	if due := s.heldBack(ctx, e.Patient, d, heard, now); !due.IsZero() {
		s.putOff(ctx, e, d, due, false)
		return
	}
	if d.grouped, err = s.raiseSilence(ctx, e.Patient, d); err == nil {
		s.forget(openKey{e.Patient, e.Key})
		s.setTimer(ctx, e.Patient, d, e.Rev+1, time.Time{})
	}
}

// putOff makes a timer due later. sure says that the device need not be looked at
// until then, even if it is heard.
func (s *silences) putOff(ctx context.Context, e *Entry, d deadline, due time.Time, sure bool) {
	if s.setTimer(ctx, e.Patient, d, e.Rev+1, due) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := openKey{e.Patient, e.Key}
	if sure {
		s.armed[k] = armed{due, d.promised}
	} else {
		delete(s.armed, k)
	}
}

// alertPriority is the priority of the alert that a device is silent.
func (s *silences) alertPriority(ctx context.Context, patient string, promised bool) Priority {
	var p Priority
	if s.priority != nil {
		p, _ = callHost(ctx, s.priorityCalls, func(ctx context.Context) (Priority, error) { return s.priority(ctx, patient, promised) })
	}
	switch {
	case p.rank() > 0:
		return p
	case promised:
		return PriorityMedium
	}
	return PriorityLow
}
