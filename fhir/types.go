package fhir

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/carewire/carewire"
)

// The data types of FHIR, with the members that carewire writes.

type coding struct {
	System  string `json:"system,omitempty"`
	Code    string `json:"code,omitempty"`
	Display string `json:"display,omitempty"`
}

type concept struct {
	Coding []coding `json:"coding,omitempty"`
	Text   string   `json:"text,omitempty"`
}

type identifier struct {
	Use    string `json:"use,omitempty"`
	System string `json:"system,omitempty"`
	Value  string `json:"value"`
}

type reference struct {
	Reference  string      `json:"reference,omitempty"`
	Type       string      `json:"type,omitempty"`
	Identifier *identifier `json:"identifier,omitempty"`
	Display    string      `json:"display,omitempty"`
}

type quantity struct {
	Value      json.RawMessage `json:"value"` // the Decimal's text
	Comparator string          `json:"comparator,omitempty"`
	Unit       string          `json:"unit,omitempty"`
	System     string          `json:"system,omitempty"`
	Code       string          `json:"code,omitempty"`
}

type period struct {
	Start string `json:"start,omitempty"`
	End   string `json:"end,omitempty"`
}

type meta struct {
	VersionID   string   `json:"versionId,omitempty"`
	LastUpdated string   `json:"lastUpdated,omitempty"`
	Profile     []string `json:"profile,omitempty"`
	Security    []coding `json:"security,omitempty"`
	Tag         []coding `json:"tag,omitempty"`
}

// orNil returns m, or nil if it says nothing.
func (m *meta) orNil() *meta {
	if m.VersionID == "" && m.LastUpdated == "" && m.Profile == nil && m.Security == nil && m.Tag == nil {
		return nil
	}
	return m
}

func oneCoding(system, code, display string) concept {
	return concept{Coding: []coding{{system, code, display}}}
}

// encode writes a resource as JSON. The types of this package cannot fail.
func encode(resource any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(resource); err != nil {
		return nil
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// instant writes a time as FHIR's instant and dateTime have it; "" for the zero time.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// validLogicalID reports whether s may be the logical ID of a resource.
func validLogicalID(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i] | 0x20
		if !(c >= 'a' && c <= 'z' || s[i] >= '0' && s[i] <= '9' || s[i] == '-' || s[i] == '.') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// refer names something by its logical ID, or by an identifier where carewire's
// ID cannot be a logical one.
func refer(typ, id string) *reference {
	if validLogicalID(id) {
		return &reference{Reference: typ + "/" + id}
	}
	return &reference{Type: typ, Identifier: &identifier{Value: id}}
}

// named names something that is no resource here by its identifier.
func named(typ, id, display string) *reference {
	return &reference{Type: typ, Identifier: &identifier{Value: id}, Display: display}
}

// id returns the ID of the typ that a Reference names: by its logical ID, also
// in an absolute URL, else by its identifier.
func (e *element) id(typ string) string {
	if e == nil {
		return ""
	}
	e.get("display").take()
	if t := e.get("type"); t != nil && t.str() != typ {
		e.doc.fail(e.path, "must be a reference to "+typ)
	}
	r := e.get("reference")
	if r == nil {
		v := e.get("identifier").get("value")
		if v == nil {
			e.doc.fail(e.path, "must be a reference or an identifier")
		}
		return v.str()
	}
	text := strings.Split(r.str(), "/_history/")[0]
	i := strings.LastIndexByte(text, '/')
	if i < 0 || !strings.HasSuffix("/"+text[:i], "/"+typ) {
		e.doc.fail(r.path, "must be a reference to "+typ)
		return ""
	}
	return text[i+1:]
}

// number writes a Decimal as it is.
func number(d carewire.Decimal) json.RawMessage { return json.RawMessage(d) }
