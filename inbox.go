package carewire

import (
	"context"
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
			for _, c := range h.registry.addressees(&news[i].Entry) {
				if !c.watching(news[i].Patient) {
					c.inbox.bring(news[i])
				}
			}
		}
	}
}
