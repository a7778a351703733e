package carewire

import (
	"context"
	"strings"
	"time"
)

// selfKey begins the key under which a patient gets the events that are
// addressed to "patient" in their own log.
const selfKey = "patient/"

func addresseeOf(key string) string {
	if strings.HasPrefix(key, selfKey) {
		return "patient"
	}
	return key
}

// keys lists the addressees that name p.
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

// isLoaded waits until the Hub has read the open entries of its Store. Before
// that, it would admit revoked principals and show incomplete inboxes.
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

// deliverInboxes delivers alerts and notices to addressees that do not watch
// the patient.
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
					c.inbox.push(news[i])
				}
			}
		}
	}
}
