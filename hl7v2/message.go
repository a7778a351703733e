package hl7v2

import (
	"bytes"
	"strings"
)

// Separators are the separator characters of a message, from its MSH.
type Separators struct {
	Field, Component, Repetition, Escape, Subcomponent byte
}

// Usual are the separators that almost everybody uses: |^~\&
var Usual = Separators{'|', '^', '~', '\\', '&'}

// valid reports whether the separators can be told from each other and from text.
func (s Separators) valid() bool {
	all := []byte{s.Field, s.Component, s.Repetition, s.Escape, s.Subcomponent}
	for i, c := range all {
		if c <= ' ' || c >= 0x7f || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || bytes.IndexByte(all[i+1:], c) >= 0 {
			return false
		}
	}
	return true
}

// Message is one HL7 version 2 message, as UTF-8. It is read-only and safe for
// concurrent use.
type Message struct {
	seps     Separators
	charset  *charset
	segments []Segment
}

// Segments returns the segments in order, MSH first. The slice is the message's own.
func (m *Message) Segments() []Segment { return m.segments }

// Segment returns the first segment with the name; an empty one if there is none.
func (m *Message) Segment(name string) Segment {
	for _, s := range m.segments {
		if s.Name() == name {
			return s
		}
	}
	return Segment{}
}

// Header returns field n of MSH.
func (m *Message) Header(n int) Value { return m.segments[0].Field(n) }

// Type returns the message code and the trigger event, such as ORU and R01.
func (m *Message) Type() (code, event string) {
	t := m.Header(9)
	return t.Component(1).String(), t.Component(2).String()
}

// ControlID returns MSH-10, by which an acknowledgement names the message.
func (m *Message) ControlID() string { return m.Header(10).String() }

// Test reports whether MSH-11 is anything but P (production): debugging,
// training, another mode, or empty. Spaces around it do not count. A Server and a
// Mapping refuse a message with an MSH-11 that is empty or not of HL7 table 0103,
// because they must not guess whether it may page somebody.
func (m *Message) Test() bool { return m.mode() != "P" }

// mode returns the processing ID.
func (m *Message) mode() string { return strings.TrimSpace(m.Header(11).Component(1).String()) }

// checkMode returns the fault of MSH-11; nil if it is one of HL7 table 0103:
// D, P, T and, from 2.9 on, N and V.
func (m *Message) checkMode() *Error {
	switch m.mode() {
	case "D", "N", "P", "T", "V":
		return nil
	case "":
		return fault("MSH", 11, codeMissing, "is required")
	}
	return fault("MSH", 11, codeProcessingID, "must be P, D, T, N or V")
}

// Segment is one line of a message. The zero Segment is empty.
type Segment struct {
	text string
	msg  *Message
}

// Name returns the three letters of the segment, "" if it is empty.
func (s Segment) Name() string {
	if s.msg == nil {
		return ""
	}
	return s.text[:3]
}

// Field returns field n, counted from 1 as in the standard: MSH-1 is the field
// separator itself. One that is not there is empty.
func (s Segment) Field(n int) Value {
	if s.msg == nil || n < 1 {
		return Value{}
	}
	if s.Name() == "MSH" {
		switch n {
		case 1:
			return Value{text: s.text[3:4]}
		case 2:
			text, _, _ := strings.Cut(s.text[4:], s.text[3:4])
			return Value{text: text}
		}
		n--
	}
	return Value{nth(s.text, s.msg.seps.Field, n), s.msg}
}

// nth returns part n, counted from 0, of the parts between sep.
func nth(text string, sep byte, n int) string {
	for ; n > 0; n-- {
		i := strings.IndexByte(text, sep)
		if i < 0 {
			return ""
		}
		text = text[i+1:]
	}
	if i := strings.IndexByte(text, sep); i >= 0 {
		text = text[:i]
	}
	return text
}

// Value is a field, or a part of one. The zero Value is empty.
type Value struct {
	text string
	msg  *Message // nil: nothing in it is parted or escaped
}

// Raw returns the value as it stands in the message, with its separators.
func (v Value) Raw() string { return v.text }

// Empty reports whether the value is empty. Two quotes, by which a sender
// deletes a value, are not empty: see [Value.Null].
func (v Value) Empty() bool { return v.text == "" }

// Null reports whether the value is "", two quotes: the sender states that
// there is no value.
func (v Value) Null() bool { return v.text == `""` }

// Repetitions returns the repetitions of a field; none if it is empty.
func (v Value) Repetitions() []Value {
	if v.text == "" {
		return nil
	}
	if v.msg == nil {
		return []Value{v}
	}
	parts := strings.Split(v.text, string(v.msg.seps.Repetition))
	list := make([]Value, len(parts))
	for i, p := range parts {
		list[i] = Value{p, v.msg}
	}
	return list
}

// Component returns component n, counted from 1, of the first repetition.
func (v Value) Component(n int) Value {
	if v.msg == nil {
		if n == 1 {
			return v
		}
		return Value{}
	}
	if n < 1 {
		return Value{}
	}
	return Value{nth(nth(v.text, v.msg.seps.Repetition, 0), v.msg.seps.Component, n-1), v.msg}
}

// Subcomponent returns part n, counted from 1, of a component.
func (v Value) Subcomponent(n int) Value {
	if v.msg == nil || n < 1 {
		return Value{}
	}
	return Value{nth(v.text, v.msg.seps.Subcomponent, n-1), v.msg}
}

// String returns the text of the value, its escapes undone; "" for a null.
func (v Value) String() string {
	if v.msg == nil || v.Null() {
		return strings.TrimPrefix(v.text, `""`)
	}
	return v.msg.unescape(v.text)
}
