package fhir

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// The system of identifiers that are URIs, which need no other; the second is how
// HL7's own examples write it.
const (
	systemURIs    = "urn:ietf:rfc3986"
	systemURIsToo = "urn:ietf:rfc:3986"
)

// identifierID returns the ID in carewire that stands for an identifier: its value,
// if it has no system, or is a URI, and can be an ID, else a digest of both. So the
// same value of two systems is two things.
func identifierID(system, value string) string {
	if system == systemURIs || system == systemURIsToo {
		system = ""
	}
	switch {
	case system != "":
		return digestID(system + "\x00" + value)
	case validID(value):
		return value
	}
	return digestID(value)
}

func digestID(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// validID reports whether s may be an ID of carewire's.
func validID(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-") == ""
}

// identifier returns the ID of an Identifier that has a value, and adds to unsaid
// its parts that are not kept.
func (e *element) identifier(unsaid *[]string) string {
	system, value := "", e.get("value").str()
	if s := e.get("system"); s != nil {
		system = s.str()
	}
	id := identifierID(system, value)
	switch {
	case id == value && system != "":
		*unsaid = append(*unsaid, e.path+".system")
	case id != value && system != "":
		*unsaid = append(*unsaid, e.path)
	case id != value:
		*unsaid = append(*unsaid, e.path+".value")
	}
	return id
}
