package hl7v2

import "time"

// Visit names the patient and visit of a message, or of a part of it.
type Visit struct {
	Message *Message
	PID     Segment // the patient; empty if there is none
	PV1     Segment // the visit; empty if there is none
	// Time is when the value was measured, or the patient moved. It tells a host
	// that knows patients by their beds which patient was there: a message may be
	// repeated after a transfer. It is zero if the message states no readable time.
	Time time.Time
}

// Identifier is one of the numbers of a patient.
type Identifier struct {
	ID        string
	Authority string // the assigning authority: the namespace, or else the universal ID
	Type      string // of HL7 table 0203, such as MR
}

// Identifiers returns the patient's numbers, from PID-3, else PID-2 as before 2.3.
func (v Visit) Identifiers() []Identifier {
	field := v.PID.Field(3)
	if field.Empty() || field.Null() {
		field = v.PID.Field(2)
	}
	var list []Identifier
	for _, r := range field.Repetitions() {
		id := Identifier{ID: r.Component(1).String(), Type: r.Component(5).String()}
		if id.Authority = r.Component(4).Subcomponent(1).String(); id.Authority == "" {
			id.Authority = r.Component(4).Subcomponent(2).String()
		}
		if id.ID != "" {
			list = append(list, id)
		}
	}
	return list
}

// Location is a patient's place.
type Location struct {
	Ward     string // the point of care
	Room     string
	Bed      string
	Facility string
}

// Location returns the patient's present place, from PV1-3.
func (v Visit) Location() Location { return location(v.PV1.Field(3)) }

// PriorLocation returns the patient's previous place, from PV1-6.
func (v Visit) PriorLocation() Location { return location(v.PV1.Field(6)) }

func location(f Value) Location {
	return Location{Ward: f.Component(1).String(), Room: f.Component(2).String(), Bed: f.Component(3).String(),
		Facility: f.Component(4).Subcomponent(1).String()}
}
