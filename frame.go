package carewire

// A frame is one event of a patient's log as ready WebSocket messages, made
// once and shared by all who get it.
type frame struct {
	shown     []byte // for its audience; nil if nobody gets to see it
	gap       []byte // for everybody else; nil if there is nobody else
	seq       uint64
	droppable bool
	entry     Entry // without Data
	at        int64 // when it was handed in, in ticks; 0: elsewhere
}

// hidden reports whether e is a gap to everybody: a timer, the note that a
// notice has been read by all, or what a Store has damaged.
func (e *Entry) hidden() bool {
	return len(e.Data) == 0 || e.Kind == KindTimer || e.Kind == KindNotice && e.Rev > 1
}

// newFrameOf makes the frame of an entry. A quiet one is a gap to everybody.
func newFrameOf(e *Entry, quiet bool, at int64) *frame {
	f := &frame{seq: e.Seq, droppable: e.Kind.Droppable(), entry: *e, at: at}
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

func eventFrame(e *Entry) []byte {
	w := newFrame(len(e.Data) + 128)
	w.entry(e)
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
