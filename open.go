package carewire

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
)

// The bounds of a page of [Hub.Open].
const (
	openPage    = 200
	openPageMax = 1000
)

// OpenQuery selects open entries. The zero OpenQuery selects all.
type OpenQuery struct {
	Patients []string // only theirs; nil: of all patients, SystemPatient among them
	Group    string   // only of the patients that Options.Directory says it has now; "": no such bound
	After    string   // the Next of the page before; "": the first page
	Limit    int      // at most so many; 0: 200; more than 1,000 counts as 1,000
}

// Open returns a page of the open alerts and notices, by patient and then by
// key, and the After of the next page, "" on the last. A latched alert is open.
// A notice is open until every addressee has read it. Open answers from memory,
// which follows the writes of other nodes within a second. The host is not
// authorised.
//
// The errors are a *ValidationError, ErrUndecided if the Directory does not
// answer, and ErrUnavailable until the Hub has read the Store for the first
// time.
func (h *Hub) Open(ctx context.Context, q OpenQuery) (items []InboxItem, next string, err error) {
	patients, err := h.openPatients(ctx, &q)
	if err != nil {
		return nil, "", err
	}
	if !h.isLoaded(ctx) {
		return nil, "", ErrUnavailable
	}
	limit := min(cmp.Or(q.Limit, openPage), openPageMax)
	list := h.open.page(patients, q.After, limit+1)
	if len(list) > limit {
		list = list[:limit]
		next = openCursor(&list[limit-1].Entry)
	}
	for i := range list {
		ev, err := list[i].event()
		if err != nil {
			continue // the Hub complains of it where it comes due
		}
		items = append(items, InboxItem{Alert: ev.Alert, Notice: ev.Notice})
	}
	return items, next, nil
}

// openPatients validates q and returns the patients that it means, in order; nil: all.
func (h *Hub) openPatients(ctx context.Context, q *OpenQuery) ([]string, error) {
	if q.Limit < 0 {
		return nil, invalid("limit", "must not be negative")
	}
	if q.Patients == nil && q.Group == "" {
		return nil, nil
	}
	patients := make(map[string]bool, len(q.Patients))
	for i, p := range q.Patients {
		if !validPatient(p) {
			return nil, invalid(indexedField("patients", i), "must be an ID")
		}
		patients[p] = true
	}
	if q.Group == "" {
		return inOrder(patients), nil
	}
	if !validID(q.Group) {
		return nil, invalid("group", "must be an ID")
	}
	in, err := h.access.groups.members(ctx, q.Group)
	if err != nil {
		return nil, err
	}
	of := make(map[string]bool, len(in))
	for p := range in {
		if q.Patients == nil || patients[p] {
			of[p] = true
		}
	}
	return inOrder(of), nil
}

func inOrder(names map[string]bool) []string {
	list := slices.AppendSeq(make([]string, 0, len(names)), maps.Keys(names)) // not nil, which would mean all
	slices.Sort(list)
	return list
}

// openCursor orders open entries. A space sorts before all that an ID may hold.
func openCursor(e *Entry) string { return e.Patient + " " + e.Key }

func cutCursor(after string) (patient, key string) {
	patient, key, _ = strings.Cut(after, " ")
	return patient, key
}

// Latest returns the beginning of a watch: the newest vital of each key (code,
// device and site) and the open entries of the patient, as events in the order
// of the log, and the head of the log. For an unknown patient there are no
// events, and the Head has only its Patient. The host is not authorised.
//
// The errors are a *ValidationError, and ErrUnavailable if the Store cannot be
// read. Entries that the Store has damaged are omitted, and so are withdrawn
// vitals.
func (h *Hub) Latest(ctx context.Context, patient string) ([]Event, Head, error) {
	if !validPatient(patient) {
		return nil, Head{}, invalid("patient", "must be an ID")
	}
	entries, head, err := h.asked.latest(ctx, 0, patient)
	if err != nil {
		return nil, Head{}, unavailable(err)
	}
	head.Patient = patient
	events := make([]Event, 0, len(entries))
	for i := range entries {
		if entries[i].hidden() {
			continue
		}
		if ev, err := entries[i].event(); err == nil {
			events = append(events, ev)
		}
	}
	return withoutWithdrawn(events), head, nil
}
