package carewire

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// selfKey begins the key under which a patient gets what is addressed to
// "patient" in their own log.
const selfKey = "patient/"

func addresseeOf(key string) string {
	if strings.HasPrefix(key, selfKey) {
		return "patient"
	}
	return key
}

// keys lists the addressees that p is.
func (p *Principal) keys() []string {
	keys := []string{"person:" + p.ID, "role:" + string(p.Role)}
	for _, g := range p.Groups {
		keys = append(keys, "group:"+g)
	}
	if p.Role == RolePatient {
		for _, patient := range p.Patients {
			keys = append(keys, selfKey+patient)
		}
	}
	return keys
}

// isLoaded waits until the Hub knows what is open in its Store: before, it
// would let in who was revoked, and show inboxes that lack what is open.
func (h *Hub) isLoaded(ctx context.Context) bool {
	select {
	case <-h.open.loaded:
		return true
	default:
	}
	wait := time.NewTimer(h.opt.CallTimeout)
	defer wait.Stop()
	select {
	case <-h.open.loaded:
		return true
	case <-wait.C:
	case <-ctx.Done():
	case <-h.quit:
	}
	return false
}

// deliverInboxes brings alerts and notices to those they are addressed to who
// do not watch the patient.
func (h *Hub) deliverInboxes() {
	for {
		select {
		case <-h.open.wake:
		case <-h.quit:
			return
		}
		news := h.open.takeNews()
		for i := range news {
			e := &news[i]
			for _, c := range h.registry.addressees(e) {
				if !c.watching(e.Patient) {
					c.bring(*e)
				}
			}
		}
	}
}

const inboxPage = 16 << 10 // bytes of items in one inbox frame

// inbox shows what is addressed to c's principal and open.
func (c *conn) inbox(ctx context.Context) {
	for {
		generation := c.hub.access.generation.Load()
		shown, undecided := c.entitled(ctx, c.hub.open.addressed(c.who.keys()))
		if c.tell(generation, inboxPages(shown, true)...) {
			if len(undecided) > 0 {
				c.bring(undecided...)
			}
			return
		}
	}
}

// bring puts entries in line for c's inbox. It waits for nothing: whether they
// may be seen can take asking. Of one alert or notice the newest is kept.
func (c *conn) bring(entries ...Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	for _, e := range entries {
		i := slices.IndexFunc(c.news, func(o Entry) bool { return o.Patient == e.Patient && o.Key == e.Key })
		switch {
		case i < 0:
			c.news = append(c.news, e)
		case c.news[i].Rev < e.Rev:
			c.news[i] = e
		}
	}
	if !c.bringing {
		c.bringing = true
		if !c.hub.start(c.takeHome) {
			c.bringing = false
		}
	}
}

// takeHome shows what bring has put in line, until nothing is left. What could
// not be decided is asked for again.
func (c *conn) takeHome() {
	for {
		c.mu.Lock()
		list := c.news
		c.news = nil
		if len(list) == 0 {
			c.bringing = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		generation := c.hub.access.generation.Load()
		list = slices.DeleteFunc(list, func(e Entry) bool { return c.watching(e.Patient) })
		shown, undecided := c.entitled(c.hub.ctx, list)
		if len(shown) > 0 && !c.tell(generation, inboxPages(shown, false)...) {
			c.bring(shown...)
		}
		if len(undecided) == 0 {
			continue
		}
		c.bring(undecided...)
		select {
		case <-time.After(askAgain):
		case <-c.hub.ctx.Done():
			return
		}
	}
}

// inboxPages puts items into frames. The last one says done.
func inboxPages(items []Entry, done bool) (frames [][]byte) {
	var page []Entry
	size := 0
	for _, e := range items {
		if size+len(e.Data) > inboxPage && len(page) > 0 {
			frames = append(frames, inboxFrame(page, false))
			page, size = nil, 0
		}
		page = append(page, e)
		size += len(e.Data)
	}
	return append(frames, inboxFrame(page, done))
}

// entitled returns those of the entries that c's principal may see, and those
// of which this could not be decided.
func (c *conn) entitled(ctx context.Context, list []Entry) (shown, undecided []Entry) {
	list = slices.DeleteFunc(list, func(e Entry) bool { return e.hidden() || !c.who.sees(&e) })
	var patients []string
	for i := range list {
		if p := list[i].Patient; !slices.Contains(patients, p) && !c.watching(p) {
			patients = append(patients, p)
		}
	}
	rights := c.hub.access.decide(ctx, c.who, ActionWatch, patients)
	for _, e := range list {
		switch err := rights[e.Patient]; {
		case err == nil:
			shown = append(shown, e)
		case !errors.Is(err, ErrForbidden):
			undecided = append(undecided, e)
		}
	}
	return shown, undecided
}
