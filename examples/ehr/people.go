package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/hl7v2"
)

// staff are the people of the house, by their subject at the identity provider. A
// real host asks its own tables.
var staff = map[string]carewire.Principal{
	"ada": {ID: "ada", Name: "Nurse Ada", Role: carewire.RoleClinician, Groups: []string{"ward-5"}},
	"ben": {ID: "ben", Name: "Nurse Ben", Role: carewire.RoleClinician, Groups: []string{"ward-6"}},
	"eve": {ID: "eve", Name: "Dr Eve", Role: carewire.RoleClinician, Groups: []string{"ward-5", "ward-6"}},
	"kim": {ID: "kim", Name: "Coordinator Kim", Role: carewire.RoleClinician, Groups: []string{"ward-5", "ward-6"}},
	"ops": {ID: "ops", Name: "Operations", Role: carewire.RoleClinician, Patients: []string{carewire.SystemPatient}},
	"lab": {ID: "lab", Role: carewire.RoleService, Groups: []string{"ward-5", "ward-6"}},
}

// person finds somebody who may not be signed in.
func person(_ context.Context, id string) (carewire.Principal, error) {
	if p, ok := staff[id]; ok {
		return p, nil
	}
	return carewire.Principal{}, carewire.ErrForbidden
}

// wards lists the patients of each ward. It is the Hub's Directory, and the census of HL7. Its
// methods are safe for concurrent use.
type wards struct {
	changed func(ctx context.Context, group string) error // Hub.MembersChanged

	mu sync.Mutex
	of map[string]string // the ward's group, by patient
}

// Patients implements carewire.Directory.
func (w *wards) Patients(_ context.Context, group string) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	for patient, ward := range w.of {
		if ward == group {
			list = append(list, patient)
		}
	}
	return list, nil
}

func (w *wards) all(context.Context) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.of)), nil
}

func (w *wards) ward(patient string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.of[patient]
}

// move puts a patient into a ward ("": into none), and tells the Hub of both. A
// repeated message tells it of the patient's present ward again: the Hub may have
// missed the first. Of patients who have left it learns by itself within minutes.
func (w *wards) move(ctx context.Context, patient, to string) (err error) {
	w.mu.Lock()
	from := w.of[patient]
	if delete(w.of, patient); to != "" {
		w.of[patient] = to
	}
	w.mu.Unlock()
	for _, group := range slices.Compact([]string{from, to}) {
		if group != "" {
			err = errors.Join(err, w.changed(ctx, group))
		}
	}
	return err
}

// Admit implements hl7v2.Census.
func (h *host) Admit(ctx context.Context, m hl7v2.Movement) error {
	return h.wards.move(ctx, m.Patient, "ward-"+m.To.Ward)
}

// Transfer implements hl7v2.Census.
func (h *host) Transfer(ctx context.Context, m hl7v2.Movement) error { return h.Admit(ctx, m) }

// Discharge ends the open alerts and notices of a patient who leaves.
func (h *host) Discharge(ctx context.Context, m hl7v2.Movement) error {
	return errors.Join(h.wards.move(ctx, m.Patient, ""), h.hub.Discharge(ctx, m.Patient))
}
