package carewire

import (
	"bytes"
	"encoding/binary"
	"strings"
	"time"

	"github.com/carewire/carewire/internal/wsconn"
)

// A frame is one event of a patient's log as ready WebSocket messages, made
// once and shared by all who get it.
type frame struct {
	shown     []byte // for its audience; nil if nobody gets to see it
	gap       []byte // for everybody else; nil if there is nobody else
	seq       uint64
	droppable bool
	rank      uint8 // by which it goes before events of other patients
	entry     Entry // without Data
	received  int64 // when it was handed in, in ticks; 0: elsewhere
}

// hidden reports whether e is a gap to every watcher: a timer, a strip, the
// final revision of a notice that all have read, or an entry that the Store has
// damaged.
func (e *Entry) hidden() bool {
	return len(e.Data) == 0 || e.Kind == KindTimer || e.Kind == KindStrip || e.Kind == KindNotice && e.Rev > 1
}

// newFrameOf makes the frame of an entry. A quiet one is a gap to everybody.
func newFrameOf(e *Entry, quiet bool, at int64) *frame {
	f := &frame{seq: e.Seq, droppable: e.Kind.Droppable(), rank: rankOf(e), entry: *e, received: at}
	f.entry.Data = nil
	if quiet || e.hidden() {
		f.gap = gapFrame(e)
		return f
	}
	f.shown = eventFrame(e)
	if e.Audience != AudienceAll {
		f.gap = gapFrame(e)
	}
	return f
}

// The ranks of what waits for a client.
const (
	rankVital  = iota // nothing undroppable
	rankEvent         // something undroppable
	rankMedium        // an alert that is medium
	rankHigh          // an alert that is high
	ranks
)

// Only a member can look like this: the quotes of a text are escaped. The sources
// of an alert have no higher priority than the alert.
var highMember, mediumMember = []byte(`"priority":"high"`), []byte(`"priority":"medium"`)

func rankOf(e *Entry) uint8 {
	switch {
	case e.Kind.Droppable():
		return rankVital
	case e.Kind != KindAlert:
		return rankEvent
	case bytes.Contains(e.Data, highMember):
		return rankHigh
	case bytes.Contains(e.Data, mediumMember):
		return rankMedium
	}
	return rankEvent
}

func eventFrame(e *Entry) []byte {
	w := newFrame(len(e.Data) + 128)
	shown := *e
	if e.Patient == SystemPatient {
		shown.Data = withoutAbout(e.Data)
	}
	w.entry(&shown)
	return textFrame(w.b)
}

func gapFrame(e *Entry) []byte {
	w := newFrame(128)
	w.gap(e)
	return textFrame(w.b)
}

func syncFrame(typ EventType, patient string, p Position, must uint64, recovered bool) []byte {
	w := newFrame(192)
	w.b = append(w.b, `{"type":`...)
	w.b = appendString(w.b, string(typ))
	w.position(patient, p, must)
	w.name("recovered")
	if recovered {
		w.b = append(w.b, "true}"...)
	} else {
		w.b = append(w.b, "false}"...)
	}
	return textFrame(w.b)
}

// newFrame returns an encoder with room for the header that textFrame writes.
func newFrame(size int) encoder {
	return encoder{b: make([]byte, wsconn.HeaderSize, wsconn.HeaderSize+size)}
}

// textFrame makes one ready WebSocket frame of a text that was begun with newFrame.
func textFrame(b []byte) []byte { return wsconn.Frame(b, wsconn.FirstText) }

var pingFrame = wsconn.Frame(make([]byte, wsconn.HeaderSize), wsconn.FirstPing)

// closeFrame is the close frame for code, with its constant reason.
func closeFrame(code CloseCode) []byte {
	b := newFrame(32).b
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	return wsconn.Frame(append(b, code.reason()...), wsconn.FirstClose)
}

// okFrame is the reply to req; members adds the members of that request's
// result.
func okFrame(req string, members func(*encoder)) []byte {
	e := newFrame(256)
	e.b = append(e.b, `{"type":"ok"`...)
	e.str("req", req)
	if members != nil {
		members(&e)
	}
	e.b = append(e.b, '}')
	return textFrame(e.b)
}

// watchedFrame is the reply to a watch.
func watchedFrame(req string, granted []string, refused []Refusal, more int) []byte {
	return okFrame(req, func(e *encoder) {
		e.name("watching")
		e.b = append(e.b, '[')
		for _, p := range granted {
			e.comma()
			e.b = appendString(e.b, p)
		}
		e.b = append(e.b, ']')
		e.name("refused")
		e.b = append(e.b, '[')
		for _, r := range refused {
			e.comma()
			e.b = append(e.b, '{')
			e.str("patient", r.Patient)
			e.str("group", r.Group)
			e.str("code", string(r.Code))
			e.b = append(e.b, '}')
		}
		e.b = append(e.b, ']')
		e.uint("more", uint64(more))
	})
}

// errorFrame is the reply to req that says why it failed.
func errorFrame(req string, err error) []byte {
	e := newFrame(128)
	e.b = append(e.b, `{"type":"error"`...)
	e.str("req", req)
	e.failure(err)
	e.b = append(e.b, '}')
	return textFrame(e.b)
}

// statusFrame tells how the Store is, for some patients; nil: for all.
func statusFrame(state string, since time.Time, patients []string) []byte {
	e := newFrame(96)
	e.b = append(e.b, `{"type":"status"`...)
	e.str("store", state)
	e.time("since", since)
	e.strings("patients", patients)
	e.b = append(e.b, '}')
	return textFrame(e.b)
}

// patientFrame tells that a patient was granted or revoked.
func patientFrame(typ EventType, patient string) []byte {
	e := newFrame(96)
	e.b = append(e.b, `{"type":"`...)
	e.b = append(append(e.b, strings.ToLower(string(typ))...), '"')
	e.str("patient", patient)
	e.b = append(e.b, '}')
	return textFrame(e.b)
}

func inboxFrame(items []Entry, done bool) []byte {
	e := newFrame(256)
	e.b = append(e.b, `{"type":"inbox","items":[`...)
	for i := range items {
		e.comma()
		e.b = append(e.b, '{')
		e.raw(kindName(items[i].Kind), items[i].Data)
		e.b = append(e.b, '}')
	}
	e.b = append(e.b, ']')
	e.bool("done", done)
	e.b = append(e.b, '}')
	return textFrame(e.b)
}

const (
	headSize  = 32 << 10 // bytes of one head frame, about
	headAbout = 200      // bytes of one head in it, at most
)

// headFrames tells where logs end, in as many frames as that takes. A time that is
// not zero says when; clients are not told it.
func headFrames(heads []Head, at time.Time) (frames [][]byte) {
	for len(heads) > 0 {
		e := newFrame(256)
		e.b = append(e.b, `{"type":"head","heads":[`...)
		for len(heads) > 0 && len(e.b) < headSize {
			e.comma()
			e.b = append(e.b, '{')
			e.position(heads[0].Patient, heads[0].Position, heads[0].Must)
			e.b = append(e.b, '}')
			heads = heads[1:]
		}
		e.b = append(e.b, ']')
		if !at.IsZero() {
			e.time("time", at)
		}
		e.b = append(e.b, '}')
		frames = append(frames, textFrame(e.b))
	}
	return frames
}

func heartbeatFrame(now time.Time, open int) []byte {
	e := newFrame(96)
	e.b = append(e.b, `{"type":"heartbeat"`...)
	e.time("time", now)
	e.count("inbox", uint64(open))
	e.b = append(e.b, '}')
	return textFrame(e.b)
}

func welcomeFrame(w *Welcome) []byte {
	e := newFrame(512)
	w.encode(&e)
	return textFrame(e.b)
}
