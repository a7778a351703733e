package hl7v2

import (
	"slices"
	"strconv"
	"strings"

	"github.com/carewire/carewire"
)

// take adds a vital, or keeps it back if it is a pressure of a panel. A refused
// one is not added, but it is known that it was there.
func (r *reader) take(v carewire.Vital, s Segment, is carewire.VitalStatus, refused bool) {
	if !refused {
		r.readings = append(r.readings, Reading{v, []int{r.index}, is})
	}
	parts := []string{carewire.SystolicPressure.Code, carewire.DiastolicPressure.Code, carewire.MeanPressure.Code}
	if !slices.Contains(parts, v.Code) || v.System != carewire.LOINC {
		return
	}
	group := strings.Join([]string{place(s.Field(4).String()), v.Site, v.Method, v.Device, v.Time.String(), strconv.FormatBool(v.Test)}, "\x00")
	r.pressures = append(r.pressures, pressure{group, len(r.readings) - 1, v, r.index, is, refused || v.Comparator != ""})
}

// place returns where in a device values of one measurement are. A sub-ID with
// dots (OBX-4) is a path of containment, as in IHE PCD-01, of which the last
// number is the value's own. A plain sub-ID is the place itself.
func place(id string) string {
	if dot := strings.LastIndexByte(id, '.'); dot >= 0 {
		return id[:dot+1]
	}
	return id
}

// join adds a pressure to a panel, which is withdrawn if all its parts are, and
// corrected if any is corrected or withdrawn. It reports false if the panel has
// that part already.
func (r *Reading) join(part carewire.Component, p pressure) bool {
	if slices.ContainsFunc(r.Vital.Components, func(c carewire.Component) bool { return c.Code == part.Code }) {
		return false
	}
	const withdrawn = carewire.VitalEnteredInError
	added := []carewire.Component{part}
	if p.is != r.Status {
		switch {
		case p.is == withdrawn:
			failed(added)
		case r.Status == withdrawn:
			failed(r.Vital.Components)
		}
		r.Status = carewire.VitalCorrected
	}
	r.Vital.Components = append(r.Vital.Components, added...)
	r.OBX = append(r.OBX, p.obx)
	for _, q := range p.v.Quality {
		if !slices.Contains(r.Vital.Quality, q) {
			r.Vital.Quality = append(r.Vital.Quality, q)
		}
	}
	return true
}

// flush makes panels of the pressures of an order. A panel takes the place of
// the first of them. If a part comes twice in one group, it is not known which
// belong together: each pressure of the group is then a panel of its own.
func (r *reader) flush() {
	type part struct {
		group, code string
		is          carewire.VitalStatus
	}
	seen, twice := make(map[part]bool), make(map[string]bool)
	for _, p := range r.pressures {
		key := part{p.group, p.v.Code, p.is}
		twice[p.group] = twice[p.group] || seen[key]
		seen[key] = true
	}
	gone := make(map[int]bool)
	open := make(map[string]int) // group → place of its panel
	for _, p := range r.pressures {
		if p.alone {
			continue
		}
		c := carewire.Component{Code: p.v.Code, Value: p.v.Value, Unit: p.v.Unit, Absent: p.v.Absent}
		if at, begun := open[p.group]; begun && !twice[p.group] && r.readings[at].join(c, p) {
			gone[p.at] = true
			continue
		}
		open[p.group] = p.at
		v := p.v
		v.Code, v.System, v.Value, v.Unit, v.Absent, v.Components = carewire.BloodPressure.Code, carewire.LOINC, "", "", "", []carewire.Component{c}
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
