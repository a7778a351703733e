package carewire

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"time"
)

// Options configure a Hub. Nil Options and zero fields mean the defaults.
// A negative limit disables that limit.
type Options struct {
	// Access, and the people to tell.

	// Authorizer decides which actions each principal may do. Nil means the
	// default rules.
	Authorizer Authorizer
	// Directory resolves groups to patients. Nil means that groups have no patients.
	Directory Directory
	// Policy names the people to tell of an alert, step by step. Nil means the
	// people the alert is addressed to, every 60 seconds.
	Policy Policy
	// Pager reaches people outside carewire, such as by SMS. Nil means that
	// only connected clients are told.
	Pager Pager
	// Auditor keeps the audit trail. Nil means NewSlogAuditor(Logger, nil).
	Auditor Auditor
	// Resolve names the patient of a Vital that a gateway knows only by bed or
	// device. The Hub calls it before it validates the Vital. It also calls it
	// for each chunk of a Wave, with a Vital that has only the signal's
	// identification and Time. ErrNotFound and ErrForbidden mean that there is
	// no such patient. Any other error leaves the Vital undecided: the Hub logs
	// and counts it (Stats.Unresolved), and its sender tries again. Nil means
	// that every Vital names its patient itself.
	Resolve func(context.Context, Principal, *Vital) error
	// ResolveAlert does the same for alerts that clients raise, clear and
	// answer. It may change ref.Patient, which must be an ID. Other changes of
	// ref are ignored.
	ResolveAlert func(ctx context.Context, p Principal, ref *AlertRef) error
	// AgeClass returns the age class of a patient, which decides the plausible
	// values of their vitals. The Hub calls it once for each patient of a
	// publish. Nil, or an error, means AgeAdult.
	AgeClass func(ctx context.Context, patient string) (AgeClass, error)
	// Person returns the principal of a person who may not be connected, by
	// Principal.ID. The Hub assigns and hands over alerts only to persons who
	// may answer, and ends acceptances of persons who no longer may. Each call
	// is bounded by CallTimeout. ErrForbidden and ErrNotFound mean that the
	// person may no longer answer for anybody. Another error, a panic or a
	// Principal with another ID means undecided: acceptances stay. Nil means
	// that the Hub uses the person's last session on this node.
	Person func(ctx context.Context, id string) (Principal, error)
	// SilencePriority is the priority of the alert for a silent device of a
	// patient, or for a silent gateway with devices of several patients.
	// promised reports that the device promised its readings (Vital.Every);
	// otherwise it has kept a regular pace. Nil, "" or an error means medium
	// for promised readings and low for the others.
	SilencePriority func(ctx context.Context, patient string, promised bool) (Priority, error)
	// PromisedOnly limits the expectation of readings to devices that promise
	// them by Vital.Every. By default the Hub also expects readings of a device
	// that has kept a regular pace.
	PromisedOnly bool
	// TestRecipients are paged for test alerts, as person:ID, group:ID or
	// role:NAME. By default nobody is paged for them.
	TestRecipients []string

	// The origin of requests.

	// Senders makes several principals one sender, such as the uploaders of one
	// device's data, which may send the same data twice. Keys are the IDs of
	// principals. Values are the name that they share in the log, such as the
	// ID of one of them. The same vital_id from two of them is then the same
	// vital, and each can clear the alerts of the others. Any other principal
	// is a sender of its own.
	Senders map[string]string

	// Origins are the origins, such as "https://ehr.example", whose pages may
	// connect, in addition to the Hub's own host.
	Origins []string
	// Hosts are the host names that requests may use. Others are answered 421.
	// None means any name.
	Hosts []string
	// TrustedProxies are the proxies whose X-Forwarded-For header gives the
	// client's address. None means that the address of the connection counts.
	TrustedProxies []netip.Prefix
	// TicketsInStore keeps one-time tickets in the Store, in the log of the
	// system. Then any node accepts a ticket of another, and only one node
	// does. Each ticket costs two entries. By default tickets are in this Hub's
	// memory, and a client must return to the node that gave it the ticket.
	TicketsInStore bool

	// Limits on connections. Stats.Limits counts refusals.

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
	// connection, or of one principal by POST; bursts of twice that are
	// allowed. All connections of a principal together have four times that. A
	// list of names and refused vitals count as more than one request. Excess
	// requests get busy. A client that continues is disconnected with 1008. The
	// default is 1,000.
	MaxRequests int
	// MaxBytes is the sustained number of bytes per second of the requests of one
	// principal, over all its connections and by POST. Bursts of twice that, and of
	// one request, are allowed. Excess requests get busy, as with MaxRequests. The
	// default, 0, and a negative value mean no limit.
	MaxBytes int
	// MaxPublishes bounds the concurrent publishes of one connection. At the
	// limit the Hub stops reading from the connection. The default is 64.
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
	// MaxAlerts bounds the open alerts of one patient from one source, for each
	// priority separately, and test alerts apart from real ones. The bound is five times as high for high alerts, and
	// ten times as high for the host's own. A further raise is refused with
	// limit (a high one may be retried), and an alert in the log of the system
	// reports it. The default is 200.
	MaxAlerts int
	// MaxSourceAlerts bounds in the same way the open alerts of all patients together
	// that come from one source. The default is 10,000.
	MaxSourceAlerts int
	// MaxNotices bounds the open notices from one client's principal to one
	// addressee. A further one is refused with limit. The default is 100.
	MaxNotices int
	// MaxSenderNotices bounds in the same way the open notices of one client's
	// principal to all addressees together. The default is 500.
	MaxSenderNotices int
	// NoticeLife is how long a notice stays open if not every addressee reads
	// it. The log keeps the notice after that. The default is 7 days; a
	// negative value means for ever.
	NoticeLife time.Duration
	// MaxKeys bounds the different keys of one patient's vitals. The default is
	// 256.
	MaxKeys int
	// KeyLife is how long a key without readings keeps its place when a patient
	// has MaxKeys of them. In any case, a key without readings for seven days
	// leaves the newest vitals. The default is 24 hours.
	KeyLife time.Duration
	// MaxSignals bounds the live signals of one patient. A chunk of a further
	// signal is refused with limit. The default is 32.
	MaxSignals int

	// Limits on the output of connections.

	// MaxOutboxBytes bounds the waiting events of one connection, in bytes.
	// Further events are read from the Store later. A client with more replies
	// than that is disconnected with 1013. The default is 1,048,576.
	MaxOutboxBytes int
	// MaxTotalOutboxBytes bounds the waiting events and replies of all
	// connections together, in bytes, with the same consequences. Connections
	// with less than 65,536 do not count. The default is 536,870,912.
	MaxTotalOutboxBytes int
	// MaxReplay bounds the events that a client with delivery every gets again
	// when it resumes. A client farther behind gets the newest vitals only, and
	// sync says so. The default is 10,000.
	MaxReplay int

	// Times.

	// AlertLag is how long an undroppable event may wait for a client. Then the
	// Hub closes the connection. The default is 30 seconds.
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
	// ReportWithin is how long the Hub waits for the report on a page of a
	// PageReporter. Without a report the page counts as not reached. The
	// default is 30 seconds.
	ReportWithin time.Duration
	// MaxHold bounds how long an acceptance holds, by the alert's priority.
	MaxHold Holds
	// HandoverWithin is how long an alert stays with the person who hands it
	// over. If nobody has accepted it by then, the acceptance ends. The default
	// is 10 minutes.
	HandoverWithin time.Duration
	// MaxPause bounds a Pause. The default is 10 minutes; a negative value
	// allows a day.
	MaxPause time.Duration
	// Recheck is the interval at which the Hub authorises watches again. The
	// default is 60 seconds; a negative value means never.
	Recheck time.Duration

	// Storage and diagnostics.

	// Strips is the lowest priority of physiological alerts for which the Hub
	// keeps a Strip, of up to 40 KB, if it receives waves of the patient. The
	// default is medium; NoStrips keeps none.
	Strips Priority
	// Retention is how long a Store that is a Pruner keeps entries. By default
	// vitals are kept for 30 days and all other entries for ever; a negative
	// value means for ever. The Hub logs the retention when it starts.
	Retention Retention
	// Relay carries messages between the Hubs on one Store, so that each learns at
	// once of the others' events, and shows the waves that come in at others. Nil
	// means that a Hub learns of them from the Store, by its wake-ups (Waker) and by
	// looking regularly, and shows only the waves that it gets itself. The Hub does
	// not close the Relay.
	Relay Relay
	// Lanes is the number of lanes that share the patients. The default is one
	// for each processor. With a Store that is a Spread, there is one lane for
	// each part instead.
	Lanes int
	// Trace traces appends, pages and calls of the host's code. Nil means none.
	Trace Trace
	// EmergencyUnaudited allows break-glass access while the Auditor takes no
	// records. The grant appears in the patient's log and in the slog output,
	// and its record waits until the Auditor takes it. False means that the
	// request is refused with unavailable.
	EmergencyUnaudited bool
	// ReadyToTell makes Ready also return ErrNobodyToTell while alerts reach
	// nobody or the Pager hangs. Leave it false if a load balancer admits
	// clients by Ready: it would shut out the people who could be told.
	ReadyToTell bool
	// Logger gets no health data. Nil means slog.Default().
	Logger *slog.Logger
}

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	c.Origins, c.Hosts, c.TestRecipients = slices.Clone(c.Origins), slices.Clone(c.Hosts), slices.Clone(c.TestRecipients)
	c.TrustedProxies, c.Senders = slices.Clone(c.TrustedProxies), maps.Clone(c.Senders)
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
	number(&c.MaxSourceAlerts, 10000)
	number(&c.MaxNotices, 100)
	number(&c.MaxSenderNotices, 500)
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

// senderOf returns the sender of p's vitals and alerts in the log.
func (o *Options) senderOf(p *Principal) string { return cmp.Or(o.Senders[p.ID], p.ID) }
