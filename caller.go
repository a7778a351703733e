package carewire

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// What a host needs that answers requests of its own beside the Hub, as package
// fhir does: the same Authenticator, the same rights, the same audit trail.

// Identify says who sends r, as the Hub does for its own clients: by the ticket
// that a handshake shows, else by the Authenticator, and only if the request came
// under one of Options.Hosts, from an allowed Origin, and from somebody whose
// access was not taken. A ticket is used by that. What it refuses is counted in
// Stats and recorded. No place among the Hub's connections is taken.
//
// The errors are ErrUnauthenticated (401), ErrForbidden (403) and ErrUnavailable (503).
func (h *Hub) Identify(r *http.Request) (Principal, error) {
	var who Principal
	refuse := func(status int, err error) (Principal, error) {
		switch status {
		case http.StatusUnauthorized:
			h.stats.unauthenticated.Add(1)
		case http.StatusForbidden:
			h.stats.forbidden.Add(1)
		default:
			h.stats.refused.Add(1)
		}
		h.audit.recordRefusal(status, &who, addressText(h.address(r)))
		return Principal{}, err
	}
	if !h.servesHost(r) || !originAllowed(r, h.opt.Origins) {
		return refuse(http.StatusForbidden, ErrForbidden)
	}
	if !h.isLoaded(r.Context()) {
		return refuse(http.StatusServiceUnavailable, ErrUnavailable)
	}
	who, err := h.identify(r)
	switch {
	case errors.Is(err, ErrUnauthenticated):
		return refuse(http.StatusUnauthorized, ErrUnauthenticated)
	case errors.Is(err, ErrForbidden), err == nil && h.access.revoked.covers(&who, "", h.now()):
		return refuse(http.StatusForbidden, ErrForbidden)
	case err != nil:
		return refuse(http.StatusServiceUnavailable, ErrUnavailable)
	}
	return who, nil
}

type principalKey struct{}

// AsPrincipal returns a context in which the Hub takes a request for p's without
// asking the Authenticator again: for a host that has identified the sender and
// now calls the Hub's ServeHTTP on their behalf. All else holds as for p's own
// requests: rights, limits, revocations, the audit trail.
func AsPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// Authorize decides as the Hub does for its own clients: by Options.Authorizer,
// else by the default rules, and never for whom access was taken. It returns one
// Decision for each patient, in order; a nil error means that all are decided,
// ErrUndecided that some could not be, and those are not allowed. A Hub is an
// Authorizer, but must not be its own.
func (h *Hub) Authorize(ctx context.Context, a Access) ([]Decision, error) {
	return decisions(a.Patients, h.access.rights(ctx, a))
}

// DefaultDecision decides by the default rules, which count where there is no
// Authorizer: by the role and the patients and groups that the principal lists.
// An Authorizer that changes little calls it for the rest. Errors and results are
// as with Authorize; Emergency and Reason are not looked at, nor is whether
// access was taken, which the Hub does anyway.
func (h *Hub) DefaultDecision(ctx context.Context, a Access) ([]Decision, error) {
	rights := make(map[string]right, len(a.Patients))
	for _, patient := range a.Patients {
		rights[patient] = right{err: h.access.byRule(ctx, &a.Principal, a.Action, patient)}
	}
	return decisions(a.Patients, rights)
}

func decisions(patients []string, rights map[string]right) (list []Decision, err error) {
	list = make([]Decision, len(patients))
	for i, patient := range patients {
		switch r := rights[patient]; {
		case r.err == nil:
			list[i] = Decision{Allow: true, Until: r.until}
		case !errors.Is(r.err, ErrForbidden):
			err = ErrUndecided
		}
	}
	return list, err
}

// Disclose is asked before something of patients is shown to a.Principal by the
// host. It decides as Authorize does, and has the Auditor record that they were
// opened, as AuditWatch or, for ActionHistory, AuditHistory. It returns until when
// that holds at the longest; zero: until it is asked again, which is due within
// Options.Recheck for what goes on being shown.
//
// ErrForbidden means that one of the patients may not be seen, ErrUndecided that
// this could not be decided, ErrUnavailable that it could not be recorded.
// Nothing may be shown then. No emergency begins here: Emergency is not looked at.
func (h *Hub) Disclose(ctx context.Context, a Access) (until time.Time, err error) {
	a.Emergency, a.Reason = false, ""
	list, err := h.Authorize(ctx, a)
	event := AuditWatch
	if a.Action == ActionHistory {
		event = AuditHistory
	}
	records := make([]Record, len(list))
	for i, d := range list {
		if err == nil && !d.Allow {
			err = ErrForbidden
		}
		if !d.Until.IsZero() && (until.IsZero() || d.Until.Before(until)) {
			until = d.Until
		}
		records[i] = Record{Event: event, Who: a.Principal.person(), Session: a.Principal.Session, Patient: a.Patients[i]}
	}
	if err != nil {
		for i := range records {
			h.audit.record(records[i].failed(err))
		}
		return time.Time{}, err
	}
	for _, err := range h.audit.recordFirst(ctx, records) {
		if err != nil {
			return time.Time{}, err
		}
	}
	return until, nil
}

// Sees reports whether p belongs to the audience of a vital, alert or notice of a
// patient whom p may watch. It does not decide whether p may. Other entries of a
// log are for staff; what is no entry of one is for everybody.
func (p Principal) Sees(ev Event) bool {
	e := Entry{Patient: ev.Patient, Audience: AudienceAll}
	switch {
	case ev.Alert != nil:
		e = alertEntry(ev.Alert, time.Time{})
	case ev.Notice != nil:
		e = noticeEntry(ev.Notice, 1)
	case ev.Receipt != nil, ev.Access != nil:
		e.Audience = AudienceStaff
	}
	return p.sees(&e)
}
