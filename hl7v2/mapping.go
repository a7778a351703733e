package hl7v2

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/carewire/carewire"
)

// Mapping says how observations become vitals. Nil, and the zero value, are the
// tables of docs/interop.md.
type Mapping struct {
	// Zone is the zone of times that have none. Nil: such an observation is
	// refused, for nobody guesses at it.
	Zone *time.Location

	// NoValue are texts, such as "-999" or "---", by which a sender's devices say
	// in OBX-5 that there is no value.
	NoValue []string

	// Other maps observations without a code in the tables, such as a
	// hospital's own codes. It returns the Vital, whose patient, time, device
	// and test are set afterwards, and false for an unwanted observation. Nil:
	// all of them are unwanted.
	Other func(Observation) (carewire.Vital, bool)
}

// Reading is a vital from a message.
type Reading struct {
	Vital carewire.Vital
	OBX   []int // the observations it was made of, each counted from 1 in the message
	// Status is corrected or entered-in-error if OBX-11 says that this corrects (C)
	// or withdraws (D, W) an earlier one, which the message does not name: that is to
	// be looked up, and Vital.Status and Replaces are then to be set. Of a withdrawal
	// Vital identifies the withdrawn vital, perhaps with its value. Else it is "".
	Status carewire.VitalStatus
}

// Readings returns the vitals of an ORU^R01, in order, and the refused OBX. A
// fault of one OBX refuses only that one. Systolic, diastolic and mean pressure
// of one measurement are one Vital. Everything that is not a vital sign is left
// out silently: notes, devices, unknown codes, and waves, which a Server reads.
//
// A message whose MSH-11 is missing, or not of HL7 table 0103, is refused as a
// whole. patient names the patient in carewire, and is asked once for each time
// of a PID; its error refuses that patient's observations of that time. Nil is
// [FirstIdentifier].
func (p *Mapping) Readings(m *Message, patient func(Visit) (string, error)) ([]Reading, []*Error) {
	r := p.read(m, patient, false)
	return r.readings, r.errs
}

// read goes through an ORU^R01; waves says whether they are wanted.
func (p *Mapping) read(m *Message, patient func(Visit) (string, error), waves bool) *reader {
	r := &reader{mapping: p, patient: patient, visit: Visit{Message: m}, wanted: waves}
	if p == nil {
		r.mapping = new(Mapping)
	}
	if patient == nil {
		r.patient = FirstIdentifier
	}
	if err := m.checkMode(); err != nil {
		r.errs = []*Error{err}
		return r
	}
	for _, s := range m.Segments() {
		switch s.Name() {
		case "PID":
			r.flush()
			r.visit = Visit{Message: m, PID: s}
			r.pids++
			r.names, r.refused, r.obr, r.device, r.wave = nil, false, Segment{}, "", nil
		case "PV1":
			r.visit.PV1 = s
		case "OBR":
			r.flush()
			r.obr, r.device, r.wave = s, "", nil
		case "OBX":
			r.index++
			r.observe(s)
		}
	}
	r.flush()
	return r
}

// FirstIdentifier names a patient by the first of their identifiers. It must be
// an ID as carewire takes it.
func FirstIdentifier(v Visit) (string, error) {
	ids := v.Identifiers()
	if len(ids) == 0 {
		return "", errors.New("hl7v2: no patient is named")
	}
	return ids[0].ID, nil
}

// reader goes through the segments of one message.
type reader struct {
	mapping *Mapping
	patient func(Visit) (string, error)

	visit   Visit
	names   map[time.Time]string // the patient of this PID at each time; "": nobody
	refused bool                 // it is reported that there is nobody
	pids    int
	obr     Segment
	device  string
	index   int

	pressures []pressure // of this order, not yet made panels
	readings  []Reading
	wanted    bool // waves are
	waves     []*wave
	wave      *wave // the last of this order
	errs      []*Error
}

// pressure is a blood pressure that waits for its companions.
type pressure struct {
	group string // of readings that belong together
	at    int    // its place in readings, unless it was refused
	v     carewire.Vital
	obx   int
	is    carewire.VitalStatus
	alone bool // it joins none: it was refused, or has a comparator
}

func (r *reader) refuse(field int, code, reason string) {
	r.errs = append(r.errs, &Error{Segment: "OBX", Index: r.index, Field: field, Code: code, Reason: reason})
}

// observe takes one OBX.
func (r *reader) observe(s Segment) {
	if device := s.Field(18).Component(1).String(); device != "" {
		r.device = deviceID(device)
	}
	switch {
	case s.Field(2).Raw() == "NA" && r.wanted:
		r.beginWave(s)
		return
	case r.ofWave(s):
		return
	}
	t, found, reason := identify(s.Field(3))
	if reason != "" {
		r.refuse(3, codeNotFound, reason)
		return
	}
	if !found && r.mapping.Other == nil || s.Field(2).Raw() == "NA" || s.Field(2).Raw() == "ED" || empty(s) {
		return
	}
	at, ok := r.when(s)
	if !ok {
		return
	}
	name := r.whose(at)
	if name == "" {
		return
	}
	o := Observation{Visit: r.visit, OBR: r.obr, OBX: s, Index: r.index, Time: at, Device: r.device, Patient: name}
	var v carewire.Vital
	refused := false
	if found {
		v, ok = r.vital(s, t)
		refused = !ok
	} else if v, ok = r.mapping.Other(o); !ok {
		return
	}
	f := readFlags(s.Field(8))
	v.Patient, v.Time, v.Device = o.Patient, o.Time, o.Device
	v.Test = v.Test || f.test || r.visit.Message.Test()
	if err := v.Validate(); err != nil && !refused {
		field, reason := validation(err)
		r.refuse(field, codeDataType, reason)
		refused = true
	}
	r.take(v, s, statuses[s.Field(11).String()], refused)
}

// empty reports whether an OBX says nothing of a value by its OBX-11: the order is
// only described (O), or a preliminary result is now final (U).
func empty(s Segment) bool {
	status := s.Field(11).String()
	return s.Field(5).Empty() && (status == "O" || status == "U")
}

// statuses are the letters of OBX-11 (HL7 table 0085) by which a vital replaces another.
var statuses = map[string]carewire.VitalStatus{"C": carewire.VitalCorrected, "D": carewire.VitalEnteredInError, "W": carewire.VitalEnteredInError}

// whose returns the patient of an observation of this time, and "" if nobody is
// known; that is reported once for a PID.
func (r *reader) whose(at time.Time) string {
	r.visit.Time = at
	name, asked := r.names[at]
	if !asked {
		var err error
		if name, err = r.patient(r.visit); err != nil {
			name = ""
		}
		if r.names == nil {
			r.names = make(map[time.Time]string)
		}
		r.names[at] = name
	}
	if name == "" && !r.refused {
		r.refused = true
		r.errs = append(r.errs, &Error{Segment: "PID", Index: r.pids, Field: 3, Code: codeUnknownKey, Reason: "names no known patient"})
	}
	return name
}

// when returns the time of an observation.
func (r *reader) when(s Segment) (time.Time, bool) {
	for _, field := range []Value{s.Field(14), r.obr.Field(7)} {
		if field.Empty() || field.Null() {
			continue
		}
		t, err := ParseTime(field.Component(1).String(), r.mapping.Zone)
		if err != nil {
			r.refuse(14, codeDataType, err.Error())
			return time.Time{}, false
		}
		return t, true
	}
	t, err := ParseTime(r.visit.Message.Header(7).Component(1).String(), r.mapping.Zone)
	if err != nil {
		return time.Time{}, true // when it was received
	}
	return t, true
}

// vital makes the vital of an observation with a known code. If it is refused,
// it still has its code, site and method.
func (r *reader) vital(s Segment, t target) (v carewire.Vital, ok bool) {
	v = called(carewire.Vital{Code: t.code, System: t.system, Site: t.metric.Site, Method: t.metric.Method}, t, "")
	if site := label(s.Field(20)); site != "" {
		v.Site = site
	}
	if method := label(s.Field(17)); method != "" {
		v.Method = method
	}
	f, status := readFlags(s.Field(8)), s.Field(11).String()
	v.Quality = f.quality
	field := s.Field(5)
	nothing := field.Null() || strings.Trim(field.Raw(), " "+string(r.visit.Message.seps.Component)) == ""
	if f.none || nothing || slices.Contains(r.mapping.NoValue, field.Component(1).String()) {
		v.Absent = carewire.AbsentUnknown
		switch status {
		case "X":
			v.Absent = carewire.AbsentError
		case "I": // pending
			v.Absent = carewire.AbsentTemporary
		case "N": // not sought
			v.Absent = carewire.AbsentNotPerformed
		}
		if f.absent != "" {
			v.Absent = f.absent
		}
		ucum, _ := unit(s.Field(6)) // it may still say which quantity is absent
		return called(v, t, ucum), true
	}
	if f.invalid || status == "X" {
		v.Quality = append(v.Quality, carewire.QualityInvalid)
	}
	if v.Code == carewire.Consciousness {
		return v, r.coded(&v, field)
	}
	value, comparator, good := numeric(s.Field(2).Raw(), field)
	if !good {
		r.refuse(5, codeDataType, "must be one number")
		return v, false
	}
	v.Value, v.Comparator = value, f.comparator
	if comparator != "" {
		v.Comparator = comparator
	}
	ucum, reason := unit(s.Field(6))
	if reason != "" {
		r.refuse(6, codeNotFound, reason)
		return v, false
	}
	v.Unit = ucum
	return called(v, t, ucum), true
}

// called gives v the code for values in the unit, a UCUM code: that of LOINC, or
// the device's own.
func called(v carewire.Vital, t target, ucum string) carewire.Vital {
	if t.metric.Code == 0 {
		return v
	}
	v.Code, v.System = t.metric.In(ucum), carewire.LOINC
	if v.Code == "" {
		v.Code, v.System = strconv.FormatUint(uint64(t.metric.Code), 10), carewire.MDC
	}
	return v
}

// numeric reads OBX-5 as one number, with the comparator of a structured one.
func numeric(kind string, field Value) (carewire.Decimal, carewire.Comparator, bool) {
	if len(field.Repetitions()) != 1 {
		return "", "", false
	}
	switch kind {
	case "SN":
		comparator := carewire.Comparator(field.Component(1).String())
		if comparator == "=" {
			comparator = ""
		}
		value, ok := number(field.Component(2).String())
		return value, comparator, ok && field.Component(3).Empty() && field.Component(4).Empty()
	case "NM", "ST", "TX", "":
		value, ok := number(field.String())
		return value, "", ok
	}
	return "", "", false
}

// coded reads OBX-5 as a code.
func (r *reader) coded(v *carewire.Vital, field Value) bool {
	system := map[string]string{"SCT": carewire.SNOMED, "LN": carewire.LOINC}[field.Component(3).String()]
	if system == "" {
		r.refuse(5, codeNotFound, "must be a code of SNOMED CT or LOINC")
		return false
	}
	v.Coded = &carewire.Coding{System: system, Code: field.Component(1).String()}
	return true
}

// label returns the words of a coded element.
func label(v Value) string {
	text := v.Component(2).String()
	if text == "" {
		text = v.Component(1).String()
	}
	if len(text) > 64 {
		return ""
	}
	return text
}

// deviceID makes an ID that carewire takes of a device's.
func deviceID(id string) string {
	plain := func(c byte) bool {
		return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '.' || c == '_' || c == ':' || c == '-'
	}
	good := len(id) <= 64
	for i := range len(id) {
		good = good && plain(id[i])
	}
	if good {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "device-" + hex.EncodeToString(sum[:8])
}

// validation says which field of OBX a vital's fault lies in.
func validation(err error) (field int, reason string) {
	var e *carewire.ValidationError
	if !errors.As(err, &e) {
		return 0, "cannot be taken"
	}
	switch e.Field {
	case "value", "absent", "coded":
		field = 5
	case "unit":
		field = 6
	case "time":
		field = 14
	case "patient":
		return 0, "the patient's identifier cannot be an ID"
	}
	return field, e.Field + ": " + e.Reason
}
