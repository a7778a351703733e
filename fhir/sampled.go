package fhir

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/carewire/carewire"
)

// SampledData is FHIR's SampledData, which holds a piece of a wave: evenly
// spaced samples as whole or decimal numbers, each times Factor plus Origin in
// Unit. Decimals keep their text.
type SampledData struct {
	Origin     carewire.Decimal // the value of sample 0, in Unit; required
	Unit       string           // a UCUM code; required
	Period     carewire.Decimal // milliseconds from one sample to the next; required, above 0
	Factor     carewire.Decimal // "" is 1
	LowerLimit carewire.Decimal // the lowest sample that can be told; "": not said
	UpperLimit carewire.Decimal // the highest; "": not said
	Dimensions int              // signals side by side, each of a point in time; 0 is 1
	Data       string           // decimals parted by spaces, E (error), L (below the limit) or U (above it)
}

type sampledData struct {
	Origin     quantity        `json:"origin"`
	Period     json.RawMessage `json:"period"`
	Factor     json.RawMessage `json:"factor,omitempty"`
	LowerLimit json.RawMessage `json:"lowerLimit,omitempty"`
	UpperLimit json.RawMessage `json:"upperLimit,omitempty"`
	Dimensions int             `json:"dimensions"`
	Data       string          `json:"data,omitempty"`
}

// MarshalJSON writes s as R4 has it, and reports its faults.
func (s SampledData) MarshalJSON() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return encode(sampledData{Origin: *quantityOf(s.Origin, s.Unit, ""), Period: number(s.Period), Factor: number(s.Factor),
		LowerLimit: number(s.LowerLimit), UpperLimit: number(s.UpperLimit), Dimensions: max(s.Dimensions, 1), Data: s.Data}), nil
}

// UnmarshalJSON reads R4's form. Members that it does not know are refused.
func (s *SampledData) UnmarshalJSON(b []byte) error {
	e, err := parse(b)
	if err != nil {
		return err
	}
	*s = SampledData{}
	origin := e.get("origin")
	if origin == nil {
		e.doc.fail("origin", "required")
	} else {
		s.Origin, s.Unit, _ = origin.quantity()
	}
	s.Period, s.Factor = e.get("period").number(), e.get("factor").number()
	s.LowerLimit, s.UpperLimit = e.get("lowerLimit").number(), e.get("upperLimit").number()
	s.Dimensions, _ = strconv.Atoi(string(e.get("dimensions").number()))
	s.Data = e.get("data").str()
	for _, path := range e.left() {
		e.doc.fail(path, "is not understood")
	}
	if e.doc.err != nil {
		return e.doc.err
	}
	return s.check()
}

func (s *SampledData) check() error {
	for _, d := range []struct {
		field    string
		value    carewire.Decimal
		required bool
	}{{"origin.value", s.Origin, true}, {"period", s.Period, true}, {"factor", s.Factor, false}, {"lowerLimit", s.LowerLimit, false}, {"upperLimit", s.UpperLimit, false}} {
		if d.value == "" && d.required {
			return invalid(d.field, "required")
		}
		if d.value != "" && !json.Valid([]byte(d.value)) || strings.Trim(string(d.value), "-.0123456789") != "" {
			return invalid(d.field, "must be a decimal number")
		}
	}
	switch {
	case s.Unit == "":
		return invalid("origin.code", "a UCUM code is required")
	case s.Period.Float64() <= 0:
		return invalid("period", "must be above 0")
	case s.Dimensions < 0 || s.Dimensions > 64:
		return invalid("dimensions", "must be 1 to 64")
	}
	_, err := s.Values()
	return err
}

// Values returns the samples in Unit, those of one point in time side by side.
// NaN stands for E, and infinities for L and U.
func (s *SampledData) Values() ([]float64, error) {
	factor, origin := 1.0, s.Origin.Float64()
	if s.Factor != "" {
		factor = s.Factor.Float64()
	}
	fields := strings.Fields(s.Data)
	values := make([]float64, len(fields))
	for i, f := range fields {
		switch f {
		case "E":
			values[i] = math.NaN()
		case "L":
			values[i] = math.Inf(-1)
		case "U":
			values[i] = math.Inf(1)
		default:
			x, err := strconv.ParseFloat(f, 64)
			if err != nil || strings.Trim(f, "-+.0123456789eE") != "" {
				return nil, invalid("data", "must be decimals, E, L or U, parted by spaces")
			}
			values[i] = x*factor + origin
		}
	}
	if len(values)%max(s.Dimensions, 1) != 0 {
		return nil, invalid("data", "must have a sample of each dimension for each point in time")
	}
	return values, nil
}
