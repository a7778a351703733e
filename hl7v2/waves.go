package hl7v2

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/carewire/carewire"
)

// WaveSink accepts waves; a *carewire.Hub is one. A Sink that is a WaveSink too
// gets the observations of type NA (numeric array) of ORU^R01 and ORU^W01, as
// monitors send waves.
type WaveSink interface {
	PublishWaves(...carewire.Wave) error
}

// rateMost is the greatest rate that carewire takes, in samples a second.
const rateMost = 2000

// signalsMost is of how many signals it is remembered where they end.
const signalsMost = 10_000

// wave is an OBX of type NA with the attributes from the OBX below it.
type wave struct {
	carewire.Wave
	index      int
	place      string // OBX-4; its attributes are below that
	samples    Value
	unit       Value
	resolution carewire.Decimal // of a sample; "": they are numbers as they are
	invalid    carewire.Decimal // the sample that says that there is none
}

// beginWave notes a wave. Its rate and resolution may come in later OBX.
func (r *reader) beginWave(s Segment) {
	number, err := strconv.ParseUint(s.Field(3).Component(1).String(), 10, 32)
	if err != nil || number == 0 || s.Field(3).Component(3).String() != "MDC" {
		r.refuse(3, codeNotFound, "a wave must be named by an MDC number")
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
	if at.IsZero() {
		r.refuse(14, codeMissing, "a wave must have a time")
		return
	}
	w := wave{index: r.index, place: s.Field(4).String(), samples: s.Field(5), unit: s.Field(6)}
	w.Patient, w.Code, w.System, w.Device, w.Site, w.Time = name, strconv.FormatUint(number, 10), carewire.MDC, r.device, label(s.Field(20)), at
	w.Test = readFlags(s.Field(8)).test || r.visit.Message.Test()
	r.waves = append(r.waves, &w)
	r.wave = &w
}

// ofWave takes an OBX that says more of the wave above it, and reports whether it is one.
func (r *reader) ofWave(s Segment) bool {
	w, place := r.wave, s.Field(4).String()
	if w == nil {
		return false
	}
	name := strings.TrimSpace(s.Field(3).Component(2).String())
	below := strings.HasPrefix(place, w.place+".")
	if !below && (place != w.place || !strings.HasPrefix(name, "MDC_ATTR_")) {
		return false
	}
	value, ok := number(s.Field(5).String())
	if !ok {
		return true
	}
	switch name {
	case "MDC_ATTR_SAMP_RATE": // per second, or hertz
		w.Rate = value.Float64()
	case "MDC_ATTR_NU_MSMT_RES":
		if w.resolution = value; !s.Field(6).Empty() {
			w.unit = s.Field(6)
		}
	case "MDC_EVT_INOP":
		w.invalid = value
	}
	return true
}

// chunks makes waves of an OBX: of a second at most, and a new one behind each
// sample that there is not.
func (w *wave) chunks() ([]carewire.Wave, *Error) {
	refuse := func(field int, code, reason string) *Error {
		return &Error{Segment: "OBX", Index: w.index, Field: field, Code: code, Reason: reason}
	}
	if w.Rate <= 0 || w.Rate > rateMost {
		return nil, refuse(5, codeMissing, "the rate of a wave must be said, at most 2000 a second")
	}
	ucum, reason := unit(w.unit)
	if reason != "" {
		return nil, refuse(6, codeNotFound, reason)
	}
	w.Unit, w.Factor = ucum, w.resolution
	if len(w.samples.Repetitions()) > 1 {
		return nil, refuse(5, codeDataType, "must be one array")
	}
	var texts []carewire.Decimal // "": there is none
	digits := 0
	for n, part := range strings.Split(w.samples.Raw(), string(w.samples.msg.seps.Component)) {
		d, ok := number(part)
		if !ok && strings.TrimSpace(part) != "" {
			return nil, refuse(5, codeDataType, "sample "+strconv.Itoa(n+1)+" is no number")
		}
		if d == w.invalid {
			d = ""
		}
		_, fraction, _ := strings.Cut(string(d), ".")
		digits = max(digits, len(strings.TrimRight(fraction, "0")))
		texts = append(texts, d)
	}
	if digits > 6 {
		digits = 6 // digits below a millionth of the unit are dropped
	}
	if digits > 0 {
		if w.Factor != "" && w.Factor != "1" {
			return nil, refuse(5, codeDataType, "with a resolution, samples must be whole")
		}
		w.Factor = carewire.Decimal("0." + strings.Repeat("0", digits-1) + "1")
	}
	list, ok := w.split(texts, digits)
	if !ok {
		return nil, refuse(5, codeDataType, "a sample is out of range")
	}
	return list, nil
}

// split returns the samples as chunks.
func (w *wave) split(texts []carewire.Decimal, digits int) (list []carewire.Wave, ok bool) {
	most := max(1, int(w.Rate))
	next := w.Wave
	flush := func(upTo int) {
		if len(next.Samples) > 0 {
			list = append(list, next)
		}
		next.Samples, next.Time = nil, w.Time.Add(time.Duration(float64(upTo)/w.Rate*float64(time.Second)))
	}
	for i, text := range texts {
		if text == "" {
			flush(i + 1)
			continue
		}
		if len(next.Samples) == most {
			flush(i)
		}
		sample, fits := fixed(text, digits)
		if !fits {
			return nil, false
		}
		next.Samples = append(next.Samples, sample)
	}
	flush(len(texts))
	return list, true
}

// fixed returns a decimal as a whole number of its last digit.
func fixed(d carewire.Decimal, digits int) (int32, bool) {
	whole, fraction, _ := strings.Cut(string(d), ".")
	if len(fraction) > digits {
		fraction = fraction[:digits]
	}
	n, err := strconv.ParseInt(whole+fraction+strings.Repeat("0", digits-len(fraction)), 10, 32)
	return int32(n), err == nil
}

// numbers gives the chunks of each signal their numbers. HL7 has none.
type numbers struct {
	mu   sync.Mutex
	last map[string]chunk
}

type chunk struct {
	number uint64
	end    time.Time
}

// next numbers w. It reports false if that came before, or comes too late.
func (x *numbers) next(w *carewire.Wave) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	key := strings.Join([]string{w.Patient, w.Code, w.Device, w.Site, strconv.FormatBool(w.Test)}, "\x00")
	last, known := x.last[key]
	switch {
	case !known:
		last.number = uint64(w.Time.UnixMilli()) // beyond all of an earlier run
	case w.Time.Before(last.end.Add(-50 * time.Millisecond)):
		return false
	}
	if x.last == nil || len(x.last) >= signalsMost {
		x.last = make(map[string]chunk)
	}
	w.Number = last.number + 1
	x.last[key] = chunk{w.Number, w.End()}
	return true
}

// publishWaves hands waves on. Waves that the Hub cannot take at the moment are
// lost and counted: waves are live, and a repeat would be too late.
func (s *Server) publishWaves(waves []*wave) (errs []*Error) {
	sink, _ := s.sink.(WaveSink)
	for _, w := range waves {
		list, fault := w.chunks()
		if fault != nil {
			errs = append(errs, fault)
			continue
		}
		for _, c := range list {
			if !s.numbers.next(&c) {
				continue
			}
			err := sink.PublishWaves(c)
			var invalid *carewire.ValidationError
			switch {
			case err == nil:
				s.stats.waves.Add(1)
				continue
			case errors.As(err, &invalid) && !slices.ContainsFunc(errs, func(e *Error) bool { return e.Index == w.index }):
				errs = append(errs, &Error{Segment: "OBX", Index: w.index, Field: 5, Code: codeDataType, Reason: invalid.Field + ": " + invalid.Reason})
			}
			s.stats.lost.Add(1)
		}
	}
	return errs
}
