package carewire

import (
	"context"
	"math"
	"time"
)

// Kind is the kind of an [Entry].
type Kind uint8

// The kinds of entries. Vitals and timers are droppable: a newer entry of the
// same key replaces them. All others are undroppable: each one counts in
// [Entry.Must] and reaches every client that may see it.
const (
	KindVital   Kind = 1 + iota // one measurement
	KindAlert                   // one revision of an alert
	KindNotice                  // a message
	KindReceipt                 // somebody got or read an alert or notice
	KindAccess                  // a right was given or taken
	KindTimer                   // a deadline; nobody sees it
	KindStrip                   // seconds of waves, kept with an alert; watchers get a gap
)

// Droppable reports whether a newer entry of the same key may replace one of
// this kind on its way to a slow client.
func (k Kind) Droppable() bool { return k == KindVital || k == KindTimer }

// Position names one entry of one patient's log: the epoch that wrote it and
// its number. The zero Position stands before the first entry.
type Position struct {
	Epoch string
	Seq   uint64
}

// Audience is the group of principals that may see an entry.
type Audience uint8

// The audiences. Staff are clinicians, viewers and services.
const (
	AudienceStaff Audience = 1 + iota // staff entitled to the patient
	AudienceAll                       // everyone entitled to the patient
	AudienceNamed                     // those named in To, and the sender
)

// Entry is one numbered record of a patient's log. The Store numbers, keeps
// and compares entries; it never interprets Data.
type Entry struct {
	Patient  string // the log; "@system" is the system's own
	Position        // set by the Store: Seq is 1, 2, 3 … without gaps, in commit order
	Must     uint64 // set by the Store: the number of undroppable entries in 1..Seq

	Kind Kind
	Key  string // names the thing whose state this entry is; "": none
	Rev  uint64 // not 0: the append fails with ErrConflict unless the stored revision of Key is Rev-1
	Open bool   // still waits for a person (or, for a timer, for its time)
	Due  time.Time

	Audience Audience
	To       []string // person:ID, group:ID, role:NAME, patient

	Sender string   // the sender
	ID     string   // the sender's own ID of the event; "" is never compared
	Sum    [16]byte // digest of the request; tells a retry from a reuse of ID

	Time     time.Time // when it was measured or happened: decides the newest vital of a Key (TakesPlace), and ReadQuery's From and To
	Received time.Time // when the Hub took it in: decides retention
	Data     []byte    // the event's object as JSON

	Urgent bool // for Append alone, and not kept: the last of a Store's room is for these
}

// RevAsk is the Rev of an entry that only asks whether its ID is known. No key ever
// has the revision before it, so the Store answers Repeated, ErrIDReused or
// ErrConflict, and writes nothing.
const RevAsk = math.MaxInt64

// TakesPlace reports whether a vital, measured at and received at the given
// times, replaces the newest vital of its key, whose Time is newest. A vital
// that was measured before newest and received after it came late, and replaces
// nothing. If it was received before newest, the clock was set back meanwhile,
// and it replaces that vital. A zero received is ignored.
func TakesPlace(at, received, newest time.Time) bool {
	return !at.Before(newest) || newest.After(received) && !received.IsZero()
}

// AppendResult is the result for one entry of an Append.
type AppendResult struct {
	Position
	Must     uint64
	Repeated bool  // the entry was in the log already, at this Position
	Err      error // concerns this entry only: ErrConflict, ErrIDReused or ErrFull
}

// Head is the end of a patient's log. For a patient without entries it is the
// zero Position and no Epochs.
type Head struct {
	Patient string
	Position
	Must   uint64
	Epochs []Position // the last number written in each epoch, oldest first; never pruned
}

// ReadQuery narrows a Read. The zero ReadQuery selects all entries.
type ReadQuery struct {
	Kinds []Kind    // nil: all kinds
	Key   string    // "": all keys
	From  time.Time // zero: no bound; else Entry.Time is not before From
	To    time.Time // zero: no bound; else Entry.Time is before To
	Last  uint64    // the greatest number to look at; 0: no bound
	Limit int       // 0: 1,000; more than 10,000 counts as 10,000
}

// Store keeps the logs of all patients of one tenant. It is the only source of
// truth: each entry that Append has accepted survives, and a Hub can be rebuilt
// from the Store at any time. This comment is the specification. Package
// storetest tests it: storetest.Run, and storetest.RunDurable for the rules
// under Durability.
//
// Concurrency. All methods are safe for concurrent use. Several Hubs may use
// one Store. Every method sees all entries of each Append that has returned.
//
// Contexts. A method called with a context that is done returns the context's
// error and writes nothing. A context that ends during an Append may leave the
// outcome unknown. Calls after Close return an error that matches ErrClosed.
//
// Ownership. The Store keeps no slice that it is given, and returns none that
// it keeps. Callers may change Data and To after Append has returned, and may
// change the results of a read.
//
// Unknown and empty. For an unknown patient, reads return no entries, the Head
// has the zero Position, and there is no error. Get of an unknown key returns
// an error that matches ErrNotFound. Empty batches and lists give empty
// results.
//
// Durability. The entries that a durable Store has accepted survive a restart
// and a crash, under their numbers and epoch, and the Store still recognises
// repeated events. After a failed write, a Store that cannot know the content
// of its disk refuses to append until it is reopened, and shows no entry that
// may be lost. A Store that does know, such as a database, continues. The epoch
// survives restarts and crashes. After an older copy was restored, or a log
// lost its end, new entries have a new epoch, because their numbers were given
// out before. If a Store cannot detect this, the operator reports it by an
// option. If only one process may have a Store open, a second one gets an error
// and does no harm.
//
// Times keep a precision of at least one microsecond and are compared as
// instants. They come back in UTC. A zero time comes back as zero.
type Store interface {
	// Append writes entries and returns one AppendResult for each, in order.
	// The entries are durable when it returns; for a Store on disk that means
	// synced.
	//
	// A returned error means that the outcome of every entry is unknown: any of
	// them may be in the log. AppendResult.Err concerns one entry, which is not
	// in the log, and does not affect the others.
	//
	// The Store takes entries in order. Each entry sees the entries before it,
	// in the same batch too. For each entry the Store checks, in this order:
	//
	//   - (Patient, Sender, ID), if ID is set. If it is known with the same
	//     Sum, the result is Repeated with the first Position and Must. With
	//     another Sum it is ErrIDReused.
	//   - Rev. The result is ErrConflict unless the newest revision of
	//     (Patient, Key) is Rev-1. A key that was never written has revision 0.
	//     An entry with Rev 0 is never a conflict and is no revision. An entry
	//     with RevAsk always is a conflict, unless its ID is known. Keys are
	//     one namespace across kinds. After Prune, a key that Get no longer
	//     finds has revision 0.
	//
	// A refused entry takes no number. ErrFull refuses an entry for lack of
	// room, before anything is written. Vitals are refused before all other
	// kinds, in the same batch too. A Store that keeps room for alerts keeps some
	// of it for Urgent entries: high alerts, answers and revocations. The caller may retry. A repeated event is
	// Repeated even when the Store is full.
	Append(ctx context.Context, entries []Entry) ([]AppendResult, error)

	// Read returns entries of a patient's log that have a number greater than
	// after.Seq and match q, oldest first, at most q.Limit of them. It does not
	// compare after.Epoch. It returns ErrGap if an entry of the requested kinds
	// (of any kind, if q names none) with a number greater than after.Seq has
	// been pruned, regardless of the rest of q.
	Read(ctx context.Context, patient string, after Position, q ReadQuery) ([]Entry, error)

	// Latest returns, from one consistent view, the newest vital of each key,
	// the newest revision of every key whose newest revision is open, and the
	// head of the log. The entries are in order of Seq, without timers. A vital
	// becomes the newest of its key when it is appended, if TakesPlace reports
	// so. Otherwise it is only in the log.
	Latest(ctx context.Context, patient string) ([]Entry, Head, error)

	// Get returns the newest state of a key, also if it has ended. For a vital
	// this is the newest as in Latest, for all other kinds the greatest Seq. It
	// returns ErrNotFound if there is none.
	Get(ctx context.Context, patient, key string) (Entry, error)

	// Heads returns the head of each patient, in the order asked for.
	Heads(ctx context.Context, patients []string) ([]Head, error)

	// Changed returns, over all patients, the newest revision of every
	// undroppable key that was written since mark, and the next mark. It omits
	// timers, vitals and entries without a Key. It returns each revision at
	// least once, in any order. A key that was written again meanwhile comes in
	// its newest revision. The mark "" begins with all open entries. Changed
	// returns at most limit entries (0: 1,000). Fewer than limit means that the
	// caller is up to date. An unusable mark counts as "".
	Changed(ctx context.Context, mark string, limit int) ([]Entry, string, error)

	// Waiting returns the open entries, over all patients, that are the newest
	// revision of their key and have a Due that is neither zero nor after due.
	// It returns the earliest Due first, at most limit entries (0: 1,000),
	// timers included.
	Waiting(ctx context.Context, due time.Time, limit int) ([]Entry, error)
}

// Waker is implemented by Stores that several nodes share. Wake returns a
// channel that receives after another node has appended. Each value lists the
// patients whose logs may have changed; nil means any. A wake-up may be lost,
// late or repeated, and may list too many patients: the numbers of the log show
// missing entries.
type Waker interface {
	Wake() <-chan []string
}

// StateKey names a key of a patient's log.
type StateKey struct{ Patient, Key string }

// StateReader is implemented by Stores that can look up many keys at once.
// States returns the result of Get for each key, in any order. It omits keys
// that Get does not find. A key that is named twice may come twice. A Hub asks
// for at most 1,000 keys at once.
type StateReader interface {
	States(ctx context.Context, keys []StateKey) ([]Entry, error)
}

// Clock is implemented by Stores that have a clock of their own. That clock
// then decides Due and Received for all nodes alike. Without it each Hub uses
// its own clock.
type Clock interface {
	Now(ctx context.Context) (time.Time, error)
}

// Durable is implemented by Stores that know whether accepted entries survive a
// crash of the process. A Store without it counts as volatile, and welcome
// tells clients so.
type Durable interface {
	Durable() bool
}

// Spread is implemented by Stores that consist of several Stores, their members,
// such as the one of package spread. A Hub then appends the entries of one part
// at a time, reads the changes of each member separately, and tells clients
// which of their patients are affected when a member fails.
//
// A patient belongs to the same part for ever. Each part is on one member at a
// time. ChangedOf and WaitingOf are like Changed and Waiting, for the parts on
// one member; a mark is valid for that member only.
type Spread interface {
	Members() []string       // their names, without health data; number and order never change
	Parts() int              // the number of parts; it never changes
	Part(patient string) int // from 0 to Parts()-1
	Owner(part int) int      // the member that has the part now, as an index into Members

	ChangedOf(ctx context.Context, member int, mark string, limit int) ([]Entry, string, error)
	WaitingOf(ctx context.Context, member int, due time.Time, limit int) ([]Entry, error)
}

// Retention is how long entries are kept, counted from their Received. Zero
// means for ever.
//
// Entries that are the newest state of their key are never pruned while they
// are open. The newest vital of a key is not pruned either, unless its patient
// has left: no entry of the log is open, and the newest entry is older than
// vitals are kept.
//
// A Store remembers the IDs of undroppable entries for at least 400 days (a
// volatile Store: within its bound), and the IDs of vitals as long as the
// vitals. It need not recognise a repeat of a vital that has no Time, or a Time that
// is more than a day later than the first one's.
type Retention struct {
	Vitals time.Duration // vitals and timers
	Others time.Duration // everything else
}

// Pruner is implemented by Stores that can forget old entries. Prune removes
// the entries that Retention no longer keeps at the given time. It remembers,
// per kind, up to where each log was pruned, so that Read can return ErrGap. It
// works in short steps, while appends and reads continue. It may keep vitals
// for up to a fifth longer, if it removes many at once.
//
// A Store may forget a log whose entries are all gone; the patient is then
// unknown, and later entries have another epoch, so that no number is given out
// twice in one epoch. A Store may also remove the newest vitals of a patient
// who has left.
type Pruner interface {
	Prune(ctx context.Context, now time.Time, keep Retention) error
}

// Eraser is implemented by Stores that can erase a patient. Erase removes all
// entries of the patient's log, open ones too, with their keys and IDs, and is
// as durable as Append. Only the head stays, so that no number is given out
// twice: Read returns ErrGap as after Prune, keys have revision 0 again, and
// IDs may be used anew. Erasing an unknown patient, or one that was erased, has
// no effect and returns nil. Erase may work in short steps, while appends and
// reads continue. If it fails, some entries may be gone; call it again.
type Eraser interface {
	Erase(ctx context.Context, patient string) error
}

// StoreSize is the size of a Store.
type StoreSize struct {
	Used int64 // bytes of the entries that were written
	Free int64 // bytes that vitals may still use; negative: not known
}

// Checker is implemented by Stores that go on checking their content after they
// were opened. Checked waits for the end of that check and returns the damage
// found, or nil. A Hub logs the result.
type Checker interface {
	Checked(ctx context.Context) error
}

// Sizer is implemented by Stores that know their size.
type Sizer interface {
	Size(ctx context.Context) (StoreSize, error)
}
