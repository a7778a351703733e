package fhir

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/carewire/carewire"
)

const eventsMost = 1000 // in one answer to $events, and resent at once

// own returns a subscription of c's. Another's looks like none.
func (s *Server) own(c *caller, id string) (*subscription, error) {
	if err := s.looks.take(c.who.ID, 1); err != nil {
		return nil, err
	}
	return s.read(c, id)
}

// read is own, where the look is counted already.
func (s *Server) read(c *caller, id string) (*subscription, error) {
	sub, err := s.subscriptions.get(c.r.Context(), id)
	if err != nil {
		return nil, err
	}
	if sub.Owner.ID != c.who.ID {
		return nil, errNotFound
	}
	return sub, nil
}

// mayWatch reports why c may not subscribe to a patient.
func (s *Server) mayWatch(c *caller, patient string) error {
	list, err := s.hub.Authorize(c.r.Context(), carewire.Access{Principal: c.who, Action: carewire.ActionWatch, Patients: []string{patient}})
	if err == nil && !list[0].Allow {
		return errForbidden
	}
	return err
}

func (s *Server) subscriptionURL(id string) string { return s.opt.Base + "/Subscription/" + id }

func (s *Server) createSubscription(c *caller, _ []string) (*response, error) {
	e, raw, err := c.resource()
	if err != nil {
		return nil, err
	}
	sub, err := s.readResource(e, raw)
	if err != nil {
		return nil, err
	}
	if err := s.looks.take(c.who.ID, 1); err != nil {
		return nil, err
	}
	if err := s.mayWatch(c, sub.Patient); err != nil {
		return nil, err
	}
	if sub.Channel == channelHook && !s.opt.Hooks.allows(sub.Endpoint, c.who) {
		return nil, invalid("channel.endpoint", "is not allowed")
	}
	sub.Owner = owner(c.who)
	if err := s.subscriptions.begin(c.r.Context(), sub); err != nil {
		return nil, err
	}
	if err := s.subscriptions.create(c.r.Context(), sub); err != nil {
		return nil, err
	}
	return &response{status: http.StatusCreated, location: s.subscriptionURL(sub.ID), resource: sub.resource()}, nil
}

// owner is the stored owner of a subscription: they may use it no longer than a
// token lives.
func owner(p carewire.Principal) carewire.Principal {
	p.Session, p.Expires = "", time.Time{}
	return p
}

func (s *Server) readSubscription(c *caller, args []string) (*response, error) {
	sub, err := s.own(c, args[0])
	if err != nil {
		return nil, err
	}
	return &response{resource: sub.resource()}, nil
}

// updateSubscription changes a subscription or reactivates it. Where its topic
// or filter has changed, or its events cannot be counted on, the count begins
// anew.
func (s *Server) updateSubscription(c *caller, args []string) (*response, error) {
	e, raw, err := c.resource()
	if err != nil {
		return nil, err
	}
	for {
		res, err := s.replace(c, args[0], e, raw)
		if !errors.Is(err, carewire.ErrConflict) { // with a binding that has made it active
			return res, err
		}
	}
}

// replace puts a resource in the place of a subscription.
func (s *Server) replace(c *caller, id string, e *element, raw []byte) (*response, error) {
	old, err := s.own(c, id)
	if err != nil {
		return nil, err
	}
	sub, err := s.readResource(e, raw)
	if err != nil {
		return nil, err
	}
	if e.get("id").str() != old.ID {
		return nil, invalid("id", "must be that of the URL")
	}
	if err := s.mayWatch(c, sub.Patient); err != nil {
		return nil, err
	}
	if sub.Channel != old.Channel || sub.Channel == channelHook && !s.opt.Hooks.allows(sub.Endpoint, c.who) {
		return nil, invalid("channel", "must stay of its type, with an endpoint that is allowed")
	}
	sub.ID, sub.rev, sub.Owner = old.ID, old.rev, owner(c.who)
	same := sub.Topic == old.Topic && sub.Focus == old.Focus && sub.Patient == old.Patient && slices.Equal(sub.Codes, old.Codes) &&
		slices.Equal(sub.Severity, old.Severity) && sub.Owner.Role == old.Owner.Role && slices.Equal(sub.Owner.Groups, old.Owner.Groups)
	if same && old.Failure != failedPruned && old.Failure != failedRestored {
		sub.Start, sub.Mark, sub.Count = old.Start, old.Mark, old.Count
	} else if err := s.subscriptions.begin(c.r.Context(), sub); err != nil {
		return nil, err
	}
	if err := s.subscriptions.put(c.r.Context(), sub); err != nil {
		return nil, err
	}
	s.sockets.changed(sub.ID)
	return &response{resource: sub.resource()}, nil
}

func (s *Server) deleteSubscription(c *caller, args []string) (*response, error) {
	for {
		sub, err := s.own(c, args[0])
		if err != nil {
			return nil, err
		}
		err = s.subscriptions.remove(c.r.Context(), sub)
		if errors.Is(err, carewire.ErrConflict) { // with a binding that has made it active
			continue
		}
		if err != nil {
			return nil, err
		}
		s.sockets.changed(sub.ID)
		return &response{status: http.StatusNoContent}, nil
	}
}

// ownAll returns c's subscriptions, or those of them that are named.
func (s *Server) ownAll(c *caller, ids []string) (list []*subscription, err error) {
	if err := s.looks.take(c.who.ID, 1); err != nil {
		return nil, err
	}
	all, err := s.subscriptions.list(c.r.Context(), ownerKey+digestID(c.who.ID))
	if err != nil {
		return nil, err
	}
	if len(ids) > 0 {
		all = slices.DeleteFunc(all, func(id string) bool { return !slices.Contains(ids, id) })
	}
	if err := s.looks.take(c.who.ID, len(all)/lookReads); err != nil {
		return nil, err
	}
	for _, id := range all {
		sub, err := s.read(c, id)
		if errors.Is(err, errNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, sub)
	}
	return list, nil
}

func (s *Server) searchSubscriptions(c *caller, _ []string) (*response, error) {
	if q, err := c.query(); err != nil || len(q) > 0 {
		return nil, fail(http.StatusBadRequest, "not-supported", "no search parameter is supported")
	}
	list, err := s.ownAll(c, nil)
	if err != nil {
		return nil, err
	}
	out := s.newSearchset(c)
	for _, sub := range list {
		out.add(s.opt.Base, "Subscription", sub.ID, sub.resource())
	}
	return &response{resource: out}, nil
}

// operation returns the parameters of an operation, from the URL or a Parameters resource.
func (c *caller) operation() (url.Values, error) {
	q := c.r.URL.Query()
	if c.r.Method != http.MethodPost || c.r.ContentLength == 0 {
		return q, nil
	}
	e, _, err := c.resource()
	if err != nil {
		return nil, err
	}
	for _, p := range e.get("parameter").items() {
		name := p.get("name").str()
		for _, member := range p.names {
			if v := p.by[member]; strings.HasPrefix(member, "value") && (v.kind == 's' || v.kind == 'n') {
				q.Add(name, v.text)
			}
		}
	}
	return q, e.doc.err
}

func (s *Server) subscriptionStatus(c *caller, args []string) (*response, error) {
	q, err := c.operation()
	if err != nil {
		return nil, err
	}
	ids := append(q["id"], args...)
	list, err := s.ownAll(c, ids)
	if err != nil {
		return nil, err
	}
	if len(args) > 0 && len(list) == 0 {
		return nil, errNotFound
	}
	out := s.newSearchset(c)
	now := time.Now()
	for _, sub := range list {
		if want := q["status"]; len(want) > 0 && !slices.Contains(want, sub.status(now)) {
			continue
		}
		m := message{kind: typeQueryStatus, status: sub.status(now), failure: sub.Failure, content: sub.Content}
		t, err := s.subscriptions.count(c.r.Context(), sub, s.subscriptions.before(sub, ^uint64(0)), nil)
		switch {
		case errors.Is(err, errPruned):
			m.status, m.failure = statusError, failedPruned
		case errors.Is(err, errRestored):
			m.status, m.failure = statusError, failedRestored
		case err != nil:
			return nil, err
		}
		s.subscriptions.note(c.r.Context(), sub, t)
		m.count = t.N
		e := s.statusEntry(sub, sub.version(), m)
		e.Request, e.Response, e.Search = nil, nil, &bundleSearch{"match"}
		out.Entry = append(out.Entry, e)
	}
	return &response{resource: out}, nil
}

// version is the form of its status where nobody binds.
func (sub *subscription) version() string {
	if sub.Version == "" {
		return versionR4
	}
	return sub.Version
}

// An interval says which events are asked for; both ends are included.
type interval struct {
	Since, Until   uint64
	SinceAt, EndAt time.Time
}

func readInterval(q url.Values) (v interval, err error) {
	v.Since, v.Until = 1, ^uint64(0)
	for name, to := range map[string]*uint64{"eventsSinceNumber": &v.Since, "eventsUntilNumber": &v.Until} {
		if text := q.Get(name); text != "" {
			if *to, err = strconv.ParseUint(text, 10, 64); err != nil {
				return v, &failure{status: http.StatusBadRequest, code: "invalid", text: "must be a number", expression: name}
			}
		}
	}
	for name, to := range map[string]*time.Time{"eventsSinceInstant": &v.SinceAt, "eventsUntilInstant": &v.EndAt} {
		if text := q.Get(name); text != "" {
			at, exact, ok := parseDateTime(text)
			if !ok || !exact {
				return v, &failure{status: http.StatusBadRequest, code: "invalid", text: "must be an instant", expression: name}
			}
			*to = at
		}
	}
	v.Since = max(v.Since, 1)
	return v, nil
}

// asked returns the subscription of c's with the ID, and the parameters with which
// its events are asked for.
func (s *Server) asked(c *caller, id string) (sub *subscription, q url.Values, v interval, err error) {
	if sub, err = s.own(c, id); err != nil {
		return nil, nil, v, err
	}
	if q, err = c.operation(); err != nil {
		return nil, nil, v, err
	}
	v, err = readInterval(q)
	return sub, q, v, err
}

var errEnough = errors.New("fhir: enough")

// events returns the events of an interval that the principal who may see, at most
// eventsMost, and how many there are in all.
func (s *Server) events(ctx context.Context, sub *subscription, v interval, who carewire.Principal) (list []happened, count uint64, err error) {
	_, err = s.hub.Disclose(ctx, carewire.Access{Principal: who, Action: carewire.ActionWatch, Patients: []string{sub.Patient}})
	if err != nil {
		return nil, 0, err
	}
	if v.Since <= v.Until {
		_, err = s.subscriptions.count(ctx, sub, s.subscriptions.before(sub, v.Since), func(ev carewire.Event, n uint64) error {
			if n > v.Until || len(list) == eventsMost {
				return errEnough
			}
			h := sub.happened(ev, n, who)
			if n >= v.Since && !h.at.Before(v.SinceAt) && (v.EndAt.IsZero() || !h.at.After(v.EndAt)) {
				list = append(list, h)
			}
			return nil
		})
	}
	if err == nil || errors.Is(err, errEnough) {
		var t tally
		t, err = s.subscriptions.count(ctx, sub, s.subscriptions.before(sub, ^uint64(0)), nil)
		s.subscriptions.note(ctx, sub, t)
		count = t.N
	}
	switch {
	case errors.Is(err, errPruned):
		err = fail(http.StatusGone, "incomplete", "gap too old: these events are no longer kept, fetch again")
	case errors.Is(err, errRestored):
		err = fail(http.StatusGone, "incomplete", failureTexts[failedRestored])
	}
	return list, count, err
}

func (s *Server) subscriptionEvents(c *caller, args []string) (*response, error) {
	sub, q, v, err := s.asked(c, args[0])
	if err != nil {
		return nil, err
	}
	list, count, err := s.events(c.r.Context(), sub, v, c.who)
	if err != nil {
		return nil, err
	}
	m := message{kind: typeQueryEvent, status: sub.status(time.Now()), count: count, events: list, failure: sub.Failure, content: sub.Content}
	switch content := q.Get("content"); content {
	case contentEmpty, contentID: // a hint, by which there may be less than the subscription grants, and no more
		if sub.Content != contentEmpty {
			m.content = content
		}
	}
	return &response{resource: s.notification(sub, sub.version(), m)}, nil
}

// bindingToken gives a token with which to bind subscriptions on a socket once,
// within 30 s.
func (s *Server) bindingToken(c *caller, args []string) (*response, error) {
	q, err := c.operation()
	if err != nil {
		return nil, err
	}
	ids := append(q["id"], args...)
	list, err := s.ownAll(c, ids)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(sub *subscription) bool { return sub.Channel != channelSocket })
	if len(list) == 0 || len(ids) > 0 && len(list) != len(ids) {
		return nil, errNotFound
	}
	reply, err := s.ask(c, "ticket", nil)
	if err != nil {
		return nil, err
	}
	token := reply.Ticket
	p := &parameters{ResourceType: "Parameters"}
	for _, sub := range list {
		token += "." + sub.ID
	}
	if len(token) > maxRequest-100 {
		return nil, fail(http.StatusBadRequest, "too-costly", "too many subscriptions for one token: name some")
	}
	p.Parameter = []parameter{{Name: "token", String: token}, {Name: "expiration", DateTime: instant(reply.Expires)}}
	for _, sub := range list {
		p.Parameter = append(p.Parameter, parameter{Name: "subscription", String: sub.ID})
	}
	p.Parameter = append(p.Parameter, parameter{Name: "websocket-url", URL: "ws" + strings.TrimPrefix(s.opt.Base, "http") + "/" + socketPath})
	return &response{resource: p}, nil
}

// identifyTicket returns the principal to whom a ticket was given, and uses it
// up.
func (s *Server) identifyTicket(r *http.Request) (carewire.Principal, error) {
	u, err := url.Parse(s.opt.Base)
	if err != nil {
		return carewire.Principal{}, carewire.ErrUnauthenticated
	}
	r.Host = u.Host // as clients reach it, if Options.Hosts asks
	return s.hub.Identify(r)
}
