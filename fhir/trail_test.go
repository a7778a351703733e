package fhir

import (
	"context"
	"slices"
	"sync"

	"github.com/carewire/carewire"
)

// trail is an Auditor that keeps its records.
type trail struct {
	mu   sync.Mutex
	list []carewire.Record
}

func (a *trail) Record(_ context.Context, r carewire.Record) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, r)
	return nil
}

func (a *trail) records() []carewire.Record {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.list)
}
