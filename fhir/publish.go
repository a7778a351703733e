package fhir

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/carewire/carewire"
)

// aroundVitals is the room in a request to the Hub for all but the vitals.
const aroundVitals = 64

// An outgoing is a vital as it is sent to the Hub.
type outgoing struct {
	place int // among all results
	entry int
	text  json.RawMessage
}

// outgoings writes the vitals of entries for the Hub. Vitals of an entry that
// cannot be sent have their error as result; the others are yet without one.
func (s *Server) outgoings(entries [][]carewire.Vital) (list []outgoing, results []hubResult) {
	for i, vitals := range entries {
		texts, err := s.written(vitals)
		for j := range vitals {
			if err == nil {
				list = append(list, outgoing{len(results), i, texts[j]})
			}
			results = append(results, hubResult{err: err})
		}
	}
	return list, results
}

// written writes vitals without the time at which they were received, which is the
// Hub's to say.
func (s *Server) written(vitals []carewire.Vital) (texts []json.RawMessage, err error) {
	for _, v := range vitals {
		v.Received = time.Time{}
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		if aroundVitals+len(text)+1 > s.hub.Limits().Frame {
			return nil, refusedWith(http.StatusRequestEntityTooLarge)
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// fitting returns how many of list go into one request to the Hub. The vitals of
// an entry go together, unless one request is too small for them.
func (s *Server) fitting(list []outgoing) int {
	limits := s.hub.Limits()
	n, whole, size := 0, 0, aroundVitals
	for n < len(list) && n < limits.Vitals && size+len(list[n].text)+1 <= limits.Frame {
		size += len(list[n].text) + 1
		if n++; n == len(list) || list[n].entry != list[n-1].entry {
			whole = n
		}
	}
	return cmp.Or(whole, n)
}

// publish takes the vitals of entries in, in order, as many at a time as the Hub
// allows, and returns the result of each. Where one request fails as a whole,
// such as at a limit, the rest is not sent, and fails as that did.
func (s *Server) publish(c *caller, entries ...[]carewire.Vital) []hubResult {
	list, results := s.outgoings(entries)
	var err error
	for len(list) > 0 {
		n := s.fitting(list)
		var took []hubResult
		if err == nil {
			took, err = s.publishOnce(c, list[:n])
		}
		for i, o := range list[:n] {
			if results[o.place].err = err; err == nil {
				results[o.place] = took[i]
			}
		}
		list = list[n:]
	}
	return results
}

func (s *Server) publishOnce(c *caller, list []outgoing) ([]hubResult, error) {
	vitals := make([]json.RawMessage, len(list))
	for i, o := range list {
		vitals[i] = o.text
	}
	reply, err := s.ask(c, "publish", map[string]any{"vitals": vitals})
	if err != nil {
		return nil, err
	}
	if len(reply.Results) != len(list) {
		return nil, errInternal
	}
	return reply.Results, nil
}

// identify gives vitals the identifier of If-None-Exist, if they have none.
func identify(vitals []carewire.Vital, query string) error {
	q, err := url.ParseQuery(strings.TrimPrefix(query, "?"))
	if err != nil || len(q) != 1 || len(q["identifier"]) != 1 {
		return fail(http.StatusBadRequest, "not-supported", "If-None-Exist must be identifier=value")
	}
	list, ok := readTokens(q.Get("identifier"))
	switch {
	case !ok || len(list) != 1:
		return fail(http.StatusBadRequest, "not-supported", "If-None-Exist must name one identifier, a comma or bar in it after a backslash")
	case list[0].code == "":
		return fail(http.StatusPreconditionFailed, "multiple-matches", "If-None-Exist is not selective enough: the identifier has no value")
	}
	id := identifierID(list[0].system, list[0].code)
	switch vitals[0].ID {
	case id:
	case "":
		name(vitals, id)
	default:
		return fail(http.StatusBadRequest, "invalid", "If-None-Exist must be the resource's identifier, with its system if it has one")
	}
	return nil
}

// name gives the vitals of one Observation their IDs.
func name(vitals []carewire.Vital, id string) {
	vitals[0].ID = id
	for i := 1; i < len(vitals); i++ {
		vitals[i].ID = partID(id, vitals[i].Code)
	}
}

// settle completes the vitals of one Observation before they are published. A
// correction takes the whole's place: it may add a part beside its value, which is
// then new, and withdraws the parts that it leaves out. One that withdraws a part
// which was never sent here withdraws nothing. An Observation that corrects nothing
// is refused with all its parts.
func (s *Server) settle(c *caller, vitals []carewire.Vital) ([]carewire.Vital, error) {
	nameCorrection(vitals)
	if vitals[0].Replaces == "" {
		return vitals, nil
	}
	absent, err := s.leftOut(c.r.Context(), vitals)
	if err != nil {
		return nil, err
	}
	vitals = append(vitals, absent...)
	errs := s.hub.CheckPublish(c.r.Context(), c.who, vitals...)
	var wrong *carewire.ValidationError
	if errors.As(errs[0], &wrong) && wrong.Field == "replaces" {
		return nil, invalid("identifier", wrong.Reason)
	}
	kept := vitals[:1]
	for i, v := range vitals[1:] {
		if errors.As(errs[i+1], &wrong) && wrong.Field == "replaces" {
			if v.Status == carewire.VitalEnteredInError {
				continue
			}
			v.Status, v.Replaces = "", ""
		}
		kept = append(kept, v)
	}
	return kept, nil
}

// leftOut returns withdrawals of the parts that a correction may have left out: of
// each code that its patient has a vital of.
func (s *Server) leftOut(ctx context.Context, vitals []carewire.Vital) (list []carewire.Vital, err error) {
	entries, _, err := s.store.Latest(ctx, vitals[0].Patient)
	if err != nil {
		return nil, carewire.ErrUnavailable
	}
	said := make(map[string]bool)
	for _, v := range vitals {
		said[v.Code] = true
	}
	for i := range entries {
		ev, ok := eventOf(&entries[i])
		if !ok || ev.Vital == nil || said[ev.Vital.Code] {
			continue
		}
		v := vitals[0]
		v.System, v.Code, v.Status, v.Absent = ev.Vital.System, ev.Vital.Code, carewire.VitalEnteredInError, carewire.AbsentUnknown
		v.Value, v.Unit, v.Comparator, v.Coded, v.Components, v.Quality = "", "", "", nil, nil, nil
		v.ID, v.Replaces = partID(v.ID, v.Code), partID(v.Replaces, v.Code)
		if said[v.Code] = true; v.Validate() == nil {
			list = append(list, v)
		}
	}
	return list, nil
}

// nameCorrection gives a correction, whose identifier is that of the corrected
// Observation, an ID of its own: the same when all of it comes again, and another
// when any part of it is another.
func nameCorrection(vitals []carewire.Vital) {
	if vitals[0].ID != "" || vitals[0].Replaces == "" {
		return
	}
	var text []byte
	for _, v := range vitals {
		v.Received = time.Time{}
		text = append(text, encode(newObservation(&v, ""))...)
	}
	name(vitals, digestID(string(text)))
}
