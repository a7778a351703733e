package carewire

import "context"

// AgeClass is the age of a patient, as far as it decides which values are
// plausible.
type AgeClass uint8

// The age classes. The host decides where each ends; 28 days, 1 year and 12
// years are usual.
const (
	AgeAdult AgeClass = iota
	AgeChild
	AgeInfant
	AgeNeonate
)

// ageClasses asks the host for the age classes of the vitals' patients, except
// those for whom nothing may be published. A patient without a class counts as
// an adult.
func (h *Hub) ageClasses(ctx context.Context, vitals []Vital, rights map[string]error) map[string]AgeClass {
	if h.opt.AgeClass == nil {
		return nil
	}
	classes := make(map[string]AgeClass)
	for i := range vitals {
		patient := vitals[i].Patient
		if _, asked := classes[patient]; asked || !validID(patient) || rights[patient] != nil {
			continue
		}
		class, err := callHost(ctx, h.calls.age, func(ctx context.Context) (AgeClass, error) { return h.opt.AgeClass(ctx, patient) })
		if err != nil {
			class = AgeAdult
		}
		classes[patient] = class
	}
	return classes
}

// span is a range of numbers, its ends included.
type span struct{ low, high float64 }

// ages are the plausible ranges of a measure by age class. They are this
// project's choice, and wide: a real crisis, a heart or breath that stands
// still, is never called questionable; a slip in the unit mostly is.
type ages [4]span

// of returns the range for an age class; for an unknown one that of adults.
func (a *ages) of(c AgeClass) span {
	if int(c) >= len(a) {
		c = AgeAdult
	}
	return a[c]
}

// allAges is one range for all ages.
func allAges(low, high float64) ages {
	s := span{low, high}
	return ages{s, s, s, s}
}

// agesUpTo is a range for each age that begins at zero.
func agesUpTo(adult, child, infant, neonate float64) ages {
	return ages{{0, adult}, {0, child}, {0, infant}, {0, neonate}}
}

// weightRanges is the ranges of body weight, kilograms times factor. An adult's
// begins with a newborn's: by default every patient counts as an adult.
func weightRanges(factor float64) ages {
	return ages{{0.2 * factor, 650 * factor}, {2 * factor, 250 * factor}, {0.4 * factor, 40 * factor}, {0.2 * factor, 10 * factor}}
}

// mmHgPerKPa is how many millimetres of mercury make a kilopascal.
const mmHgPerKPa = 7.500617

// pressureUnits returns the units of a pressure in blood or gas. The plausible range
// goes from zero to the given bound, in mm[Hg].
func pressureUnits(adult, child, infant, neonate float64) []unit {
	return []unit{{"mm[Hg]", 0, inf, agesUpTo(adult, child, infant, neonate)},
		{"kPa", 0, inf, agesUpTo(adult/mmHgPerKPa, child/mmHgPerKPa, infant/mmHgPerKPa, neonate/mmHgPerKPa)}}
}
