package fhir

import (
	"strconv"
	"strings"

	"github.com/carewire/carewire"
)

// Site describes, in an AuditEvent, the server that it is about.
type Site struct {
	Name string // such as "carewire ward 5"; "": "carewire"
	URL  string // where clients reach it; "": not said
}

type auditEvent struct {
	ResourceType string        `json:"resourceType"`
	Meta         *meta         `json:"meta,omitempty"`
	Type         coding        `json:"type"`
	Subtype      []coding      `json:"subtype,omitempty"`
	Action       string        `json:"action,omitempty"`
	Recorded     string        `json:"recorded"`
	Outcome      string        `json:"outcome"`
	OutcomeDesc  string        `json:"outcomeDesc,omitempty"`
	Purpose      []concept     `json:"purposeOfEvent,omitempty"`
	Agent        []auditAgent  `json:"agent"`
	Source       auditSource   `json:"source"`
	Entity       []auditEntity `json:"entity,omitempty"`
}

type auditAgent struct {
	Type      *concept      `json:"type,omitempty"`
	Who       *reference    `json:"who,omitempty"`
	Requestor bool          `json:"requestor"`
	Network   *auditNetwork `json:"network,omitempty"`
}

type auditNetwork struct {
	Address string `json:"address"`
	Type    string `json:"type"`
}

type auditSource struct {
	Observer reference `json:"observer"`
}

type auditEntity struct {
	What   *reference    `json:"what,omitempty"`
	Type   *coding       `json:"type,omitempty"`
	Role   *coding       `json:"role,omitempty"`
	Detail []auditDetail `json:"detail,omitempty"`
}

type auditDetail struct {
	Type  string `json:"type"`
	Value string `json:"valueString"`
}

const (
	systemAuditType  = "http://terminology.hl7.org/CodeSystem/audit-event-type"
	systemRESTful    = "http://hl7.org/fhir/restful-interaction"
	systemLifecycle  = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"
	systemOwnAudit   = "urn:carewire:audit-event"
	systemEntityType = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
	systemObjectRole = "http://terminology.hl7.org/CodeSystem/object-role"
	systemPartType   = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
	profileBALP      = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
)

// An auditForm is how a kind of record is told.
type auditForm struct {
	typ     coding
	subtype coding
	action  string // C, R, U, D or E
	profile string // of BALP, where the record has a patient; "" if it has none for this
	data    string // the type of resource that it is about
}

var (
	rest          = coding{systemAuditType, "rest", "Restful Operation"}
	securityAlert = coding{systemDICOM, "110113", "Security Alert"}
	userAuth      = coding{systemDICOM, "110114", "User Authentication"}
)

func restful(code string) coding { return coding{systemRESTful, code, code} }

var auditForms = map[carewire.AuditEvent]auditForm{
	carewire.AuditConnect:        {userAuth, coding{systemDICOM, "110122", "Login"}, "E", "", ""},
	carewire.AuditRefusal:        {userAuth, coding{systemDICOM, "110122", "Login"}, "E", "", ""},
	carewire.AuditDisconnect:     {userAuth, coding{systemDICOM, "110123", "Logout"}, "E", "", ""},
	carewire.AuditWatch:          {rest, restful("read"), "R", "PatientRead", "Observation"},
	carewire.AuditWatchEnded:     {rest, coding{systemOwnAudit, "watch-ended", ""}, "E", "", "Observation"},
	carewire.AuditHistory:        {rest, restful("read"), "R", "PatientRead", "Observation"},
	carewire.AuditPublish:        {rest, restful("create"), "C", "PatientCreate", "Observation"},
	carewire.AuditRaise:          {rest, restful("create"), "C", "PatientCreate", "Flag"},
	carewire.AuditClear:          {rest, restful("update"), "U", "PatientUpdate", "Flag"},
	carewire.AuditAnswer:         {rest, restful("update"), "U", "PatientUpdate", "Flag"},
	carewire.AuditClose:          {rest, restful("update"), "U", "PatientUpdate", "Flag"},
	carewire.AuditReceipt:        {rest, restful("update"), "U", "PatientUpdate", ""},
	carewire.AuditNotice:         {rest, restful("create"), "C", "PatientCreate", "Communication"},
	carewire.AuditEscalation:     {coding{systemLifecycle, "transmit", "Transmit Record Lifecycle Event"}, coding{systemOwnAudit, "escalation", ""}, "E", "", "Flag"},
	carewire.AuditPage:           {coding{systemLifecycle, "transmit", "Transmit Record Lifecycle Event"}, coding{systemOwnAudit, "page", ""}, "E", "", "Flag"},
	carewire.AuditRevocation:     {securityAlert, coding{systemDICOM, "110137", "User security Attributes Changed"}, "E", "", ""},
	carewire.AuditSuspension:     {securityAlert, coding{systemDICOM, "110137", "User security Attributes Changed"}, "E", "", ""},
	carewire.AuditRestoration:    {securityAlert, coding{systemDICOM, "110137", "User security Attributes Changed"}, "E", "", ""},
	carewire.AuditEmergency:      {securityAlert, coding{systemDICOM, "110127", "Emergency Override Started"}, "E", "", ""},
	carewire.AuditEmergencyEnded: {securityAlert, coding{systemDICOM, "110138", "Emergency Override Stopped"}, "E", "", ""},
	carewire.AuditDischarge:      {rest, restful("update"), "U", "PatientUpdate", "Flag"},
	carewire.AuditPause:          {rest, restful("update"), "U", "PatientUpdate", "Flag"},
	carewire.AuditPauseEnded:     {rest, restful("update"), "U", "PatientUpdate", "Flag"},
	carewire.AuditErasure:        {rest, restful("delete"), "D", "PatientDelete", ""},
}

// AuditEvent returns r as an AuditEvent of R4, after IHE's Basic Audit Log
// Patterns (BALP) where these have a pattern: reads, creations, updates and
// deletions about one patient, which meta.profile then says. Of the rest,
// watching that has ended, escalations and pages have subtypes of carewire's
// own, and break-glass is the pair of DICOM codes 110127 and 110138. An event
// that this version does not know has its name as subtype. One read is one
// patient opened on one connection, not one reading.
func AuditEvent(r carewire.Record, site Site) []byte { return encode(newAuditEvent(&r, site)) }

func newAuditEvent(r *carewire.Record, site Site) *auditEvent {
	if site.Name == "" {
		site.Name = "carewire"
	}
	f, known := auditForms[r.Event]
	if !known {
		f = auditForm{rest, coding{systemOwnAudit, string(r.Event), ""}, "E", "", ""}
	}
	e := &auditEvent{ResourceType: "AuditEvent", Type: f.typ, Subtype: []coding{f.subtype}, Action: f.action, Recorded: instant(r.Time),
		Outcome: "0", OutcomeDesc: string(r.Code), Source: auditSource{reference{Display: site.Name}}}
	switch r.Outcome {
	case carewire.OutcomeRefused:
		e.Outcome = "4"
	case carewire.OutcomeFailed, carewire.OutcomeUnknown:
		e.Outcome = "8"
	}
	var m meta
	if f.profile != "" && r.Patient != "" {
		m.Profile = []string{profileBALP + f.profile}
	}
	if r.Test {
		m.Security = []coding{{systemActReason, "HTEST", "test health data"}}
	}
	e.Meta = m.orNil()
	if r.Event == carewire.AuditEmergency || r.Event == carewire.AuditEmergencyEnded {
		e.Purpose = []concept{oneCoding(systemActReason, "ETREAT", "Emergency Treatment")}
	}
	e.Agent = agentsOf(r, &f, site)
	e.Entity = entitiesOf(r, &f)
	return e
}

// agentsOf names the client, the server and the person or device that did it.
func agentsOf(r *carewire.Record, f *auditForm, site Site) []auditAgent {
	role := func(code, display string) *concept {
		c := oneCoding(systemDICOM, code, display)
		return &c
	}
	source, destination := role("110153", "Source Role ID"), role("110152", "Destination Role ID")
	client, server := source, destination
	user, userText := "AUT", "author (originator)"
	if f.action == "R" { // data that is read goes from the server to the client
		client, server = destination, source
		user, userText = "IRCP", "information recipient"
	}
	id := r.Conn
	if id == "" {
		id = r.Who.ID // a call of the host's own
	}
	c := auditAgent{Type: client, Who: &reference{Identifier: &identifier{Value: orUnknown(id)}}, Network: &auditNetwork{r.Address, "2"}}
	if r.Address == "" {
		c.Network = &auditNetwork{"localhost", "1"}
	}
	s := auditAgent{Type: server, Who: &reference{Identifier: &identifier{Value: site.Name}}, Network: &auditNetwork{site.URL, "5"}}
	if site.URL == "" {
		s.Network = &auditNetwork{"localhost", "1"}
	}
	agents := []auditAgent{c, s}
	if r.Who.ID == "" {
		return agents
	}
	part := oneCoding(systemPartType, user, userText)
	who := &reference{Identifier: &identifier{Value: r.Who.ID}, Display: r.Who.Name}
	return append(agents, auditAgent{Type: &part, Who: who, Requestor: true})
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// entitiesOf names the data concerned, and the patient.
func entitiesOf(r *carewire.Record, f *auditForm) (list []auditEntity) {
	data := auditEntity{Type: &coding{systemEntityType, "2", "System Object"}, Role: &coding{systemObjectRole, "4", "Domain Resource"}, Detail: detailsOf(r)}
	switch {
	case r.ID != "":
		data.What = named(f.data, r.ID, "")
	case f.data != "" && r.Patient != "":
		data.What = &reference{Type: f.data, Display: "what is live of the patient"}
	case f.data != "":
		data.What = &reference{Type: f.data, Display: "of several patients"}
	default:
		data.What = &reference{Display: string(r.Event)}
	}
	list = append(list, data)
	if r.Patient != "" {
		list = append(list, auditEntity{What: refer("Patient", r.Patient), Type: &coding{systemEntityType, "1", "Person"}, Role: &coding{systemObjectRole, "1", "Patient"}})
	}
	return list
}

// detailsOf are the members of a record that AuditEvent has no element for.
func detailsOf(r *carewire.Record) (list []auditDetail) {
	text := func(name, v string) {
		if v != "" {
			list = append(list, auditDetail{name, v})
		}
	}
	number := func(name string, n int) {
		if n != 0 {
			text(name, strconv.Itoa(n))
		}
	}
	text("event", string(r.Event))
	number("status", r.Status)
	number("close", int(r.Close))
	text("role", string(r.Who.Role))
	if r.Asserted {
		text("asserted", "true")
	}
	text("session", r.Session)
	text("group", r.Group)
	text("key", r.Key)
	text("do", string(r.Do))
	text("stage", string(r.Stage))
	number("level", r.Level)
	text("to", strings.Join(r.To, " "))
	text("about", r.About)
	text("until", instant(r.Until))
	text("reason", r.Reason)
	number("count", r.Count)
	number("refused", r.Refused)
	return list
}
