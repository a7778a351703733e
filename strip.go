package carewire

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	stripAfter = 10 * time.Second // waves that are kept after an alert
	stripWait  = time.Second      // for chunks that are on their way
	stripBytes = 40 << 10         // bytes of one strip in the log
	stripsMost = 4                // in the making for one patient
	stripsDone = 64               // alerts of a patient that are known

	firstLead, lastLead = 131328, 131583 // MDC codes of the leads of an ECG
	leadII              = "131330"
)

// NoStrips as Options.Strips keeps no strips.
const NoStrips Priority = "none"

// Strip holds the waves of a patient around the raise of an alert: the ten
// seconds before and after, as far as they came. It is one entry of the
// patient's log, of KindStrip, for the principals that may see the alert. Read
// it with History, by Kinds and by Key, the alert's.
//
// fmt and slog show no content of a Strip. Only its JSON holds the data.
type Strip struct {
	Patient string
	Key     string    // the alert's
	AlertID string    // which occurrence
	Test    bool      // of a test alert: the signals are those of tests
	Raised  time.Time // when the Hub took the alert in
	// Waves are the signals, piece by piece in the order of time. Contiguous
	// chunks are one Wave, with the number of the first and no Patient. Between
	// two pieces of a signal there is a gap.
	Waves   []Wave
	Dropped bool // there was not room for all signals
}

// A stripping is a Strip in the making. Under bay.mu.
type stripping struct {
	alert    Alert
	audience Audience
	to       []string
	chunks   []*waveChunk
	timer    *time.Timer

	turn chan struct{} // held to append the strip, and to forbid that
	over bool          // it must not enter the log any more; guarded by turn
}

// take adds a chunk if it is one of the alert's.
func (s *stripping) take(c *waveChunk) {
	if c.Test == s.alert.Test {
		s.chunks = append(s.chunks, c)
	}
}

// try appends the strip unless it must not come into the log any more.
func (s *stripping) try(ctx context.Context, appended func() error) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.turn }()
	if s.over {
		return nil
	}
	return appended()
}

// stop keeps the strip out of the log, if it is not there yet.
func (s *stripping) stop(ctx context.Context) error {
	return s.try(ctx, func() error {
		s.over = true
		return nil
	})
}

// alerted begins a strip if e is a new alert of a patient whose waves come in
// here. Alerts that are not physiological, or less urgent than least, have
// none.
func (x *signals) alerted(e *Entry, least Priority) {
	if e.Kind != KindAlert || !e.Open || least == NoStrips {
		return
	}
	y := x.bay(e.Patient)
	y.mu.Lock()
	defer y.mu.Unlock()
	b := y.bedsides[e.Patient]
	if b == nil || !b.local() || y.closed {
		return
	}
	a, err := decodeAlert(e)
	if err != nil || a.Priority.rank() < least.rank() || a.Kind != "" && a.Kind != AlertPhysiological ||
		x.now().Sub(a.Raised) > waveMemory || slices.Contains(b.done, a.ID) {
		return
	}
	if b.done = append(b.done, a.ID); len(b.done) > stripsDone {
		b.done = slices.Delete(b.done, 0, 1)
	}
	if len(b.strips) >= stripsMost {
		x.refused.Add(1)
		if !b.giveWay(a.Priority) {
			return
		}
	}
	s := &stripping{alert: *a, audience: e.Audience, to: slices.Clone(e.To), turn: make(chan struct{}, 1)}
	for _, live := range b.signals {
		live.trim(x.ticks())
		for _, c := range live.recent {
			if c.remote == 0 {
				s.take(c)
			}
		}
	}
	b.strips = append(b.strips, s)
	s.timer = time.AfterFunc(stripAfter+stripWait, func() { x.keepStrip(s) })
}

// giveWay drops the least urgent strip in the making, if it is less urgent than
// p, and reports whether it did. Under bay.mu.
func (b *bedside) giveWay(p Priority) bool {
	least := slices.MinFunc(b.strips, func(s, other *stripping) int {
		return cmp.Compare(s.alert.Priority.rank(), other.alert.Priority.rank())
	})
	if least.alert.Priority.rank() >= p.rank() {
		return false
	}
	least.timer.Stop()
	b.strips = slices.DeleteFunc(b.strips, func(s *stripping) bool { return s == least })
	return true
}

// local reports whether waves of the patient come in here, and not only by way of
// another Hub. Under bay.mu.
func (b *bedside) local() bool {
	for _, s := range b.signals {
		if s.remote == 0 {
			return true
		}
	}
	return false
}

// keepStrip keeps a complete strip.
func (x *signals) keepStrip(s *stripping) {
	y := x.bay(s.alert.Patient)
	y.mu.Lock()
	b := y.bedsides[s.alert.Patient]
	i := -1
	if b != nil {
		i = slices.Index(b.strips, s)
	}
	if i >= 0 {
		b.strips = slices.Delete(b.strips, i, i+1)
		b.keeping = append(b.keeping, s)
	}
	y.mu.Unlock()
	if i >= 0 {
		x.keep(s)
	}
}

// forgetStrip forgets a strip that is in the log, or never comes there.
func (x *signals) forgetStrip(s *stripping) {
	y := x.bay(s.alert.Patient)
	y.mu.Lock()
	defer y.mu.Unlock()
	if b := y.bedsides[s.alert.Patient]; b != nil {
		b.keeping = slices.DeleteFunc(b.keeping, func(other *stripping) bool { return other == s })
		y.forgetEmpty(s.alert.Patient, b)
	}
}

// close takes no more waves, and keeps the strips in the making.
func (x *signals) close() {
	var left []*stripping
	for i := range x.bays {
		y := &x.bays[i]
		y.mu.Lock()
		y.closed = true
		for _, b := range y.bedsides {
			for _, s := range b.strips {
				s.timer.Stop()
			}
			left = append(left, b.strips...)
			b.strips, b.keeping = nil, append(b.keeping, b.strips...)
		}
		y.mu.Unlock()
	}
	for _, s := range left {
		x.keep(s)
	}
}

// strip makes the Strip.
func (s *stripping) strip() *Strip {
	a := &s.alert
	strip := &Strip{Patient: a.Patient, Key: a.Key, AlertID: a.ID, Test: a.Test, Raised: a.Raised}
	further := s.furtherLeads()
	slices.SortStableFunc(s.chunks, func(a, b *waveChunk) int { // the last may find no room
		return cmp.Or(compareBools(further[a.signal()], further[b.signal()]), strings.Compare(a.signal(), b.signal()))
	})
	var last *Wave
	size := 0
	for _, c := range s.chunks {
		if size += len(c.frame) / 2; size > stripBytes && (last == nil || c.signal() != last.signal()) || size > 2*stripBytes {
			strip.Dropped = true
			break
		}
		if last != nil && c.Follows(last) {
			piece := &strip.Waves[len(strip.Waves)-1]
			piece.Samples = append(piece.Samples, c.Samples...)
		} else {
			piece := c.Wave.clone()
			piece.Patient, piece.Received, piece.Test = "", time.Time{}, false
			strip.Waves = append(strip.Waves, piece)
		}
		last = &c.Wave
	}
	return strip
}

// furtherLeads returns the signals of all leads of the ECG but one: lead II is that
// one, if it is present.
func (s *stripping) furtherLeads() map[string]bool {
	var leads []*Wave
	for _, c := range s.chunks {
		if code, _ := strconv.Atoi(c.Code); c.System == MDC && code >= firstLead && code <= lastLead {
			leads = append(leads, &c.Wave)
		}
	}
	if len(leads) == 0 {
		return nil
	}
	first := slices.MinFunc(leads, func(a, b *Wave) int {
		return cmp.Or(compareBools(b.Code == leadII, a.Code == leadII), strings.Compare(a.signal(), b.signal()))
	})
	further := make(map[string]bool)
	for _, lead := range leads {
		further[lead.signal()] = lead.signal() != first.signal()
	}
	return further
}

// entry returns the entry of the strip; the last signals are left out if they find
// no room.
func (s *stripping) entry(now time.Time) Entry {
	strip := s.strip()
	var e encoder
	for strip.encode(&e); len(e.b) > stripBytes && len(strip.Waves) > 1; strip.encode(&e) {
		e.b, strip.Dropped = nil, true
		last := strip.Waves[len(strip.Waves)-1].signal()
		if strip.Waves[0].signal() == last {
			strip.Waves = strip.Waves[:len(strip.Waves)-1]
		} else {
			strip.Waves = slices.DeleteFunc(strip.Waves, func(w Wave) bool { return w.signal() == last })
		}
	}
	return Entry{Patient: strip.Patient, Kind: KindStrip, Key: stripKey(strip.Key, strip.Test), Audience: s.audience, To: s.to,
		Sender: hostSender, ID: rand.Text(), Sum: digest(e.b), Time: strip.Raised, Received: now, Data: e.b}
}

func stripKey(key string, test bool) string {
	return "s" + strings.TrimPrefix(alertKey(key, test), "a")
}

// keepStrip puts a strip into the log, unless the Store has no room but for alerts, or
// has the alert no more: then the patient was erased, perhaps at another node.
func (h *Hub) keepStrip(s *stripping) {
	if len(s.chunks) == 0 {
		h.signals.forgetStrip(s)
		return
	}
	e := s.entry(h.now())
	h.retryUntilDone(h.ctx, "strip/"+e.ID, func(ctx context.Context) error {
		err := s.try(ctx, func() error {
			alert, err := h.logs.newest(ctx, e.Patient, alertKey(s.alert.Key, s.alert.Test))
			if err != nil || alert.Seq == 0 || h.store.healthOf(e.Patient).onlyFull() {
				return err
			}
			if _, err := h.append(ctx, e, false); !errors.Is(err, ErrFull) {
				return err
			}
			return nil
		})
		if !maySucceedLater(err) {
			h.signals.forgetStrip(s)
		}
		return err
	})
}

// encode appends s to e as a JSON object.
func (s *Strip) encode(e *encoder) {
	e.b = append(e.b, '{')
	e.str("patient", s.Patient)
	e.str("key", s.Key)
	e.str("alert_id", s.AlertID)
	e.bool("test", s.Test)
	e.time("raised", s.Raised)
	e.bool("dropped", s.Dropped)
	e.name("waves")
	e.b = append(e.b, '[')
	for i := range s.Waves {
		e.comma()
		s.Waves[i].encode(e)
	}
	e.b = append(e.b, "]}"...)
}

func (s *Strip) decode(r *scanner) {
	r.object(func(name []byte) bool {
		switch string(name) {
		case "patient":
			s.Patient = r.str()
		case "key":
			s.Key = r.str()
		case "alert_id":
			s.AlertID = r.str()
		case "test":
			s.Test = r.bool()
		case "raised":
			s.Raised = r.time()
		case "dropped":
			s.Dropped = r.bool()
		case "waves":
			r.array(func(int) {
				var w Wave
				w.decode(r)
				s.Waves = append(s.Waves, w)
			})
		default:
			return false
		}
		return true
	})
}

// MarshalJSON writes s as the wire has it.
func (s Strip) MarshalJSON() ([]byte, error) {
	var e encoder
	s.encode(&e)
	return e.b, nil
}

// UnmarshalJSON reads s leniently: members it does not know are ignored.
func (s *Strip) UnmarshalJSON(b []byte) error {
	r := scanner{b: b, open: true}
	*s = Strip{}
	s.decode(&r)
	return r.err
}

// Format writes nothing of s but its type.
func (s Strip) Format(f fmt.State, _ rune) { fmt.Fprint(f, "carewire.Strip{…}") }

// LogValue hides s from logs.
func (s Strip) LogValue() slog.Value { return slog.StringValue("carewire.Strip{…}") }
