package carewire

import (
	"context"
	"errors"
	"slices"
)

const (
	historyBytes   = 48 << 10 // bytes of one page, about
	historyNumbers = 50_000   // numbers that one page searches for matches, if vitals are among them
	historyEntries = 2000     // entries that one page searches, if they are not
	historyEach    = 4        // pages read at once for one principal
	historyAtOnce  = 16       // pages read at once for all: live events need the Store too
)

// history answers with a page of the visible entries of a patient's log.
func (c *conn) history(ctx context.Context, q *HistoryQuery) (func(*encoder), error) {
	rec := Record{Event: AuditHistory, Patient: q.Patient, Key: q.Key}
	if err := c.may(ctx, ActionHistory, q.Patient); err != nil {
		c.record(rec, err)
		return nil, err
	}
	if err := c.hub.audit.recordFirst(ctx, []Record{c.signed(rec)})[0]; err != nil {
		return nil, err
	}
	giveBack, ok := c.hub.readers.take(ctx, c.principal().ID)
	if !ok {
		return nil, ErrBusy
	}
	defer giveBack()
	ctx, cancel := context.WithTimeout(ctx, c.hub.opt.CallTimeout)
	defer cancel()
	list, next, err := c.hub.historyPage(ctx, q, c.principal())
	if err != nil {
		return nil, err
	}
	list = c.hub.shownTo(ctx, c.principal(), list)
	return func(e *encoder) {
		e.name("events")
		e.b = append(e.b, '[')
		for i := range list {
			e.comma()
			e.entry(&list[i])
		}
		e.b = append(e.b, ']')
		e.uint("next", next)
	}, nil
}

// historyPage reads entries that p (nil: the host) may see, and says where the
// next page begins; 0 if this is the last.
func (h *Hub) historyPage(ctx context.Context, q *HistoryQuery, p *Principal) (list []Entry, next uint64, err error) {
	limit := q.Limit
	if limit <= 0 || limit > h.opt.MaxHistory {
		limit = h.opt.MaxHistory
	}
	s := ReadQuery{Kinds: q.Kinds, From: q.From, To: q.To, Limit: limit}
	if len(s.Kinds) == 0 {
		s.Kinds = []Kind{KindVital, KindAlert, KindNotice, KindReceipt, KindAccess}
	}
	if q.Key != "" && slices.Equal(q.Kinds, []Kind{KindStrip}) {
		s.Key = stripKey(q.Key, false)
	} else if q.Key != "" {
		s.Key = alertKey(q.Key, false)
	}
	entries, searched, err := h.search(ctx, q.Patient, q.Cursor, s)
	if err != nil {
		return nil, 0, unavailable(err)
	}
	size := 0
	for i := range entries {
		e := &entries[i]
		if s.matches(e) && (!e.hidden() || e.Kind == KindStrip && len(e.Data) > 0) && (p == nil || p.sees(e)) {
			if size += len(e.Data) + 128; len(list) == limit || size > historyBytes && len(list) > 0 {
				return list, next, nil
			}
			list = append(list, *e)
		}
		next = e.Seq
	}
	if len(entries) < searched.Limit {
		next, err = h.cursorAfter(ctx, q.Patient, searched.Last)
	}
	return list, next, err
}

// search reads entries after a cursor, those that match s among them. What the Store
// looks through for that is bounded, however few match: a number of entries, for no
// Store reads vitals to find others, or else a number of numbers. It returns the query
// that it has read by.
func (h *Hub) search(ctx context.Context, patient string, cursor uint64, s ReadQuery) ([]Entry, ReadQuery, error) {
	after := Position{Seq: cursor}
	if !slices.ContainsFunc(s.Kinds, Kind.Droppable) {
		all := ReadQuery{Kinds: undroppable, Limit: s.Limit}
		if !slices.Contains(s.Kinds, KindStrip) { // a strip is large
			all = ReadQuery{Kinds: smallEvents, Limit: historyEntries}
			if s.Key == "" && s.From.IsZero() && s.To.IsZero() { // most of them match
				all.Limit = max(s.Limit, pageSize)
			}
		}
		entries, err := h.asked.read(ctx, 0, patient, after, all)
		if !errors.Is(err, ErrGap) { // else entries of these kinds may be kept all the same
			return entries, all, err
		}
	}
	s.Last = max(cursor+historyNumbers, cursor)
	entries, err := h.asked.read(ctx, 0, patient, after, s)
	return entries, s, err
}

// cursorAfter returns the cursor after the entries searched up to last; 0 if there
// are no more.
func (h *Hub) cursorAfter(ctx context.Context, patient string, last uint64) (uint64, error) {
	if last == 0 {
		return 0, nil
	}
	head, err := h.asked.head(ctx, patient)
	if err != nil {
		return 0, unavailable(err)
	}
	if head.Seq <= last {
		return 0, nil
	}
	return last, nil
}

// History reads a page of a patient's log. ErrGap means that entries after
// q.Cursor are no longer kept. Entries that the Store has damaged are omitted.
func (h *Hub) History(ctx context.Context, q HistoryQuery) (HistoryPage, error) {
	if !validPatient(q.Patient) {
		return HistoryPage{}, invalid("patient", "must be an ID")
	}
	list, next, err := h.historyPage(ctx, &q, nil)
	h.audit.recordHost(Record{Event: AuditHistory, Patient: q.Patient, Key: q.Key}, err)
	page := HistoryPage{Events: make([]Event, 0, len(list)), Next: next}
	for i := range list {
		ev, err := list[i].event()
		if err != nil {
			return HistoryPage{}, errStored
		}
		page.Events = append(page.Events, ev)
	}
	return page, err
}
