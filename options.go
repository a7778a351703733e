package carewire

import (
	"context"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"time"
)

// Options configure a Hub. Nil Options and zero fields mean the defaults.
// A negative limit disables that limit.
type Options struct {
	// Who may do what, and who is told.

	// Authorizer decides who may do what. Nil means the default rules.
	Authorizer Authorizer
	// Directory resolves groups to patients. Nil means that groups have no patients.
	Directory Directory
	// Policy names the people to tell of an alert, step by step. Nil means the
	// people the alert is addressed to, every 60 seconds.
	Policy Policy
	// Pager tells people beyond carewire. Nil means that only clients are told.
	Pager Pager
	// Auditor keeps the audit trail. Nil means NewSlogAuditor(Logger, nil).
	Auditor Auditor
	// Resolve names the patient of a Vital that a gateway knows by its bed or
	// device. It is called before the Vital is validated. ErrNotFound, or
	// ErrForbidden, means that there is no such patient; any other error that this
	// cannot be said now: the Vital is then undecided, its sender tries again, and it
	// is logged and counted (Stats.Unresolved). Nil means that every Vital names its
	// patient itself.
	Resolve func(context.Context, Principal, *Vital) error
	// ResolveAlert does the same for alerts that clients raise, clear and answer: it
	// may change ref.Patient, which is an ID, and nothing else of ref counts.
	ResolveAlert func(ctx context.Context, p Principal, ref *AlertRef) error
	// AgeClass says how old a patient is, which decides what is plausible of their
	// vitals. It is called once for each patient of a publish. Nil, or an error,
	// means AgeAdult.
	AgeClass func(ctx context.Context, patient string) (AgeClass, error)
	// Person names a person who may not be connected, by Principal.ID: an alert is
	// assigned and handed over to those only who may answer, and an acceptance ends
	// with its right. It is given CallTimeout and may panic without harm; an error
	// means undecided. Nil means that a person is as their last session on this node
	// said.
	Person func(ctx context.Context, id string) (Principal, error)
	// SilencePriority says how urgent it is that a device of a patient is not heard,
	// or a gateway with devices of several. promised says that the device has said
	// when it sends (Vital.Every); else it has kept a pace. Nil, "" or an error means
	// medium for the first and low for the second.
	SilencePriority func(ctx context.Context, patient string, promised bool) (Priority, error)
	// PromisedOnly turns off that a device which has kept a regular pace is expected
	// to go on: then only those are expected whose vitals have Every.
	PromisedOnly bool
	// TestRecipients are paged for test alerts, as person:ID, group:ID or
	// role:NAME. None means that nobody is paged for them.
	TestRecipients []string

	// Where requests may come from.

	// Origins are the origins, such as "https://ehr.example", whose pages may
	// connect, besides those of the Hub's own host.
	Origins []string
	// Hosts are the host names that requests may use. Others are answered 421.
	// None means any name.
	Hosts []string
	// TrustedProxies are the proxies whose X-Forwarded-For gives the client's
	// address. None means that the address of the connection counts.
	TrustedProxies []netip.Prefix
	// TicketsInStore keeps one-time tickets in the Store, in the log of the
	// system, so that of several nodes any takes what another gave, and only one.
	// Each costs two entries. False means this Hub's memory: a client must then
	// come back to the node that gave it the ticket.
	TicketsInStore bool

	// Limits on connections. What is refused is counted in Stats.Limits.

	// MaxConnections bounds all connections, event streams and requests by POST
	// included. Further handshakes are answered 429. The default is 100,000.
	MaxConnections int
	// MaxPerPrincipal bounds the connections of one principal. Further
	// handshakes are answered 429. The default is 256.
	MaxPerPrincipal int
	// MaxPerAddress bounds the connections of one address, or of one /64 of
	// IPv6. Further handshakes are answered 429. The default is 10,000.
	MaxPerAddress int
	// MaxAuthenticating bounds the calls of the Authenticator at one time.
	// A handshake that finds no place within CallTimeout is answered 503.
	// The default is 256.
	MaxAuthenticating int
	// MaxAuthorizing bounds the calls of the Authorizer at one time. A request
	// that finds no place within CallTimeout is undecided. The default is 64.
	MaxAuthorizing int

	// Limits on requests.

	// MaxFrame is the size of the largest request, in bytes. A larger one ends
	// the connection with 1009. The default is 65,536.
	MaxFrame int
	// MaxRequests is the sustained number of requests per second of one
	// connection, or of one principal by POST; all connections of a principal
	// together have four times that. Bursts of twice that are allowed. A list of
	// names, and vitals that are refused, count as more than one request.
	// Excess requests get busy; a client that goes on is ended with 1008.
	// The default is 1,000.
	MaxRequests int
	// MaxPublishes bounds the publishes of one connection that are under way.
	// At the limit the connection is not read from. The default is 64.
	MaxPublishes int
	// MaxVitals bounds the vitals of one publish. A larger one is invalid.
	// The default is 100.
	MaxVitals int
	// MaxPatients bounds the patients watched by one connection. Further ones
	// are refused with limit. The default is 500.
	MaxPatients int
	// MaxGroups bounds the groups watched by one connection. Further ones are
	// refused with limit. The default is 50.
	MaxGroups int
	// MaxHistory bounds the entries of one page of history. The default is 200.
	MaxHistory int
	// MaxAlerts bounds the open alerts of one patient that come from one source, for
	// each priority by itself; there is room for five times as many high ones, and
	// for ten times as many of the host's own. A further raise is refused with limit
	// (a high one may be tried again), and an alert in the log of the system tells of
	// it. The default is 200.
	MaxAlerts int
	// MaxNotices bounds the open notices from one client's principal to one
	// addressee. A further one is refused with limit. The default is 100.
	MaxNotices int
	// NoticeLife is how long a notice stays open that not everyone addressed has
	// read: they may have left. The log keeps it. The default is 7 days; a negative
	// value means for ever.
	NoticeLife time.Duration
	// MaxKeys bounds the different vitals of one patient. The default is 256.
	MaxKeys int
	// KeyLife is how long a vital's key that is not heard keeps its place when a
	// patient has MaxKeys of them. One that is not heard for seven days is no
	// longer among the newest vitals in any case. The default is 24 hours.
	KeyLife time.Duration
	// MaxSignals bounds the waves of one patient that are live. A chunk of a
	// further one is refused with limit. The default is 32.
	MaxSignals int

	// Limits on what waits for clients.

	// MaxOutboxBytes bounds the events that wait for one connection, in bytes.
	// Beyond it events are read from the Store later; a client with more
	// replies than that is ended with 1013. The default is 1,048,576.
	MaxOutboxBytes int
	// MaxTotalOutboxBytes bounds the events and replies that wait for all
	// connections together, in bytes, with the same consequences. Connections
	// with less than 65,536 do not count. The default is 536,870,912.
	MaxTotalOutboxBytes int
	// MaxReplay bounds the events that a client with delivery every is sent
	// again. A client farther behind gets the newest vitals, and sync says so.
	// The default is 10,000.
	MaxReplay int

	// Times.

	// AlertLag is how long an event that cannot be dropped may wait for a
	// client before its connection is ended. The default is 30 seconds.
	AlertLag time.Duration
	// MessageTimeout bounds the time from a message's first fragment to its
	// last, to within four seconds. A slower message ends the connection with
	// 3008. The default is 10 seconds.
	MessageTimeout time.Duration
	// IdleTimeout ends a connection with 3008 when neither a message nor a pong
	// has come for so long. Pings are sent before that. It is at least 15
	// seconds; the default is 35 seconds.
	IdleTimeout time.Duration
	// CallTimeout bounds each call of the host's code. The default is 5 seconds.
	CallTimeout time.Duration
	// ReportWithin is how long a page of a Pager that is a PageReporter may be
	// without a report until it counts as one that has reached nobody. The
	// default is 30 seconds.
	ReportWithin time.Duration
	// MaxHold bounds how long an acceptance holds, by the alert's priority.
	MaxHold Holds
	// HandoverWithin is how long an alert that is being handed over stays with
	// whoever gives it. If nobody has accepted by then, the acceptance ends. The
	// default is 10 minutes.
	HandoverWithin time.Duration
	// MaxPause bounds a Pause. The default is 10 minutes; a negative value allows a
	// day.
	MaxPause time.Duration
	// Recheck is how often access to what is watched is asked for again. The
	// default is 60 seconds; a negative value means never.
	Recheck time.Duration

	// The rest.

	// Strips is the least priority of physiological alerts with which a Strip is
	// kept of patients whose waves this Hub gets, of up to 40 KB. The default is
	// medium; NoStrips keeps none.
	Strips Priority
	// Retention says what a Store that is a Pruner may forget. Vitals are kept
	// for 30 days by default, everything else for ever; a negative value means
	// for ever. The Hub says it in the log when it starts.
	Retention Retention
	// Lanes is the number of lanes that patients are spread over. The default
	// is one for each processor.
	Lanes int
	// Trace follows appends, pages and calls of the host's code. Nil means none.
	Trace Trace
	// Logger gets no health data. Nil means slog.Default().
	Logger *slog.Logger
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
	number(&c.MaxNotices, 100)
	number(&c.MaxTotalOutboxBytes, 512<<20)
	number(&c.MaxKeys, 256)
	number(&c.MaxSignals, 32)
	if c.Strips.rank() == 0 && c.Strips != NoStrips {
		c.Strips = PriorityMedium
	}
	number(&c.MaxOutboxBytes, 1<<20)
	number(&c.MaxReplay, 10000)
	number(&c.Lanes, runtime.GOMAXPROCS(0))
	duration := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		} else if *d < 0 {
			*d = 1 << 60
		}
	}
	duration(&c.KeyLife, 24*time.Hour)
	duration(&c.NoticeLife, 7*24*time.Hour)
	duration(&c.AlertLag, 30*time.Second)
	duration(&c.CallTimeout, 5*time.Second)
	duration(&c.MaxHold.High, time.Hour)
	duration(&c.MaxHold.Medium, 4*time.Hour)
	duration(&c.MaxHold.Low, 24*time.Hour)
	duration(&c.HandoverWithin, 10*time.Minute)
	duration(&c.MaxPause, 10*time.Minute)
	duration(&c.ReportWithin, 30*time.Second)
	duration(&c.Recheck, time.Minute)
	duration(&c.MessageTimeout, 10*time.Second)
	duration(&c.IdleTimeout, 35*time.Second)
	c.IdleTimeout = max(c.IdleTimeout, 15*time.Second)
	if c.Retention.Vitals == 0 {
		c.Retention.Vitals = 30 * 24 * time.Hour
	}
	c.Retention = Retention{Vitals: max(c.Retention.Vitals, 0), Others: max(c.Retention.Others, 0)}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Auditor == nil {
		c.Auditor = NewSlogAuditor(c.Logger, nil)
	}
	return c
}
