package carewire

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// maxDepth bounds the nesting of objects and arrays in input.
const maxDepth = 16

// A scanner reads one JSON text from front to back. It is strict: no duplicate
// or unknown members, exact case, no null anywhere, decimal numbers of at most
// 15 digits, bounded depth. An open one (for stored data, and for frames of
// servers) skips null and keeps unknown members instead.
//
// The first error sticks; after it every method returns a zero value.
type scanner struct {
	b     []byte
	i     int
	depth int
	open  bool
	// borrow has strings point into b instead of being copied: they are good for as
	// long as b is not written to.
	borrow bool
	extra  []byte // an open scanner's unknown members of the outermost object: ,"name":value …
	err    error
}

func (s *scanner) fail(reason string) {
	if s.err == nil {
		s.err = invalid("", reason)
	}
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// take consumes c, which must come next.
func (s *scanner) take(c byte) bool {
	s.space()
	if s.err != nil || s.i >= len(s.b) || s.b[s.i] != c {
		s.fail(errSyntax)
		return false
	}
	s.i++
	return true
}

func (s *scanner) next() byte {
	s.space()
	if s.err != nil || s.i >= len(s.b) {
		return 0
	}
	return s.b[s.i]
}

const errSyntax = "malformed JSON"

// end checks that nothing follows.
func (s *scanner) end() {
	if s.space(); s.i < len(s.b) {
		s.fail(errSyntax)
	}
}

func (s *scanner) enter(c byte) bool {
	if !s.take(c) {
		return false
	}
	if s.depth++; s.depth > maxDepth {
		s.fail("nested too deep")
		return false
	}
	return true
}

// object reads an object and calls member for each of its names; member reads
// the value and reports whether it knows the name.
func (s *scanner) object(member func(name []byte) bool) {
	s.members(func(name []byte) bool {
		if !member(name) {
			return false
		}
		if s.err != nil {
			s.err = withinMember(string(name), s.err)
		}
		return true
	})
}

// members is object for names that are data and stay out of errors.
func (s *scanner) members(member func(name []byte) bool) {
	if !s.enter('{') {
		return
	}
	var few [24][]byte
	seen, many := few[:0], map[string]bool(nil)
	for s.next() != '}' {
		if len(seen) > 0 || many != nil {
			s.take(',')
		}
		start := s.i
		name := s.name()
		s.take(':')
		if s.err != nil {
			return
		}
		switch {
		case many != nil:
			if many[string(name)] {
				s.fail("duplicate member")
			}
			many[string(name)] = true
		default:
			for _, n := range seen {
				if string(n) == string(name) {
					s.fail("duplicate member")
				}
			}
			if seen = append(seen, name); len(seen) == cap(few) {
				many = make(map[string]bool)
				for _, n := range seen {
					many[string(n)] = true
				}
			}
		}
		if s.err != nil {
			return
		}
		if s.open && s.next() == 'n' {
			s.skip()
		} else if !member(name) {
			if !s.open {
				s.fail("unknown member")
				return
			}
			s.skip()
			if s.depth == 1 && s.err == nil {
				s.extra = append(append(s.extra, ','), trimLeft(s.b[start:s.i])...)
			}
		}
		if s.err != nil {
			return
		}
	}
	s.i++
	s.depth--
}

func trimLeft(b []byte) []byte {
	for len(b) > 0 && (b[0] == ',' || b[0] == ' ' || b[0] == '\t' || b[0] == '\n' || b[0] == '\r') {
		b = b[1:]
	}
	return b
}

// array reads an array and calls item for each element.
func (s *scanner) array(item func(i int)) {
	if !s.enter('[') {
		return
	}
	for n := 0; s.next() != ']'; n++ {
		if n > 0 {
			s.take(',')
		}
		if s.err != nil {
			return
		}
		if item(n); s.err != nil {
			s.err = withinMember(indexedField("", n), s.err)
			return
		}
	}
	s.i++
	s.depth--
}

// name reads a member's name; one with escapes is unescaped.
func (s *scanner) name() []byte {
	s.space()
	start := s.i
	borrow := s.borrow
	s.borrow = true // kept names point into b
	v := s.str()
	s.borrow = borrow
	if raw := s.i - start - 2; raw == len(v) && s.err == nil {
		return s.b[start+1 : s.i-1]
	}
	return []byte(v)
}

// str reads a string, which must be valid UTF-8 without lone surrogates.
func (s *scanner) str() string {
	if !s.take('"') {
		return ""
	}
	start := s.i
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			v := s.b[start:s.i]
			s.i++
			if !utf8.Valid(v) {
				s.fail(errSyntax)
			}
			return s.text(v)
		case c == '\\':
			return s.escaped(start)
		case c < ' ':
			s.fail(errSyntax)
			return ""
		default:
			s.i++
		}
	}
	s.fail(errSyntax)
	return ""
}

// text returns a part of b as a string.
func (s *scanner) text(v []byte) string {
	if s.borrow && len(v) > 0 {
		return unsafe.String(&v[0], len(v))
	}
	return string(v)
}

// escaped goes on with a string that began at start and has an escape at s.i.
func (s *scanner) escaped(start int) string {
	v := append([]byte(nil), s.b[start:s.i]...)
	for s.i < len(s.b) {
		c := s.b[s.i]
		s.i++
		switch {
		case c == '"':
			if !utf8.Valid(v) {
				s.fail(errSyntax)
			}
			return string(v)
		case c < ' ':
			s.fail(errSyntax)
			return ""
		case c != '\\':
			v = append(v, c)
			continue
		}
		if s.i >= len(s.b) {
			break
		}
		c = s.b[s.i]
		s.i++
		switch c {
		case '"', '\\', '/':
			v = append(v, c)
		case 'b':
			v = append(v, '\b')
		case 'f':
			v = append(v, '\f')
		case 'n':
			v = append(v, '\n')
		case 'r':
			v = append(v, '\r')
		case 't':
			v = append(v, '\t')
		case 'u':
			r := s.hex4()
			if utf16.IsSurrogate(r) {
				if s.i+1 >= len(s.b) || s.b[s.i] != '\\' || s.b[s.i+1] != 'u' {
					s.fail("lone surrogate")
					return ""
				}
				s.i += 2
				if r = utf16.DecodeRune(r, s.hex4()); r == utf8.RuneError {
					s.fail("lone surrogate")
					return ""
				}
			}
			v = utf8.AppendRune(v, r)
		default:
			s.fail(errSyntax)
			return ""
		}
	}
	s.fail(errSyntax)
	return ""
}

func (s *scanner) hex4() rune {
	if s.i+4 > len(s.b) {
		s.fail(errSyntax)
		return 0
	}
	var r rune
	for _, c := range s.b[s.i : s.i+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			s.fail(errSyntax)
			return 0
		}
	}
	s.i += 4
	return r
}

// number reads a decimal number and keeps its text. The strict form has at
// most 15 significant digits and no exponent; the open one is JSON's.
func (s *scanner) number() Decimal {
	d := s.measured()
	if s.err == nil && !s.open {
		if err := d.check(); err != nil {
			s.fail(err.(*ValidationError).Reason)
			return ""
		}
	}
	return d
}

// measured is number for measurements, which may have any number of digits.
func (s *scanner) measured() Decimal {
	s.space()
	start := s.i
	digits := func() int {
		from := s.i
		for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
			s.i++
		}
		return s.i - from
	}
	if s.err != nil {
		return ""
	}
	if s.i < len(s.b) && s.b[s.i] == '-' {
		s.i++
	}
	lead := s.i
	whole := digits()
	ok := whole == 1 || whole > 1 && s.b[lead] != '0'
	if ok && s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		ok = digits() > 0
	}
	if ok && s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		if !s.open {
			s.fail("must be a decimal number without an exponent")
			return ""
		}
		if s.i++; s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		ok = digits() > 0
	}
	if !ok {
		s.fail("must be a number")
		return ""
	}
	return Decimal(s.text(s.b[start:s.i]))
}

func (s *scanner) float() float64 {
	f, err := strconv.ParseFloat(string(s.number()), 64)
	if err != nil {
		s.fail("must be a number")
	}
	return f
}

func (s *scanner) uint() uint64 {
	d := s.number()
	n, err := strconv.ParseUint(string(d), 10, 64)
	if err != nil || !s.open && len(d) > digitsMost {
		s.fail("must be a whole number")
		return 0
	}
	return n
}

func (s *scanner) bool() bool {
	s.space()
	for _, w := range [...]string{"true", "false"} {
		if s.err == nil && len(s.b)-s.i >= len(w) && string(s.b[s.i:s.i+len(w)]) == w {
			s.i += len(w)
			return w == "true"
		}
	}
	s.fail("must be true or false")
	return false
}

// time reads an RFC 3339 time with its zone, and returns it in UTC.
func (s *scanner) time() time.Time {
	v := s.str()
	if s.err != nil {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil || !strictTime(v) || t.Year() < 1900 || t.Year() > 9998 {
		s.fail("must be an RFC 3339 time with a zone")
		return time.Time{}
	}
	return t.UTC()
}

// strictTime refuses texts that time.Parse takes beyond RFC 3339: an hour of one
// digit, a comma, an offset of 24 hours or 60 minutes and more. v has been
// parsed.
func strictTime(v string) bool {
	if len(v) < len("2006-01-02T15:04:05Z") || v[13] != ':' || strings.Contains(v, ",") {
		return false
	}
	if v[len(v)-1] == 'Z' {
		return true
	}
	offset := v[len(v)-len("+00:00"):]
	return offset[1:3] < "24" && offset[4:6] < "60"
}

func (s *scanner) strings(max int) []string {
	var list []string
	s.array(func(i int) {
		if i >= max {
			s.fail("too many")
			return
		}
		list = append(list, s.str())
	})
	return list
}

// skip reads over one value of any kind.
func (s *scanner) skip() {
	switch c := s.next(); {
	case c == '{':
		s.members(func([]byte) bool { s.skip(); return true })
	case c == '[':
		s.array(func(int) { s.skip() })
	case c == '"':
		s.str()
	case c == 't', c == 'f':
		s.bool()
	case c == 'n' && s.open && len(s.b)-s.i >= 4 && string(s.b[s.i:s.i+4]) == "null":
		s.i += 4
	case c == 'n':
		s.fail("must not be null")
	case c == '-', c >= '0' && c <= '9':
		s.number()
	default:
		s.fail(errSyntax)
	}
}

// seconds reads a duration in seconds.
func (s *scanner) seconds() time.Duration {
	f := s.float()
	if f < 0 || f > 1e9 {
		s.fail("must be seconds")
		return 0
	}
	return time.Duration(math.Round(f * float64(time.Second)))
}

// endOfValue returns where the JSON value at the beginning of b ends, by the
// grammar alone; -1 if it is broken, or not UTF-8.
func endOfValue(b []byte) int {
	d := json.NewDecoder(bytes.NewReader(b))
	var v json.RawMessage
	if d.Decode(&v) != nil || !utf8.Valid(v) {
		return -1
	}
	return int(d.InputOffset())
}
