// Package mdc is a table of the codes of ISO/IEEE 11073-10101, the language of
// medical devices, as far as carewire uses them: measured quantities with their
// LOINC codes, and units with their UCUM codes.
//
// The standard itself is not public. Each code was looked up in public sources,
// named by a letter at its row:
//
//	H  headers and constants of open-source managers for personal health devices
//	   (IEEE 11073-10404, -10407, -10408, -10415, -10417)
//	M  the intensive care module of the German Medical Informatics Initiative,
//	   which gives LOINC codes beside them
//	P  the open-source IntelliVue driver of OpenICE
//	S  the IHE technical framework DEV.SDPi
//	W  PCD-01 messages of monitors on the market, in tests of public receivers
//
// A number with a single W as its only source is left out, because such
// messages contradict each other.
package mdc

import "strconv"

// System is the URI by which FHIR names this code system. In a carewire.Vital
// it is "mdc".
const System = "urn:iso:std:iso:11073:10101"

// Metric is something that a device measures.
type Metric struct {
	Code   uint32 // the number, such as 147842
	Name   string // the reference ID, such as "MDC_ECG_HEART_RATE"
	LOINC  string // the LOINC code of it; "" if there is none that means the same
	Site   string // the place on the body, if one LOINC code covers several places; may be ""
	Method string // how; may be ""

	other otherQuantity
}

// otherQuantity is the LOINC code for values in another kind of unit.
type otherQuantity struct{ unit, loinc string }

// In returns the LOINC code of the metric for values in the given unit, a UCUM
// code: mass and moles of glucose, pressure and fraction of carbon dioxide are
// codes of their own. It returns "" if there is none.
func (m Metric) In(unit string) string {
	if m.other.unit != "" && unit == m.other.unit {
		return m.other.loinc
	}
	return m.LOINC
}

// Unit is a unit of measurement.
type Unit struct {
	Code uint32 // the number, such as 266016
	Name string // the reference ID, such as "MDC_DIM_MMHG"
	UCUM string // the UCUM code, such as "mm[Hg]"
}

// Term is any other code: an event, an attribute or a kind of device.
type Term struct {
	Code uint32
	Name string
}

// String returns the number and the name as HL7 v2 writes them: 266016^MDC_DIM_MMHG^MDC.
func (t Term) String() string { return strconv.FormatUint(uint64(t.Code), 10) + "^" + t.Name + "^MDC" }

// Term returns the code of m.
func (m Metric) Term() Term { return Term{m.Code, m.Name} }

// Term returns the code of u.
func (u Unit) Term() Term { return Term{u.Code, u.Name} }

// MetricByCode returns the metric with the number.
func MetricByCode(code uint32) (Metric, bool) { m, ok := metricByCode[code]; return m, ok }

// MetricByName returns the metric with the reference ID, which is compared
// letter by letter.
func MetricByName(name string) (Metric, bool) { m, ok := metricByName[name]; return m, ok }

// MetricByLOINC returns the metric that is most usual for a LOINC code.
func MetricByLOINC(loinc string) (Metric, bool) { m, ok := metricByLOINC[loinc]; return m, ok }

// UnitByCode returns the unit with the number.
func UnitByCode(code uint32) (Unit, bool) { u, ok := unitByCode[code]; return u, ok }

// UnitByName returns the unit with the reference ID.
func UnitByName(name string) (Unit, bool) { u, ok := unitByName[name]; return u, ok }

// UnitByUCUM returns the unit that is most usual for a UCUM code. For "/min" it
// is the one of heart beats: a device says 264928^MDC_DIM_RESP_PER_MIN of breath.
func UnitByUCUM(ucum string) (Unit, bool) { u, ok := unitByUCUM[ucum]; return u, ok }

var (
	metricByCode  = make(map[uint32]Metric)
	metricByName  = make(map[string]Metric)
	metricByLOINC = make(map[string]Metric)
	unitByCode    = make(map[uint32]Unit)
	unitByName    = make(map[string]Unit)
	unitByUCUM    = make(map[string]Unit)
)

// The tables are read from front to back: the first with a LOINC or UCUM code is
// the usual one.
func init() {
	for _, m := range metrics {
		metricByCode[m.Code], metricByName[m.Name] = m, m
		for _, loinc := range []string{m.LOINC, m.other.loinc} {
			if _, ok := metricByLOINC[loinc]; !ok && loinc != "" {
				metricByLOINC[loinc] = m
			}
		}
	}
	for _, u := range units {
		unitByCode[u.Code], unitByName[u.Name] = u, u
		if _, ok := unitByUCUM[u.UCUM]; !ok {
			unitByUCUM[u.UCUM] = u
		}
	}
}
