package fhir

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"time"
)

// The types of notifications, after the R5 backport.
const (
	typeHandshake   = "handshake"
	typeHeartbeat   = "heartbeat"
	typeEvent       = "event-notification"
	typeQueryStatus = "query-status"
	typeQueryEvent  = "query-event"
)

// Contents of notifications.
const (
	contentEmpty = "empty"
	contentID    = "id-only"
	contentFull  = "full-resource"
)

// Versions of FHIR by which a notification's envelope differs.
const (
	versionR4  = "4.0"
	versionR4B = "4.3"
	versionR5  = "5.0"

	// versionJSON is R4B's with a relative reference to the subscription, which is
	// all that the clients understand that bind by JSON: @medplum/core.
	versionJSON = "json"
)

const (
	systemSubscriptionError = "http://terminology.hl7.org/CodeSystem/subscription-error"
	systemOwnError          = "urn:carewire:subscription-error"
)

// A message is the content of a notification.
type message struct {
	kind    string
	status  string
	count   uint64
	events  []happened
	failure string // why the status is error, or a warning; "": none
	content string
}

// happened is one event of a subscription.
type happened struct {
	number   uint64
	at       time.Time
	url      string // of the resource, after the base; "" if it is not to be seen
	resource any
	method   string // by which the resource came to be as it is
}

type parameters struct {
	ResourceType string      `json:"resourceType"`
	ID           string      `json:"id,omitempty"`
	Meta         *meta       `json:"meta,omitempty"`
	Parameter    []parameter `json:"parameter"`
}

type parameter struct {
	Name      string      `json:"name"`
	String    string      `json:"valueString,omitempty"`
	Code      string      `json:"valueCode,omitempty"`
	URL       string      `json:"valueUrl,omitempty"`
	DateTime  string      `json:"valueDateTime,omitempty"`
	Instant   string      `json:"valueInstant,omitempty"`
	Canonical string      `json:"valueCanonical,omitempty"`
	Reference *reference  `json:"valueReference,omitempty"`
	Concept   *concept    `json:"valueCodeableConcept,omitempty"`
	Part      []parameter `json:"part,omitempty"`
}

type subscriptionStatus struct {
	ResourceType string              `json:"resourceType"`
	ID           string              `json:"id,omitempty"`
	Status       string              `json:"status"`
	Type         string              `json:"type"`
	Count        string              `json:"eventsSinceSubscriptionStart"`
	Event        []notificationEvent `json:"notificationEvent,omitempty"`
	Subscription *reference          `json:"subscription"`
	Topic        string              `json:"topic,omitempty"`
	Error        []concept           `json:"error,omitempty"`
}

type notificationEvent struct {
	Number    string     `json:"eventNumber"`
	Timestamp string     `json:"timestamp,omitempty"`
	Focus     *reference `json:"focus,omitempty"`
}

// newUUID returns a random UUID.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// notification returns m as a Bundle: the status first, then the event's
// resources, as far as the content allows.
func (s *Server) notification(sub *subscription, version string, m message) *bundle {
	b := &bundle{ResourceType: "Bundle", ID: newUUID(), Type: "history", Timestamp: instant(time.Now())}
	if version == versionR5 {
		b.Type = "subscription-notification"
	}
	b.Entry = []bundleEntry{s.statusEntry(sub, version, m)}
	if m.content == contentEmpty {
		return b
	}
	seen := make(map[string]bool)
	for i := range m.events {
		ev := &m.events[i]
		if ev.url == "" || seen[ev.url] && m.content == contentID {
			continue
		}
		seen[ev.url] = true
		e := bundleEntry{FullURL: s.opt.Base + "/" + ev.url, Request: &bundleRequest{ev.method, ev.url}, Response: &bundleResponse{Status: "201"}}
		if ev.method == "PUT" {
			e.Response.Status = "200"
		} else {
			e.Request.URL = typeOf(ev.url)
		}
		if m.content == contentFull {
			e.Resource = ev.resource
		}
		b.Entry = append(b.Entry, e)
	}
	return b
}

func typeOf(url string) string {
	for i := range url {
		if url[i] == '/' {
			return url[:i]
		}
	}
	return url
}

// statusEntry is a Bundle's entry with the status of a subscription.
func (s *Server) statusEntry(sub *subscription, version string, m message) bundleEntry {
	id := newUUID()
	operation := "$status"
	if m.kind == typeQueryEvent {
		operation = "$events"
	}
	e := bundleEntry{FullURL: "urn:uuid:" + id, Response: &bundleResponse{Status: "200"},
		Request: &bundleRequest{"GET", s.opt.Base + "/Subscription/" + sub.ID + "/" + operation}}
	if version == versionR4 {
		e.Resource = s.statusParameters(sub, id, m)
	} else {
		status := s.statusResource(sub, id, m)
		if version == versionJSON {
			status.Subscription = &reference{Reference: "Subscription/" + sub.ID}
		}
		e.Resource = status
	}
	return e
}

func errorConcept(code string) *concept {
	if code == "" {
		return nil
	}
	c := oneCoding(systemOwnError, code, "")
	if code == "no-response" {
		c = oneCoding(systemSubscriptionError, code, "")
	}
	c.Text = failureTexts[code]
	return &c
}

// statusParameters is the status as R4 has it. Later drafts of the guide change
// this form: it is written nowhere else.
func (s *Server) statusParameters(sub *subscription, id string, m message) *parameters {
	p := &parameters{ResourceType: "Parameters", ID: id, Meta: &meta{Profile: []string{backportBase + "StructureDefinition/backport-subscription-status-r4"}},
		Parameter: []parameter{{Name: "subscription", Reference: &reference{Reference: s.opt.Base + "/Subscription/" + sub.ID}}}}
	if m.content != contentEmpty {
		p.Parameter = append(p.Parameter, parameter{Name: "topic", Canonical: s.opt.Base + sub.Topic})
	}
	p.Parameter = append(p.Parameter, parameter{Name: "status", Code: m.status}, parameter{Name: "type", Code: m.kind},
		parameter{Name: "events-since-subscription-start", String: strconv.FormatUint(m.count, 10)})
	for _, ev := range m.events {
		part := []parameter{{Name: "event-number", String: strconv.FormatUint(ev.number, 10)}, {Name: "timestamp", Instant: instant(ev.at)}}
		if ev.url != "" && m.content != contentEmpty {
			part = append(part, parameter{Name: "focus", Reference: &reference{Reference: s.opt.Base + "/" + ev.url}})
		}
		p.Parameter = append(p.Parameter, parameter{Name: "notification-event", Part: part})
	}
	if c := errorConcept(m.failure); c != nil {
		p.Parameter = append(p.Parameter, parameter{Name: "error", Concept: c})
	}
	return p
}

// statusResource is the status as R4B and R5 have it.
func (s *Server) statusResource(sub *subscription, id string, m message) *subscriptionStatus {
	r := &subscriptionStatus{ResourceType: "SubscriptionStatus", ID: id, Status: m.status, Type: m.kind, Count: strconv.FormatUint(m.count, 10),
		Subscription: &reference{Reference: s.opt.Base + "/Subscription/" + sub.ID}}
	if m.content != contentEmpty {
		r.Topic = s.opt.Base + sub.Topic
	}
	for _, ev := range m.events {
		e := notificationEvent{Number: strconv.FormatUint(ev.number, 10), Timestamp: instant(ev.at)}
		if ev.url != "" && m.content != contentEmpty {
			e.Focus = &reference{Reference: s.opt.Base + "/" + ev.url}
		}
		r.Event = append(r.Event, e)
	}
	if c := errorConcept(m.failure); c != nil {
		r.Error = []concept{*c}
	}
	return r
}
