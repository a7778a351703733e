package carewire

import (
	"context"
	"errors"
	"time"
)

const (
	chunksMost    = 64   // chunks in one request
	signalsWanted = 64   // codes of signals in one watch
	wavesAhead    = 256  // chunks that a client may send before they are acknowledged
	wavesEvery    = 32   // chunks after which they are acknowledged
	waveRights    = 1000 // decisions that a connection keeps
)

// A waveSender is the state of the waves that a connection's client sends.
type waveSender struct {
	rights    map[waveTarget]waveRight
	resolveAt int64  // in ticks: before, Options.Resolve is not asked again, for it could not say whose something was
	count     uint64 // chunks that were looked at
	told      uint64 // how many of these were acknowledged
}

// A waveTarget is the patient of waves, as the host names it, and whether they
// are tests.
type waveTarget struct {
	patient string
	test    bool
}

// A waveRight is the decision for a waveTarget. To ask for each chunk would
// cost more than the chunk.
type waveRight struct {
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
		err := w.validateRest()
		if err == nil {
			err = c.resolveWave(ctx, w)
		}
		if err == nil {
			err = c.takeWave(ctx, w)
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

// resolveWave has the host name w's patient. It is asked for each chunk, as for each
// vital: a monitor that has been moved shows nobody's wave under another one's name.
func (c *conn) resolveWave(ctx context.Context, w *Wave) error {
	h := c.hub
	if h.ticks() < c.waves.resolveAt {
		return ErrUndecided // or each chunk would wait for CallTimeout
	}
	v := Vital{Patient: w.Patient, Code: w.Code, System: w.System, Device: w.Device, Site: w.Site, Time: w.Time, Test: w.Test}
	if err := h.resolve(ctx, c.principal(), &v); err != nil {
		if errors.Is(err, ErrUndecided) {
			c.waves.resolveAt = ticksAfter(h.ticks(), askAgain)
		}
		return err
	}
	if w.Patient = v.Patient; !validID(w.Patient) {
		return invalid("patient", "must be an ID")
	}
	return nil
}

// takeWave takes a chunk in if c's principal may send it: not one that comes to
// nothing because access was taken while that was decided.
func (c *conn) takeWave(ctx context.Context, w *Wave) error {
	for {
		r := c.waveRight(ctx, waveTarget{w.Patient, w.Test})
		if r.err != nil {
			return r.err
		}
		c.mu.Lock()
		if c.ended {
			c.mu.Unlock()
			return ErrForbidden
		}
		if c.generation() == r.generation {
			defer c.mu.Unlock()
			return c.hub.signals.take(*w, c.session)
		}
		c.mu.Unlock()
	}
}

// waveRight says whether c's principal may send waves to a target: as was decided
// before, if that still counts.
func (c *conn) waveRight(ctx context.Context, to waveTarget) waveRight {
	generation := c.generation()
	r, known := c.waves.rights[to]
	if !known || r.generation != generation || c.hub.ticks() >= r.askAt {
		r = c.askWave(ctx, to)
		r.generation = generation
		if c.waves.rights == nil || len(c.waves.rights) >= waveRights {
			c.waves.rights = make(map[waveTarget]waveRight)
		}
		c.waves.rights[to] = r
	}
	return r
}

// askWave asks whether waves may be sent to a target, and for how long that counts.
func (c *conn) askWave(ctx context.Context, to waveTarget) (r waveRight) {
	h := c.hub
	again := func(d time.Duration) int64 { return ticksAfter(h.ticks(), d) }
	actions := []Action{ActionPublish}
	if to.test {
		actions = append(actions, ActionTest)
	}
	r.askAt = again(min(h.opt.Recheck, time.Minute))
	for _, action := range actions {
		got := h.access.rights(ctx, Access{Principal: *c.principal(), Action: action, Patients: []string{to.patient}})[to.patient]
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

// taken returns the content of a waves event, to read into.
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
