package carewire

import (
	"cmp"
	"context"
	"errors"
	"time"

	"golang.org/x/time/rate"
)

// handle carries out one request, sends its reply and returns its type. A publish
// goes on after handle has returned; everything else is done in order.
func (c *conn) handle(b []byte) requestType {
	r, err := decodeRequest(b, c.hub.opt.MaxVitals)
	if wait := c.tooFast(r.cost(), len(b)); wait > 0 {
		c.out.send(errorFrame(r.Req, &RequestError{Code: CodeBusy, Retry: RetryLater, RetryAfter: wait}))
		return r.Type
	}
	if err != nil {
		c.answerMalformed(r, err)
		return r.Type
	}
	if err := c.checkTransport(r.Type); err != nil {
		c.out.send(errorFrame(r.Req, err))
		return r.Type
	}
	ctx, generation := c.hub.ctx, c.generation()
	switch r.Type {
	case reqWatch:
		c.hub.audit.waitForRoom(ctx, c.principal().ID, true)
		c.watch(ctx, r)
		return r.Type
	case reqPublish:
		c.publish(ctx, r)
		return r.Type
	case reqWave:
		c.takeWaves(ctx, r.Chunks)
		return r.Type
	}
	members, a, err := c.carryOut(ctx, r)
	if err == errOtherPrincipal {
		c.close(ClosePolicy)
		return r.Type
	}
	c.hub.audit.waitForRoom(ctx, c.principal().ID, err != nil) // it is done: an alert waits for no record
	c.recordRequest(r, &a, err)
	switch {
	case err != nil:
		c.out.send(errorFrame(r.Req, err))
	case r.Type != reqHistory:
		c.out.send(okFrame(r.Req, members))
	case !c.sendDecided(generation, okFrame(r.Req, members)):
		c.out.send(errorFrame(r.Req, ErrUndecided))
	}
	return r.Type
}

// answerMalformed answers a request that cannot be read; after too many the connection
// is ended.
func (c *conn) answerMalformed(r *request, err error) {
	c.out.send(errorFrame(r.Req, err))
	var f *ValidationError
	if errors.As(err, &f) && f.Field == "" || err == errUnknownType {
		c.countFault()
	}
}

// countFault counts a fault of the client; after too many the connection is ended.
func (c *conn) countFault() {
	if c.errors == nil {
		c.errors = rate.NewLimiter(rate.Every(10*time.Second), badRequestBurst)
	}
	if !c.errors.Allow() {
		c.close(ClosePolicy)
	}
}

// carryOut carries out a request. It returns the further members of the reply,
// and the present state of the request's alert.
func (c *conn) carryOut(ctx context.Context, r *request) (members func(*encoder), a Alert, err error) {
	switch r.Type {
	case reqRaise:
		r.Raise.Patient, err = c.hub.resolveAlert(ctx, c.principal(), AlertRef{Patient: r.Raise.Patient, Key: r.Raise.Key, Test: r.Raise.Test})
	case reqClear, reqAnswer:
		r.Ref.Patient, err = c.hub.resolveAlert(ctx, c.principal(), r.Ref)
	}
	if err != nil {
		return nil, Alert{}, err
	}
	switch r.Type {
	case reqUnwatch:
		if len(r.Waves) > 0 {
			c.unwatchWaves(r.Patients, r.Groups, r.Waves)
		} else {
			c.unwatch(r.Patients, r.Groups)
		}
	case reqRaise:
		a, err = c.raise(ctx, r)
	case reqClear:
		a, err = c.hub.clear(ctx, c.principal(), c.hub.opt.senderOf(c.principal()), r.Ref, r.EventID)
	case reqAnswer:
		a, err = c.hub.answer(ctx, c.principal(), r.Ref, r.Answer)
	case reqHandover:
		var handed []Alert
		handed, err = c.hub.handover(ctx, c.principal(), r.Answer, func(rec Record, err error) { c.record(rec, err) })
		members = func(e *encoder) { e.count("count", uint64(len(handed))) }
	case reqPause:
		err = c.hub.pause(ctx, c.principal(), r.Pause)
	case reqUnpause:
		err = c.hub.unpause(ctx, c.principal(), r.Pause.Patient)
	case reqReceipt:
		if err = c.may(ctx, ActionWatch, r.Receipt.Patient); err == nil {
			err = c.hub.receipts.take(ctx, c.principal(), r.Receipt)
		}
	case reqNotify:
		var n Notice
		n, err = c.notify(ctx, r.Notice)
		members = func(e *encoder) {
			e.name("notice")
			n.encode(e)
		}
	case reqHistory:
		members, err = c.history(ctx, &r.History)
	case reqTicket:
		members, err = c.ticket(ctx)
	case reqToken:
		var p Principal
		p, err = c.renew(r.Token)
		members = func(e *encoder) { e.time("expires", p.Expires) }
	}
	if a.About.Patient != "" && c.may(ctx, ActionWatch, a.About.Patient) != nil {
		a.About = AlertRef{}
	}
	if r.Type == reqRaise || r.Type == reqClear || r.Type == reqAnswer {
		members = func(e *encoder) {
			e.name("alert")
			a.encode(e)
		}
	}
	return members, a, err
}

// ticket gives the client a ticket for another connection of its origin.
func (c *conn) ticket(ctx context.Context) (func(*encoder), error) {
	first, err := c.request.request(ctx)
	if err != nil {
		return nil, err
	}
	text, until, err := c.hub.tickets.give(ctx, c.principal(), first.Header.Get("Origin"))
	return func(e *encoder) {
		e.str("ticket", text)
		e.time("expires", until)
	}, err
}

// sendDecided sends a reply that was decided under generation. It reports false, and
// sends nothing, if access may have ended since.
func (c *conn) sendDecided(generation uint64, frames ...[]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation() != generation {
		return false
	}
	for _, f := range frames {
		c.out.send(f)
	}
	return true
}

func (c *conn) publish(ctx context.Context, r *request) {
	if c.inFlight == nil {
		c.inFlight = make(chan struct{}, c.hub.opt.MaxPublishes)
	}
	select {
	case c.inFlight <- struct{}{}:
	default:
		c.hub.stats.limits.publishes.Add(1)
		c.inFlight <- struct{}{}
	}
	c.hub.publish(ctx, c.principal(), r.Vitals, r.Unread, func(results []PublishResult) {
		<-c.inFlight
		c.countVitals(r.Vitals, results)
		c.charge(refusedOf(results) / chargedVitals)
		c.out.send(okFrame(r.Req, func(e *encoder) {
			e.name("results")
			e.b = append(e.b, '[')
			for i := range results {
				e.comma()
				e.b = append(e.b, '{')
				if err := results[i].Err; err != nil {
					e.object("error", func() { e.failure(err) })
				} else {
					e.count("seq", results[i].Seq)
					e.bool("repeated", results[i].Repeated)
				}
				e.b = append(e.b, '}')
			}
			e.b = append(e.b, ']')
		}))
	})
}

// may reports why c's principal may not do something for a patient.
func (c *conn) may(ctx context.Context, action Action, patient string) error {
	return c.hub.access.decide(ctx, c.principal(), action, []string{patient})[patient]
}

func (c *conn) raise(ctx context.Context, r *request) (Alert, error) {
	if err := c.may(ctx, ActionRaise, r.Raise.Patient); err != nil {
		return Alert{}, err
	}
	if reserved(r.Raise.Patient, cmp.Or(r.Raise.Key, r.Raise.ID)) {
		return Alert{}, invalid("alert.key", "begins with a prefix that carewire reserves")
	}
	if r.Raise.Test {
		if err := c.may(ctx, ActionTest, r.Raise.Patient); err != nil {
			return Alert{}, err
		}
	}
	return c.hub.raise(ctx, c.hub.opt.senderOf(c.principal()), r.Raise)
}

func (c *conn) notify(ctx context.Context, n Notice) (Notice, error) {
	if err := c.may(ctx, ActionNotify, n.Patient); err != nil {
		return Notice{}, err
	}
	return c.hub.notify(ctx, c.principal().ID, n)
}

var errOtherPrincipal = errors.New("carewire: another principal's token")

// renew takes a fresh token of the same principal.
func (c *conn) renew(token string) (Principal, error) {
	r, err := c.request.request(c.hub.ctx)
	if err != nil {
		return Principal{}, ErrUndecided
	}
	r.Header.Set("Authorization", "Bearer "+token)
	p, err := c.hub.authenticate(r)
	switch {
	case errors.Is(err, ErrUnauthenticated):
		c.countFault()
		return p, ErrUnauthenticated
	case errors.Is(err, ErrForbidden):
		return p, ErrForbidden
	case err != nil:
		return p, ErrUndecided
	case p.ID != c.principal().ID || p.Role != c.principal().Role:
		return p, errOtherPrincipal
	case c.hub.access.revoked.covers(&p, "", c.hub.now()):
		return p, ErrForbidden
	}
	c.use(&p)
	return p, nil
}

// use continues with a renewed token: its session, its times and its actions.
// The principal's patients stay those of the beginning of the connection.
func (c *conn) use(p *Principal) {
	renewed := *c.principal()
	renewed.Session, renewed.Issued, renewed.Expires, renewed.Actions = p.Session, p.Issued, p.Expires, p.Actions
	c.token.Store(&renewed)
	c.hub.clinicians.remember(&renewed)
	c.expireAt(p.Expires)
	if c.hub.access.revoked.covers(&renewed, "", c.hub.now()) { // revoked just now
		c.endForbidden()
	}
}
