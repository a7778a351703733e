package fhir

import (
	"slices"
	"strings"

	"github.com/carewire/carewire"
)

type communication struct {
	ResourceType string       `json:"resourceType"`
	ID           string       `json:"id,omitempty"`
	Identifier   []identifier `json:"identifier,omitempty"`
	InResponseTo []*reference `json:"inResponseTo,omitempty"`
	Status       string       `json:"status"`
	Subject      *reference   `json:"subject"`
	Sent         string       `json:"sent,omitempty"`
	Recipient    []*reference `json:"recipient,omitempty"`
	Sender       *reference   `json:"sender,omitempty"`
	Payload      []payload    `json:"payload"`
}

type payload struct {
	Text string `json:"contentString"`
}

// Communication returns n as a Communication of R4. Addressees are recipients:
// person:ID a Practitioner, group:ID a CareTeam, role:NAME a PractitionerRole,
// each by its identifier, and patient the Patient. The audience is lost.
func Communication(n carewire.Notice) []byte { return encode(newCommunication(&n, "")) }

func newCommunication(n *carewire.Notice, id string) *communication {
	c := &communication{ResourceType: "Communication", ID: id, Status: "completed", Subject: refer("Patient", n.Patient), Sent: instant(n.Time),
		Payload: []payload{{n.Text}}}
	if n.ID != "" {
		c.Identifier = []identifier{{Value: n.ID}}
	}
	if n.RepliesTo != "" {
		c.InResponseTo = []*reference{named("Communication", n.RepliesTo, "")}
	}
	if n.From != "" {
		c.Sender = named("Practitioner", n.From, "")
	}
	for _, to := range n.To {
		kind, name, _ := strings.Cut(to, ":")
		if typ := recipientTypes[kind]; typ != "" {
			c.Recipient = append(c.Recipient, named(typ, name, ""))
		} else {
			c.Recipient = append(c.Recipient, refer("Patient", n.Patient))
		}
	}
	return c
}

var recipientTypes = map[string]string{"person": "Practitioner", "group": "CareTeam", "role": "PractitionerRole"}

// NoticeOf reads a Communication of R4 as a Notice, to be sent. The Hub sets
// the sender and the time; these, and all content that a Notice cannot express,
// are listed in unsaid. Errors are as with [VitalsOf].
func NoticeOf(resource []byte) (n carewire.Notice, unsaid []string, err error) {
	e, err := parse(resource)
	if err != nil {
		return n, nil, err
	}
	return noticeOf(e)
}

func noticeOf(e *element) (n carewire.Notice, unsaid []string, err error) {
	if e.get("resourceType").str() != "Communication" {
		return n, nil, invalid("resourceType", "must be Communication")
	}
	e.get("id").take()
	e.get("text").take()
	for _, name := range []string{"modifierExtension", "implicitRules"} {
		if e.get(name) != nil {
			e.doc.fail(name, "is not understood, and must be")
		}
	}
	if status := e.get("status").str(); status != "completed" && status != "in-progress" && status != "preparation" {
		e.doc.fail("status", "must be preparation, in-progress or completed")
	}
	if subject := e.get("subject"); subject == nil {
		e.doc.fail("subject", "required")
	} else {
		n.Patient = subject.id("Patient")
	}
	for _, i := range e.get("identifier").items() {
		if value := i.get("value"); n.ID == "" && value != nil {
			n.ID = i.identifier(&unsaid)
		} else {
			i.untake()
		}
	}
	for _, r := range e.get("inResponseTo").items() {
		if i := r.get("identifier"); n.RepliesTo == "" && i.get("value") != nil {
			r.id("Communication")
			n.RepliesTo = i.identifier(&unsaid)
		} else {
			r.untake()
		}
	}
	for _, r := range e.get("recipient").items() {
		n.To = append(n.To, r.addressee(n.Patient))
	}
	for _, p := range e.get("payload").items() {
		if text := p.get("contentString"); text != nil && n.Text == "" {
			n.Text = text.str()
		} else {
			p.untake()
		}
	}
	if e.doc.err != nil {
		return n, nil, e.doc.err
	}
	if err := n.Validate(); err != nil {
		return n, nil, inCommunication(err)
	}
	unsaid = append(unsaid, e.left()...)
	slices.Sort(unsaid)
	return n, slices.Compact(unsaid), nil
}

// addressee returns carewire's form of a recipient.
func (e *element) addressee(patient string) string {
	typ := ""
	if t := e.get("type"); t != nil {
		typ = t.str()
	} else if r := e.get("reference"); r != nil {
		parts := strings.Split(r.text, "/")
		if len(parts) > 1 {
			typ = parts[len(parts)-2]
		}
	}
	id := e.id(typ)
	if typ == "Patient" {
		if id != patient {
			e.doc.fail(e.path, "must be the subject, if a Patient")
		}
		return "patient"
	}
	for kind, t := range recipientTypes {
		if t == typ {
			return kind + ":" + id
		}
	}
	e.doc.fail(e.path, "must be a Practitioner, CareTeam, PractitionerRole or Patient")
	return ""
}

// inCommunication puts an element's path in the place of a Notice's member.
func inCommunication(err error) error {
	v, ok := err.(*carewire.ValidationError)
	if !ok {
		return err
	}
	member, _, _ := strings.Cut(v.Field, "[")
	paths := map[string]string{"patient": "subject", "notice_id": "identifier", "replies_to": "inResponseTo", "text": "payload.contentString", "to": "recipient"}
	if path := paths[member]; path != "" {
		return invalid(path+strings.TrimPrefix(v.Field, member), v.Reason)
	}
	return err
}
