package carewire

import (
	"context"
	"slices"
	"sync"
)

// CheckPublish returns the results that vitals would have if p published them now, without
// storing any: one error for each, in order, as Publish would give it, such as
// ErrForbidden, a *ValidationError, or ErrIDReused for an ID that stands for
// other content. Nil means that the vital would be stored, or recognised as
// repeated. Each vital is looked at by itself. Later events, a full Store or a
// limit may still have it refused. It is for hosts that publish several vitals
// or none. p's limits do not count, and there is no record of it.
func (h *Hub) CheckPublish(ctx context.Context, p Principal, vitals ...Vital) []error {
	vitals = slices.Clone(vitals)
	rights, refused := h.publishRights(ctx, &p, vitals, nil)
	ages := h.ageClasses(ctx, vitals, rights)
	errs := make([]error, len(vitals))
	var wg sync.WaitGroup
	for i := range vitals {
		e, err := Entry{}, refused[i]
		if err == nil {
			e, err = h.vitalEntry(ctx, &p, &vitals[i], rights, ages, h.now())
		}
		if errs[i] = err; err == nil && e.ID != "" {
			wg.Go(func() { _, _, errs[i] = h.logs.known(ctx, e) })
		}
	}
	wg.Wait()
	return errs
}
