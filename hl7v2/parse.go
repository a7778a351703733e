package hl7v2

import (
	"bytes"
	"strconv"
	"strings"
)

// maxSegments is how many segments a message may have. A monitor with a hundred
// numbers sends fewer than 300.
const maxSegments = 10000

// Error is a fault of a message and its place. It never holds a value.
type Error struct {
	Segment string // such as OBX; "" for the message itself
	Index   int    // which of the segments with this name, from 1
	Field   int    // from 1; 0 for the whole segment
	Code    string // of HL7 table 0357, such as 101
	Reason  string // fixed words, perhaps with a number of a segment or sample
}

// Error returns the place and the reason: hl7v2: OBX[3]-5: must be a number.
func (e *Error) Error() string {
	place := e.Segment
	if e.Index > 0 {
		place += "[" + strconv.Itoa(e.Index) + "]"
	}
	if e.Field > 0 {
		place += "-" + strconv.Itoa(e.Field)
	}
	if place != "" {
		place += ": "
	}
	return "hl7v2: " + place + e.Reason
}

// The codes of HL7 table 0357 that are used.
const (
	codeSequence     = "100" // segment sequence error
	codeMissing      = "101" // required field missing
	codeDataType     = "102" // data type error
	codeNotFound     = "103" // table value not found
	codeTooLong      = "104" // value too long
	codeMessageType  = "200" // unsupported message type
	codeEvent        = "201" // unsupported event code
	codeProcessingID = "202" // unsupported processing id
	codeVersion      = "203" // unsupported version id
	codeUnknownKey   = "204" // unknown key identifier
	codeInternal     = "207" // application internal error
)

func fault(segment string, field int, code, reason string) *Error {
	return &Error{Segment: segment, Field: field, Code: code, Reason: reason}
}

// ParseOptions say how a message is read. Nil, and the zero value, mean
// strictly by the standard.
type ParseOptions struct {
	// Lenient accepts the deviations of real senders: segments that end in LF or CR LF,
	// empty lines, escapes that mean nothing (they stay as they are), and text of
	// no stated charset that is not ASCII: UTF-8 if it is that, else ISO 8859-1.
	Lenient bool
}

// Parse reads one message, without its MLLP frame. The error is an *Error.
//
// The charset is that of MSH-18: ASCII, UNICODE UTF-8, or 8859/1 to 8859/9 and
// 8859/15. Others are refused, because their bytes cannot be split safely.
func Parse(b []byte, o *ParseOptions) (*Message, error) {
	lenient := o != nil && o.Lenient
	if lenient {
		b = bytes.TrimLeft(b, "\r\n\t ")
	}
	if !bytes.HasPrefix(b, []byte("MSH")) {
		return nil, fault("", 0, codeSequence, "must begin with MSH")
	}
	if len(b) < 9 {
		return nil, fault("MSH", 2, codeMissing, "is cut short")
	}
	m := &Message{seps: Separators{b[3], b[4], b[5], b[6], b[7]}}
	if !m.seps.valid() {
		return nil, fault("MSH", 2, codeDataType, "must be four different separators")
	}
	if b[8] != b[3] && (b[8] != '#' || len(b) < 10 || b[9] != b[3]) { // 2.7 has a fifth, for truncation
		return nil, fault("MSH", 2, codeDataType, "must be four different separators")
	}
	text, err := m.decode(b, lenient)
	if err != nil {
		return nil, err
	}
	if lenient {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\r"), "\n", "\r")
	}
	if err := m.split(text, lenient); err != nil {
		return nil, err
	}
	return m, nil
}

// split cuts text into segments and checks each.
func (m *Message) split(text string, lenient bool) error {
	seen := make(map[string]int)
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\r"), "\r") {
		if lenient && strings.TrimSpace(line) == "" {
			continue
		}
		if len(m.segments) == maxSegments {
			return fault("", 0, codeSequence, "has too many segments")
		}
		s := Segment{line, m}
		if !validName(line) || len(line) > 3 && line[3] != m.seps.Field {
			return fault("", 0, codeSequence, "segment "+strconv.Itoa(len(m.segments)+1)+" must begin with three letters and the field separator")
		}
		name := line[:3]
		seen[name]++
		if name == "MSH" && seen[name] > 1 {
			return &Error{Segment: name, Index: seen[name], Code: codeSequence, Reason: "there must be one"}
		}
		if at := strings.IndexFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }); at >= 0 {
			return &Error{Segment: name, Index: seen[name], Code: codeDataType, Reason: "has a control character"}
		}
		if !lenient {
			if err := m.checkEscapes(line); err != nil {
				err.Segment, err.Index = name, seen[name]
				return err
			}
		}
		m.segments = append(m.segments, s)
	}
	if code, _ := m.Type(); code == "" {
		return fault("MSH", 9, codeMissing, "is required")
	}
	if m.Header(10).Empty() {
		return fault("MSH", 10, codeMissing, "is required")
	}
	if !lenient && m.Header(11).Empty() { // read leniently, an acknowledgement may do without
		return fault("MSH", 11, codeMissing, "is required")
	}
	return nil
}

// validName reports whether a line begins with the name of a segment.
func validName(line string) bool {
	if len(line) < 3 || line[0] < 'A' || line[0] > 'Z' {
		return false
	}
	for _, c := range []byte(line[1:3]) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}
