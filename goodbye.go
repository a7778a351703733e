package carewire

import (
	"context"
	"errors"
	"slices"
	"time"
)

// StopDevice reports that a device sends no more for a patient, because it was
// switched off or put away. The Hub no longer expects readings, and ends an
// alert about the device's silence. Later readings are accepted as before. A
// device reports the same by a Vital that is Absent as AbsentNotPerformed, or
// by sending for another patient.
//
// An unknown device is no error. The errors are a *ValidationError and those of
// the Store.
func (h *Hub) StopDevice(ctx context.Context, patient, device string) error {
	switch {
	case !validID(patient):
		return invalid("patient", "must be an ID")
	case device != "" && !validID(device):
		return invalid("device", "must be an ID")
	}
	for _, test := range []bool{false, true} {
		if err := h.silences.stop(ctx, patient, deadline{device: device, test: test}); err != nil {
			return err
		}
	}
	return nil
}

// stop ends the expectation of a device's readings, and the alert that it is
// silent.
func (s *silences) stop(ctx context.Context, patient string, d deadline) error {
	k := openKey{patient, timerKey(d.device, d.test)}
	for {
		e, err := s.logs.newest(ctx, patient, k.key)
		if err != nil {
			return err
		}
		s.forget(k)
		was := readDeadline(&e)
		if !e.Open && !was.grouped {
			break
		}
		was.grouped = false
		if err := s.setTimer(ctx, patient, was, e.Rev+1, time.Time{}); err == nil {
			break
		} else if !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return errors.Join(s.dismiss(ctx, patient, d), s.endGroup(ctx, patient, d.test))
}

// dismiss ends the alert that a device is silent, because the silence was
// expected.
func (s *silences) dismiss(ctx context.Context, patient string, d deadline) error {
	c := change{patient: patient, key: noData(d.device), test: d.test, sender: hostSender}
	_, err := s.alerts.change(ctx, c, func(prev *Alert, now time.Time) (Alert, error) {
		switch {
		case prev == nil:
			return Alert{}, ErrForbidden
		case !prev.Open():
			return *prev, errUnchanged
		}
		return dismissAlert(prev, now), nil
	})
	if errors.Is(err, ErrForbidden) { // there is none
		return nil
	}
	return err
}

// noteStopped takes in that a device no longer measures something. If it measures
// nothing else, nothing is expected of it.
func (s *silences) noteStopped(ctx context.Context, patient string, d deadline) error {
	latest, _, err := s.logs.store.Latest(ctx, patient)
	if err != nil {
		return err
	}
	timer, err := s.logs.newest(ctx, patient, timerKey(d.device, d.test))
	if err != nil || !timer.Open {
		return errors.Join(err, s.dismiss(ctx, patient, d))
	}
	was, now := readDeadline(&timer), s.clock.now()
	others := slices.DeleteFunc(vitalsOf(latest, d), func(v *Vital) bool {
		quiet := was.wait
		if v.Every > 0 {
			quiet = quietAfter(v.Every)
		}
		return v.Absent == AbsentNotPerformed || !v.Received.Add(quiet).After(now)
	})
	if len(others) == 0 {
		return s.stop(ctx, patient, d)
	}
	heard, wait := lastHeard(others)
	if wait == 0 || !was.promised {
		return nil
	}
	was.wait = wait
	s.forget(openKey{patient, timer.Key})
	if err := s.setTimer(ctx, patient, was, timer.Rev+1, heard.Add(wait)); errors.Is(err, ErrConflict) {
		return ErrBusy
	} else {
		return err
	}
}

// deviceElsewhere returns the deadlines of the same device, from the same sender, at other
// patients.
func (s *silences) deviceElsewhere(ctx context.Context, patient string, d deadline) (others []deadline) {
	for _, x := range s.expectedDevices(ctx) {
		if x.Key == timerKey(d.device, d.test) && x.Patient != patient && x.sender == d.sender {
			others = append(others, x.deadline)
		}
	}
	return others
}

// moved reports whether a device was moved to another patient, by the same sender,
// after it was last heard at this one. A device's ID that serves several patients
// at once says nothing.
func (s *silences) moved(ctx context.Context, e *Entry, d deadline, heard time.Time) bool {
	if d.device == "" || d.sender == "" || heard.IsZero() {
		return false
	}
	others := s.deviceElsewhere(ctx, e.Patient, d)
	return len(others) > 0 && !slices.ContainsFunc(others, func(o deadline) bool { return !o.since.After(heard) })
}

// endElsewhere dismisses the alerts that a device is silent at the patients whom
// it has left for this one.
func (s *silences) endElsewhere(ctx context.Context, patient string, d deadline) {
	key := alertKey(noData(d.device), d.test)
	for _, e := range s.open.withKey(key) {
		a, err := decodeAlert(&e)
		if e.Patient == patient || err != nil || a.Raised.After(d.since) {
			continue
		}
		timer, err := s.logs.newest(ctx, e.Patient, timerKey(d.device, d.test))
		if err != nil || readDeadline(&timer).sender != d.sender {
			continue
		}
		others := s.deviceElsewhere(ctx, patient, d)
		if !slices.ContainsFunc(others, func(o deadline) bool { return !o.since.After(a.Raised) }) {
			s.dismiss(ctx, e.Patient, d)
		}
	}
}
