package carewire

import (
	"context"
	"time"
)

// Kind says what an [Entry] of a patient's log holds.
type Kind uint8

// The kinds of entries. Vitals and timers are droppable: a newer one of the
// same key takes their place. All others are undroppable: every one of them
// counts in [Entry.Must] and reaches everyone it is meant for.
const (
	KindVital   Kind = 1 + iota // one measurement
	KindAlert                   // one revision of an alert
	KindNotice                  // a message
	KindReceipt                 // somebody got or read an alert or notice
	KindAccess                  // a right was given or taken
	KindTimer                   // a deadline; nobody sees it
	KindStrip                   // seconds of waves, kept with an alert; watchers get a gap
)

// Droppable reports whether a newer entry of the same key may take the place
// of one of this kind on its way to a slow client.
func (k Kind) Droppable() bool { return k == KindVital || k == KindTimer }

// Position names one entry of one patient's log: the epoch that wrote it and
// its number. The zero Position stands before the first entry.
type Position struct {
	Epoch string
	Seq   uint64
}

// Audience is the circle that may see an entry at all.
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
	Patient  string // whose log; "@system" is the log of what concerns no one patient
	Position        // set by the Store: Seq is 1, 2, 3 … without gaps, in commit order
	Must     uint64 // set by the Store: the number of undroppable entries in 1..Seq

	Kind Kind
	Key  string // what this entry is the newest state of; "" for an entry that is no state of anything
	Rev  uint64 // not 0: the append fails with ErrConflict unless the stored revision of Key is Rev-1
	Open bool   // still waits for a person (or, for a timer, for its time)
	Due  time.Time

	Audience Audience
	To       []string // person:ID, group:ID, role:NAME, patient

	Sender string   // who sent it
	ID     string   // the sender's own ID of the event; "" is never compared
	Sum    [16]byte // digest of the request, by which a retry is told from a reuse of ID

	Time     time.Time // when it was measured or happened: decides the newest vital of a Key (TakesPlace), and ReadQuery's From and To
	Received time.Time // when the Hub took it in: decides retention
	Data     []byte    // the event's object as JSON
}

// TakesPlace reports whether a vital of that Time and Received takes the place of
// the newest of its key, which has the Time newest: unless it was measured before
// that, and came after. What came before the newest is said to have been measured
// comes by a clock that was set back meanwhile: then it is the newest. A zero
// Received says nothing.
func TakesPlace(at, received, newest time.Time) bool {
	return !at.Before(newest) || newest.After(received) && !received.IsZero()
}

// AppendResult says what became of one entry of an Append.
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

// ReadQuery narrows a Read. The zero ReadQuery asks for everything.
type ReadQuery struct {
	Kinds []Kind    // nil: all kinds
	Key   string    // "": all keys
	From  time.Time // zero: no bound; else Entry.Time is not before From
	To    time.Time // zero: no bound; else Entry.Time is before To
	Last  uint64    // 0: no bound; else no number is greater than it. It bounds how much is looked through for what matches
	Limit int       // 0: 1,000; more than 10,000 counts as 10,000
}

// Store keeps the logs of all patients of one tenant. It is the only truth:
// what Append has accepted survives, and a Hub can be rebuilt from it at any
// time. This comment is the specification and the package storetest its proof:
// storetest.Run, and storetest.RunDurable for what follows under Durability.
//
// Concurrency. All methods are safe for concurrent use, several Hubs may use
// one Store, and every method sees whatever an Append that has returned wrote.
//
// Contexts. A method called with a context that is done returns its error
// without having written anything. A context that ends during an Append may
// leave the outcome unknown. Calls after Close return an error that matches
// ErrClosed.
//
// Ownership. The Store keeps no slice that it is given and hands out none
// that it keeps: callers may change Data and To after an Append returned, and
// whatever a read returned.
//
// Unknown and empty. For an unknown patient reads return no entries, a Head
// with the zero Position and no error; Get of an unknown key returns an error
// that matches ErrNotFound. Empty batches and lists are answered emptily.
//
// Durability. What a durable Store has accepted is there after a restart and
// after a crash, under its number and epoch, and is recognised when it is sent
// again. After a write that failed, a Store that cannot know what its disk holds
// refuses to append until it is opened anew, and shows nothing that may be lost;
// one that knows, such as a database, goes on. The epoch stays over restarts and
// crashes. After an older copy was put back, or a log lost its end, what is
// written has a new epoch, for its numbers were given out before; where a Store
// cannot see that, whoever restores tells it by an option. Where only one process
// may have a Store open, a second one is refused with an error and harms nothing.
//
// Times are kept with a precision of at least one microsecond and compared as
// instants; they come back in UTC, and a zero time comes back as zero.
type Store interface {
	// Append writes entries and returns one AppendResult for each, in order. It is
	// durable when it returns: for a Store on disk that means synced.
	//
	// A returned error means that the outcome of every entry is unknown; any of
	// them may be in the log. AppendResult.Err concerns one entry, which is not in
	// the log, and leaves the others alone.
	//
	// Entries are taken in order, and each sees the ones before it, in the same
	// batch too. For each entry the Store looks first at (Patient, Sender, ID)
	// when ID is set: found with the same Sum, the result is Repeated with the
	// Position and Must of then; with another Sum, ErrIDReused. Only then at
	// Rev: ErrConflict unless the newest revision of (Patient, Key) is Rev-1,
	// where a key never written has revision 0. An entry with Rev 0 is never a
	// conflict and counts as no revision. Keys are one namespace across kinds.
	// After Prune a key that Get no longer finds has revision 0.
	//
	// A refused entry takes no number. ErrFull refuses for lack of room, found
	// before anything was written; vitals are refused so before all others, in
	// the same batch too, and it may be tried again. A retry is answered Repeated
	// even when the Store is full.
	Append(ctx context.Context, entries []Entry) ([]AppendResult, error)

	// Read returns entries of a patient's log with a number greater than
	// after.Seq that match q, oldest first, at most q.Limit of them.
	// after.Epoch is not compared. It returns ErrGap when an entry of the kinds
	// asked for (of any kind, if none are named) with a number greater than
	// after.Seq has been pruned, whatever else q says.
	Read(ctx context.Context, patient string, after Position, q ReadQuery) ([]Entry, error)

	// Latest returns, from one consistent view, the newest vital of each key and
	// the newest revision of every key whose newest revision is open, in order of
	// Seq, and the head. Timers are left out. A vital becomes the newest of its key
	// when it is appended, if TakesPlace says so; else it joins the log and no more.
	Latest(ctx context.Context, patient string) ([]Entry, Head, error)

	// Get returns the newest state of a key, ended ones too: of vitals the newest
	// as for Latest, of all others the greatest Seq. ErrNotFound if there is none.
	Get(ctx context.Context, patient, key string) (Entry, error)

	// Heads returns the head of each patient, in the order asked for.
	Heads(ctx context.Context, patients []string) ([]Head, error)

	// Changed returns, over all patients, the newest revision of every
	// undroppable key (timers and vitals are left out, and so is what has no
	// Key) that was written since mark, and the mark to ask with next. Each is
	// returned at least once, in any order; one that was written again
	// meanwhile is returned in its newest revision. The mark "" begins with all
	// that is open. At most limit entries (0: 1,000); fewer than limit means
	// that the caller is up to date. An unusable mark counts as "".
	Changed(ctx context.Context, mark string, limit int) ([]Entry, string, error)

	// Waiting returns entries that are the newest revision of their key, are
	// Open and have a Due that is not zero and not after due, over all patients,
	// earliest Due first, at most limit (0: 1,000). Timers are included.
	Waiting(ctx context.Context, due time.Time, limit int) ([]Entry, error)
}

// Waker is implemented by Stores that several nodes share. Wake returns a
// channel that receives after another node has appended: the patients to whose
// logs, or nil if it may be any. A wake-up may be lost, late or doubled, and
// name too many: what is missing shows by its number.
type Waker interface {
	Wake() <-chan []string
}

// StateKey names a key of a patient's log.
type StateKey struct{ Patient, Key string }

// StateReader is implemented by Stores that look up many keys for little more
// than one. States returns what Get returns for each of the keys, in any order;
// keys that Get does not find are left out, and one that is named twice may come
// twice. A Hub asks for at most 1,000 at once.
type StateReader interface {
	States(ctx context.Context, keys []StateKey) ([]Entry, error)
}

// Clock is implemented by Stores that have a time of their own, which then
// decides about Due and Received for all nodes alike. Without it the Hub's own
// clock does.
type Clock interface {
	Now(ctx context.Context) (time.Time, error)
}

// Durable is implemented by Stores that can say whether what they have
// accepted survives a crash of the process. A Store without it is taken to be
// volatile, and clients are told so in welcome.
type Durable interface {
	Durable() bool
}

// Retention says how long entries are kept, by their Received. Zero keeps for
// ever. Entries that are the newest state of their key are never pruned while
// they are open, nor is the newest vital of a key, unless its patient has left:
// nothing of the log is open, and what came last is older than vitals are kept.
// IDs of undroppable entries are remembered for at least 400 days (a volatile
// Store: within its bound). IDs of vitals are remembered as long as the vitals;
// of one that comes again with a Time that is later by a day, or with none, a
// Store need not know.
type Retention struct {
	Vitals time.Duration // vitals and timers
	Others time.Duration // everything else
}

// Pruner is implemented by Stores that can forget old entries. Prune removes
// what Retention no longer keeps at the given time and remembers, per kind,
// up to where each log was pruned, so that Read can say ErrGap. It works in
// short steps, while appends and reads go on. Vitals it may keep for a fifth of
// their time longer, if it lets go of many at once.
//
// A log of which nothing is left may be forgotten: the patient is unknown then.
// What is written later has another epoch, so that no number is given out twice
// in one. Whether a Store does so, and removes the newest vitals of who has
// left, is up to it.
type Pruner interface {
	Prune(ctx context.Context, now time.Time, keep Retention) error
}

// Eraser is implemented by Stores that can forget a patient. Erase removes all
// entries of the patient's log, open ones too, with their keys and IDs, and is
// as durable as Append. What it leaves is the head, so that no number is given
// out twice: Read says ErrGap as after Prune, a key has revision 0 again, and an
// ID may be used anew. Erasing an unknown patient, or one that was erased,
// changes nothing and is no error. It may work in short steps, while appends
// and reads go on; if it fails, some entries may be gone, and it can be called
// again.
type Eraser interface {
	Erase(ctx context.Context, patient string) error
}

// StoreSize says how large a Store is.
type StoreSize struct {
	Used int64 // bytes that hold what was written
	Free int64 // bytes that vitals may still use; negative: not known
}

// Sizer is implemented by Stores that know how large they are.
type Sizer interface {
	Size(ctx context.Context) (StoreSize, error)
}
