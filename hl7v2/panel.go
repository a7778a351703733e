package hl7v2

import (
	"slices"
	"strconv"
	"strings"

	"github.com/carewire/carewire"
)

// take adds a vital, or keeps it back if it is a pressure of a panel.
func (r *reader) take(v carewire.Vital, s Segment, is carewire.VitalStatus) {
	parts := []string{carewire.SystolicPressure.Code, carewire.DiastolicPressure.Code, carewire.MeanPressure.Code}
	r.readings = append(r.readings, Reading{v, []int{r.index}, is})
	if !slices.Contains(parts, v.Code) || v.System != carewire.LOINC || v.Comparator != "" {
		return
	}
	// Values measured together share a place in the device, except for its last number.
	place := s.Field(4).String()
	place = place[:max(0, strings.LastIndexByte(place, '.'))]
	group := strings.Join([]string{place, v.Site, v.Method, v.Device, v.Time.String(), strconv.FormatBool(v.Test)}, "\x00")
	r.pressures = append(r.pressures, pressure{group, len(r.readings) - 1, v, r.index, is})
}

// join adds a part with its status to a panel, which is withdrawn if all its parts
// are, and corrected if any is corrected or withdrawn.
func (r *Reading) join(part carewire.Component, is carewire.VitalStatus) {
	const withdrawn = carewire.VitalEnteredInError
	added := []carewire.Component{part}
	if is != r.Status {
		switch {
		case is == withdrawn:
			failed(added)
		case r.Status == withdrawn:
			failed(r.Vital.Components)
		}
		r.Status = carewire.VitalCorrected
	}
	r.Vital.Components = append(r.Vital.Components, added...)
}

// flush makes panels of the pressures of an order. A panel takes the place of
// the first of them; a pressure that comes again begins another.
func (r *reader) flush() {
	gone := make(map[int]bool)
	open := make(map[string]int) // group → place of its panel
	for _, p := range r.pressures {
		part := carewire.Component{Code: p.v.Code, Value: p.v.Value, Unit: p.v.Unit, Absent: p.v.Absent}
		at, begun := open[p.group]
		if begun {
			panel := &r.readings[at]
			if !slices.ContainsFunc(panel.Vital.Components, func(c carewire.Component) bool { return c.Code == part.Code }) {
				panel.join(part, p.is)
				panel.OBX = append(panel.OBX, p.obx)
				for _, q := range p.v.Quality {
					if !slices.Contains(panel.Vital.Quality, q) {
						panel.Vital.Quality = append(panel.Vital.Quality, q)
					}
				}
				gone[p.at] = true
				continue
			}
		}
		open[p.group] = p.at
		v := p.v
		v.Code, v.System, v.Value, v.Unit, v.Absent, v.Components = carewire.BloodPressure.Code, carewire.LOINC, "", "", "", []carewire.Component{part}
		r.readings[p.at].Vital = v
	}
	if len(gone) > 0 {
		kept := r.readings[:0]
		for i, reading := range r.readings {
			if !gone[i] {
				kept = append(kept, reading)
			}
		}
		r.readings = kept
	}
	r.pressures = nil
}
