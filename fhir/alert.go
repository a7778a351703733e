package fhir

import (
	"fmt"
	"slices"

	"github.com/carewire/carewire"
)

const (
	systemFlagCategory = "http://terminology.hl7.org/CodeSystem/flag-category"

	// deviceAlertVersion is the ballot that DeviceAlert follows. The resource
	// has changed between ballots and may again.
	deviceAlertVersion = "6.0.0-ballot5"
	systemDeviceAlert  = "urn:carewire:devicealert-ballot"
)

type flagResource struct {
	ResourceType string       `json:"resourceType"`
	ID           string       `json:"id,omitempty"`
	Meta         *meta        `json:"meta,omitempty"`
	Identifier   []identifier `json:"identifier,omitempty"`
	Status       string       `json:"status"`
	Category     []concept    `json:"category,omitempty"`
	Code         concept      `json:"code"`
	Subject      *reference   `json:"subject"`
	Period       period       `json:"period"`
	Author       *reference   `json:"author,omitempty"`
}

type detectedIssue struct {
	ResourceType string       `json:"resourceType"`
	ID           string       `json:"id,omitempty"`
	Meta         *meta        `json:"meta,omitempty"`
	Identifier   []identifier `json:"identifier,omitempty"`
	Status       string       `json:"status"`
	Code         concept      `json:"code"`
	Severity     string       `json:"severity"`
	Patient      *reference   `json:"patient"`
	Identified   string       `json:"identifiedDateTime,omitempty"`
	Author       *reference   `json:"author,omitempty"`
	Implicated   []*reference `json:"implicated,omitempty"`
	Detail       string       `json:"detail,omitempty"`
	Mitigation   []mitigation `json:"mitigation,omitempty"`
}

type mitigation struct {
	Action concept    `json:"action"`
	Date   string     `json:"date,omitempty"`
	Author *reference `json:"author,omitempty"`
}

// Flag returns a as a Flag of R4: active while it is open, inactive afterwards.
// The period begins with the onset and ends with the alert. [DetectedIssue] has
// the answers and the priority. R4 has no place for the escalation.
func Flag(a carewire.Alert) []byte { return encode(newFlag(&a)) }

func newFlag(a *carewire.Alert) *flagResource {
	f := &flagResource{ResourceType: "Flag", ID: alertID(a), Identifier: []identifier{{Value: a.ID}}, Status: "active", Code: alertCode(a),
		Subject: refer("Patient", a.Patient), Period: period{Start: instant(a.Onset), End: instant(a.Ended)}, Author: sourceOf(a), Meta: alertMeta(a)}
	if !a.Open() {
		f.Status = "inactive"
	}
	if a.Kind == carewire.AlertPhysiological || a.Kind == "" {
		f.Category = []concept{oneCoding(systemFlagCategory, "clinical", "Clinical")}
	} else {
		f.Category = []concept{{Text: string(a.Kind)}}
	}
	return f
}

// DetectedIssue returns a as a DetectedIssue of R4: preliminary until a person
// has accepted it or it is over, final then. High, medium and low are its
// severity; info is low. Answers are mitigations: those of the last eight in
// Alert.Answers.
func DetectedIssue(a carewire.Alert) []byte { return encode(newDetectedIssue(&a)) }

func newDetectedIssue(a *carewire.Alert) *detectedIssue {
	d := &detectedIssue{ResourceType: "DetectedIssue", ID: alertID(a), Identifier: []identifier{{Value: a.ID}}, Status: "preliminary", Code: alertCode(a),
		Severity: "low", Patient: refer("Patient", a.Patient), Identified: instant(a.Onset), Author: sourceOf(a), Detail: explain(a), Meta: alertMeta(a)}
	if !a.Open() || a.Responsibility.State == carewire.ResponsibilityAccepted {
		d.Status = "final"
	}
	switch a.Priority {
	case carewire.PriorityHigh:
		d.Severity = "high"
	case carewire.PriorityMedium:
		d.Severity = "moderate"
	}
	for _, id := range measurementsOf(a) {
		d.Implicated = append(d.Implicated, named("Observation", id, ""))
	}
	for _, w := range a.Answers {
		d.Mitigation = append(d.Mitigation, mitigation{Action: concept{Text: string(w.Do)}, Date: instant(w.At), Author: personOf(w.By)})
	}
	return d
}

func alertMeta(a *carewire.Alert) *meta {
	m := meta{LastUpdated: instant(a.Updated)}
	if a.Test {
		m.Security = []coding{{systemActReason, "HTEST", "test health data"}}
	}
	return m.orNil()
}

func alertCode(a *carewire.Alert) concept {
	c := concept{Text: a.Text}
	if a.Code != "" {
		c.Coding = []coding{codingOf(a.System, a.Code)}
	}
	return c
}

func sourceOf(a *carewire.Alert) *reference {
	if a.Source.By == "" {
		return nil
	}
	return named("Device", a.Source.By, "")
}

func personOf(p carewire.Person) *reference {
	switch p.Role {
	case carewire.RolePatient:
		return named("Patient", p.ID, p.Name)
	case carewire.RoleDevice, carewire.RoleService:
		return named("Device", p.ID, p.Name)
	}
	return named("Practitioner", p.ID, p.Name)
}

// measurementsOf returns the IDs of the vitals that an alert's rule used.
func measurementsOf(a *carewire.Alert) (ids []string) {
	list := append([]carewire.SourceInput{{VitalID: a.Source.VitalID}}, a.Source.Inputs...)
	for _, in := range list {
		if in.VitalID != "" && !slices.Contains(ids, in.VitalID) {
			ids = append(ids, in.VitalID)
		}
	}
	return ids
}

// explain is an alert's explanation of itself in words; "" if it has none.
func explain(a *carewire.Alert) string {
	text := a.Source.Rule
	if a.Source.Value != "" {
		text += " " + string(a.Source.Value) + " " + textOfUnit(a.Source.Unit)
	}
	if a.Source.Limits != "" {
		text += " (" + a.Source.Limits + ")"
	}
	if r := a.Source.Recognition; r.Kind != "" {
		text += fmt.Sprintf(", from %s by %s, confidence %s", r.Kind, r.Model, r.Confidence)
	}
	return text
}

type deviceAlert struct {
	ResourceType   string         `json:"resourceType"`
	ID             string         `json:"id,omitempty"`
	Meta           *meta          `json:"meta"`
	Identifier     []identifier   `json:"identifier,omitempty"`
	Status         string         `json:"status"`
	Type           *concept       `json:"type,omitempty"`
	Code           concept        `json:"code"`
	Subject        *reference     `json:"subject"`
	Occurrence     period         `json:"occurrencePeriod"`
	Priority       string         `json:"priority"`
	Label          string         `json:"label,omitempty"`
	Acknowledged   bool           `json:"acknowledged"`
	AcknowledgedBy *reference     `json:"acknowledgedBy,omitempty"`
	DerivedFrom    []derivedFrom  `json:"derivedFrom,omitempty"`
	Signal         []deviceSignal `json:"signal,omitempty"`
}

type derivedFrom struct {
	Observation *reference `json:"observation"`
}

type deviceSignal struct {
	Activation string `json:"activationState"`
	Presence   string `json:"presence,omitempty"`
}

// DeviceAlert returns a as the DeviceAlert of R6 as its ballot 5 has it, and
// meta.tag says so with the code 6.0.0-ballot5. The resource is a draft, for
// recording and display: it may change, and controls no alarm. No independent
// validator that knows R6 has checked it. A period without an end means that
// the condition is present; acknowledged means that a person has accepted.
func DeviceAlert(a carewire.Alert) []byte {
	d := &deviceAlert{ResourceType: "DeviceAlert", ID: alertID(&a), Identifier: []identifier{{Value: a.ID}}, Status: "in-progress", Code: alertCode(&a),
		Subject: refer("Patient", a.Patient), Occurrence: period{Start: instant(a.Onset)}, Priority: string(a.Priority), Label: a.Text}
	m := alertMeta(&a)
	if m == nil {
		m = new(meta)
	}
	m.Tag = []coding{{System: systemDeviceAlert, Code: deviceAlertVersion}}
	d.Meta = m
	if !a.Open() {
		d.Status = "completed"
	}
	if a.Condition == carewire.ConditionOver {
		d.Occurrence.End = instant(a.Updated)
		if !a.Ended.IsZero() {
			d.Occurrence.End = instant(a.Ended)
		}
	}
	if a.Kind == carewire.AlertPhysiological || a.Kind == carewire.AlertTechnical {
		d.Type = &concept{Text: string(a.Kind)}
	}
	if r := a.Responsibility; r.State == carewire.ResponsibilityAccepted {
		d.Acknowledged, d.AcknowledgedBy = true, personOf(r.By)
	}
	for _, id := range measurementsOf(&a) {
		d.DerivedFrom = append(d.DerivedFrom, derivedFrom{named("Observation", id, "")})
	}
	d.Signal = []deviceSignal{signalOf(&a)}
	return encode(d)
}

// signalOf says whether people are being told.
func signalOf(a *carewire.Alert) deviceSignal {
	told := slices.Contains([]carewire.EscalationState{carewire.EscalationDue, carewire.EscalationClaimed, carewire.EscalationNotified, carewire.EscalationFailed}, a.Escalation.State)
	switch {
	case a.Open() && a.Responsibility.State == carewire.ResponsibilityAccepted:
		return deviceSignal{"on", "ack"}
	case a.Open() && a.Latched:
		return deviceSignal{"on", "latched"}
	case told:
		return deviceSignal{"on", "on"}
	}
	return deviceSignal{"on", "off"}
}
