package hl7v2

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"github.com/carewire/carewire"
)

// perPublish is how many vitals are published at once.
const perPublish = 100

// publish stores the vitals of an ORU^R01 and returns the refused ones. If the
// outcome of any is unknown, or may be another later, that is errLater alone:
// all is sent again, and stored vitals are recognised.
func (s *Server) publish(ctx context.Context, m *Message) []*Error {
	_, waves := s.sink.(WaveSink)
	read := s.opt.Mapping.read(m, func(v Visit) (string, error) { return s.opt.Patient(ctx, v) }, waves)
	readings, errs := read.readings, read.errs
	recall, _ := s.sink.(Recall)
	var batch []Reading
	for i := range readings {
		r := &readings[i]
		r.Vital.ID = vitalID(m, *r)
		if r.Status != "" && recall != nil {
			// It may mean one of this message.
			more, ok := s.store(ctx, batch)
			batch, errs = batch[:0], append(errs, more...)
			if !ok {
				return []*Error{errLater}
			}
			known, err := correct(ctx, recall, r)
			if err != nil && !errors.Is(err, carewire.ErrGap) {
				return []*Error{errLater}
			}
			if known {
				r.Status = ""
			}
		}
		if r.Status == carewire.VitalEnteredInError {
			for _, obx := range r.OBX {
				errs = append(errs, &Error{Segment: "OBX", Index: obx, Field: 11, Code: codeNotFound, Reason: "withdraws a vital that is not known here"})
			}
			continue
		}
		if batch = append(batch, *r); len(batch) == perPublish {
			more, ok := s.store(ctx, batch)
			batch, errs = batch[:0], append(errs, more...)
			if !ok {
				return []*Error{errLater}
			}
		}
	}
	more, ok := s.store(ctx, batch)
	if !ok {
		return []*Error{errLater}
	}
	return slices.Concat(errs, more, s.publishWaves(read.waves))
}

// store publishes vitals and returns the refused ones; ok is false if the outcome
// of any is unknown.
func (s *Server) store(ctx context.Context, readings []Reading) (errs []*Error, ok bool) {
	if len(readings) == 0 {
		return nil, true
	}
	vitals := make([]carewire.Vital, len(readings))
	for i, r := range readings {
		vitals[i] = r.Vital
	}
	results, _ := s.sink.Publish(ctx, vitals...) // each result has its own error
	if len(results) != len(vitals) {
		return nil, false
	}
	for i, result := range results {
		switch {
		case result.Err == nil:
			s.stats.vitals.Add(1)
		case lasting(result.Err):
			field, reason := validation(result.Err)
			for _, obx := range readings[i].OBX {
				errs = append(errs, &Error{Segment: "OBX", Index: obx, Field: field, Code: codeDataType, Reason: reason})
			}
		default:
			return nil, false
		}
	}
	return errs, true
}

// lasting reports whether a refusal will be the same when the vital comes again.
func lasting(err error) bool {
	var invalid *carewire.ValidationError
	return errors.As(err, &invalid) || errors.Is(err, carewire.ErrForbidden) || errors.Is(err, carewire.ErrIDReused)
}

// vitalID makes the ID of a vital: the same for the same vital of the same
// message, whenever that comes, and another for a message that a sender which
// counts from 1 again gives an MSH-10 of before.
func vitalID(m *Message, r Reading) string {
	b, _ := json.Marshal(r.Vital) // of a reading, which is valid, this does not fail
	h := sha256.New()
	for _, part := range []string{m.Header(3).Raw(), m.Header(4).Raw(), m.Header(10).Raw(), strconv.Itoa(r.OBX[0]), string(b) + string(r.Status)} {
		h.Write([]byte(strconv.Itoa(len(part)) + ":" + part))
	}
	return "hl7." + hex.EncodeToString(h.Sum(nil)[:16])
}
