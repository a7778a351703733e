package carewire

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// The calls for a host that serves requests of its own beside the Hub, as
// package fhir does: the same Authenticator, the same rights, the same audit
// trail.

// Identify returns the principal that sent r, as the Hub does for its own
// clients: by the ticket of a handshake, else by the Authenticator. The request
// must name one of Options.Hosts and come from an allowed Origin, and the
// principal's access must not be revoked. A ticket is used up. Identify counts
// refusals in Stats and records them. It takes no place among the Hub's
// connections.
//
// The errors are ErrUnauthenticated (401), ErrForbidden (403) and
// ErrUnavailable (503).
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

// AsPrincipal returns a context in which the Hub treats a request as p's,
// without asking the Authenticator. It is for a host that has identified the
// sender and calls the Hub's ServeHTTP on their behalf. Rights, limits,
// revocations and the audit trail apply as for p's own requests.
func AsPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// Authorize decides as the Hub does for its own clients: by Options.Authorizer,
// else by the default rules, and never in favour of revoked access. It returns
// one Decision for each patient, in order. A nil error means that all are
// decided. ErrUndecided means that some are not; those are not allowed. A Hub
// is an Authorizer, but must not be its own.
func (h *Hub) Authorize(ctx context.Context, a Access) ([]Decision, error) {
	return decisionsOf(a.Patients, h.access.rights(ctx, a))
}

// DefaultDecision decides by the default rules, which apply without an
// Authorizer: by the role, and by the patients and groups that the principal
// lists. An Authorizer that changes little can call it for the rest. Errors and
// results are as with Authorize. It ignores Emergency and Reason, and does not
// check for revoked access, which the Hub does in any case.
func (h *Hub) DefaultDecision(ctx context.Context, a Access) ([]Decision, error) {
	rights := make(map[string]right, len(a.Patients))
	for _, patient := range a.Patients {
		rights[patient] = right{err: h.access.byRule(ctx, &a.Principal, a.Action, patient)}
	}
	return decisionsOf(a.Patients, rights)
}

func decisionsOf(patients []string, rights map[string]right) (list []Decision, err error) {
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

// Disclose decides, before the host shows data of patients to a.Principal,
// whether it may. It decides as Authorize does, and has the Auditor record the
// disclosure as AuditWatch or, for ActionHistory, as AuditHistory. It returns
// the time until which the decision holds at most. The zero time means until
// the next call, which is due within Options.Recheck while the data stay
// visible.
//
// ErrForbidden means that one of the patients may not be seen, ErrUndecided
// that there is no decision, ErrUnavailable that the Auditor took no record.
// The host must then show nothing. Disclose begins no emergency and ignores
// Emergency.
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

// Sees reports whether p belongs to the audience of a vital, alert or notice of
// a patient that p may watch. It does not decide whether p may watch the
// patient. Other entries of a log are for staff. Events that are no log entries
// are for all.
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
