package hl7v2

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/mdc"
)

// Observation is one OBX with its context.
type Observation struct {
	Visit   Visit
	OBR     Segment // the order above it; may be empty
	OBX     Segment
	Index   int       // which OBX of the message, from 1
	Time    time.Time // when it was measured: OBX-14, else OBR-7, else MSH-7; zero if none is usable
	Device  string    // the ID of the device, from OBX-18 of this or of the device's own OBX above; may be ""
	Patient string
}

// target is carewire's name of an observation.
type target struct {
	code, system string
	metric       mdc.Metric // zero if it was named by LOINC
}

// identify returns the measurement that OBX-3 names, by MDC number, MDC name or
// LOINC code, in either of its two codings. found is false if carewire has no
// code for it.
func identify(id Value) (t target, found bool, reason string) {
	for _, first := range []int{1, 4} {
		code, text := id.Component(first).String(), id.Component(first+1).String()
		switch system := id.Component(first + 2).String(); {
		case system == "LN" || system == "LOINC":
			if isLOINC(code) {
				return target{code: code, system: carewire.LOINC}, true, ""
			}
		case system == "MDC" || system == "":
			byCode, coded := metricNumber(code)
			byName, named := mdc.MetricByName(text)
			if !named {
				byName, named = mdc.MetricByName(code)
			}
			switch {
			case coded && system == "MDC" && named && byCode.Code != byName.Code:
				return target{}, false, "number and name are of different things"
			case named:
				return target{metric: byName}, true, ""
			case coded && system == "MDC":
				return target{metric: byCode}, true, ""
			}
		}
	}
	return target{}, false, ""
}

func metricNumber(code string) (mdc.Metric, bool) {
	n, err := strconv.ParseUint(code, 10, 32)
	if err != nil {
		return mdc.Metric{}, false
	}
	return mdc.MetricByCode(uint32(n))
}

// isLOINC reports whether code has the form of a LOINC code.
func isLOINC(code string) bool {
	number, check, found := strings.Cut(code, "-")
	return found && len(check) == 1 && len(number) > 0 && len(number) <= 7 && strings.Trim(number+check, "0123456789") == ""
}

// spellings are units as people write them, where no code system is named.
var spellings = map[string]string{"%": "%", "/min": "/min", "bpm": "/min", "BPM": "/min", "beats/min": "/min", "breaths/min": "/min", "rpm": "/min",
	"mmHg": "mm[Hg]", "mm Hg": "mm[Hg]", "mm[Hg]": "mm[Hg]", "kPa": "kPa", "Cel": "Cel", "C": "Cel", "°C": "Cel", "degC": "Cel", "F": "[degF]",
	"°F": "[degF]", "degF": "[degF]", "[degF]": "[degF]", "mg/dL": "mg/dL", "mg/dl": "mg/dL", "mmol/L": "mmol/L", "mmol/l": "mmol/L", "L/min": "L/min",
	"l/min": "L/min", "kg": "kg", "g": "g", "lb": "[lb_av]", "cm": "cm", "in": "[in_i]", "mL": "mL", "ml": "mL", "kg/m2": "kg/m2", "{score}": "{score}"}

// unit returns the UCUM code of OBX-6, and a reason if it has none.
func unit(field Value) (ucum, reason string) {
	if field.Empty() || field.Null() {
		return "", "a number must have a unit"
	}
	for _, first := range []int{1, 4} {
		code, text, system := field.Component(first).String(), field.Component(first+1).String(), field.Component(first+2).String()
		if code == "" && text == "" {
			continue
		}
		if system == "UCUM" {
			return code, ""
		}
		byName, named := mdc.UnitByName(text)
		if !named {
			byName, named = mdc.UnitByName(code)
		}
		n, err := strconv.ParseUint(code, 10, 32)
		byCode, coded := mdc.UnitByCode(uint32(n))
		coded = coded && err == nil
		switch {
		case named && coded && byName.Code != byCode.Code:
			return "", "number and name are of different units"
		case named:
			return byName.UCUM, ""
		case coded:
			return byCode.UCUM, ""
		case system == "" && spellings[code] != "":
			return spellings[code], ""
		}
	}
	return "", "the unit is not known"
}

// number returns a number as carewire writes it, its digits kept; false if text is none.
func number(text string) (carewire.Decimal, bool) {
	text = strings.TrimSpace(text)
	sign := ""
	if rest, minus := strings.CutPrefix(text, "-"); minus {
		sign, text = "-", rest
	} else {
		text = strings.TrimPrefix(text, "+")
	}
	whole, fraction, point := strings.Cut(text, ".")
	if whole+fraction == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return "", false
	}
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	if strings.Trim(whole+fraction, "0") == "" {
		sign = ""
	}
	if point && fraction != "" {
		whole += "." + fraction
	}
	return carewire.Decimal(sign + whole), true
}

// flags are the flags of OBX-8 beside the value.
type flags struct {
	quality    []carewire.Quality
	absent     carewire.AbsentReason // for an observation without a value
	none       bool                  // there is no value, with any OBX-5
	invalid    bool
	comparator carewire.Comparator
	test       bool
}

func readFlags(field Value) (f flags) {
	add := func(q carewire.Quality) {
		if !slices.Contains(f.quality, q) {
			f.quality = append(f.quality, q)
		}
	}
	for _, r := range field.Repetitions() {
		switch r.Component(1).String() {
		case "INV":
			f.absent, f.invalid = carewire.AbsentError, true
		case "QUES":
			add(carewire.QualityQuestionable)
		case "NAV":
			f.absent, f.none = carewire.AbsentTemporary, true
		case "CAL":
			add(carewire.QualityCalibration)
		case "VAL":
			add(carewire.QualityValidated)
		case "EARLY":
			add(carewire.QualityEarly)
		case "BUSY":
			f.absent = carewire.AbsentTemporary
			add(carewire.QualityBusy)
		case "ALACT":
			add(carewire.QualityInAlarm)
		case "ALINH":
			add(carewire.QualityAlarmOff)
		case "OFF":
			f.absent, f.none = carewire.AbsentNotPerformed, true
		case "NI":
			f.absent, f.none = carewire.AbsentUnknown, true
		case ">":
			f.comparator = carewire.ComparatorAbove
		case "<":
			f.comparator = carewire.ComparatorBelow
		case "TEST", "DEMO":
			f.test = true
		}
	}
	return f
}
