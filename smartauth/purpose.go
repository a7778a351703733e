package smartauth

import (
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// An issuer signs access tokens, ID tokens, refresh tokens and logout tokens by
// the same keys. One must not count as another (RFC 8725, 3.11 and 3.12).

// typed reports whether the header's type is absent or one of types. A header
// with critical extensions is refused, because none is supported (RFC 7515,
// 4.1.11).
func typed(t *jwt.Token, types ...string) bool {
	if _, given := t.Header["crit"]; given {
		return false
	}
	typ, given := t.Header["typ"]
	if !given {
		return true
	}
	s, _ := typ.(string)
	return slices.Contains(types, strings.TrimPrefix(strings.ToLower(s), "application/"))
}

// forAccess reports whether no claim marks a token as one of another kind: a
// logout token or other security event, an ID token, or a refresh token.
func forAccess(claims map[string]any) bool {
	return !has(claims, "events", "nonce", "at_hash", "c_hash") && !marked(claims, "id", "refresh", "offline", "logout")
}

// forSignIn reports whether no claim marks a token as one that is no ID token.
func forSignIn(claims map[string]any) bool {
	return !has(claims, "events") && !marked(claims, "access", "bearer", "refresh", "offline", "logout")
}

func has(claims map[string]any, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { _, given := claims[name]; return given })
}

// marked reports whether the issuer calls the token one of kinds, in a claim
// that is no standard: typ (Keycloak) or token_use (Cognito).
func marked(claims map[string]any, kinds ...string) bool {
	for _, name := range []string{"typ", "token_use"} {
		if s, _ := claims[name].(string); slices.Contains(kinds, strings.ToLower(s)) {
			return true
		}
	}
	return false
}
