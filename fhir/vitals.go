package fhir

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/mdc"
)

// VitalsOf reads an Observation of R4, R4B or R5 as Vitals. The first is the
// Observation's own. Components beside a value of its own, such as the inhaled
// oxygen of US Core's pulse oximetry, become further Vitals, with their code
// after a dot in the ID. A panel with one measured part becomes that part. A
// panel without any is absent for the first part's reason.
//
// unsaid lists the paths of elements that a Vital cannot express, such as
// "performer" or "component[1].interpretation". Narrative, displays, units as
// text, the logical ID and profiles carry no information of their own and are
// not listed.
//
// The error is a *[carewire.ValidationError] with the element's path. It also
// covers elements without which the result would mean something else: a
// modifierExtension, a status of a result that does not exist yet, the
// comparators <= and >=, a unit outside UCUM. A dateTime without a time of day
// counts as the beginning of that day in UTC, and is listed.
func VitalsOf(resource []byte) (list []carewire.Vital, unsaid []string, err error) {
	e, err := parse(resource)
	if err != nil {
		return nil, nil, err
	}
	return vitalsOf(e)
}

func vitalsOf(e *element) (list []carewire.Vital, unsaid []string, err error) {
	r := observationReader{e: e}
	r.read()
	if e.doc.err != nil {
		return nil, nil, e.doc.err
	}
	for i := range r.list {
		if err := r.list[i].Validate(); err != nil {
			return nil, nil, r.inElements(err, i)
		}
	}
	unsaid = append(e.left(), r.unsaid...)
	slices.Sort(unsaid)
	return r.list, slices.Compact(unsaid), nil
}

// An observationReader reads one Observation.
type observationReader struct {
	e      *element
	v      carewire.Vital   // the common members, and the Observation's own value
	list   []carewire.Vital // the result
	parts  []int            // of each of list but the first: its component
	unsaid []string         // said only in part
}

func (r *observationReader) read() {
	e := r.e
	if e.get("resourceType").str() != "Observation" {
		e.doc.fail("resourceType", "must be Observation")
		return
	}
	for _, name := range []string{"id", "text"} {
		e.get(name).take()
	}
	for _, name := range []string{"modifierExtension", "implicitRules"} {
		if e.get(name) != nil {
			e.doc.fail(name, "is not understood, and must be")
		}
	}
	r.readMeta()
	r.readIdentifiers()
	r.readStatus()
	for _, c := range e.get("category").items() {
		c.coding(func(system, code string) bool { return system == systemCategory && code == "vital-signs" })
	}
	var m mdc.Metric
	r.v.System, r.v.Code, m = codeFrom(e.get("code"), "code", unitOf(e), e.doc)
	if subject := e.get("subject"); subject == nil {
		e.doc.fail("subject", "required")
	} else {
		r.v.Patient = subject.id("Patient")
	}
	r.readTime()
	r.v.Site = cmp.Or(e.get("bodySite").words(), m.Site)
	r.v.Method = cmp.Or(e.get("method").words(), m.Method)
	if device := e.get("device"); device != nil {
		r.v.Device = device.id("Device")
	}
	r.readInterpretation()
	r.readValue()
}

func (r *observationReader) readMeta() {
	m := r.e.get("meta")
	if m == nil {
		return
	}
	for _, name := range []string{"profile", "versionId", "lastUpdated"} {
		m.get(name).take()
	}
	for _, name := range []string{"security", "tag"} {
		for _, c := range m.get(name).items() {
			system, code := c.get("system"), c.get("code")
			if system == nil || code == nil {
				c.untake()
				continue
			}
			switch {
			case system.text == systemActReason && code.text == "HTEST":
				r.v.Test = true
			case system.text == systemQuality && slices.Contains(tagged, carewire.Quality(code.text)):
				r.flag(carewire.Quality(code.text))
			case system.text == systemReliability && code.text == "RELIABLE":
			case system.text == systemReliability && code.text == "UNRELIABLE":
				r.flag(carewire.QualityInvalid)
			case system.text == systemReliability && code.text == "UNCERTREL":
				r.flag(carewire.QualityQuestionable) // unless it is calibration: readInterpretation knows
			case system.text == systemReliability && code.text == "HRELIABLE":
				r.flag(carewire.QualityValidated)
			default:
				c.untake()
				continue
			}
			c.take()
		}
	}
}

func (r *observationReader) flag(q carewire.Quality) {
	if !slices.Contains(r.v.Quality, q) {
		r.v.Quality = append(r.v.Quality, q)
	}
}

func (r *observationReader) readInterpretation() {
	questioned := false
	for _, c := range r.e.get("interpretation").items() {
		_, code, ok := c.coding(func(system, code string) bool {
			return system == systemMeasurement && slices.ContainsFunc(flags, func(f flag) bool { return f.code == code || code == "alarm-inhibited" })
		})
		if !ok {
			c.untake()
			continue
		}
		for _, f := range flags {
			if f.code == code || f.quality == carewire.QualityAlarmOff && code == "alarm-inhibited" {
				r.flag(f.quality)
				questioned = questioned || f.quality == carewire.QualityQuestionable
			}
		}
	}
	if !questioned && slices.Contains(r.v.Quality, carewire.QualityCalibration) { // that is why it is uncertain
		r.v.Quality = slices.DeleteFunc(r.v.Quality, func(q carewire.Quality) bool { return q == carewire.QualityQuestionable })
	}
}

func (r *observationReader) readIdentifiers() {
	for _, i := range r.e.get("identifier").items() {
		value, use := i.get("value"), i.get("use")
		switch {
		case value == nil:
			i.untake()
		case use != nil && use.text == "old" && r.v.Replaces == "":
			use.take()
			r.v.Replaces = i.identifier(&r.unsaid)
		case (use == nil || use.text != "old") && r.v.ID == "":
			use.take()
			r.v.ID = i.identifier(&r.unsaid)
		default:
			i.untake()
		}
	}
}

func (r *observationReader) readStatus() {
	switch status := r.e.get("status"); status.str() {
	case "final":
	case "preliminary": // a device's value that nobody has looked at, which is all that a Vital without a quality claims
		r.unsaid = append(r.unsaid, "status")
	case "amended":
		r.v.Status = carewire.VitalCorrected
		r.unsaid = append(r.unsaid, "status")
	case "corrected":
		r.v.Status = carewire.VitalCorrected
	case "entered-in-error":
		r.v.Status = carewire.VitalEnteredInError
	case "":
		r.e.doc.fail("status", "required")
	default:
		r.e.doc.fail("status", "must be final, preliminary, amended, corrected or entered-in-error")
	}
	switch {
	case r.v.Status == "" && r.v.Replaces != "":
		r.unsaid = append(r.unsaid, "identifier")
		r.v.Replaces = ""
	case r.v.Status != "" && r.v.Replaces == "": // FHIR corrects a resource under its identifier
		if r.v.Replaces, r.v.ID = r.v.ID, ""; r.v.Replaces == "" {
			r.e.doc.fail("identifier", "required with this status, to say which is corrected")
		}
	}
}

// unitOf returns the unit of an Observation's or a component's own value.
func unitOf(e *element) string {
	if q := e.by["valueQuantity"]; q != nil && q.by["code"] != nil {
		return q.by["code"].text
	}
	return ""
}

// codeFrom returns the code that a CodeableConcept stands for, and marks the
// codings that carewire itself adds when it writes one. If there is only a
// device's code, codeFrom returns the LOINC code of its measurement, and m has
// site and method.
func codeFrom(c *element, path, unit string, doc *document) (system, code string, m mdc.Metric) {
	if c == nil {
		doc.fail(path, "required")
		return "", "", m
	}
	var found []coding
	for _, e := range c.get("coding").items() {
		k := coding{}
		if s := e.get("system"); s != nil {
			k.System = s.text
		}
		if s := e.get("code"); s != nil {
			k.Code = s.text
		}
		found = append(found, k)
	}
	best := -1
	for i, k := range found {
		if k.System != "" && k.Code != "" && (best < 0 || rank(k, unit) > rank(found[best], unit)) {
			best = i
		}
	}
	if best < 0 {
		doc.fail(path+".coding", "a code with its system is required")
		return "", "", m
	}
	chosen := found[best]
	if metric, loinc, ok := metricOf(chosen, unit); ok {
		chosen, m = coding{System: systemLOINC, Code: loinc}, metric
	}
	s := signs[chosen.Code]
	for i, e := range c.get("coding").items() {
		also := found[i].System == systemLOINC && found[i].Code == s.also.Code
		metric, loinc, device := metricOf(found[i], unit)
		device = device && loinc == chosen.Code && metric.Site == m.Site && metric.Method == m.Method
		if i == best || chosen.System == systemLOINC && (also || device) {
			e.take()
		} else {
			e.untake()
		}
	}
	if text := c.get("text"); text != nil && chosen.System == systemLOINC && text.text == s.display {
		text.take()
	}
	system, code = systemName(chosen.System), chosen.Code
	if _, known := signs[code]; system == "" && !known {
		system = carewire.LOINC // required with a code that carewire does not name
	}
	return system, code, m
}

// rank says how well carewire knows a code.
func rank(k coding, unit string) int {
	_, known := signs[k.Code]
	_, _, device := metricOf(k, unit)
	switch {
	case k.System == systemLOINC && known && k.Code != carewire.OxygenSaturation.Code:
		return 4
	case k.System == systemLOINC && known: // 59408-5 comes before 2708-6
		return 3
	case device:
		return 2
	case k.System == systemLOINC:
		return 1
	}
	return 0
}

// words returns a CodeableConcept in words: its text, or the display of its first coding.
func (e *element) words() string {
	if e == nil {
		return ""
	}
	if text := e.get("text"); text != nil {
		return text.str()
	}
	for _, c := range e.get("coding").items() {
		if d := c.get("display"); d != nil {
			c.untake() // the code itself is not kept
			return d.str()
		}
	}
	e.untake()
	return ""
}

func (r *observationReader) readTime() {
	e := r.e
	if issued := e.get("issued"); issued != nil {
		r.v.Received, _ = r.time(issued)
	}
	for _, name := range []string{"effectiveDateTime", "effectiveInstant"} {
		if t := e.get(name); t != nil {
			exact := false
			if r.v.Time, exact = r.time(t); !exact {
				r.unsaid = append(r.unsaid, name)
			}
			return
		}
	}
	if p := e.get("effectivePeriod"); p != nil { // a Vital has its end
		end := p.get("end")
		if end == nil {
			end = p.get("start")
		} else {
			p.get("start").untakeIf()
		}
		if end == nil {
			e.doc.fail("effectivePeriod", "must have a start or an end")
			return
		}
		r.v.Time, _ = r.time(end)
		r.unsaid = append(r.unsaid, "effectivePeriod")
		return
	}
	e.doc.fail("effectiveDateTime", "required")
}

func (e *element) untakeIf() {
	if e != nil {
		e.untake()
	}
}

// time reads a dateTime or an instant; exact is false for a mere date.
func (r *observationReader) time(e *element) (t time.Time, exact bool) {
	t, exact, ok := parseDateTime(e.str())
	if !ok {
		e.doc.fail(e.path, "must be a dateTime, with a zone where it has a time of day, precise at least to the day")
	}
	return t, exact
}

// parseDateTime reads FHIR's dateTime; exact is false for a mere date, which
// counts as its beginning in UTC.
func parseDateTime(s string) (t time.Time, exact, ok bool) {
	if t, err := time.Parse("2006-01-02", s); err == nil {
		return t, false, t.Year() >= 1900
	}
	t, err := time.Parse("2006-01-02T15:04:05.999999999Z07:00", s)
	return t.UTC(), true, err == nil && strings.IndexByte(s, ',') < 0 && t.Year() >= 1900 && t.Year() <= 9998
}

// inElements puts an element's path in the place of a Vital's member.
func (r *observationReader) inElements(err error, i int) error {
	var f *carewire.ValidationError
	if !errors.As(err, &f) {
		return err
	}
	path := pathOf(f.Field)
	if i > 0 {
		path = "component[" + itoa(r.parts[i-1]) + "]." + path
	}
	return invalid(path, f.Reason)
}

// pathOf returns the element that a member of a Vital comes from.
func pathOf(member string) string {
	if part, ok := strings.CutPrefix(member, "components["); ok {
		index, rest, _ := strings.Cut(part, ".")
		return "component[" + index + "." + cmp.Or(elementOf[rest], rest)
	}
	member, _, _ = strings.Cut(member, ".")
	return cmp.Or(elementOf[member], member)
}

// elementOf names the element that a member of a Vital comes from.
var elementOf = map[string]string{"patient": "subject", "code": "code", "system": "code.coding.system", "value": "valueQuantity.value", "unit": "valueQuantity.code",
	"comparator": "valueQuantity.comparator", "coded": "valueCodeableConcept", "absent": "dataAbsentReason", "quality": "interpretation", "status": "status",
	"replaces": "identifier", "vital_id": "identifier", "time": "effectiveDateTime", "device": "device", "site": "bodySite", "method": "method", "components": "component"}
