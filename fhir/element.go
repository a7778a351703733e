package fhir

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/carewire/carewire"
)

// The bounds of input.
const (
	maxDepth    = 32
	maxElements = 20000
)

// An element is one JSON value of a resource that is being read. It remembers
// whether it was taken, so that untaken elements can be listed. The methods of a
// nil element, which stands for one that is not there, return zero values.
type element struct {
	doc    *document
	path   string
	kind   byte // '{', '[', 's' string, 'n' number, 'b' boolean, '0' null
	names  []string
	by     map[string]*element
	list   []*element
	text   string // of a string, and of a number as it was written
	wanted bool   // somebody has asked for it
}

// A document is one resource; err is the first fault found in it.
type document struct {
	err   error
	count int
}

func invalid(field, reason string) error {
	return &carewire.ValidationError{Field: field, Reason: reason}
}

// parse reads one JSON object. A member that is there twice, null, text that is
// not UTF-8 and anything after the object are refused.
func parse(b []byte) (*element, error) {
	if !utf8.Valid(b) {
		return nil, invalid("", "must be UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	doc := &document{}
	root := doc.read(d, "", 0)
	if doc.err == nil {
		if _, err := d.Token(); err != io.EOF {
			doc.err = invalid("", "must be one JSON object")
		}
	}
	if doc.err == nil && root.kind != '{' {
		doc.err = invalid("", "must be one JSON object")
	}
	if doc.err != nil {
		return nil, doc.err
	}
	return root, nil
}

func (doc *document) fail(path, reason string) {
	if doc.err == nil {
		doc.err = invalid(path, reason)
	}
}

func (doc *document) read(d *json.Decoder, path string, depth int) *element {
	e := &element{doc: doc, path: path}
	if doc.count++; depth > maxDepth || doc.count > maxElements {
		doc.fail(path, "too deep or too large")
		return e
	}
	token, err := d.Token()
	if err != nil {
		doc.fail(path, "must be JSON")
		return e
	}
	switch t := token.(type) {
	case json.Delim:
		e.kind = byte(t)
		if e.kind == '{' {
			e.by = make(map[string]*element)
		}
		for d.More() && doc.err == nil {
			e.readMember(d, depth)
		}
		if doc.err == nil {
			if _, err := d.Token(); err != nil {
				doc.fail(path, "must be JSON")
			}
		}
	case string:
		e.kind, e.text = 's', t
	case json.Number:
		e.kind, e.text = 'n', string(t)
	case bool:
		e.kind, e.text = 'b', strconv.FormatBool(t)
	default:
		e.kind = '0'
		if !inPrimitiveExtensions(path) {
			doc.fail(path, "must not be null")
		}
	}
	return e
}

// inPrimitiveExtensions reports whether path is in an array beside one of primitives,
// where null stands for "nothing here".
func inPrimitiveExtensions(path string) bool { return len(path) > 0 && path[len(path)-1] == ']' }

// readMember reads the next member of an object or element of an array.
func (e *element) readMember(d *json.Decoder, depth int) {
	if e.kind == '[' {
		e.list = append(e.list, e.doc.read(d, e.path+"["+strconv.Itoa(len(e.list))+"]", depth+1))
		return
	}
	token, err := d.Token()
	name, ok := token.(string)
	if err != nil || !ok {
		e.doc.fail(e.path, "must be JSON")
		return
	}
	path := name
	if !safeName(name) {
		path = "?" // a name that is none may be anything, also something about a person
	}
	if e.path != "" {
		path = e.path + "." + path
	}
	if e.by[name] != nil {
		e.doc.fail(path, "must not be there twice")
		return
	}
	e.names = append(e.names, name)
	e.by[name] = e.doc.read(d, path, depth+1)
}

// safeName reports whether s looks like an element's name.
func safeName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i] | 0x20
		if !(c >= 'a' && c <= 'z' || s[i] >= '0' && s[i] <= '9' || s[i] == '_' && i == 0) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// get returns a member.
func (e *element) get(name string) *element {
	if e == nil {
		return nil
	}
	e.want('{', "must be an object")
	return e.by[name]
}

// items returns the elements of an array.
func (e *element) items() []*element {
	if e == nil || !e.want('[', "must be a list") {
		return nil
	}
	return e.list
}

// str returns a string's text.
func (e *element) str() string {
	if e == nil || !e.want('s', "must be a string") {
		return ""
	}
	if e.text == "" {
		e.doc.fail(e.path, "must not be empty")
	}
	return e.text
}

// number returns a number with all its digits, and without an exponent.
func (e *element) number() carewire.Decimal {
	if e == nil || !e.want('n', "must be a number") {
		return ""
	}
	d, ok := plain(e.text)
	if !ok {
		e.doc.fail(e.path, "must not have an exponent beyond 30")
	}
	return d
}

// plain returns a number of JSON as it is without its exponent: 3.70e1 is 37.0.
func plain(text string) (carewire.Decimal, bool) {
	at := strings.IndexAny(text, "eE")
	if at < 0 {
		return carewire.Decimal(text), true
	}
	exponent, err := strconv.Atoi(text[at+1:])
	if err != nil || exponent < -30 || exponent > 30 {
		return "", false
	}
	digits, minus := strings.CutPrefix(text[:at], "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	digits, point := whole+fraction, len(whole)+exponent
	if point < 1 {
		digits, point = strings.Repeat("0", 1-point)+digits, 1
	}
	digits += strings.Repeat("0", max(0, point-len(digits)))
	whole, fraction = strings.TrimLeft(digits[:point-1], "0")+digits[point-1:point], digits[point:]
	if fraction != "" {
		whole += "." + fraction
	}
	if minus {
		whole = "-" + whole
	}
	return carewire.Decimal(whole), true
}

func (e *element) want(kind byte, reason string) bool {
	e.wanted = true
	if e.kind != kind {
		e.doc.fail(e.path, reason)
		return false
	}
	return true
}

// take marks an element with all that is in it as said.
func (e *element) take() {
	if e == nil {
		return
	}
	e.wanted = true
	for _, m := range e.by {
		m.take()
	}
	for _, m := range e.list {
		m.take()
	}
}

// untake marks an element, which was looked at, with all that is in it as not said.
func (e *element) untake() {
	e.wanted = false
}

// left returns the paths of unused elements, without those inside them.
func (e *element) left() []string {
	if !e.wanted {
		return []string{e.path}
	}
	var paths []string
	for _, name := range e.names {
		paths = append(paths, e.by[name].left()...)
	}
	for _, m := range e.list {
		paths = append(paths, m.left()...)
	}
	slices.Sort(paths)
	return paths
}

// coding returns the first coding of a CodeableConcept that accept takes, and
// marks its other members as taken.
func (e *element) coding(accept func(system, code string) bool) (system, code string, ok bool) {
	for _, c := range e.get("coding").items() {
		s, k := c.get("system"), c.get("code")
		if s == nil || k == nil || !accept(s.text, k.text) {
			c.untake()
			continue
		}
		system, code = s.str(), k.str()
		c.get("display").take()
		c.get("userSelected").take()
		return system, code, true
	}
	return "", "", false
}
