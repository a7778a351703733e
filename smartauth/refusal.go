package smartauth

import (
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"

	"github.com/carewire/carewire"
)

// A refusal is the reason for which a token lets nobody in. To errors.Is it is
// carewire.ErrUnauthenticated.
type refusal int

const (
	noToken refusal = iota
	malformed
	opaque
	wrongType
	wrongAlgorithm
	unknownKey
	wrongSignature
	wrongIssuer
	wrongAudience
	expired
	notYet
	badClaims
	inactive
	wrongNonce
	unknownPerson
)

// refusals are the words for the reasons, as Stats.Refusals lists them.
var refusals = [...]string{"missing", "malformed", "opaque", "type", "algorithm", "key", "signature", "issuer", "audience", "expired", "not_yet", "claims", "inactive", "nonce", "principal"}

func (r refusal) Error() string { return "smartauth: the token is refused: " + refusals[r] }

func (r refusal) Is(target error) bool { return target == carewire.ErrUnauthenticated }

// why returns the reason for which a parser refused a token. Of several it
// returns the one that points to the configuration.
func (a *Authenticator) why(t *jwt.Token, err error) refusal {
	switch {
	case t != nil && t.Header["alg"] != nil && (t.Method == nil || !slices.Contains(a.opt.Algorithms, t.Method.Alg())):
		return wrongAlgorithm
	case errors.Is(err, jwt.ErrTokenMalformed):
		return malformed
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		return unknownKey
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return wrongSignature
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return wrongIssuer
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return wrongAudience
	case errors.Is(err, jwt.ErrTokenExpired):
		return expired
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return notYet
	}
	return badClaims
}

const logEvery = time.Minute

// A journal logs refused tokens: a line a minute for each reason at most, because
// strangers make up tokens without end. A request without a token is counted
// only.
type journal struct {
	log       *slog.Logger
	counts    [len(refusals)]atomic.Uint64
	lines     [len(refusals)]rate.Sometimes
	noActions rate.Sometimes
	logouts   rate.Sometimes
}

func newJournal(log *slog.Logger) *journal {
	j := &journal{log: log, noActions: rate.Sometimes{Interval: logEvery}, logouts: rate.Sometimes{Interval: logEvery}}
	for i := range j.lines {
		j.lines[i].Interval = logEvery
	}
	return j
}

// refused counts a refused token, and logs it.
func (j *journal) refused(r refusal) {
	n := j.counts[r].Add(1)
	if r != noToken {
		j.lines[r].Do(func() { j.log.Warn("smartauth: a token is refused", "reason", refusals[r], "times", n) })
	}
}

// powerless logs that a good token allows nothing.
func (j *journal) powerless(times uint64) {
	j.noActions.Do(func() {
		j.log.Warn("smartauth: a token allows nothing: none of its scopes is in Options.Grants; see Options.IgnoreScopes", "reason", "scopes", "times", times)
	})
}

// logoutRefused logs a refused logout token; nil means that nobody here has the
// session that it names.
func (j *journal) logoutRefused(err error) {
	reason := "session"
	if r, ok := errors.AsType[refusal](err); ok {
		reason = refusals[r]
	}
	j.logouts.Do(func() { j.log.Warn("smartauth: a logout token is refused", "reason", reason) })
}
