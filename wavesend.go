package carewire

import (
	"context"
	"time"
)

const (
	chunksMost    = 64   // chunks in one request
	signalsWanted = 64   // codes of signals in one watch
	wavesAhead    = 256  // chunks that a client may send before they are acknowledged
	wavesEvery    = 32   // chunks after which they are acknowledged
	waveRights    = 1000 // decisions that a connection keeps
)

// A waveSender is what a connection knows of the waves that its client sends.
type waveSender struct {
	rights map[waveTarget]waveRight
	count  uint64 // chunks that were looked at
	told   uint64 // of these, those that were acknowledged
}

// A waveTarget is the patient and device that a client names for its waves.
type waveTarget struct {
	patient, device string
	test            bool
}

// A waveRight is what was decided for a waveTarget. To ask for each chunk would
// cost more than the chunk.
type waveRight struct {
	patient    string // as Options.Resolve says
	err        error
	generation uint64
	askAt      int64 // in ticks
}

// PublishWaves hands chunks of waves to their watchers. It does not block.
// Chunks of one signal must come in the order of their time. The error is that
// of the first refused chunk: a *ValidationError, an error that matches ErrBusy
// (more than the signal's pace) or ErrClosed, or a *RequestError with CodeLimit
// (more than Options.MaxSignals of one patient). The other chunks are accepted.
// PublishWaves does not keep waves.
func (h *Hub) PublishWaves(waves ...Wave) error {
	var first error
	for _, w := range waves {
		if err := h.signals.take(w.clone(), ""); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// takeWaves takes the chunks of c's client, and acknowledges them now and then.
func (c *conn) takeWaves(ctx context.Context, waves []Wave) {
	s := &c.waves
	var refused []waveRefusal
	for i := range waves {
		w := &waves[i]
		said := waveRefusal{Patient: w.Patient, Code: w.Code, Device: w.Device, Number: w.Number}
		err := w.Validate()
		if err == nil {
			err = c.mayWave(ctx, w)
		}
		if err == nil {
			err = c.hub.signals.take(*w, c.session)
		}
		c.countedWave(w.Patient, err)
		if err != nil {
			said.Err = requestError(err)
			refused = append(refused, said)
		}
	}
	s.count += uint64(len(waves))
	if len(refused) > 0 || s.count-s.told >= wavesEvery {
		s.told = s.count
		c.out.send(wavesFrame(&wavesTaken{s.count, refused}))
	}
}

// mayWave says why c's principal may not send waves of w's patient; it names the
// patient as the host does.
func (c *conn) mayWave(ctx context.Context, w *Wave) error {
	h, to := c.hub, waveTarget{w.Patient, w.Device, w.Test}
	generation, now := h.access.generation.Load(), h.ticks()
	r, known := c.waves.rights[to]
	if !known || r.generation != generation || now >= r.askAt {
		r = c.askWave(ctx, w)
		r.generation = generation
		if c.waves.rights == nil || len(c.waves.rights) >= waveRights {
			c.waves.rights = make(map[waveTarget]waveRight)
		}
		c.waves.rights[to] = r
	}
	w.Patient = r.patient
	return r.err
}

// askWave asks the host for the patient of w, and whether c's client may send
// it.
func (c *conn) askWave(ctx context.Context, w *Wave) waveRight {
	h := c.hub
	again := func(d time.Duration) int64 { return later(h.ticks(), d) }
	v := Vital{Patient: w.Patient, Code: w.Code, System: w.System, Device: w.Device, Site: w.Site, Test: w.Test}
	if err := h.resolve(ctx, c.principal(), &v); err != nil {
		return waveRight{err: err, askAt: again(askAgain)}
	} else if v.Patient == "" {
		return waveRight{err: invalid("patient", "must be an ID"), askAt: again(askAgain)}
	}
	actions := []Action{ActionPublish}
	if w.Test {
		actions = append(actions, ActionTest)
	}
	r := waveRight{patient: v.Patient, askAt: again(min(h.opt.Recheck, time.Minute))}
	for _, action := range actions {
		got := h.access.rights(ctx, Access{Principal: *c.principal(), Action: action, Patients: []string{v.Patient}})[v.Patient]
		if got.err != nil {
			r.err, r.askAt = got.err, again(askAgain)
			return r
		}
		if !got.until.IsZero() {
			r.askAt = min(r.askAt, again(got.until.Sub(h.now())))
		}
	}
	return r
}

// wavesTaken is the acknowledgement of a client's waves.
type wavesTaken struct {
	count   uint64 // chunks that were looked at on this connection
	refused []waveRefusal
}

// A waveRefusal is the reason for refusing a chunk.
type waveRefusal struct {
	Patient, Code, Device string
	Number                uint64
	Err                   *RequestError
}

func wavesFrame(t *wavesTaken) []byte {
	e := newFrame(64)
	e.b = append(e.b, `{"type":"waves"`...)
	e.count("count", t.count)
	if len(t.refused) > 0 {
		e.name("refused")
		e.b = append(e.b, '[')
		for i := range t.refused {
			r := &t.refused[i]
			e.comma()
			e.b = append(e.b, '{')
			e.str("patient", r.Patient)
			e.str("code", r.Code)
			e.str("device", r.Device)
			e.count("n", r.Number)
			e.object("error", func() { e.failure(r.Err) })
			e.b = append(e.b, '}')
		}
		e.b = append(e.b, ']')
	}
	e.b = append(e.b, '}')
	return textFrame(e.b)
}

// taken returns what an event waves says, to be read into.
func (ev *Event) taken() *wavesTaken {
	if ev.waves == nil {
		ev.waves = new(wavesTaken)
	}
	return ev.waves
}

func decodeWaveRefusal(s *scanner) (r waveRefusal) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "patient":
			r.Patient = s.str()
		case "code":
			r.Code = s.str()
		case "device":
			r.Device = s.str()
		case "n":
			r.Number = s.uint()
		case "error":
			r.Err = new(RequestError)
			s.object(func(name []byte) bool { return r.Err.decodeMember(s, name) })
		default:
			return false
		}
		return true
	})
	return r
}
