package fhir

import (
	"slices"

	"github.com/carewire/carewire"
)

// observation is an Observation of R4 as carewire writes it.
type observation struct {
	ResourceType     string                 `json:"resourceType"`
	ID               string                 `json:"id,omitempty"`
	Meta             *meta                  `json:"meta,omitempty"`
	Identifier       []identifier           `json:"identifier,omitempty"`
	Status           string                 `json:"status"`
	Category         []concept              `json:"category"`
	Code             concept                `json:"code"`
	Subject          *reference             `json:"subject"`
	Effective        string                 `json:"effectiveDateTime,omitempty"`
	Issued           string                 `json:"issued,omitempty"`
	Quantity         *quantity              `json:"valueQuantity,omitempty"`
	Concept          *concept               `json:"valueCodeableConcept,omitempty"`
	DataAbsentReason *concept               `json:"dataAbsentReason,omitempty"`
	Interpretation   []concept              `json:"interpretation,omitempty"`
	BodySite         *concept               `json:"bodySite,omitempty"`
	Method           *concept               `json:"method,omitempty"`
	Device           *reference             `json:"device,omitempty"`
	Component        []observationComponent `json:"component,omitempty"`
}

type observationComponent struct {
	Code             concept   `json:"code"`
	Quantity         *quantity `json:"valueQuantity,omitempty"`
	DataAbsentReason *concept  `json:"dataAbsentReason,omitempty"`
}

// Observation returns v as an Observation of R4, in the vital-signs profile of
// its code if there is one. Unsaid(v) lists the content that it lacks. The
// error is v.Validate's. The resource has no logical ID: a server gives one.
//
// Vital.ID is the identifier, and Replaces a second one with the use "old".
// SpO2 gets both codings that US Core requires. A device's measurement gets its
// code of IEEE 11073 too, if that is known. Time is effectiveDateTime, in UTC
// and to the millisecond, and Received is issued. Quality is a set: its order
// is not kept. The qualities late, future, clock and rounded are tags of the
// system urn:carewire:quality, in meta.tag.
func Observation(v carewire.Vital) ([]byte, error) {
	if err := v.Validate(); err != nil {
		return nil, err
	}
	return encode(newObservation(&v, "")), nil
}

// Unsaid lists the members of v that an Observation cannot express, by their
// names in carewire's protocol: "every".
func Unsaid(v carewire.Vital) (members []string) {
	if v.Every != 0 {
		members = append(members, "every")
	}
	return members
}

func newObservation(v *carewire.Vital, id string) *observation {
	o := &observation{ResourceType: "Observation", ID: id, Status: "final", Subject: refer("Patient", v.Patient),
		Category: []concept{oneCoding(systemCategory, "vital-signs", "Vital Signs")},
		Code:     codeOf(v), Effective: instant(v.Time), Issued: instant(v.Received)}
	if v.Status != "" {
		o.Status = string(v.Status)
	}
	if v.ID != "" {
		o.Identifier = append(o.Identifier, identifier{Value: v.ID})
	}
	if v.Replaces != "" {
		o.Identifier = append(o.Identifier, identifier{Use: "old", Value: v.Replaces})
	}
	switch {
	case v.Absent != "":
		o.DataAbsentReason = absenceOf(v.Absent)
	case v.Coded != nil:
		value := oneCoding(systemURI(v.Coded.System), v.Coded.Code, "")
		o.Concept = &value
	case len(v.Components) > 0:
		for _, c := range v.Components {
			part := observationComponent{Code: concept{Coding: []coding{codingOf(v.System, c.Code)}}}
			if c.Absent != "" {
				part.DataAbsentReason = absenceOf(c.Absent)
			} else {
				part.Quantity = quantityOf(c.Value, c.Unit, "")
			}
			o.Component = append(o.Component, part)
		}
	default:
		o.Quantity = quantityOf(v.Value, v.Unit, v.Comparator)
	}
	o.Meta, o.Interpretation = judgement(v)
	if v.Site != "" {
		o.BodySite = &concept{Text: v.Site}
	}
	if v.Method != "" {
		o.Method = &concept{Text: v.Method}
	}
	if v.Device != "" {
		o.Device = named("Device", v.Device, "")
	}
	return o
}

// judgement is the evidence for or against v, as HL7's device profiles say it.
func judgement(v *carewire.Vital) (*meta, []concept) {
	var m meta
	var list []concept
	if p := profileOf(v); p != "" {
		m.Profile = []string{profileBase + p}
	}
	for _, f := range flags {
		if !slices.Contains(v.Quality, f.quality) {
			continue
		}
		if f.code != "" {
			list = append(list, oneCoding(systemMeasurement, f.code, f.display))
		}
		if f.certainty != "" && !slices.ContainsFunc(m.Security, func(c coding) bool { return c.Code == f.certainty }) {
			m.Security = append(m.Security, coding{System: systemReliability, Code: f.certainty})
		}
	}
	for _, q := range tagged {
		if slices.Contains(v.Quality, q) {
			m.Tag = append(m.Tag, coding{System: systemQuality, Code: string(q)})
		}
	}
	if v.Test {
		m.Security = append(m.Security, coding{System: systemActReason, Code: "HTEST", Display: "test health data"})
	}
	return m.orNil(), list
}

// profileOf names the profile of R4 that v keeps to; "" if there is none. That of
// blood pressures demands both parts, measured or absent.
func profileOf(v *carewire.Vital) string {
	has := func(m carewire.Measure) bool {
		return slices.ContainsFunc(v.Components, func(c carewire.Component) bool { return c.Code == m.Code })
	}
	switch {
	case systemURI(v.System) != systemLOINC:
		return ""
	case v.Code == carewire.BloodPressure.Code && !(has(carewire.SystolicPressure) && has(carewire.DiastolicPressure)):
		return "vitalsigns"
	}
	return signs[v.Code].profile
}

func absenceOf(reason carewire.AbsentReason) *concept {
	c := oneCoding(systemAbsent, string(reason), "")
	return &c
}

// codeOf returns the codings of v's measurement.
func codeOf(v *carewire.Vital) concept {
	c := concept{Coding: []coding{codingOf(v.System, v.Code)}}
	if systemURI(v.System) != systemLOINC {
		return c
	}
	s := signs[v.Code]
	if s.also.Code != "" {
		c.Coding = append(c.Coding, s.also)
	}
	if d, ok := deviceCoding(v); ok && v.Device != "" {
		c.Coding = append(c.Coding, d)
	}
	c.Text = s.display
	return c
}

func codingOf(system, code string) coding {
	c := coding{System: systemURI(system), Code: code}
	if c.System == systemLOINC {
		c.Display = signs[code].display
	}
	return c
}

func quantityOf(value carewire.Decimal, unit string, c carewire.Comparator) *quantity {
	return &quantity{Value: number(value), Comparator: string(c), Unit: textOfUnit(unit), System: systemUCUM, Code: unit}
}
