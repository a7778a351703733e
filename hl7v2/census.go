package hl7v2

import (
	"context"
	"time"

	"github.com/carewire/carewire"
)

// Census receives admissions, transfers and discharges from ADT messages. The
// host implements it: it keeps the patients of each ward, serves as the Hub's
// Directory, and tells the Hub of changes. After an error the sender tries again
// later; an *Error tells it that the message is wrong.
//
// The same Movement may come twice: the Server knows the last 10,000 accepted ADT
// messages until it ends. A repeat after that may undo a later movement. A host
// that cannot exclude this must ignore a Movement whose message (MSH-7) is older
// than that of the patient's latest one.
type Census interface {
	// Admit is told of A01, an admission, and A13, a discharge that was a mistake.
	Admit(context.Context, Movement) error
	// Transfer is told of A02, and of A12, a transfer that was a mistake: To is
	// then where the patient lies after all.
	Transfer(context.Context, Movement) error
	// Discharge is told of A03, and of A11, an admission that was a mistake.
	Discharge(context.Context, Movement) error
}

// Movement is the content of an ADT message.
type Movement struct {
	Patient string
	From    Location  // before; of a transfer
	To      Location  // now
	At      time.Time // when: EVN-6, else EVN-2, else MSH-7; now, if that is no time. EVN-6 of a cancellation is the time of the cancelled event
	Cancels bool      // it takes back an earlier message
	Test    bool      // test data
	Visit   Visit
}

// move tells the Census of an ADT message.
func (s *Server) move(ctx context.Context, m *Message, event string) []*Error {
	if s.opt.Census == nil {
		return []*Error{fault("MSH", 9, codeMessageType, "ADT is not taken here")}
	}
	if m.Test() && !s.opt.TestMovements {
		return []*Error{fault("MSH", 11, codeProcessingID, "test messages move nobody here")}
	}
	at := m.Segment("EVN").Field(6)
	if at.Empty() {
		at = m.Segment("EVN").Field(2)
	}
	if at.Empty() {
		at = m.Header(7)
	}
	when, unclear := ParseTime(at.Component(1).String(), s.zone())
	v := Visit{Message: m, PID: m.Segment("PID"), PV1: m.Segment("PV1"), Time: when}
	if unclear != nil {
		when = time.Now().UTC()
	}
	patient, err := s.opt.Patient(ctx, v)
	if err != nil || patient == "" {
		return []*Error{{Segment: "PID", Index: 1, Field: 3, Code: codeUnknownKey, Reason: "names no known patient"}}
	}
	if !isPatient(patient) {
		return []*Error{{Segment: "PID", Index: 1, Field: 3, Code: codeUnknownKey, Reason: "is no ID of a patient"}}
	}
	move := Movement{Patient: patient, From: v.PriorLocation(), To: v.Location(), At: when, Test: m.Test(), Visit: v}
	switch event {
	case "A01":
		err = s.opt.Census.Admit(ctx, move)
	case "A02":
		err = s.opt.Census.Transfer(ctx, move)
	case "A03":
		err = s.opt.Census.Discharge(ctx, move)
	case "A11":
		move.Cancels = true
		err = s.opt.Census.Discharge(ctx, move)
	case "A12":
		move.Cancels = true
		err = s.opt.Census.Transfer(ctx, move)
	case "A13":
		move.Cancels = true
		err = s.opt.Census.Admit(ctx, move)
	default:
		return []*Error{fault("MSH", 9, codeEvent, "this event is not taken")}
	}
	return hostErrors(err)
}

// isPatient reports whether the Hub takes id as that of a patient.
func isPatient(id string) bool {
	ref := carewire.AlertRef{Patient: id, Key: "any"}
	return id != carewire.SystemPatient && ref.Validate() == nil
}
