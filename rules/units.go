package rules

// A conversion is value*factor + add. Units of one kind convert into each other.
// Mass never becomes moles: that needs the analyte. The numbers are UCUM's.
type conversion struct{ factor, add float64 }

// toBase leads from each unit that rules can convert to the first one of its kind.
var toBase = map[string]struct {
	kind string
	conversion
}{
	"Cel":     {"temperature", conversion{1, 0}},
	"[degF]":  {"temperature", conversion{5.0 / 9, -160.0 / 9}},
	"K":       {"temperature", conversion{1, -273.15}},
	"mm[Hg]":  {"pressure", conversion{1, 0}},
	"kPa":     {"pressure", conversion{1 / 0.133322, 0}},
	"Pa":      {"pressure", conversion{1 / 133.322, 0}},
	"kg":      {"mass", conversion{1, 0}},
	"g":       {"mass", conversion{0.001, 0}},
	"[lb_av]": {"mass", conversion{0.45359237, 0}},
	"cm":      {"length", conversion{1, 0}},
	"m":       {"length", conversion{100, 0}},
	"[in_i]":  {"length", conversion{2.54, 0}},
	"/min":    {"rate", conversion{1, 0}},
	"/s":      {"rate", conversion{60, 0}},
	"Hz":      {"rate", conversion{60, 0}},
	"L/min":   {"flow", conversion{1, 0}},
	"mL/min":  {"flow", conversion{0.001, 0}},
	"mg/dL":   {"mass concentration", conversion{1, 0}},
	"g/L":     {"mass concentration", conversion{100, 0}},
	"mmol/L":  {"substance concentration", conversion{1, 0}},
	"umol/L":  {"substance concentration", conversion{0.001, 0}},
	"s":       {"time", conversion{1, 0}},
	"ms":      {"time", conversion{0.001, 0}},
	"min":     {"time", conversion{60, 0}},
}

// convert returns value, given in one UCUM unit, in another. ok is false if the
// two are not of one kind.
func convert(value float64, from, to string) (converted float64, ok bool) {
	if from == to {
		return value, true
	}
	f, known := toBase[from]
	t, also := toBase[to]
	if !known || !also || f.kind != t.kind {
		return 0, false
	}
	return (value*f.factor + f.add - t.add) / t.factor, true
}
