package carewire

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	ticketWithin = 30 * time.Second // from being given to being used
	ticketsKept  = 10000            // waiting to be used, altogether
	ticketsEach  = 20               // tickets of one principal that wait to be used
)

// ticketProtocol is the prefix of the subprotocol in which a browser shows its
// ticket.
const ticketProtocol = "carewire.ticket."

// A ticket lets a client of one origin connect, once, as the principal that
// asked for it.
type ticket struct {
	Who    Principal
	Origin string
	Until  time.Time
}

// tickets gives and takes tickets. They wait in memory, by the digest of their
// text, or in the log of the system, where every node finds them.
type tickets struct {
	logs    *logs
	inStore bool

	mu    sync.Mutex
	kept  map[[16]byte]ticket
	each  map[string]int // how many of each principal
	swept time.Time
	asked map[string]time.Time // when the Store was last asked which of a principal's were used; nothing is older than ticketWithin
}

// ticketOf returns the ticket that a handshake shows; "" if there is none, or
// a token in its place.
func ticketOf(r *http.Request) string {
	if r.Method != http.MethodGet || r.Header.Get("Authorization") != "" {
		return ""
	}
	for _, p := range subprotocols(r) {
		if text, ok := strings.CutPrefix(p, ticketProtocol); ok {
			return text
		}
	}
	return ""
}

// give makes a ticket for p's client of the given origin.
func (s *tickets) give(ctx context.Context, p *Principal, origin string) (text string, until time.Time, err error) {
	t := ticket{*p, origin, s.logs.now().Add(ticketWithin)}
	if !p.Expires.IsZero() && p.Expires.Before(t.Until) {
		t.Until = p.Expires
	}
	text = rand.Text()
	err = s.keep(text, t, s.logs.now())
	if err != nil && s.inStore && s.forgetUsed(ctx, p.ID) {
		err = s.keep(text, t, s.logs.now())
	}
	if err != nil || !s.inStore {
		return text, t.Until, err
	}
	return text, t.Until, s.store(ctx, text, &t)
}

// use returns the principal of a ticket. The ticket is used up, also on errors.
func (s *tickets) use(ctx context.Context, text, origin string) (Principal, error) {
	var t ticket
	var err error
	if s.inStore {
		s.take(text) // only counted here
		t, err = s.unstore(ctx, text)
	} else {
		t = s.take(text)
	}
	if err == nil && (t.Origin != origin || !t.Until.After(s.logs.now())) {
		err = ErrUnauthenticated
	}
	return t.Who, err
}

func newTickets(l *logs, inStore bool) *tickets {
	return &tickets{logs: l, inStore: inStore, kept: make(map[[16]byte]ticket), each: make(map[string]int), asked: make(map[string]time.Time)}
}

func (s *tickets) keep(text string, t ticket, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.swept) >= time.Second {
		s.swept = now
		for k, t := range s.kept {
			if !t.Until.After(now) {
				s.remove(k)
			}
		}
		maps.DeleteFunc(s.asked, func(_ string, at time.Time) bool { return now.Sub(at) > ticketWithin })
	}
	if len(s.kept) >= ticketsKept || s.each[t.Who.ID] >= ticketsEach {
		return ErrBusy
	}
	s.kept[digest([]byte(text))] = t
	s.each[t.Who.ID]++
	return nil
}

// take returns a ticket and forgets it; the zero one, which is long over, if
// there is none.
func (s *tickets) take(text string) ticket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remove(digest([]byte(text)))
}

// remove forgets a ticket. Under s.mu.
func (s *tickets) remove(k [16]byte) ticket {
	t, ok := s.kept[k]
	if ok {
		delete(s.kept, k)
		if s.each[t.Who.ID]--; s.each[t.Who.ID] == 0 {
			delete(s.each, t.Who.ID)
		}
	}
	return t
}

// forgetUsed gives back the places of a principal's tickets that were used at
// other nodes, and reports whether there are such. The Store is asked once a
// second at most.
func (s *tickets) forgetUsed(ctx context.Context, who string) (some bool) {
	var waiting [][16]byte
	s.mu.Lock()
	now := s.logs.now()
	if now.Sub(s.asked[who]) >= time.Second && s.each[who] > 0 {
		s.asked[who] = now
		for k, t := range s.kept {
			if t.Who.ID == who {
				waiting = append(waiting, k)
			}
		}
	}
	s.mu.Unlock()
	for _, k := range waiting {
		e, err := s.logs.store.Get(ctx, SystemPatient, ticketKey(k))
		if err == nil && e.Rev > 1 {
			s.mu.Lock()
			s.remove(k)
			s.mu.Unlock()
			some = true
		}
	}
	return some
}

// store keeps a ticket where every node finds it.
func (s *tickets) store(ctx context.Context, text string, t *ticket) error {
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	_, err = s.logs.append(ctx, s.entry(text, 1, data), true)
	return err
}

// unstore returns a stored ticket to one caller only: the next revision
// of its entry can be written once.
func (s *tickets) unstore(ctx context.Context, text string) (t ticket, err error) {
	used := s.entry(text, 2, []byte("{}"))
	e, err := s.logs.store.Get(ctx, SystemPatient, used.Key)
	if err == nil {
		_, err = s.logs.append(ctx, used, true)
	}
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrConflict) {
		return t, ErrUnauthenticated
	}
	if err != nil {
		return t, err
	}
	return t, json.Unmarshal(e.Data, &t)
}

func (s *tickets) entry(text string, rev uint64, data []byte) Entry {
	now := s.logs.now()
	return Entry{Patient: SystemPatient, Kind: KindTimer, Key: ticketKey(digest([]byte(text))), Rev: rev, Audience: AudienceNamed,
		Sender: hostSender, Time: now, Received: now, Data: data}
}

func ticketKey(k [16]byte) string { return "ticket/" + hexOf(k) }
