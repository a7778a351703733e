package carewire

import (
	"slices"
	"time"
)

// Vital is one measurement of one patient. Exactly one of Value (with Unit),
// Coded, Components and Absent is set. A missing measurement is Absent for a
// reason, and never 0.
//
// fmt and slog show no content of a Vital. Only its JSON holds the data.
type Vital struct {
	Patient string // required
	Code    string // the measured quantity; required
	System  string // the code's system; "" is LOINC, and required for codes that carewire does not name; the Hub makes "http://loinc.org" and the like LOINC, MDC and SNOMED

	Value      Decimal       // a number
	Unit       string        // its UCUM code
	Comparator Comparator    // the true value is below or above Value
	Coded      *Coding       // a value that is a code
	Components []Component   // parts, as of a blood pressure
	Absent     AbsentReason  // why there is no value
	Quality    []Quality     // flags of its quality
	Status     VitalStatus   // "" is final
	Replaces   string        // the ID of the Vital that this one corrects or withdraws, from the same sender and of the same patient
	ID         string        // vital_id: the sender's own ID of this measurement, by which the Hub recognises a retry
	Time       time.Time     // when it was measured, by the device's clock; zero: when received
	Received   time.Time     // when the Hub took it in; set by the Hub
	Device     string        // the ID of the device
	Site       string        // where on the body
	Method     string        // how
	Every      time.Duration // not 0: the next one is expected within this time; three missed raise a technical alert
	Test       bool          // test or demonstration data
}

// Component is one part of a Vital such as a blood pressure: a Value with its
// Unit, or the reason why it is Absent.
type Component struct {
	Code   string
	Value  Decimal
	Unit   string
	Absent AbsentReason
}

// Coding is a value that is a code of a code system.
type Coding struct{ System, Code string }

// Comparator relates a Value to the true one; "" means equal.
type Comparator string

// The comparators: off the bottom or top of the instrument's scale.
const (
	ComparatorBelow Comparator = "<"
	ComparatorAbove Comparator = ">"
)

// AbsentReason is the reason for a missing value.
type AbsentReason string

// The reasons, after FHIR's dataAbsentReason.
const (
	AbsentError        AbsentReason = "error"         // the measurement failed
	AbsentTemporary    AbsentReason = "temp-unknown"  // not now, expected later
	AbsentNotPerformed AbsentReason = "not-performed" // switched off
	AbsentUnknown      AbsentReason = "unknown"       // no information
)

func (a AbsentReason) known() bool {
	return a == AbsentError || a == AbsentTemporary || a == AbsentNotPerformed || a == AbsentUnknown
}

// Quality is a flag on a Vital, after the HL7 device profiles (uv/pocd).
type Quality string

// The flags. The Hub itself sets QualityQuestionable, QualityFuture, QualityLate, QualityClock and QualityRounded.
const (
	QualityInvalid      Quality = "invalid"
	QualityQuestionable Quality = "questionable" // outside the plausible range, or diastolic above systolic
	QualityCalibration  Quality = "calibration"  // calibration is under way
	QualityValidated    Quality = "validated"
	QualityEarly        Quality = "early" // an early estimate
	QualityBusy         Quality = "busy"  // measurement under way
	QualityInAlarm      Quality = "in-alarm"
	QualityAlarmOff     Quality = "alarm-off"
	QualityFuture       Quality = "future"  // the device's clock is ahead of the Hub's
	QualityLate         Quality = "late"    // measured long before it was received, or the device's clock is behind
	QualityClock        Quality = "clock"   // the device's clock was set back: Received orders this reading, not Time
	QualityRounded      Quality = "rounded" // it came with more than 15 digits
)

// VitalStatus is the status of a Vital in the record.
type VitalStatus string

// The statuses. A corrected or withdrawn Vital names the one that it Replaces.
const (
	VitalFinal          VitalStatus = "final"
	VitalCorrected      VitalStatus = "corrected"
	VitalEnteredInError VitalStatus = "entered-in-error"
)

// The limits within which a device's clock counts as right.
const (
	futureBy = 10 * time.Second
	lateBy   = 5 * time.Minute
)

// Validate returns the first fault of v as a *ValidationError, or nil. A known code
// must come in one of its units and must be possible.
func (v *Vital) Validate() error {
	_, err := v.judge(AgeAdult)
	return err
}

// judge validates v and reports whether its value is unlikely at that age.
func (v *Vital) judge(age AgeClass) (unlikely bool, err error) {
	if err := v.checkMembers(); err != nil {
		return false, err
	}
	return v.judgeValue(age)
}

// checkMembers validates all but the value.
func (v *Vital) checkMembers() error {
	switch {
	case !validID(v.Patient):
		return invalid("patient", "must be an ID")
	case !validCode(v.Code):
		return invalid("code", "must be a code")
	case v.System != "" && !validCode(v.System):
		return invalid("system", "must be a code system")
	case v.ID != "" && !validID(v.ID):
		return invalid("vital_id", "must be an ID")
	case v.Device != "" && !validID(v.Device):
		return invalid("device", "must be an ID")
	case v.Replaces != "" && !validID(v.Replaces):
		return invalid("replaces", "must be an ID")
	case !validText(v.Site, 64):
		return invalid("site", "must be printable text of at most 64 characters")
	case !validText(v.Method, 64):
		return invalid("method", "must be printable text of at most 64 characters")
	case v.Every < 0 || v.Every > 31*24*time.Hour:
		return invalid("every", "must be seconds, at most 31 days")
	case v.Status != "" && v.Status != VitalFinal && v.Status != VitalCorrected && v.Status != VitalEnteredInError:
		return invalid("status", "unknown")
	case (v.Status == VitalCorrected || v.Status == VitalEnteredInError) != (v.Replaces != ""):
		return invalid("replaces", "goes with corrected and entered-in-error")
	case !validTime(v.Time):
		return invalid("time", "out of range")
	case len(v.Quality) > 8:
		return invalid("quality", "too many")
	}
	for i, q := range v.Quality {
		if !knownQuality[q] {
			return invalid(indexedField("quality", i), "unknown")
		}
	}
	return nil
}

// judgeValue validates the value in any of its forms, and reports whether it is
// unlikely.
func (v *Vital) judgeValue(age AgeClass) (unlikely bool, err error) {
	forms := 0
	for _, set := range []bool{v.Value != "", v.Coded != nil, len(v.Components) > 0, v.Absent != ""} {
		if set {
			forms++
		}
	}
	if forms != 1 {
		return false, invalid("value", "exactly one of value, coded, components and absent is required")
	}
	if v.Value == "" && (v.Unit != "" || v.Comparator != "") {
		return false, invalid("unit", "unit and comparator go with value")
	}
	named := v.System == "" || shortSystem(v.System) == LOINC
	measure, isMeasure := measures[v.Code]
	panel, isPanel := panels[v.Code]
	isMeasure, isPanel = isMeasure && named, isPanel && named
	switch {
	case v.Absent != "":
		if !v.Absent.known() {
			return false, invalid("absent", "unknown")
		}
	case v.Coded != nil:
		if !validCode(v.Coded.System) || !validCode(v.Coded.Code) {
			return false, invalid("coded", "must be a code of a system")
		}
		if isMeasure || isPanel {
			return false, invalid("value", "this code takes a number")
		}
	case len(v.Components) > 0:
		if isMeasure {
			return false, invalid("value", "this code takes a number")
		}
		return v.judgeComponents(panel, isPanel, named, age)
	default:
		if isPanel {
			return false, invalid("components", "this code takes components")
		}
		if v.Comparator != "" && v.Comparator != ComparatorBelow && v.Comparator != ComparatorAbove {
			return false, invalid("comparator", "unknown")
		}
		if unlikely, err = judgeNumber(v.Value, v.Unit, measure, isMeasure, age); err != nil {
			return false, err
		}
	}
	if !isMeasure && !isPanel && v.System == "" && v.Code != Consciousness {
		return false, invalid("system", "required with a code that carewire does not name")
	}
	return unlikely, nil
}

// judgeComponents judges the parts of v, of a panel that is known or not; named
// says that they are codes of LOINC.
func (v *Vital) judgeComponents(panel Panel, known, named bool, age AgeClass) (unlikely bool, err error) {
	if len(v.Components) > 16 {
		return false, invalid("components", "too many")
	}
	if !known && v.System == "" {
		return false, invalid("system", "required with a code that carewire does not name")
	}
	seen := make([]string, 0, 4)
	for i, c := range v.Components {
		measure, isMeasure := measures[c.Code]
		switch {
		case !validCode(c.Code):
			err = invalid("code", "must be a code")
		case slices.Contains(seen, c.Code):
			err = invalid("code", "twice in one vital")
		case known && !slices.ContainsFunc(panel.parts, func(m Measure) bool { return m.Code == c.Code }):
			err = invalid("code", "not a part of this code")
		case c.Absent != "":
			if c.Value != "" || c.Unit != "" {
				err = invalid("absent", "excludes value and unit")
			} else if !c.Absent.known() {
				err = invalid("absent", "unknown")
			}
		default:
			var u bool
			u, err = judgeNumber(c.Value, c.Unit, measure, isMeasure && named, age)
			unlikely = unlikely || u
		}
		if err != nil {
			return false, withinMember(indexedField("components", i), err)
		}
		seen = append(seen, c.Code)
	}
	return unlikely || known && panel.upsideDown(v.Components), nil
}

func judgeNumber(value Decimal, unit string, measure Measure, known bool, age AgeClass) (unlikely bool, err error) {
	if err := value.rounded().check(); err != nil {
		return false, withinMember("value", err)
	}
	if known {
		return measure.judge(value, unit, age)
	}
	if !validCode(unit) || notUCUM[unit] {
		return false, invalid("unit", "must be a UCUM code")
	}
	return false, nil
}

// accept validates v and completes it as it enters the Hub at now: it flags
// values that are unlikely at that age, and times that are late or in the
// future. It returns the time that orders v: its own, but never one in the
// future.
func (v *Vital) accept(now time.Time, age AgeClass) (at time.Time, err error) {
	unlikely, err := v.judge(age)
	if err != nil {
		return time.Time{}, err
	}
	v.System = shortSystem(v.System)
	v.Received = now
	if v.Time.IsZero() {
		v.Time = now
	}
	v.Time = v.Time.UTC().Truncate(time.Millisecond)
	v.Quality = slices.DeleteFunc(slices.Clone(v.Quality), func(q Quality) bool {
		return q == QualityFuture || q == QualityLate || q == QualityClock
	})
	flag := func(set bool, q Quality) {
		if set && !slices.Contains(v.Quality, q) {
			v.Quality = append(v.Quality, q)
		}
	}
	flag(unlikely, QualityQuestionable)
	flag(v.round(), QualityRounded)
	flag(v.Time.After(now.Add(futureBy)), QualityFuture)
	flag(v.Time.Before(now.Add(-lateBy)), QualityLate)
	if v.Time.After(now) {
		return now, nil
	}
	return v.Time, nil
}

// round removes the digits of v beyond the 15th and reports whether there were any.
func (v *Vital) round() (changed bool) {
	if d := v.Value.rounded(); d != v.Value {
		v.Value, changed = d, true
	}
	for i := range v.Components {
		if d := v.Components[i].Value.rounded(); d != v.Components[i].Value {
			v.Components = slices.Clone(v.Components) // which may be the caller's
			v.Components[i].Value, changed = d, true
		}
	}
	return changed
}

// key returns the key of v: system, code, device and site. Only the last can
// contain a space.
func (v *Vital) key() string {
	prefix, system := "v/", shortSystem(v.System)
	if v.Test {
		prefix = "v!/"
	}
	if system == LOINC {
		system = ""
	}
	return prefix + system + " " + v.Code + " " + v.Device + " " + v.Site
}

var knownQuality = map[Quality]bool{QualityInvalid: true, QualityQuestionable: true, QualityCalibration: true, QualityValidated: true,
	QualityEarly: true, QualityBusy: true, QualityInAlarm: true, QualityAlarmOff: true, QualityFuture: true, QualityLate: true, QualityClock: true, QualityRounded: true}
