package fhir

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/carewire/carewire"
)

const (
	resendKey    = "fhir/resend"
	resendLook   = time.Second      // how often a node looks for requests at other nodes
	resendWithin = 30 * time.Second // of which it does the part that it sees
	resendMost   = 100              // requests that are kept for other nodes; more are refused
	resendEach   = 10               // of them, those of one principal
)

// A resend is a client's request to send events of a subscription again, which the
// node that it came to shares with the others: any may have its socket.
type resend struct {
	ID, Node, Subscription string
	Owner                  string // a digest of the ID
	At                     time.Time
	Events                 interval
}

// resends shares such requests by the Store.
type resends struct {
	s    *Server
	node string
	once sync.Once
}

func (x *resends) init(s *Server) { x.s, x.node = s, rand.Text() }

// resendEvents sends events on the channel again: to the sockets that the
// subscription is bound on, at whichever node, or to its endpoint.
func (s *Server) resendEvents(c *caller, args []string) (*response, error) {
	sub, _, v, err := s.asked(c, args[0])
	if err != nil {
		return nil, err
	}
	ctx := c.r.Context()
	list, _, err := s.events(ctx, sub, v, c.who)
	if err != nil {
		return nil, err
	}
	said := fmt.Sprintf("sent again: %d", len(list))
	if sub.Channel == channelHook {
		b := &binding{s: s, sub: sub, who: c.who, to: s.opt.Hooks.teller(s), version: sub.version()}
		switch n, err := b.tellAgain(ctx, list); {
		case errors.Is(err, errNoResponse):
			return nil, fail(http.StatusBadGateway, "transient", fmt.Sprintf("the endpoint took %d of %d notifications", n, len(list)))
		case err != nil:
			return nil, err
		}
	} else {
		if err := s.resends.share(ctx, sub, v); err != nil {
			return nil, err
		}
		said += fmt.Sprintf(" on %d sockets of this node; other nodes do so within seconds", s.resends.deliver(ctx, sub, v))
	}
	return &response{resource: &operationOutcome{"OperationOutcome", []issue{{Severity: "information", Code: "informational", Diagnostics: said}}}}, nil
}

// share tells the other nodes.
func (x *resends) share(ctx context.Context, sub *subscription, v interval) error {
	now, owner := time.Now().UTC(), digestID(sub.Owner.ID)
	for {
		var list []resend
		rev, err := x.s.subscriptions.load(ctx, resendKey, &list)
		if err != nil {
			return err
		}
		kept, owners := []resend{{rand.Text(), x.node, sub.ID, owner, now, v}}, 1
		for _, r := range list {
			if now.Sub(r.At) < resendWithin {
				kept = append(kept, r)
				if r.Owner == owner {
					owners++
				}
			}
		}
		if len(kept) > resendMost || owners > resendEach {
			return fail(http.StatusTooManyRequests, "throttled", "too much is sent again at present")
		}
		if err := x.s.subscriptions.save(ctx, resendKey, rev, kept); !errors.Is(err, carewire.ErrConflict) {
			return err
		}
	}
}

// follow carries out requests to other nodes, from the first binding here on.
func (x *resends) follow() {
	look := time.NewTicker(resendLook)
	defer look.Stop()
	done := make(map[string]bool)
	for {
		select {
		case <-look.C:
		case <-x.s.ctx.Done():
			return
		}
		var list []resend
		if _, err := x.s.subscriptions.load(x.s.ctx, resendKey, &list); err != nil {
			continue
		}
		seen := make(map[string]bool)
		for _, r := range list {
			if seen[r.ID] = true; r.Node == x.node || done[r.ID] || time.Since(r.At) > resendWithin {
				continue
			}
			x.s.wg.Go(func() {
				if sub, err := x.s.subscriptions.get(x.s.ctx, r.Subscription); err == nil {
					x.deliver(x.s.ctx, sub, r.Events)
				}
			})
		}
		done = seen
	}
}

// deliver sends events again to the sockets of this node that a subscription is
// bound on, as each may see them, and returns how many sockets have taken all.
func (x *resends) deliver(ctx context.Context, sub *subscription, v interval) (sockets int) {
	for _, k := range x.s.sockets.list() {
		b := k.binding(sub.ID)
		if b == nil {
			continue
		}
		if list, _, err := x.s.events(ctx, sub, v, b.who); err == nil {
			again := &binding{s: x.s, sub: sub, who: b.who, to: repeater{k, b}, version: b.version}
			if _, err := again.tellAgain(ctx, list); err == nil {
				sockets++
			}
		}
	}
	return sockets
}

// A repeater repeats the notifications of a binding on its socket, while that is bound.
type repeater struct {
	*socket
	of *binding
}

func (r repeater) tell(ctx context.Context, b *binding, m message) error {
	if r.binding(b.sub.ID) != r.of {
		return errEnded
	}
	return r.socket.tell(ctx, b, m)
}

// tellAgain sends events, each by itself, and returns how many. It ends where the
// teller fails, where the subscription was changed or deleted, and where access has
// ended or is undecided.
func (b *binding) tellAgain(ctx context.Context, list []happened) (n int, err error) {
	for _, h := range list {
		m := message{kind: typeEvent, status: statusActive, count: h.number, content: b.sub.Content, events: []happened{h}}
		if _, err := b.current(ctx); err != nil {
			return n, err
		}
		if err := b.mayTell(ctx); err != nil {
			return n, err
		}
		if err := b.to.tell(ctx, b, m); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
