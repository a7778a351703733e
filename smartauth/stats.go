package smartauth

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/carewire/carewire"
)

// Stats is a snapshot of an Authenticator's counts since it was made.
// prom.IssuerCollector and otel.IssuerProducer take them.
type Stats struct {
	Accepted  uint64 // tokens that let somebody in
	Refused   uint64 // tokens that are wrong, and requests without one
	Forbidden uint64 // tokens of people who may not come in
	Undecided uint64 // tokens about which the issuer, or the host, could not be asked

	// Refusals are the refused tokens by reason. Each reason is present:
	//
	//   - missing: a request without a token
	//   - malformed: no JWT, or longer than 8 KB
	//   - opaque: no JWT, without Options.Introspection or as an ID token
	//   - type: a token for another purpose, such as a logout token, or an ID token
	//     as an access token
	//   - algorithm: signed by an algorithm that Options.Algorithms has not
	//   - key: signed by a key that the issuer does not publish
	//   - signature: the signature is wrong
	//   - issuer, audience: those of somebody else
	//   - expired, not_yet: its time is over, or has not come (nbf, iat)
	//   - claims: a claim is missing (exp, iss, aud, sub) or has a wrong type
	//   - inactive: the issuer says, asked about it, that it does not count; so does
	//     a revoked one
	//   - nonce: of another sign-in, see Authenticator.Verify
	//   - principal: Options.Principal returned ErrUnauthenticated
	Refusals map[string]uint64
	// Powerless are valid tokens that allow nothing, because no scope is in
	// Options.Grants.
	Powerless uint64

	KeysAge    time.Duration // since the issuer last gave its keys; at Options.MaxStale nobody is let in any more
	KeysFailed uint64        // times that they could not be fetched when it was time for it

	Introspected uint64 // tokens about which the issuer was asked
	Remembered   uint64 // those that its last answer still decided

	Logouts        uint64 // logout tokens that ended access
	LogoutsRefused uint64 // logout tokens that are wrong, or of nobody known
}

// Stats returns a snapshot of the Authenticator's numbers.
func (a *Authenticator) Stats() Stats {
	c := &a.counts
	reasons := make(map[string]uint64, len(refusals))
	for r, word := range refusals {
		reasons[word] = a.journal.counts[r].Load()
	}
	return Stats{
		Accepted: c.accepted.Load(), Refused: c.refused.Load(), Forbidden: c.forbidden.Load(), Undecided: c.undecided.Load(),
		Refusals: reasons, Powerless: c.powerless.Load(),
		KeysAge: time.Since(time.Unix(0, a.fetched.Load())), KeysFailed: c.keysFailed.Load(),
		Introspected: c.introspected.Load(), Remembered: c.remembered.Load(),
		Logouts: c.logouts.Load(), LogoutsRefused: c.logoutsRefused.Load(),
	}
}

// counts are the numbers behind Stats.
type counts struct {
	accepted, refused, forbidden, undecided atomic.Uint64
	powerless                               atomic.Uint64
	keysFailed, introspected, remembered    atomic.Uint64
	logouts, logoutsRefused                 atomic.Uint64
}

// token counts the result of a token.
func (c *counts) token(err error) {
	switch {
	case err == nil:
		c.accepted.Add(1)
	case errors.Is(err, carewire.ErrUnauthenticated):
		c.refused.Add(1)
	case errors.Is(err, carewire.ErrForbidden):
		c.forbidden.Add(1)
	default:
		c.undecided.Add(1)
	}
}
