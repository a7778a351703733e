package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/hl7v2"
)

// census keeps the bed of each patient, from ADT messages, in the Hub's Store.
// It is the Hub's Directory. Its methods are safe for concurrent use.
type census struct {
	hub    *carewire.Hub
	follow func(patient string) // is told of each patient who is here; may be nil

	changed func(patients ...string) // is told when the patients have changed; may be nil

	mu   sync.Mutex
	beds map[string]bed // by patient
}

// bed is where a patient lies.
type bed struct {
	Ward string `json:"ward"`
	Bed  string `json:"bed"`
}

// open reads the file of an earlier run.
func (c *census) open(ctx context.Context, hub *carewire.Hub) error {
	kept, err := hub.Share(ctx, "census", func([]byte) []byte { return nil })
	if err != nil {
		return err
	}
	c.hub, c.beds = hub, make(map[string]bed)
	if kept != nil {
		err = json.Unmarshal(kept, &c.beds)
	}
	for patient := range c.beds {
		c.followed(patient)
	}
	return err
}

func (c *census) followed(patient string) {
	if c.follow != nil {
		c.follow(patient)
	}
}

// Patients returns the patients of a group: everyone, or a ward.
func (c *census) Patients(_ context.Context, group string) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for patient, b := range c.beds {
		if group == everyone || group == "ward-"+b.Ward {
			list = append(list, patient)
		}
	}
	slices.Sort(list)
	return list, nil
}

// patient names the patient of a message: one who has been admitted.
func (c *census) patient(_ context.Context, v hl7v2.Visit) (string, error) {
	name, err := hl7v2.FirstIdentifier(v)
	if err != nil {
		return "", err
	}
	_, event := v.Message.Type()
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, here := c.beds[name]; !here && !strings.HasPrefix(event, "A") {
		return "", errors.New("nobody of that name has been admitted")
	}
	return name, nil
}

// Admit puts a patient into a bed.
func (c *census) Admit(ctx context.Context, m hl7v2.Movement) error {
	b := bed{m.To.Ward, m.To.Bed}
	c.followed(m.Patient)
	return c.change(ctx, m.Patient, &b)
}

// Transfer puts a patient into another bed.
func (c *census) Transfer(ctx context.Context, m hl7v2.Movement) error { return c.Admit(ctx, m) }

// Discharge takes a patient out of the census. Nobody may watch them any more,
// and their open entries are closed.
func (c *census) Discharge(ctx context.Context, m hl7v2.Movement) error {
	return errors.Join(c.change(ctx, m.Patient, nil), c.hub.Discharge(ctx, m.Patient))
}

// change keeps where a patient lies now, nil for nowhere, and tells the Hub.
func (c *census) change(ctx context.Context, patient string, to *bed) error {
	kept, err := c.hub.Share(ctx, "census", func(old []byte) []byte {
		beds := make(map[string]bed)
		if old != nil && json.Unmarshal(old, &beds) != nil {
			return nil
		}
		delete(beds, patient)
		if to != nil {
			beds[patient] = *to
		}
		b, _ := json.Marshal(beds)
		return b
	})
	if err != nil {
		return err
	}
	beds := make(map[string]bed)
	if err := json.Unmarshal(kept, &beds); err != nil {
		return err
	}
	c.mu.Lock()
	before, was := c.beds[patient]
	c.beds = beds
	c.mu.Unlock()
	if c.changed != nil {
		c.changed(patient)
	}
	groups := []string{everyone}
	if was {
		groups = append(groups, "ward-"+before.Ward)
	}
	if to != nil {
		groups = append(groups, "ward-"+to.Ward)
	}
	for _, group := range groups {
		err = cmp.Or(err, c.hub.MembersChanged(ctx, group))
	}
	return err
}

// shown is a patient as the page shows them. Names stay in the hospital's record.
type shown struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Bed   string `json:"bed"`
	Group string `json:"group"`
}

// all returns everybody, in order of wards and beds.
func (c *census) all() []shown {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]shown, 0, len(c.beds))
	for patient, b := range c.beds {
		list = append(list, shown{patient, patient, "Ward " + b.Ward + " · Bed " + b.Bed, "ward-" + b.Ward})
	}
	slices.SortFunc(list, func(a, b shown) int { return cmp.Or(strings.Compare(a.Bed, b.Bed), strings.Compare(a.ID, b.ID)) })
	return list
}
