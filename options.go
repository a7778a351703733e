package carewire

import (
	"context"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"time"
)

// Options are what a host may choose. Nil options, and zero fields, mean the
// defaults; a negative number means no limit where a limit is spoken of.
type Options struct {
	Authorizer Authorizer // decides instead of the default rules; nil: these
	Directory  Directory  // resolves groups; nil: groups have no patients
	Policy     Policy     // whom to tell of an alert, step by step; nil: whom it is addressed to, every 60 s
	Notifier   Notifier   // tells people beyond carewire; nil: only clients are told
	Auditor    Auditor    // keeps the audit trail; nil: NewSlogAuditor(Logger, nil)

	// Resolve names the patient of a Vital that a gateway knows by its bed or
	// device. It is called before the Vital is validated; nil: not at all.
	Resolve func(context.Context, Principal, *Vital) error

	// Origins are the origins, such as "https://ehr.example", whose pages may
	// connect, beside those of the Hub's own host.
	Origins []string
	// Hosts are the names under which requests may come; none: any. Others are
	// answered 421.
	Hosts []string
	// TicketsInStore keeps one-time tickets in the Store, in the log of the
	// system, so that of several nodes any takes what another gave, and only one.
	// Each costs two entries. false: in this Hub's memory; a client must then come
	// back to the node that gave it the ticket.
	TicketsInStore bool
	// TrustedProxies are those whose X-Forwarded-For counts as the client's
	// address; none: the address of the connection does.
	TrustedProxies []netip.Prefix
	// TestRecipients are paged for test alerts: person:ID, group:ID, role:NAME.
	TestRecipients []string

	// Limits. What is refused for one is counted in Stats.Limits.
	MaxConnections    int           // in all, event streams and requests by POST among them; beyond, handshakes are answered 429; 0: 100,000
	MaxPerPrincipal   int           // connections of one principal, likewise; 0: 256
	MaxPerAddress     int           // connections of one address (of IPv6 a /64), likewise; see TrustedProxies; 0: 10,000
	MaxAuthenticating int           // calls of the Authenticator at once; beyond, and CallTimeout later, 503; 0: 256
	MaxAuthorizing    int           // calls of the Authorizer at once; beyond, and CallTimeout later, undecided; 0: 64
	MaxFrame          int           // bytes of a request; longer ones end the connection (1009); 0: 65,536
	MaxRequests       int           // of one connection, or of one principal by POST, in a second, twice as many at once; beyond: busy, and 1008 for who does not wait; 0: 1,000
	MaxPublishes      int           // of one connection under way; beyond, it is not read from; 0: 64
	MaxVitals         int           // in one publish; beyond: invalid; 0: 100
	MaxPatients       int           // watched by one connection; beyond: limit; 0: 500
	MaxGroups         int           // watched by one connection; beyond: limit; 0: 50
	MaxHistory        int           // entries in one page; 0: 200
	MaxAlerts         int           // open at once for one patient; a client's raise beyond: limit, and an alert in the log @system; 0: 200
	TotalOutboxBytes  int           // events and replies waiting for all connections together, those with less than 65,536 left out; beyond, events are read from the Store later, and who has more replies is ended (1013); 0: 536,870,912
	Keys              int           // different vitals of one patient; 0: 256
	OutboxBytes       int           // events waiting for one connection; beyond, likewise; 0: 1,048,576
	Replay            int           // events that a client with delivery every is sent again; one farther behind gets the newest vitals, and sync says so; 0: 10,000
	AlertLag          time.Duration // an undroppable event that waits longer for a client ends its connection; 0: 30 s
	MessageTimeout    time.Duration // from a message's first fragment to its last; beyond: 3008; looked at every four seconds; 0: 10 s
	IdleTimeout       time.Duration // without a message or pong, pings are sent before; beyond: 3008; at least 15 s; 0: 35 s
	CallTimeout       time.Duration // of each call of the host's code; 0: 5 s
	Recheck           time.Duration // how often access to what is watched is asked for again; 0: 60 s; negative: never
	Retention         Retention     // of a Store that is a Pruner; zero: for ever
	Lanes             int           // 0: one for each processor
	Logger            *slog.Logger  // gets no health data; nil: slog.Default()
}

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	c.Origins, c.Hosts, c.TestRecipients = slices.Clone(c.Origins), slices.Clone(c.Hosts), slices.Clone(c.TestRecipients)
	c.TrustedProxies = slices.Clone(c.TrustedProxies)
	number := func(n *int, def int) {
		if *n == 0 {
			*n = def
		} else if *n < 0 {
			*n = 1 << 30
		}
	}
	number(&c.MaxConnections, 100000)
	number(&c.MaxFrame, 64<<10)
	number(&c.MaxVitals, 100)
	number(&c.MaxPatients, 500)
	number(&c.MaxPerPrincipal, 256)
	number(&c.MaxPerAddress, 10000)
	number(&c.MaxAuthenticating, 256)
	number(&c.MaxAuthorizing, 64)
	number(&c.MaxRequests, 1000)
	number(&c.MaxPublishes, 64)
	number(&c.MaxGroups, 50)
	number(&c.MaxHistory, 200)
	number(&c.MaxAlerts, 200)
	number(&c.TotalOutboxBytes, 512<<20)
	number(&c.Keys, 256)
	number(&c.OutboxBytes, 1<<20)
	number(&c.Replay, 10000)
	number(&c.Lanes, runtime.GOMAXPROCS(0))
	duration := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		} else if *d < 0 {
			*d = 1 << 60
		}
	}
	duration(&c.AlertLag, 30*time.Second)
	duration(&c.CallTimeout, 5*time.Second)
	duration(&c.Recheck, time.Minute)
	duration(&c.MessageTimeout, 10*time.Second)
	duration(&c.IdleTimeout, 35*time.Second)
	c.IdleTimeout = max(c.IdleTimeout, 15*time.Second)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Auditor == nil {
		c.Auditor = NewSlogAuditor(c.Logger, nil)
	}
	return c
}
