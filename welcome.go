package carewire

import (
	"strconv"
	"time"
)

// Welcome describes the server and the connection.
type Welcome struct {
	Session   string
	Principal Person
	Expires   time.Time // when the token ends; zero: never
	Time      time.Time
	Heartbeat time.Duration
	Durable   bool     // whether confirmed events survive a crash
	Features  []string // features beyond the base of carewire.v1
	Limits    Limits
}

// Limits are the limits of a server.
type Limits struct {
	Frame    int // bytes of a request
	Vitals   int // in one publish
	Patients int // watched by one connection
	Keys     int // of vitals, for one patient
	History  int // entries in one page
	Signals  int // waves of one patient
	Waves    int // chunks of waves that may be sent ahead of the last acknowledgement
}

// Limits returns the limits of h, as its clients are told them.
func (h *Hub) Limits() Limits {
	return Limits{Frame: h.opt.MaxFrame, Vitals: h.opt.MaxVitals, Patients: h.opt.MaxPatients, Keys: h.opt.MaxKeys, History: h.opt.MaxHistory,
		Signals: h.opt.MaxSignals, Waves: wavesAhead}
}

func (w *Welcome) decodeMember(s *scanner, name []byte) bool {
	switch string(name) {
	case "session":
		w.Session = s.str()
	case "principal":
		w.Principal = decodePerson(s)
	case "expires":
		w.Expires = s.time()
	case "heartbeat_s":
		w.Heartbeat = s.seconds()
	case "durable":
		w.Durable = s.bool()
	case "features":
		w.Features = s.strings(64)
	case "limits":
		s.object(func(name []byte) bool {
			n := func() int { return int(s.uint()) }
			switch string(name) {
			case "frame":
				w.Limits.Frame = n()
			case "vitals":
				w.Limits.Vitals = n()
			case "patients":
				w.Limits.Patients = n()
			case "keys":
				w.Limits.Keys = n()
			case "history":
				w.Limits.History = n()
			case "signals":
				w.Limits.Signals = n()
			case "waves":
				w.Limits.Waves = n()
			default:
				return false
			}
			return true
		})
	default:
		return false
	}
	return true
}

// encode appends w as a welcome frame's text.
func (w *Welcome) encode(e *encoder) {
	e.b = append(e.b, `{"type":"welcome"`...)
	e.str("session", w.Session)
	e.object("principal", func() {
		e.str("id", w.Principal.ID)
		e.str("name", w.Principal.Name)
		e.str("role", string(w.Principal.Role))
	})
	e.str("role", string(w.Principal.Role))
	e.time("expires", w.Expires)
	e.time("time", w.Time)
	e.float("heartbeat_s", w.Heartbeat.Seconds())
	e.object("limits", func() {
		e.count("frame", uint64(w.Limits.Frame))
		e.count("vitals", uint64(w.Limits.Vitals))
		e.count("patients", uint64(w.Limits.Patients))
		e.count("keys", uint64(w.Limits.Keys))
		e.count("history", uint64(w.Limits.History))
		e.uint("signals", uint64(w.Limits.Signals))
		e.uint("waves", uint64(w.Limits.Waves))
	})
	e.name("features")
	e.b = append(e.b, '[')
	for _, f := range w.Features {
		e.comma()
		e.b = appendString(e.b, f)
	}
	e.b = append(e.b, ']')
	e.name("durable")
	e.b = strconv.AppendBool(e.b, w.Durable)
	e.b = append(e.b, '}')
}

func (c *conn) welcome() {
	h := c.hub
	durable := false
	if d, ok := h.store.Store.(Durable); ok {
		durable = d.Durable()
	}
	w := Welcome{Session: c.session, Principal: c.principal().person(), Expires: c.principal().Expires, Time: h.now(), Heartbeat: heartbeat, Durable: durable,
		Features: []string{"inbox", "history", "receipts", "groups", "post", "tickets", "handover", "pause", "waves"},
		Limits:   h.Limits()}
	if h.peers == nil {
		w.Features = append(w.Features, "waves-local")
	}
	c.out.send(welcomeFrame(&w))
	c.tellStatus(h.store.status(), nil)
}
