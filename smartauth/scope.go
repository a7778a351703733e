package smartauth

import (
	"slices"
	"strings"

	"github.com/carewire/carewire"
)

// A Scope is one SMART resource scope, such as patient/Observation.rs or the
// older patient/Observation.read (SMART App Launch 2.2.0, "Scopes for
// requesting FHIR Resources").
type Scope struct {
	Context  string // patient, user or system
	Resource string // a FHIR resource type, or *
	Letters  string // of cruds, in that order
	Query    string // after "?", which narrows the resources; "" for all
}

// ParseScope reads one scope. False means that it is no resource scope, as
// openid and launch/patient are not, or not well formed.
func ParseScope(s string) (Scope, bool) {
	kind, rest, ok := strings.Cut(s, "/")
	if !ok || kind != "patient" && kind != "user" && kind != "system" {
		return Scope{}, false
	}
	rest, query, _ := strings.Cut(rest, "?")
	resource, letters, ok := strings.Cut(rest, ".")
	if !ok || resource == "" {
		return Scope{}, false
	}
	switch letters {
	case "read":
		letters = "rs"
	case "write":
		letters = "cud"
	case "*":
		letters = "cruds"
	default:
		if !inOrder(letters) {
			return Scope{}, false
		}
	}
	return Scope{Context: kind, Resource: resource, Letters: letters, Query: query}, true
}

// inOrder reports whether letters are some of c, r, u, d, s, in that order.
func inOrder(letters string) bool {
	rest := "cruds"
	for _, l := range letters {
		i := strings.IndexRune(rest, l)
		if i < 0 {
			return false
		}
		rest = rest[i+1:]
	}
	return letters != ""
}

// A Grant maps a scope, with all of Letters on Resource, to actions.
type Grant struct {
	Resource string // of the scope; a scope for * has it too
	Letters  string // all of these are needed
	Actions  []carewire.Action
}

// DefaultGrants is the table that Options.Grants stands for when it is nil. It
// returns a new one for each call, for a host to change. A scope that is narrowed
// by a query brings nothing, since carewire cannot narrow by it.
//
// The table is carewire's own: SMART names no scopes for alerts. To answer an
// alert is to update its Flag.
func DefaultGrants() []Grant {
	return []Grant{
		{"Observation", "r", []carewire.Action{carewire.ActionWatch}},
		{"Observation", "rs", []carewire.Action{carewire.ActionHistory}},
		{"Observation", "c", []carewire.Action{carewire.ActionPublish, carewire.ActionTest}},
		{"Flag", "c", []carewire.Action{carewire.ActionRaise}},
		{"Flag", "u", []carewire.Action{carewire.ActionAnswer, carewire.ActionClose, carewire.ActionClear}},
		{"Communication", "c", []carewire.Action{carewire.ActionNotify}},
	}
}

// actions lists the actions that scopes allow by a table, each once.
func actions(scopes []Scope, table []Grant) []carewire.Action {
	list := []carewire.Action{} // not nil: a token without scopes allows nothing
	for _, s := range scopes {
		for _, g := range table {
			if s.Query != "" || s.Resource != "*" && s.Resource != g.Resource || !containsAll(s.Letters, g.Letters) {
				continue
			}
			for _, a := range g.Actions {
				if !slices.Contains(list, a) {
					list = append(list, a)
				}
			}
		}
	}
	return list
}

func containsAll(s, letters string) bool {
	for _, l := range letters {
		if !strings.ContainsRune(s, l) {
			return false
		}
	}
	return true
}
