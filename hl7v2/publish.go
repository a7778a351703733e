package hl7v2

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/carewire/carewire"
)

// perPublish is how many vitals are published at once.
const perPublish = 100

// publish stores the vitals of an ORU^R01 and returns what was refused. If the
// outcome of any is unknown, or may be another later, that is errLater alone:
// all is sent again, and what was stored is recognised.
func (s *Server) publish(ctx context.Context, m *Message) []*Error {
	readings, errs := s.opt.Mapping.Readings(m, func(v Visit) (string, error) { return s.opt.Patient(ctx, v) })
	vitals := make([]carewire.Vital, len(readings))
	for i, r := range readings {
		vitals[i] = r.Vital
		vitals[i].ID = vitalID(m, r)
	}
	for from := 0; from < len(vitals); from += perPublish {
		batch := vitals[from:min(from+perPublish, len(vitals))]
		results, _ := s.sink.Publish(ctx, batch...) // each result has its own error
		if len(results) != len(batch) {
			return []*Error{errLater}
		}
		for i, result := range results {
			switch {
			case result.Err == nil:
				s.stats.vitals.Add(1)
			case lasting(result.Err):
				field, reason := validation(result.Err)
				for _, obx := range readings[from+i].OBX {
					errs = append(errs, &Error{Segment: "OBX", Index: obx, Field: field, Code: codeDataType, Reason: reason})
				}
			default:
				return []*Error{errLater}
			}
		}
	}
	return errs
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
	b, err := json.Marshal(r.Vital)
	if err != nil {
		return "" // it is not valid, and the Hub will refuse it
	}
	h := sha256.New()
	for _, part := range []string{m.Header(3).Raw(), m.Header(4).Raw(), m.Header(10).Raw(), strconv.Itoa(r.OBX[0]), string(b)} {
		h.Write([]byte(strconv.Itoa(len(part)) + ":" + part))
	}
	return "hl7." + hex.EncodeToString(h.Sum(nil)[:16])
}
