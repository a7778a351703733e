package carewire

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	ticketWithin = 30 * time.Second // from being given to being used
	ticketsKept  = 10000            // waiting to be used, altogether
	ticketsEach  = 20               // and of one principal
)

// ticketProtocol is the prefix of the subprotocol in which a browser shows its
// ticket.
const ticketProtocol = "carewire.ticket."

// A ticket lets a client of one origin connect, once, as the principal who has
// asked for it.
type ticket struct {
	Who    Principal
	Origin string
	Until  time.Time
}

// tickets are those that wait to be used, by the digest of their text.
type tickets struct {
	mu    sync.Mutex
	all   map[[16]byte]ticket
	each  map[string]int // how many of each principal
	swept time.Time
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

// giveTicket makes a ticket for p's client of the given origin.
func (h *Hub) giveTicket(ctx context.Context, p *Principal, origin string) (text string, until time.Time, err error) {
	t := ticket{*p, origin, h.now().Add(ticketWithin)}
	if !p.Expires.IsZero() && p.Expires.Before(t.Until) {
		t.Until = p.Expires
	}
	text = rand.Text()
	if h.opt.TicketsInStore {
		return text, t.Until, h.storeTicket(ctx, text, &t)
	}
	return text, t.Until, h.tickets.keep(text, t, h.now())
}

// useTicket returns whom a ticket lets in. Whatever is wrong, it is used then.
func (h *Hub) useTicket(ctx context.Context, text, origin string) (Principal, error) {
	var t ticket
	var err error
	if h.opt.TicketsInStore {
		t, err = h.unstoreTicket(ctx, text)
	} else {
		t = h.tickets.take(text)
	}
	if err == nil && (t.Origin != origin || !t.Until.After(h.now())) {
		err = ErrUnauthenticated
	}
	return t.Who, err
}

func (s *tickets) keep(text string, t ticket, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all, s.each = make(map[[16]byte]ticket), make(map[string]int)
	}
	if now.Sub(s.swept) >= time.Second {
		s.swept = now
		for k, t := range s.all {
			if !t.Until.After(now) {
				s.remove(k)
			}
		}
	}
	if len(s.all) >= ticketsKept || s.each[t.Who.ID] >= ticketsEach {
		return ErrBusy
	}
	s.all[digest([]byte(text))] = t
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
	t, ok := s.all[k]
	if ok {
		delete(s.all, k)
		if s.each[t.Who.ID]--; s.each[t.Who.ID] == 0 {
			delete(s.each, t.Who.ID)
		}
	}
	return t
}

// storeTicket keeps a ticket where every node finds it.
func (h *Hub) storeTicket(ctx context.Context, text string, t *ticket) error {
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	_, err = h.append(ctx, h.ticketEntry(text, 1, data), true)
	return err
}

// unstoreTicket returns a stored ticket to one caller only: the next revision
// of its entry can be written once.
func (h *Hub) unstoreTicket(ctx context.Context, text string) (t ticket, err error) {
	used := h.ticketEntry(text, 2, []byte("{}"))
	e, err := h.store.Get(ctx, SystemPatient, used.Key)
	if err == nil {
		_, err = h.append(ctx, used, true)
	}
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrConflict) {
		return t, ErrUnauthenticated
	}
	if err != nil {
		return t, err
	}
	return t, json.Unmarshal(e.Data, &t)
}

func (h *Hub) ticketEntry(text string, rev uint64, data []byte) Entry {
	now := h.now()
	return Entry{Patient: SystemPatient, Kind: KindTimer, Key: "ticket/" + hexOf(digest([]byte(text))), Rev: rev, Audience: AudienceNamed,
		Sender: host, Time: now, Received: now, Data: data}
}
