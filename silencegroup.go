package carewire

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
)

// Of one patient so many silent devices have an alert of their own. One more alert
// is about all others: people are told of it once.
const (
	noDataMost = 8
	noDataMore = "no-data-more" // its key
)

// raiseSilence raises the alert that a device is silent, or the one about several; grouped
// says which.
func (s *silences) raiseSilence(ctx context.Context, patient string, d deadline) (grouped bool, err error) {
	a := Raise{Patient: patient, Key: noData(d.device), ID: rand.Text(), Kind: AlertTechnical, Priority: s.alertPriority(ctx, patient, d.promised), Test: d.test,
		Text: "No data from a device that should be sending.", Source: Source{Rule: noDataRule, Limits: d.wait.String()}}
	s.mu.Lock()
	known := s.open.get(openKey{patient, alertKey(a.Key, d.test)}) != nil
	grouped = !known && s.open.silentOf(patient)+s.raising[patient] >= noDataMost
	addCount(s.raising, patient, 1)
	s.mu.Unlock()
	if grouped {
		a.Key, a.Text, a.Source.Limits = noDataMore, "No data from several more devices that should be sending.", ""
		if old := s.open.get(openKey{patient, alertKey(noDataMore, d.test)}); old != nil && old.alert != nil && old.alert.Priority.rank() > a.Priority.rank() {
			a.Priority = old.alert.Priority // the highest of them
		}
	}
	err = s.raise(ctx, a)
	s.mu.Lock()
	defer s.mu.Unlock()
	addCount(s.raising, patient, -1)
	return grouped, err
}

// endGroup ends the alert about several devices if none of them is silent any more.
func (s *silences) endGroup(ctx context.Context, patient string, test bool) error {
	if s.open.get(openKey{patient, alertKey(noDataMore, test)}) == nil {
		return nil
	}
	latest, _, err := s.logs.store.Latest(ctx, patient)
	if err != nil {
		return unavailable(err)
	}
	var timers []StateKey
	for i := range latest {
		if ev, err := latest[i].event(); err == nil && ev.Vital != nil && ev.Vital.Test == test {
			if k := (StateKey{patient, timerKey(ev.Vital.Device, test)}); !slices.Contains(timers, k) {
				timers = append(timers, k)
			}
		}
	}
	for some := range slices.Chunk(timers, keysAtOnce) {
		found, err := s.logs.store.states(ctx, some)
		if err != nil {
			return unavailable(err)
		}
		for i := range found {
			if !found[i].Open && readDeadline(&found[i]).grouped {
				return nil
			}
		}
	}
	if err := s.alerts.endCondition(ctx, patient, noDataMore, test); !errors.Is(err, ErrForbidden) { // else it is over
		return err
	}
	return nil
}
