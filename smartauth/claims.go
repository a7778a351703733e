package smartauth

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/carewire/carewire"
)

// Claims are the content of a token, or of the issuer's answer about it. They
// were checked before the host gets them.
type Claims struct {
	Issuer   string
	Subject  string // sub
	Session  string // sid, else jti; "" if the token has neither: with sid a revocation of the jti has no effect
	ID       string // jti
	Client   string // client_id, else azp
	Name     string // name, else preferred_username
	FHIRUser string // such as "Practitioner/123"
	Patient  string // the patient in context at launch
	Nonce    string // nonce: of an ID token, the one that its sign-in was asked for with
	Scopes   []Scope
	Issued   time.Time
	Expires  time.Time
	// All has every claim, as encoding/json decodes it.
	All map[string]any
}

// LogValue hides the claims from logs.
func (c Claims) LogValue() slog.Value { return slog.StringValue("smartauth.Claims{}") }

func readClaims(all map[string]any) Claims {
	text := func(names ...string) string {
		for _, n := range names {
			if s, _ := all[n].(string); s != "" {
				return s
			}
		}
		return ""
	}
	c := Claims{Issuer: text("iss"), Subject: text("sub"), Session: text("sid", "jti"), ID: text("jti"), Client: text("client_id", "azp"),
		Name: text("name", "preferred_username"), FHIRUser: text("fhirUser"), Patient: text("patient"), Nonce: text("nonce"),
		Issued: moment(all["iat"]), Expires: moment(all["exp"]), All: all}
	for _, s := range words(all["scope"], all["scp"]) {
		if scope, ok := ParseScope(s); ok {
			c.Scopes = append(c.Scopes, scope)
		}
	}
	return c
}

// words reads a claim that is a text with blanks between words, or a list.
func words(values ...any) (list []string) {
	for _, v := range values {
		switch v := v.(type) {
		case string:
			list = append(list, strings.Fields(v)...)
		case []any:
			for _, x := range v {
				if s, ok := x.(string); ok {
					list = append(list, s)
				}
			}
		}
	}
	return list
}

func moment(v any) time.Time {
	switch v := v.(type) {
	case float64:
		return time.Unix(int64(v), 0)
	case json.Number:
		if f, err := v.Float64(); err == nil {
			return time.Unix(int64(f), 0)
		}
	}
	return time.Time{}
}

// defaultPrincipal is used when Options.Principal is nil.
func defaultPrincipal(_ context.Context, c Claims) (carewire.Principal, error) {
	p := carewire.Principal{ID: c.Subject, Name: c.Name, Session: c.Session}
	kind, id, _ := strings.Cut(relative(c.FHIRUser), "/")
	switch kind {
	case "Practitioner", "PractitionerRole":
		p.Role = carewire.RoleClinician
	case "Patient":
		p.Role = carewire.RolePatient
		if c.Patient == "" {
			p.Patients = []string{id}
		}
	case "RelatedPerson":
		p.Role = carewire.RoleViewer
	case "Device":
		p.Role = carewire.RoleDevice
	default:
		if len(c.Scopes) == 0 || !onlySystem(c.Scopes) {
			return carewire.Principal{}, carewire.ErrForbidden
		}
		p.Role = carewire.RoleService
	}
	if c.Patient != "" {
		p.Patients = []string{c.Patient}
	}
	p.Groups = words(c.All["groups"])
	return p, nil
}

// relative drops everything before the last two parts of a reference.
func relative(reference string) string {
	parts := strings.Split(reference, "/")
	return strings.Join(parts[max(0, len(parts)-2):], "/")
}

func onlySystem(scopes []Scope) bool {
	for _, s := range scopes {
		if s.Context != "system" {
			return false
		}
	}
	return true
}

// audience reads aud of a token.
func audience(all map[string]any) jwt.ClaimStrings { return words(all["aud"]) }
