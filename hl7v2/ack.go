package hl7v2

import (
	"strconv"
	"strings"
	"time"
)

// AckCode is the code of an acknowledgement (HL7 table 0008).
type AckCode string

// The codes. The first three answer for the application, the others for the
// transport only. A rejected message may be sent again later as it is.
const (
	AckAccept       AckCode = "AA"
	AckError        AckCode = "AE"
	AckReject       AckCode = "AR"
	AckCommitAccept AckCode = "CA"
	AckCommitError  AckCode = "CE"
	AckCommitReject AckCode = "CR"
)

// accepted reports whether the message has been taken.
func (c AckCode) accepted() bool { return c == AckAccept || c == AckCommitAccept }

func (c AckCode) known() bool {
	switch c {
	case AckAccept, AckError, AckReject, AckCommitAccept, AckCommitError, AckCommitReject:
		return true
	}
	return false
}

// Ack is the content of an acknowledgement.
type Ack struct {
	ControlID string // MSA-2: which message is answered
	Code      AckCode
	Errors    []*Error // the faults, from ERR; the reason is that of table 0357
}

// parseAck reads an acknowledgement, of any kind.
func parseAck(m *Message) (Ack, bool) {
	msa := m.Segment("MSA")
	a := Ack{ControlID: msa.Field(2).String(), Code: AckCode(msa.Field(1).String())}
	if a.ControlID == "" || !a.Code.known() {
		return a, false
	}
	for _, s := range m.Segments() {
		if s.Name() != "ERR" {
			continue
		}
		place, code := s.Field(2), s.Field(3).Component(1).String()
		if place.Empty() && code == "" { // before 2.5
			place, code = s.Field(1), s.Field(1).Component(4).Subcomponent(1).String()
		}
		e := &Error{Segment: place.Component(1).String(), Code: code, Reason: reasons[code]}
		e.Index, _ = strconv.Atoi(place.Component(2).String())
		e.Field, _ = strconv.Atoi(place.Component(3).String())
		if len(e.Segment) > 3 || !validName(e.Segment) {
			e.Segment = ""
		}
		if e.Reason == "" {
			e.Code, e.Reason = codeInternal, "an error"
		}
		a.Errors = append(a.Errors, e)
	}
	return a, true
}

// reasons are the texts of HL7 table 0357.
var reasons = map[string]string{codeSequence: "segment sequence error", codeMissing: "required field missing", codeDataType: "data type error",
	codeNotFound: "table value not found", codeTooLong: "value too long", codeMessageType: "unsupported message type", codeEvent: "unsupported event code",
	codeProcessingID: "unsupported processing id", codeVersion: "unsupported version id", codeUnknownKey: "unknown key identifier",
	"205": "duplicate key identifier", "206": "application record locked", codeInternal: "application internal error"}

// answerTo writes the acknowledgement of a message, of which raw may not even
// have been read as one: m is then nil. Nothing is sent where the sender wants
// nothing: the result is then nil.
func answerTo(m *Message, code AckCode, errs []*Error, now time.Time, id string) []byte {
	h := func(n int) string {
		if m == nil {
			return ""
		}
		return copied(m, n)
	}
	if m != nil {
		var wanted bool
		if code, wanted = mode(m, code); !wanted {
			return nil
		}
	}
	version := h(12)
	if !strings.HasPrefix(version, "2.") || len(version) > 8 {
		version = "2.6"
	}
	event := ""
	if m != nil {
		if _, e := m.Type(); len(e) == 3 && validName(e) {
			event = "^" + e + "^ACK"
		}
	}
	var b strings.Builder
	b.WriteString(`MSH|^~\&|` + h(5) + "|" + h(6) + "|" + h(3) + "|" + h(4) + "|" + formatTime(now) + "||ACK" + event + "|" + id + "|" +
		orP(h(11)) + "|" + version + "||||||UNICODE UTF-8\r")
	b.WriteString("MSA|" + string(code) + "|" + h(10) + "\r")
	for _, e := range errs {
		b.WriteString(errSegment(e, version))
	}
	return []byte(b.String())
}

// mode says which acknowledgement the sender wants, if any, by MSH-15 and
// MSH-16. There is one answer to a message: the application's, unless only the
// transport's is asked for.
func mode(m *Message, code AckCode) (AckCode, bool) {
	accept, app := m.Header(15).String(), m.Header(16).String()
	wanted := func(when string) bool {
		return when == "AL" || when == "" || when == "ER" && !code.accepted() || when == "SU" && code.accepted()
	}
	if accept == "" && app == "" || wanted(app) && app != "" {
		return code, true
	}
	if app == "" && accept == "NE" {
		return code, true // half-said: the standard's original mode answers always
	}
	return AckCode("C" + string(code[1:])), accept != "" && wanted(accept)
}

// errSegment writes the fault: as from 2.5 on, or as before.
func errSegment(e *Error, version string) string {
	place := "" // a place without a segment's name is none
	if e.Segment != "" {
		place = e.Segment + "^" + strconv.Itoa(max(1, e.Index))
		if e.Field > 0 {
			place += "^" + strconv.Itoa(e.Field)
		}
	}
	if version < "2.5" {
		return "ERR|" + place + strings.Repeat("^", 3-strings.Count(place, "^")) + e.Code + "&" + reasons[e.Code] + "&HL70357\r"
	}
	return "ERR||" + place + "|" + e.Code + "^" + reasons[e.Code] + "^HL70357|E||||" + escape(e.Reason) + "\r"
}

// copied returns a header field as it can stand in an answer with the usual
// separators.
func copied(m *Message, n int) string {
	v := m.Header(n)
	if m.seps == Usual {
		return v.Raw()
	}
	return escape(v.Component(1).String())
}

func orP(mode string) string {
	if mode == "" {
		return "P"
	}
	return mode
}
