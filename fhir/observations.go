package fhir

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/carewire/carewire"
)

const (
	pageDefault = 50  // resources in one page
	pageMost    = 200 // and at most
	pagesRead   = 20  // of the Hub's history for one of ours, at most
)

// headsOf returns the heads of the vitals' patients, as far as they can be read:
// they give the epoch of logical IDs.
func (s *Server) headsOf(c *caller, vitals []carewire.Vital) map[string]carewire.Head {
	var patients []string
	for i := range vitals {
		if !slices.Contains(patients, vitals[i].Patient) {
			patients = append(patients, vitals[i].Patient)
		}
	}
	heads := make(map[string]carewire.Head)
	list, err := s.store.Heads(c.r.Context(), patients)
	if err != nil {
		return heads
	}
	for i, h := range list {
		heads[patients[i]] = h
	}
	return heads
}

func idOf(heads map[string]carewire.Head, patient string, seq uint64) string {
	h, ok := heads[patient]
	if !ok || seq == 0 {
		return ""
	}
	return entryID(patient, carewire.Position{Epoch: epochOf(h, seq), Seq: seq})
}

func (s *Server) createObservation(c *caller, _ []string) (*response, error) {
	e, _, err := c.resource()
	if err != nil {
		return nil, err
	}
	vitals, unsaid, err := vitalsOf(e)
	if err != nil {
		return nil, err
	}
	if q := c.r.Header.Get("If-None-Exist"); q != "" {
		if err := identify(vitals, q); err != nil {
			return nil, err
		}
	}
	if vitals, err = s.settle(c, vitals); err != nil {
		return nil, err
	}
	results := s.publish(c, vitals)
	for i := range results {
		if err := results[i].failure(); err != nil {
			return nil, err
		}
	}
	res := &response{status: createdStatus(results[0].Repeated), etag: `W/"1"`}
	id := idOf(s.headsOf(c, vitals[:1]), vitals[0].Patient, results[0].Seq)
	if id != "" {
		res.location = s.opt.Base + "/Observation/" + id
	}
	switch o := notSaid(unsaid); {
	case c.wants("representation"):
		res.resource = newObservation(&vitals[0], id)
		if read, err := s.readEntry(c, id, carewire.KindVital); err == nil {
			res.resource = newObservation(read.Vital, id)
		}
	case o != nil && !c.wants("minimal"):
		res.resource = o
	}
	return res, nil
}

// readEntry reads one entry of a log by its logical ID, on c's behalf.
func (s *Server) readEntry(c *caller, id string, kind carewire.Kind) (*hubEvent, error) {
	patient, seq, epoch, ok := splitEntryID(id)
	if !ok {
		return nil, errNotFound
	}
	reply, err := s.ask(c, "history", map[string]any{"patient": patient, "kinds": []string{kindName(kind)}, "cursor": seq - 1, "limit": 1})
	var f *failure
	if errors.As(err, &f) && (f.status == http.StatusForbidden || f.status == http.StatusGone) {
		return nil, errNotFound
	}
	if err != nil {
		return nil, err
	}
	if len(reply.Events) != 1 || reply.Events[0].Seq != seq || epochDigest(reply.Events[0].Epoch) != epoch {
		return nil, errNotFound
	}
	return &reply.Events[0], nil
}

func kindName(k carewire.Kind) string {
	switch k {
	case carewire.KindVital:
		return "vital"
	case carewire.KindAlert:
		return "alert"
	}
	return "notice"
}

func (s *Server) readObservation(c *caller, args []string) (*response, error) {
	ev, err := s.readEntry(c, args[0], carewire.KindVital)
	if err != nil {
		return nil, err
	}
	return &response{resource: newObservation(ev.Vital, args[0]), etag: `W/"1"`}, nil
}

// A search is a client's question about a patient's log.
type search struct {
	patient  string
	codes    []coding // any of them; a system "" is any
	from, to time.Time
	count    int
	cursor   uint64
	none     bool // nothing can match
}

// query returns a request's search parameters, of the URL and, for _search, the body.
func (c *caller) query() (url.Values, error) {
	if err := c.r.ParseForm(); err != nil {
		return nil, errBadQuery
	}
	q := c.r.Form
	for _, name := range []string{"_format", "_pretty"} {
		delete(q, name)
	}
	return q, nil
}

// readSearch reads the parameters that others than allowed are refused in.
func (c *caller) readSearch(allowed ...string) (*search, error) {
	q, err := c.query()
	if err != nil {
		return nil, err
	}
	f := &search{count: pageDefault}
	for name, values := range q {
		refused := &failure{status: http.StatusBadRequest, code: "not-supported", text: "this search parameter is not supported", expression: parameterName(name)}
		switch {
		case slices.Contains(allowed, refused.expression) && refused.expression != name:
			refused.text = "no modifier or chain is supported"
			return nil, refused
		case !slices.Contains(allowed, name):
			return nil, refused
		case len(values) != 1 && name != "date":
			refused.text = "only date may be given more than once"
			return nil, refused
		}
		for _, v := range values {
			if err := f.set(name, v); err != nil {
				return nil, err
			}
		}
	}
	if f.patient == "" {
		return nil, &failure{status: http.StatusBadRequest, code: "required", text: "patient is required", expression: "patient"}
	}
	return f, nil
}

// parameterName returns the name in a parameter, which a modifier or chain may
// follow; "?" if it does not look like one.
func parameterName(s string) string {
	if i := strings.IndexAny(s, ":."); i >= 0 {
		s = s[:i]
	}
	if s == "" || len(s) > 32 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-") != "" {
		return "?"
	}
	return s
}

// set reads one parameter. Only codes may be lists.
func (f *search) set(name, v string) error {
	bad := &failure{status: http.StatusBadRequest, code: "invalid", text: "cannot be read", expression: name}
	list, ok := readTokens(v)
	switch {
	case !ok:
		return bad
	case len(list) > 1 && name != "code" && name != "category" && name != "status":
		bad.code, bad.text = "not-supported", "must be one value, not a list"
		return bad
	}
	switch name {
	case "patient", "subject":
		p := strings.TrimPrefix(v, "Patient/")
		if f.patient != "" && f.patient != p || !validID(p) {
			return bad
		}
		f.patient = p
	case "code":
		for _, t := range list {
			if t.code == "" || t.ofSystem && t.system == "" { // no code here lacks a system
				return bad
			}
			f.codes = append(f.codes, coding{System: t.system, Code: t.code})
		}
	case "category":
		f.none = f.none || !slices.ContainsFunc(list, func(t token) bool { return t.is(systemCategory, "vital-signs") })
	case "status":
		f.none = f.none || !slices.ContainsFunc(list, func(t token) bool { return t.is(systemFlagStatus, "active") })
	case "date":
		return f.setDate(v, bad)
	case "_count":
		var err error
		if f.count, err = strconv.Atoi(v); err != nil || f.count < 1 {
			return bad
		}
		f.count = min(f.count, pageMost)
	case "_cursor":
		var err error
		if f.cursor, err = strconv.ParseUint(v, 10, 64); err != nil {
			return bad
		}
	}
	return nil
}

// setDate narrows f by one date parameter. A day is its 24 hours in UTC, and a
// time of day without fractions its second.
func (f *search) setDate(v string, bad error) error {
	prefix := "eq"
	if len(v) > 2 && v[0] >= 'a' && v[0] <= 'z' {
		prefix, v = v[:2], v[2:]
	}
	at, exact, ok := parseDateTime(v)
	if !ok {
		return bad
	}
	end := at.Add(24 * time.Hour)
	if exact {
		end = at.Add(time.Millisecond)
		if !strings.Contains(v, ".") {
			end = at.Add(time.Second)
		}
	}
	from, to := time.Time{}, time.Time{}
	switch prefix {
	case "eq":
		from, to = at, end
	case "ge":
		from = at
	case "gt", "sa":
		from = end
	case "le":
		to = end
	case "lt", "eb":
		to = at
	default:
		return bad
	}
	if from.After(f.from) {
		f.from = from
	}
	if !to.IsZero() && (f.to.IsZero() || to.Before(f.to)) {
		f.to = to
	}
	f.none = f.none || !f.to.IsZero() && !f.from.Before(f.to)
	return nil
}

// measures reports whether v is of one of f's codes.
func (f *search) measures(v *carewire.Vital) bool {
	if len(f.codes) == 0 {
		return true
	}
	for _, written := range codeOf(v).Coding {
		for _, c := range f.codes {
			if c.Code == written.Code && (c.System == "" || c.System == written.System) {
				return true
			}
		}
	}
	return false
}

func (s *Server) searchObservations(c *caller, _ []string) (*response, error) {
	f, err := c.readSearch("patient", "subject", "code", "category", "date", "_count", "_cursor")
	if err != nil {
		return nil, err
	}
	return s.searchLog(c, f, carewire.KindVital, "Observation", func(ev *hubEvent, id string) any {
		if !f.measures(ev.Vital) {
			return nil
		}
		return newObservation(ev.Vital, id)
	})
}

// searchLog returns a page of the results of write for a log's entries, oldest
// first.
func (s *Server) searchLog(c *caller, f *search, kind carewire.Kind, typ string, write func(*hubEvent, string) any) (*response, error) {
	out := s.newSearchset(c)
	if f.none {
		return &response{resource: out}, nil
	}
	members := map[string]any{"patient": f.patient, "kinds": []string{kindName(kind)}, "limit": f.count}
	if !f.from.IsZero() {
		members["from"] = instant(f.from)
	}
	if !f.to.IsZero() {
		members["to"] = instant(f.to)
	}
	cursor, pruned := f.cursor, false
	for page := 0; ; page++ {
		members["cursor"] = cursor
		reply, err := s.ask(c, "history", members)
		var gap *failure
		if errors.As(err, &gap) && gap.status == http.StatusGone && !pruned {
			if cursor, err = s.oldest(c.r.Context(), f.patient, kind, cursor); err == nil {
				pruned = true
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		for i := range reply.Events {
			ev := &reply.Events[i]
			if len(out.Entry) == f.count {
				break
			}
			cursor = ev.Seq
			id := entryID(f.patient, ev.position())
			if resource := write(ev, id); resource != nil {
				out.add(s.opt.Base, typ, id, resource)
			}
		}
		last := reply.Next == 0 && (len(reply.Events) == 0 || cursor == reply.Events[len(reply.Events)-1].Seq)
		if !last && len(out.Entry) < f.count && reply.Next > cursor {
			cursor = reply.Next
		}
		if last || len(out.Entry) == f.count || page == pagesRead {
			if !last {
				out.Link = append(out.Link, bundleLink{"next", s.nextURL(c, typ, cursor)})
			}
			break
		}
	}
	if pruned {
		out.warn("incomplete", "older entries are no longer kept")
	}
	return &response{resource: out}, nil
}

func (s *Server) nextURL(c *caller, typ string, cursor uint64) string {
	q := url.Values{}
	for name, v := range c.r.Form {
		q[name] = v
	}
	q.Set("_cursor", fmt.Sprint(cursor))
	return s.opt.Base + "/" + typ + "?" + q.Encode()
}

// oldest returns the least cursor, not less than after, from which a log can
// still be read.
func (s *Server) oldest(ctx context.Context, patient string, kind carewire.Kind, after uint64) (uint64, error) {
	heads, err := s.store.Heads(ctx, []string{patient})
	if err != nil || len(heads) != 1 {
		return 0, carewire.ErrUnavailable
	}
	low, high := after, heads[0].Seq // the end can always be read
	for low < high {
		middle := low + (high-low)/2
		_, err := s.store.Read(ctx, patient, carewire.Position{Seq: middle}, carewire.ReadQuery{Kinds: []carewire.Kind{kind}, Limit: 1})
		switch {
		case errors.Is(err, carewire.ErrGap):
			low = middle + 1
		case err != nil:
			return 0, carewire.ErrUnavailable
		default:
			high = middle
		}
	}
	return low, nil
}

// lastObservations answers $lastn with the newest vital of each code, device and
// site: FHIR's max, 1, is all that is offered.
func (s *Server) lastObservations(c *caller, _ []string) (*response, error) {
	q, err := c.query()
	if err != nil {
		return nil, err
	}
	if most := q.Get("max"); most != "" && most != "1" {
		return nil, fail(http.StatusBadRequest, "not-supported", "max must be 1")
	}
	delete(q, "max")
	f, err := c.readSearch("patient", "subject", "code", "category")
	if err != nil {
		return nil, err
	}
	if err := s.looks.take(c.who.ID, 1); err != nil {
		return nil, err
	}
	if _, err := s.hub.Disclose(c.r.Context(), carewire.Access{Principal: c.who, Action: carewire.ActionWatch, Patients: []string{f.patient}}); err != nil {
		return nil, err
	}
	events, _, err := s.hub.Latest(c.r.Context(), f.patient)
	if err != nil {
		return nil, err
	}
	out := s.newSearchset(c)
	for i := range events {
		ev := &events[i]
		if ev.Vital != nil && !f.none && f.measures(ev.Vital) {
			id := entryID(f.patient, ev.Position)
			out.add(s.opt.Base, "Observation", id, newObservation(ev.Vital, id))
		}
	}
	return &response{resource: out}, nil
}
