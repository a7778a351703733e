package fhir

import (
	"strconv"
	"strings"

	"github.com/carewire/carewire"
)

func itoa(n int) string { return strconv.Itoa(n) }

// readValue reads the value, its absence and the components.
func (r *observationReader) readValue() {
	e := r.e
	for _, name := range e.names {
		if strings.HasPrefix(name, "value") && name != "valueQuantity" && name != "valueCodeableConcept" {
			e.doc.fail(name, "must be valueQuantity or valueCodeableConcept")
			return
		}
	}
	components := e.get("component").items()
	own := r.v
	q, c, absent := e.get("valueQuantity"), e.get("valueCodeableConcept"), e.get("dataAbsentReason")
	n := 0
	for _, v := range []*element{q, c, absent} {
		if v != nil {
			n++
		}
	}
	switch {
	case n > 1:
		e.doc.fail("valueQuantity", "exactly one of valueQuantity, valueCodeableConcept and dataAbsentReason is allowed")
		return
	case q != nil:
		own.Value, own.Unit, own.Comparator = q.quantity()
	case c != nil:
		own.Coded = c.coded()
	case absent != nil:
		own.Absent = r.absence(absent)
	case len(components) > 0:
		r.readPanel(components)
		return
	case own.Status == carewire.VitalEnteredInError: // withdrawn, with any value
		own.Absent = carewire.AbsentUnknown
	default:
		e.doc.fail("valueQuantity", "a value, a component or a dataAbsentReason is required")
		return
	}
	r.list = append(r.list, own)
	for i, part := range components {
		r.readBeside(i, part)
	}
}

// readBeside reads a component beside a value of the Observation's own.
func (r *observationReader) readBeside(i int, part *element) {
	q := part.get("valueQuantity")
	if q == nil {
		part.untake()
		return
	}
	v := r.v
	v.System, v.Code, _ = codeFrom(part.get("code"), part.path+".code", unitOf(part), part.doc)
	v.Value, v.Unit, v.Comparator = q.quantity()
	v.Quality = nil // the flags of the whole are those of its own value
	v.ID, v.Replaces = partID(v.ID, v.Code), partID(v.Replaces, v.Code)
	r.list, r.parts = append(r.list, v), append(r.parts, i)
}

// partID is the ID of the Vital of a component.
func partID(id, code string) string {
	if id == "" {
		return ""
	}
	if id += "." + code; validID(id) {
		return id
	}
	return digestID(id)
}

// readPanel reads the components of an Observation without a value of its own.
func (r *observationReader) readPanel(components []*element) {
	v := r.v
	for _, part := range components {
		q, reason := part.get("valueQuantity"), part.get("dataAbsentReason")
		if q == nil && reason == nil {
			part.untake()
			continue
		}
		system, code, _ := codeFrom(part.get("code"), part.path+".code", unitOf(part), part.doc)
		if systemURI(system) != systemURI(v.System) {
			part.untake() // a part is named in the system of the whole
			continue
		}
		c := carewire.Component{Code: code}
		switch {
		case q != nil && reason != nil:
			part.doc.fail(q.path, "excludes dataAbsentReason")
		case reason != nil:
			c.Absent = r.absence(reason)
		default:
			var comparator carewire.Comparator
			if c.Value, c.Unit, comparator = q.quantity(); comparator != "" {
				part.doc.fail(q.path+".comparator", "cannot be said of a component")
			}
		}
		v.Components = append(v.Components, c)
	}
	if len(v.Components) == 0 {
		r.e.doc.fail("component", "no component has a valueQuantity or a dataAbsentReason that can be said")
	}
	r.list = append(r.list, v)
}

// quantity reads a Quantity in a unit of UCUM.
func (e *element) quantity() (value carewire.Decimal, unit string, c carewire.Comparator) {
	e.get("unit").take()
	v, code, system := e.get("value"), e.get("code"), e.get("system")
	switch {
	case v == nil:
		e.doc.fail(e.path+".value", "required")
	case code == nil || system == nil || system.str() != systemUCUM:
		e.doc.fail(e.path+".code", "a UCUM code, with its system, is required")
	}
	if cmp := e.get("comparator"); cmp != nil {
		if c = carewire.Comparator(cmp.str()); c != carewire.ComparatorBelow && c != carewire.ComparatorAbove {
			e.doc.fail(cmp.path, "must be < or >")
		}
	}
	return v.number(), code.str(), c
}

// coded reads a value that is a code.
func (e *element) coded() *carewire.Coding {
	system, code, ok := e.coding(func(system, code string) bool { return system != "" && code != "" })
	if !ok {
		e.doc.fail(e.path+".coding", "a code with its system is required")
	}
	name := systemName(system)
	if name == "" {
		name = carewire.LOINC
	}
	return &carewire.Coding{System: name, Code: code}
}

// absence reads a dataAbsentReason. Reasons that a Vital does not have are
// listed.
func (r *observationReader) absence(e *element) carewire.AbsentReason {
	_, code, ok := e.coding(func(system, code string) bool { return system == systemAbsent && absences[code] != "" })
	if !ok {
		e.untake()
		return carewire.AbsentUnknown
	}
	reason := absences[code]
	if string(reason) != code {
		r.unsaid = append(r.unsaid, e.path)
	}
	return reason
}
