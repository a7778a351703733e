package carewire

import (
	"strconv"
	"time"
)

// An encoder appends JSON members to b. Members with a zero value are left out.
type encoder struct{ b []byte }

func (e *encoder) comma() {
	if n := len(e.b); n > 0 && e.b[n-1] != '{' && e.b[n-1] != '[' {
		e.b = append(e.b, ',')
	}
}

func (e *encoder) name(name string) {
	e.comma()
	e.b = append(append(append(e.b, '"'), name...), '"', ':')
}

func (e *encoder) str(name, v string) {
	if v != "" {
		e.name(name)
		e.b = appendString(e.b, v)
	}
}

func (e *encoder) raw(name string, v []byte) {
	if len(v) > 0 {
		e.name(name)
		e.b = append(e.b, v...)
	}
}

func (e *encoder) bool(name string, v bool) {
	if v {
		e.name(name)
		e.b = append(e.b, "true"...)
	}
}

func (e *encoder) uint(name string, v uint64) {
	if v != 0 {
		e.count(name, v)
	}
}

// count is uint that is written when it is zero, too.
func (e *encoder) count(name string, v uint64) {
	e.name(name)
	e.b = strconv.AppendUint(e.b, v, 10)
}

func (e *encoder) float(name string, v float64) {
	if v != 0 {
		e.name(name)
		e.b = strconv.AppendFloat(e.b, v, 'f', -1, 64)
	}
}

func (e *encoder) time(name string, t time.Time) {
	if !t.IsZero() {
		e.name(name)
		e.b = append(e.b, '"')
		t = t.UTC()
		e.b = t.AppendFormat(e.b, time.RFC3339) // which Go formats several times as fast as any other layout
		ms := t.Nanosecond() / 1e6
		e.b = append(e.b[:len(e.b)-1], '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z', '"')
	}
}

func (e *encoder) strings(name string, list []string) {
	if len(list) > 0 {
		e.name(name)
		e.b = append(e.b, '[')
		for _, v := range list {
			e.comma()
			e.b = appendString(e.b, v)
		}
		e.b = append(e.b, ']')
	}
}

// object writes a member that is an object, by calling f for its members.
func (e *encoder) object(name string, f func()) {
	e.name(name)
	e.b = append(e.b, '{')
	f()
	e.b = append(e.b, '}')
}

// appendString appends v as a JSON string.
func appendString(b []byte, v string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := 0; i < len(v); i++ {
		if c := v[i]; c < ' ' || c == '"' || c == '\\' {
			b = append(b, v[from:i]...)
			from = i + 1
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			default:
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
		}
	}
	return append(append(b, v[from:]...), '"')
}
