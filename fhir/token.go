package fhir

import "strings"

// A token is one value of a search parameter: code, or system|code.
type token struct {
	system, code string
	ofSystem     bool // it names a system; "" is then the lack of one
}

// is reports whether t means a code of a system.
func (t token) is(system, code string) bool {
	return t.code == code && (!t.ofSystem || t.system == system)
}

// readTokens reads the values that stand between commas. A backslash before a
// comma, a bar, a dollar sign or a backslash makes it text.
func readTokens(v string) (list []token, ok bool) {
	var t token
	var text []byte
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == '\\':
			if i++; i == len(v) || strings.IndexByte(`,|$\`, v[i]) < 0 {
				return nil, false
			}
			text = append(text, v[i])
		case c == '|' && t.ofSystem:
			return nil, false
		case c == '|':
			t.system, t.ofSystem, text = string(text), true, nil
		case c == ',':
			t.code = string(text)
			list, t, text = append(list, t), token{}, nil
		default:
			text = append(text, c)
		}
	}
	t.code = string(text)
	return append(list, t), true
}
