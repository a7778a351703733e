package carewire

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"
)

// Wave is a chunk of a live signal of one patient, such as a quarter of a
// second of an electrocardiogram. Waves are live only and not in the log. A
// client that is too slow misses chunks, which Number shows.
//
// Patient, System, Code, Device, Site and Test identify a signal. Its samples
// are whole numbers; Value converts them to Unit.
//
// fmt and slog show no content of a Wave. Only its JSON holds the data.
type Wave struct {
	Patient string // required, unless Options.Resolve names it
	Code    string // the signal, such as "131330", lead II of an electrocardiogram; required
	System  string // the code's system, as with a Vital, such as MDC; required
	Device  string // the ID of the device
	Site    string // where on the body

	Unit   string  // the UCUM code of Value's result; required. "1" if there is none
	Factor Decimal // one step of a sample, in Unit; "" is 1
	Origin Decimal // the sample 0, in Unit; "" is 0
	Rate   float64 // samples a second, at most 2,000; required

	Number   uint64    // counts the chunks of this signal as they are sent: 1, 2, 3 … A missing number shows a lost chunk
	Time     time.Time // of the first sample, by the device's clock; required
	Received time.Time // when the Hub took it in; set by the Hub
	Samples  []int32   // 1 to 4,000, of two seconds at most; 0.25 s are usual
	Test     bool      // test or demonstration data
}

// The limits of a Wave.
const (
	waveRateMost    = 2000            // samples a second
	waveSamplesMost = 4000            // samples of one chunk
	waveLongest     = 2 * time.Second // one chunk
	waveDataMost    = 16 << 10        // characters of its samples on the wire
	waveJitter      = 100 * time.Millisecond
)

// Value converts a sample to Unit.
func (w *Wave) Value(sample int32) float64 {
	factor := 1.0
	if w.Factor != "" {
		factor = w.Factor.Float64()
	}
	return w.Origin.Float64() + factor*float64(sample)
}

// Duration returns how long the chunk lasts: 0 if it has no rate.
func (w *Wave) Duration() time.Duration {
	if w.Rate <= 0 {
		return 0
	}
	return time.Duration(float64(len(w.Samples)) / w.Rate * float64(time.Second))
}

// End returns when the chunk's last sample ends, by the device's clock.
func (w *Wave) End() time.Time { return w.Time.Add(w.Duration()) }

// Follows reports whether w begins where prev, of the same signal, ends: its
// number is the next, its time fits to within 100 ms, and its samples have the
// same scale. If it is false there is a gap; do not draw over it.
func (w *Wave) Follows(prev *Wave) bool {
	off := w.Time.Sub(prev.End())
	return w.Number == prev.Number+1 && off < waveJitter && off > -waveJitter &&
		w.Rate == prev.Rate && w.Unit == prev.Unit && w.Factor == prev.Factor && w.Origin == prev.Origin && w.signal() == prev.signal()
}

// Validate returns the first fault of w as a *ValidationError, or nil.
func (w *Wave) Validate() error {
	if !validID(w.Patient) {
		return invalid("patient", "must be an ID")
	}
	return w.validateRest()
}

// validateRest is Validate but for the patient, whom the host may still have to name.
func (w *Wave) validateRest() error {
	switch {
	case !validCode(w.Code):
		return invalid("code", "must be a code")
	case !validCode(w.System):
		return invalid("system", "must be a code system")
	case w.Device != "" && !validID(w.Device):
		return invalid("device", "must be an ID")
	case !validText(w.Site, 64):
		return invalid("site", "must be printable text of at most 64 characters")
	case !validCode(w.Unit) || notUCUM[w.Unit]:
		return invalid("unit", "must be a UCUM code")
	case w.Factor != "" && w.Factor.rounded().check() != nil:
		return withinMember("factor", w.Factor.rounded().check())
	case w.Factor != "" && w.Factor.Float64() == 0:
		return invalid("factor", "must not be 0")
	case w.Origin != "" && w.Origin.rounded().check() != nil:
		return withinMember("origin", w.Origin.rounded().check())
	case !(w.Rate > 0 && w.Rate <= waveRateMost):
		return invalid("rate", "must be samples a second, at most 2000")
	case w.Number == 0 || w.Number > 1e15:
		return invalid("n", "must be a whole number, 1 at least")
	case w.Time.IsZero() || !validTime(w.Time):
		return invalid("time", "required")
	case len(w.Samples) == 0 || len(w.Samples) > waveSamplesMost || float64(len(w.Samples)) > w.Rate*waveLongest.Seconds():
		return invalid("data", "must be 1 to 4000 samples of at most two seconds")
	}
	return nil
}

// signal identifies the signal of w among its patient's signals.
func (w *Wave) signal() string {
	prefix := "w/"
	if w.Test {
		prefix = "w!/"
	}
	return prefix + w.System + " " + w.Code + " " + w.Device + " " + w.Site
}

// appendDeltas appends samples as the wire has them before base64: each as its
// difference to the one before (the first to 0), zigzag, as a varint.
func appendDeltas(b []byte, samples []int32) []byte {
	last := int64(0)
	for _, s := range samples {
		d := int64(s) - last
		last = int64(s)
		b = binary.AppendUvarint(b, uint64(d<<1)^uint64(d>>63))
	}
	return b
}

// encodeSamples returns samples as the wire has them.
func encodeSamples(samples []int32) string {
	return base64.StdEncoding.EncodeToString(appendDeltas(make([]byte, 0, 2*len(samples)), samples))
}

var errSamples = invalid("", "must be first differences of whole numbers, zigzag, as varints, in base64")

// decodeSamples reads samples, at most so many.
func decodeSamples(data string, most int) ([]int32, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(data)
	if err != nil || strings.ContainsAny(data, "\r\n") {
		return nil, errSamples
	}
	samples := make([]int32, 0, min(len(b), most))
	for last := int64(0); len(b) > 0; {
		z, n := binary.Uvarint(b)
		if n <= 0 || n > 5 || n > 1 && b[n-1] == 0 { // cut short, too large, or longer than it need be
			return nil, errSamples
		}
		b = b[n:]
		last += int64(z>>1) ^ -int64(z&1)
		if last < math.MinInt32 || last > math.MaxInt32 {
			return nil, errSamples
		}
		if len(samples) == most {
			return nil, invalid("", "too many samples")
		}
		samples = append(samples, int32(last))
	}
	return samples, nil
}

// decode reads w from s; received is the server's to set and only an open
// scanner takes it.
func (w *Wave) decode(s *scanner) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "patient":
			w.Patient = s.str()
		case "code":
			w.Code = s.str()
		case "system":
			w.System = s.str()
		case "device":
			w.Device = s.str()
		case "site":
			w.Site = s.str()
		case "unit":
			w.Unit = s.str()
		case "factor":
			w.Factor = s.measured().rounded()
		case "origin":
			w.Origin = s.measured().rounded()
		case "rate":
			w.Rate = s.measured().Float64()
		case "n":
			w.Number = s.uint()
		case "time":
			w.Time = s.time()
		case "data":
			w.Samples = s.samples()
		case "test":
			w.Test = s.bool()
		case "received":
			if !s.open {
				return false
			}
			w.Received = s.time()
		default:
			return false
		}
		return true
	})
}

// samples reads the samples of a Wave; an open scanner those of a Strip too.
func (s *scanner) samples() []int32 {
	data, most := s.str(), waveSamplesMost
	if s.err != nil {
		return nil
	}
	if s.open {
		most = len(data)
	} else if len(data) > waveDataMost {
		s.fail("too long")
		return nil
	}
	samples, err := decodeSamples(data, most)
	if err != nil {
		s.err = err
	}
	return samples
}

// encode appends w to e as a JSON object.
func (w *Wave) encode(e *encoder) {
	e.b = append(e.b, '{')
	e.str("patient", w.Patient)
	w.encodeSignal(e)
	e.count("n", w.Number)
	e.time("time", w.Time)
	e.time("received", w.Received)
	e.bool("test", w.Test)
	e.str("data", encodeSamples(w.Samples))
	e.b = append(e.b, '}')
}

// encodeSignal appends the members that chunks of one signal have in common.
func (w *Wave) encodeSignal(e *encoder) {
	e.str("code", w.Code)
	e.str("system", w.System)
	e.str("device", w.Device)
	e.str("site", w.Site)
	e.str("unit", w.Unit)
	e.raw("factor", []byte(w.Factor))
	e.raw("origin", []byte(w.Origin))
	e.float("rate", w.Rate)
}

// MarshalJSON writes w as the wire has it.
func (w Wave) MarshalJSON() ([]byte, error) {
	for name, d := range map[string]Decimal{"factor": w.Factor.rounded(), "origin": w.Origin.rounded()} {
		if d != "" && d.check() != nil {
			return nil, withinMember(name, d.check())
		}
	}
	if math.IsNaN(w.Rate) || math.IsInf(w.Rate, 0) {
		return nil, invalid("rate", "must be a number")
	}
	var e encoder
	w.encode(&e)
	return e.b, nil
}

// UnmarshalJSON reads w leniently: members it does not know are ignored. It
// does not validate.
func (w *Wave) UnmarshalJSON(b []byte) error {
	s := scanner{b: b, open: true}
	*w = Wave{}
	w.decode(&s)
	return s.err
}

// clone returns w with samples of its own.
func (w Wave) clone() Wave {
	w.Samples = slices.Clone(w.Samples)
	return w
}

// Format writes nothing of w but its type.
func (w Wave) Format(f fmt.State, _ rune) { fmt.Fprint(f, "carewire.Wave{…}") }

// LogValue hides w from logs.
func (w Wave) LogValue() slog.Value { return slog.StringValue("carewire.Wave{…}") }
