package carewire

import (
	"fmt"
	"log/slog"
	"time"
)

// EventType is the type of an event frame.
type EventType string

// The events that a server sends. A Client shows Lost, Stale and Live too,
// which are about its own connection.
const (
	EventWelcome   EventType = "welcome"   // the connection is set up
	EventVital     EventType = "vital"     // Vital
	EventAlert     EventType = "alert"     // Alert: a new state of an alert
	EventNotice    EventType = "notice"    // Notice
	EventReceipt   EventType = "receipt"   // Receipt
	EventAccess    EventType = "access"    // a right was given or taken
	EventWave      EventType = "wave"      // Wave: a chunk of a live signal; it is in no log
	EventStrip     EventType = "strip"     // Strip: seconds of waves that were kept with an alert; in pages of the log only
	EventWaves     EventType = "waves"     // the results of sent waves; handled by the Client itself
	EventGap       EventType = "gap"       // an entry that you may not see
	EventHead      EventType = "head"      // Heads: where the logs end
	EventSync      EventType = "sync"      // catching up with a patient begins; Recovered
	EventSynced    EventType = "synced"    // catching up has ended; later events are live
	EventInbox     EventType = "inbox"     // Items: the open entries addressed to me; Done
	EventGranted   EventType = "granted"   // a patient came to a group
	EventRevoked   EventType = "revoked"   // you may no longer watch a patient
	EventStatus    EventType = "status"    // Store
	EventHeartbeat EventType = "heartbeat" // Time and Open
	EventClosed    EventType = "closed"    // Code: the stream over POST ends

	EventLost  EventType = "lost"  // the connection was lost; the Client tries again
	EventStale EventType = "stale" // nothing has come for too long (of Patient, if set): the shown values may be old
	EventLive  EventType = "live"  // connected, for the first time too; with Patient: current again
)

// Event is one event as a watcher gets it. Type decides which members are set.
type Event struct {
	Type      EventType
	Patient   string
	Position                // of events of a patient's log, gap, sync and synced
	Must      uint64        // with Position: the number of undroppable entries up to it
	Recovered bool          // sync: no owed event since the requested position is missing
	Vital     *Vital        // vital
	Alert     *Alert        // alert
	Notice    *Notice       // notice
	Receipt   *Receipt      // receipt
	Access    *AccessChange // access
	Wave      *Wave         // wave
	Strip     *Strip        // strip
	Heads     []Head        // head, without Epochs
	Items     []InboxItem   // inbox
	Done      bool          // inbox: the last page of the entries open at connecting
	Store     string        // status: ok, slow or failing
	Since     time.Time     // status
	Patients  []string      // status: whose logs are concerned; nil: all
	Time      time.Time     // welcome, heartbeat, head of WatchEach: the server's time
	Open      int           // heartbeat: the number of my open entries
	Welcome   *Welcome      // welcome
	Code      CloseCode     // lost and closed: why

	waves *wavesTaken // waves
}

// InboxItem is one entry of an inbox: an alert or a notice.
type InboxItem struct {
	Alert  *Alert
	Notice *Notice
}

// AccessChange is the content of an access event.
type AccessChange struct {
	Kind      string    // revoked, suspended, restored, members, emergency, emergency_ended, discharged, pause, pause_ended
	Principal string    // the principal concerned
	Session   string    // only this session's
	Group     string    // members: the group that changed
	Patients  []string  // revoked, suspended, restored: only for these; none: altogether
	Until     time.Time // how long it is remembered; emergency and pause: when it ends by itself
	Reason    string    // emergency and pause: why
	Silence   bool      // pause: alerts about silent devices are paused too
}

// Format writes nothing of c but its kind.
func (c AccessChange) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "carewire.Change{%s}", c.Kind) }

// LogValue hides c from logs but for its kind.
func (c AccessChange) LogValue() slog.Value {
	return slog.StringValue("carewire.Change{" + c.Kind + "}")
}

func (c *AccessChange) encode(e *encoder) {
	e.b = append(e.b, '{')
	e.str("kind", c.Kind)
	e.str("principal", c.Principal)
	e.str("session", c.Session)
	e.str("group", c.Group)
	e.strings("patients", c.Patients)
	e.time("until", c.Until)
	e.str("reason", c.Reason)
	e.bool("silence", c.Silence)
	e.b = append(e.b, '}')
}

func (c *AccessChange) decode(s *scanner) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "kind":
			c.Kind = s.str()
		case "principal":
			c.Principal = s.str()
		case "session":
			c.Session = s.str()
		case "group":
			c.Group = s.str()
		case "patients":
			c.Patients = s.strings(4096)
		case "until":
			c.Until = s.time()
		case "reason":
			c.Reason = s.str()
		case "silence":
			c.Silence = s.bool()
		default:
			return false
		}
		return true
	})
}

// kindName is the type of the event that shows an entry, and the name of the
// member with its object.
func kindName(k Kind) string {
	switch k {
	case KindVital:
		return "vital"
	case KindAlert:
		return "alert"
	case KindNotice:
		return "notice"
	case KindReceipt:
		return "receipt"
	case KindAccess:
		return "access"
	case KindStrip:
		return "strip"
	}
	return ""
}

// event returns the entry as somebody of its audience sees it.
func (e *Entry) event() (Event, error) { return e.eventFrom(scanner{b: e.Data, open: true}) }

func (e *Entry) eventFrom(s scanner) (Event, error) {
	ev := Event{Type: EventType(kindName(e.Kind)), Patient: e.Patient, Position: e.Position, Must: e.Must}
	switch e.Kind {
	case KindVital:
		ev.Vital = new(Vital)
		ev.Vital.decode(&s)
	case KindAlert:
		ev.Alert = new(Alert)
		ev.Alert.decode(&s)
	case KindNotice:
		ev.Notice = new(Notice)
		ev.Notice.decode(&s)
	case KindReceipt:
		ev.Receipt = new(Receipt)
		ev.Receipt.decode(&s)
	case KindAccess:
		ev.Access = new(AccessChange)
		ev.Access.decode(&s)
	case KindStrip:
		ev.Strip = new(Strip)
		ev.Strip.decode(&s)
	default:
		s.skip()
	}
	s.end()
	return ev, s.err
}

// readable reports whether e's Data fits its kind. Of droppable kinds only the
// form counts.
func (e *Entry) readable() bool {
	s := scanner{b: e.Data, open: true, borrow: true}
	if e.Kind.Droppable() {
		s.skip()
		s.end()
		return s.err == nil
	}
	_, err := e.eventFrom(s)
	return err == nil
}

// decodeEvent reads a frame that a server sent. An event of a type that it
// does not know comes back with its Type only.
func decodeEvent(b []byte) (Event, *reply, error) { return decodeEventFrom(scanner{b: b, open: true}) }

func decodeEventFrom(s scanner) (ev Event, reply *reply, err error) {
	typ := peekType(s.b)
	switch typ {
	case "ok", "error":
		reply, err = decodeReply(s.b, typ)
		return Event{}, reply, err
	}
	err = ev.decode(&s, typ)
	return ev, nil, err
}

// decode reads an event of the given type. A Vital that ev points to already is
// read into.
func (ev *Event) decode(s *scanner, typ string) error {
	if ev.Type = EventType(typ); !sent[ev.Type] {
		s.members(func([]byte) bool { s.skip(); return true })
		s.end()
		return s.err
	}
	if ev.Type == EventWelcome {
		ev.Welcome = new(Welcome)
	}
	s.object(func(name []byte) bool {
		switch string(name) {
		case "type":
			s.str()
		case "patient":
			ev.Patient = s.str()
		case "epoch":
			ev.Epoch = s.str()
		case "seq":
			ev.Seq = s.uint()
		case "must":
			ev.Must = s.uint()
		case "recovered":
			ev.Recovered = s.bool()
		case "vital":
			if ev.Vital == nil {
				ev.Vital = new(Vital)
			}
			ev.Vital.decode(s)
		case "alert":
			ev.Alert = new(Alert)
			ev.Alert.decode(s)
		case "notice":
			ev.Notice = new(Notice)
			ev.Notice.decode(s)
		case "receipt":
			ev.Receipt = new(Receipt)
			ev.Receipt.decode(s)
		case "access":
			ev.Access = new(AccessChange)
			ev.Access.decode(s)
		case "wave":
			ev.Wave = new(Wave)
			ev.Wave.decode(s)
			ev.Patient = ev.Wave.Patient
		case "strip":
			ev.Strip = new(Strip)
			ev.Strip.decode(s)
		case "heads":
			s.array(func(int) { ev.Heads = append(ev.Heads, decodeHead(s)) })
		case "items":
			s.array(func(int) { ev.Items = append(ev.Items, decodeItem(s)) })
		case "done":
			ev.Done = s.bool()
		case "store":
			ev.Store = s.str()
		case "since":
			ev.Since = s.time()
		case "patients":
			if ev.Type != EventStatus {
				return ev.Welcome != nil && ev.Welcome.decodeMember(s, name)
			}
			ev.Patients = s.strings(4096)
		case "time":
			ev.Time = s.time()
		case "inbox":
			ev.Open = int(s.uint())
		case "code":
			ev.Code = CloseCode(s.uint())
		default:
			return ev.Welcome != nil && ev.Welcome.decodeMember(s, name) || ev.Type == EventWaves && ev.takenMember(s, name)
		}
		return true
	})
	s.end()
	if ev.Welcome != nil {
		ev.Welcome.Time = ev.Time
	}
	return s.err
}

// takenMember reads the server's acknowledgement of waves.
func (ev *Event) takenMember(s *scanner, name []byte) bool {
	switch string(name) {
	case "count":
		ev.taken().count = s.uint()
	case "refused":
		s.array(func(int) { ev.taken().refused = append(ev.taken().refused, decodeWaveRefusal(s)) })
	default:
		return false
	}
	return true
}

// sent are the events that servers of this version send.
var sent = map[EventType]bool{EventWelcome: true, EventVital: true, EventAlert: true, EventNotice: true, EventReceipt: true, EventAccess: true,
	EventGap: true, EventHead: true, EventSync: true, EventSynced: true, EventInbox: true, EventGranted: true, EventRevoked: true,
	EventStatus: true, EventHeartbeat: true, EventClosed: true, EventWave: true, EventStrip: true, EventWaves: true}

func decodeHead(s *scanner) (h Head) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "patient":
			h.Patient = s.str()
		case "epoch":
			h.Epoch = s.str()
		case "seq":
			h.Seq = s.uint()
		case "must":
			h.Must = s.uint()
		default:
			return false
		}
		return true
	})
	return h
}

func decodeItem(s *scanner) (it InboxItem) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "alert":
			it.Alert = new(Alert)
			it.Alert.decode(s)
		case "notice":
			it.Notice = new(Notice)
			it.Notice.decode(s)
		default:
			return false
		}
		return true
	})
	return it
}

// position appends the members that say where in a patient's log something stands.
func (e *encoder) position(patient string, p Position, must uint64) {
	e.str("patient", patient)
	e.str("epoch", p.Epoch)
	e.count("seq", p.Seq)
	e.count("must", must)
}

// encodeEntry appends the event that shows an entry to its audience.
func (e *encoder) entry(x *Entry) {
	name := kindName(x.Kind)
	e.b = append(e.b, `{"type":"`...)
	e.b = append(append(e.b, name...), '"')
	e.position(x.Patient, x.Position, x.Must)
	e.raw(name, x.Data)
	e.b = append(e.b, '}')
}

// encodeGap appends the event that shows an entry to those outside its audience.
func (e *encoder) gap(x *Entry) {
	e.b = append(e.b, `{"type":"gap"`...)
	e.position(x.Patient, x.Position, x.Must)
	e.b = append(e.b, '}')
}

// WatchOptions selects patients and groups to watch. At least one of Patients
// and Groups is required.
type WatchOptions struct {
	Patients  []string
	Groups    []string            // all patients of these, now and as they come and go
	Since     map[string]Position // where to resume; a patient without one begins with a snapshot
	Delivery  Delivery            // "": DeliverLatest
	Waves     []string            // codes of the live signals to receive; "*": all; none: no waves
	Emergency bool                // break-glass: the host's Authorizer may grant more than otherwise
	Reason    string              // required for an emergency
}

// WatchResult is the result of a watch.
type WatchResult struct {
	Patients []string // watched now
	Refused  []Refusal
	More     int // patients of groups that were refused, too, and are not listed
}

// Refusal names a patient or a group that is not watched, and the code:
// ErrForbidden, ErrUndecided, or an exceeded limit.
type Refusal struct {
	Patient string
	Group   string
	Code    ErrorCode
}

// PublishResult is the result for one published Vital.
type PublishResult struct {
	Seq      uint64 // its number in the patient's log
	Repeated bool   // it was there already
	Err      error  // why it was refused; Seq is 0 then
}

// HistoryQuery asks for entries of a patient's log, oldest first.
type HistoryQuery struct {
	Patient string
	Kinds   []Kind    // none: all visible kinds
	Key     string    // of an alert; "": all
	From    time.Time // by the time of measurement; zero: no bound
	To      time.Time // zero: no bound
	Cursor  uint64    // only entries after this number
	Limit   int       // 0: Limits.History
}

// HistoryPage is a page of a patient's log. Next is the Cursor of the next
// page, 0 if this is the last.
type HistoryPage struct {
	Events []Event
	Next   uint64
}
