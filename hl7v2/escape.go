package hl7v2

import (
	"encoding/hex"
	"strings"
)

// unescape undoes the escapes of a text. Highlighting is dropped; an escape
// that means nothing here stays as it is.
func (m *Message) unescape(text string) string {
	e := string(m.seps.Escape)
	if !strings.Contains(text, e) {
		return text
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, e)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, after, closed := strings.Cut(rest, e)
		if !closed {
			b.WriteString(e + rest)
			return b.String()
		}
		plain, known := m.meaning(name)
		if !known {
			// Perhaps a stray escape character: the next one may begin an escape.
			b.WriteString(e + name)
			text = e + after
			if !m.begins(after) {
				b.WriteString(e)
				text = after
			}
			continue
		}
		b.WriteString(plain)
		text = after
	}
}

// begins reports whether text goes on with a known escape, whose first character is gone.
func (m *Message) begins(text string) bool {
	name, _, closed := strings.Cut(text, string(m.seps.Escape))
	_, known := m.meaning(name)
	return closed && known
}

// meaning returns the text of an escape, given without its escape characters.
func (m *Message) meaning(name string) (plain string, known bool) {
	switch name {
	case "F":
		return string(m.seps.Field), true
	case "S":
		return string(m.seps.Component), true
	case "T":
		return string(m.seps.Subcomponent), true
	case "R":
		return string(m.seps.Repetition), true
	case "E":
		return string(m.seps.Escape), true
	case "P":
		return "#", true
	case "H", "N":
		return "", true
	case ".br", ".sp", ".ce":
		return "\n", true
	}
	if strings.HasPrefix(name, "X") && len(name) > 1 && len(name) <= 1+2*256 {
		if b, err := hex.DecodeString(name[1:]); err == nil {
			if text, err := m.charset.decode(b, false); err == nil {
				return text, true
			}
		}
	}
	return "", false
}

// checkEscapes reports an escape that is not closed or means nothing. Escapes
// of a house's own (\Z…\) are none of our business.
func (m *Message) checkEscapes(line string) *Error {
	if strings.HasPrefix(line, "MSH") {
		line = line[8:]
	}
	e := string(m.seps.Escape)
	for field := range strings.SplitSeq(line, string(m.seps.Field)) {
		for parts := strings.Split(field, e); len(parts) > 1; parts = parts[2:] {
			if len(parts) == 2 {
				return &Error{Code: codeDataType, Reason: "an escape is not closed"}
			}
			if _, known := m.meaning(parts[1]); !known && !strings.HasPrefix(parts[1], "Z") {
				return &Error{Code: codeDataType, Reason: "an escape means nothing"}
			}
		}
	}
	return nil
}

// escape writes text so that it can stand in a message with the usual
// separators. Line breaks become \.br\; other control characters are dropped.
func escape(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '|':
			b.WriteString(`\F\`)
		case r == '^':
			b.WriteString(`\S\`)
		case r == '&':
			b.WriteString(`\T\`)
		case r == '~':
			b.WriteString(`\R\`)
		case r == '\\':
			b.WriteString(`\E\`)
		case r == '\n':
			b.WriteString(`\.br\`)
		case r < ' ' || r == 0x7f:
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
