package fhir

import (
	"encoding/json"
	"time"

	"github.com/carewire/carewire"
)

// Strip is a piece of a wave, such as some seconds of an electrocardiogram, in
// the form of an Observation.
type Strip struct {
	Patient string      // whose; required
	Code    string      // the signal; required
	System  string      // the code's system, as with a Vital; "": LOINC
	ID      string      // the identifier; "": none
	Device  string      // the ID of the device; "": not said
	Start   time.Time   // of the first sample; required
	Data    SampledData // the samples; required
}

type stripResource struct {
	ResourceType string          `json:"resourceType"`
	Identifier   []identifier    `json:"identifier,omitempty"`
	Status       string          `json:"status"`
	Category     []concept       `json:"category"`
	Code         concept         `json:"code"`
	Subject      *reference      `json:"subject"`
	Effective    period          `json:"effectivePeriod"`
	Device       *reference      `json:"device,omitempty"`
	SampledData  json.RawMessage `json:"valueSampledData"`
}

// Observation returns s as an Observation of R4 with a valueSampledData, in the
// category procedure. Its period goes from the first sample to the end of the
// last. The error names the missing or faulty part.
func (s Strip) Observation() ([]byte, error) {
	switch {
	case !validID(s.Patient):
		return nil, invalid("patient", "must be an ID")
	case s.Code == "":
		return nil, invalid("code", "required")
	case s.Start.IsZero():
		return nil, invalid("start", "required")
	}
	data, err := s.Data.MarshalJSON()
	if err != nil {
		return nil, err
	}
	values, _ := s.Data.Values()
	length := float64(len(values)/max(s.Data.Dimensions, 1)) * s.Data.Period.Float64() * float64(time.Millisecond)
	r := stripResource{ResourceType: "Observation", Status: "final", Category: []concept{oneCoding(systemCategory, "procedure", "Procedure")},
		Code: concept{Coding: []coding{codingOf(s.System, s.Code)}}, Subject: refer("Patient", s.Patient),
		Effective: period{instant(s.Start), instant(s.Start.Add(time.Duration(length)))}, SampledData: data}
	if s.ID != "" {
		r.Identifier = []identifier{{Value: s.ID}}
	}
	if s.Device != "" {
		r.Device = named("Device", s.Device, "")
	}
	return encode(r), nil
}

// StripOf reads an Observation with a valueSampledData. Errors and unsaid are as
// with [VitalsOf]; the end of the period follows from the samples.
func StripOf(resource []byte) (s Strip, unsaid []string, err error) {
	e, err := parse(resource)
	if err != nil {
		return s, nil, err
	}
	if e.get("resourceType").str() != "Observation" {
		return s, nil, invalid("resourceType", "must be Observation")
	}
	e.get("id").take()
	e.get("text").take()
	for _, name := range []string{"modifierExtension", "implicitRules"} {
		if e.get(name) != nil {
			e.doc.fail(name, "is not understood, and must be")
		}
	}
	if status := e.get("status").str(); status != "final" {
		e.doc.fail("status", "must be final")
	}
	for _, c := range e.get("category").items() {
		c.coding(func(system, code string) bool { return system == systemCategory && code == "procedure" })
	}
	s.System, s.Code, _ = codeFrom(e.get("code"), "code", "", e.doc)
	if s.System == carewire.LOINC {
		s.System = ""
	}
	if subject := e.get("subject"); subject == nil {
		e.doc.fail("subject", "required")
	} else {
		s.Patient = subject.id("Patient")
	}
	if device := e.get("device"); device != nil {
		s.Device = device.id("Device")
	}
	for _, i := range e.get("identifier").items() {
		if value := i.get("value"); s.ID == "" && value != nil {
			s.ID = value.str()
		} else {
			i.untake()
		}
	}
	start := e.get("effectiveDateTime")
	if p := e.get("effectivePeriod"); p != nil {
		start = p.get("start")
		p.get("end").take()
	}
	if at, exact, ok := parseDateTime(start.str()); ok && exact {
		s.Start = at
	} else {
		e.doc.fail("effectivePeriod.start", "must be an instant")
	}
	if e.doc.err != nil {
		return s, nil, e.doc.err
	}
	var whole struct{ ValueSampledData *SampledData }
	if err := json.Unmarshal(resource, &whole); err != nil {
		return s, nil, err
	}
	if whole.ValueSampledData == nil {
		return s, nil, invalid("valueSampledData", "required")
	}
	s.Data = *whole.ValueSampledData
	e.get("valueSampledData").take()
	return s, e.left(), nil
}
