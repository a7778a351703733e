package carewire

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"
)

// Publish accepts vitals and returns the result of each, in order. A Vital with
// an ID that was published before is answered as it was then. The error is nil
// if all went well; else it is the first Vital's that failed.
func (h *Hub) Publish(ctx context.Context, vitals ...Vital) ([]PublishResult, error) {
	ch := make(chan []PublishResult, 1)
	vitals = slices.Clone(vitals)
	h.publish(ctx, nil, vitals, nil, func(p []PublishResult) {
		if len(p) > 0 {
			h.audit.host.add(h.ticks(), vitals, p)
		}
		ch <- p
	})
	select {
	case list := <-ch:
		for _, p := range list {
			if p.Err != nil {
				return list, p.Err
			}
		}
		return list, nil
	case <-ctx.Done():
		return nil, errors.Join(ErrUnknownOutcome, ctx.Err())
	}
}

// publish submits vitals of p (nil: the host), but for those that are refused
// already, by their places, and calls done, which must not block, once all
// results are known.
func (h *Hub) publish(ctx context.Context, p *Principal, vitals []Vital, refused map[int]error, done func([]PublishResult)) {
	results := make([]PublishResult, len(vitals))
	if len(vitals) == 0 {
		done(results)
		return
	}
	var left atomic.Int64
	left.Store(int64(len(vitals)))
	finish := func(i int, r PublishResult) {
		results[i] = r
		if left.Add(-1) == 0 {
			done(results)
		}
	}
	rights, refused := h.publishRights(ctx, p, vitals, refused)
	ages := h.ageClasses(ctx, vitals, rights)
	now := h.now()
	var to *lane
	jobs := make([]job, 0, len(vitals))
	submit := func() {
		if len(jobs) == 0 {
			return
		}
		if err := to.submit(jobs...); err != nil {
			for i := range jobs {
				jobs[i].done(AppendResult{Err: err})
			}
		}
		jobs = jobs[:0]
	}
	for i := range vitals {
		if vitals[i].Replaces != "" {
			submit() // it may replace one of those before it
		}
		e, err := Entry{}, refused[i]
		if err == nil {
			e, err = h.vitalEntry(ctx, p, &vitals[i], rights, ages, now)
		}
		if err != nil {
			finish(i, PublishResult{Err: err})
			continue
		}
		if l := h.lanes.of(e.Patient); l != to || len(jobs) == batchMax {
			submit()
			to = l
		}
		jobs = append(jobs, job{entry: &e, vital: &vitals[i], done: func(a AppendResult) {
			if a.Err == nil && !a.Repeated {
				h.stats.in.Add(1)
			}
			finish(i, PublishResult{Seq: a.Seq, Repeated: a.Repeated, Err: a.Err})
		}})
	}
	submit()
}

// publishRights resolves and authorises the patients of vitals that are not
// refused. It adds to refused why a vital's patient is not known, by its place.
func (h *Hub) publishRights(ctx context.Context, p *Principal, vitals []Vital, refused map[int]error) (rights map[string]error, all map[int]error) {
	if p == nil {
		return nil, refused
	}
	var patients, tests []string
	for i := range vitals {
		v := &vitals[i]
		if refused[i] != nil {
			continue
		}
		if err := h.resolve(ctx, p, v); err != nil {
			if refused == nil {
				refused = make(map[int]error)
			}
			refused[i], v.Patient = err, ""
			continue
		}
		if !slices.Contains(patients, v.Patient) {
			patients = append(patients, v.Patient)
		}
		if v.Test && !slices.Contains(tests, v.Patient) {
			tests = append(tests, v.Patient)
		}
	}
	rights = h.access.decide(ctx, p, ActionPublish, patients)
	if len(tests) > 0 {
		for patient, err := range h.access.decide(ctx, p, ActionTest, tests) {
			rights[patient] = errors.Join(rights[patient], err)
		}
	}
	return rights, refused
}

// resolve has the host name the patient of v, if it wants to.
func (h *Hub) resolve(ctx context.Context, p *Principal, v *Vital) error {
	if h.opt.Resolve == nil {
		return nil
	}
	resolved, err := resolveCopy(ctx, h, p, *v, h.opt.Resolve)
	if err == nil {
		*v = resolved
	}
	return err
}

// resolveAlert has the host name the patient of an alert that is raised, cleared
// or answered by a client, if it wants to.
func (h *Hub) resolveAlert(ctx context.Context, p *Principal, ref AlertRef) (patient string, err error) {
	if h.opt.ResolveAlert == nil {
		return ref.Patient, nil
	}
	ref, err = resolveCopy(ctx, h, p, ref, h.opt.ResolveAlert)
	if err == nil && !validPatient(ref.Patient) {
		err = ErrForbidden
	}
	return ref.Patient, err
}

// resolveCopy calls f, which is the host's code, with a copy of v. The error is
// ErrForbidden if f says so or ErrNotFound, else ErrUndecided.
func resolveCopy[T any](ctx context.Context, h *Hub, p *Principal, v T, f func(context.Context, Principal, *T) error) (T, error) {
	done, err := callHost(ctx, h.calls.resolve, func(ctx context.Context) (T, error) {
		c := v // the call may still have it when it was given up
		err := f(ctx, *p, &c)
		return c, err
	})
	switch {
	case err == nil:
		return done, nil
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrForbidden):
		return v, ErrForbidden
	}
	h.stats.unresolved.Add(1)
	if h.hostLogs.Allow() {
		h.log.Error("carewire: the patient of an event could not be resolved", "cause", causeOf(err))
	}
	return v, ErrUndecided
}

// vitalEntry makes the entry of a vital, or says why it is refused.
func (h *Hub) vitalEntry(ctx context.Context, p *Principal, v *Vital, rights map[string]error, ages map[string]AgeClass, now time.Time) (Entry, error) {
	sender := hostSender
	if p != nil {
		sender = h.opt.senderOf(p)
		if v.Patient == "" {
			return Entry{}, invalid("patient", "must be an ID")
		}
		if err := rights[v.Patient]; err != nil {
			return Entry{}, err
		}
	}
	var sum [16]byte
	if v.ID != "" {
		var e encoder
		v.encode(&e)
		sum = digest(e.b)
	}
	made := Entry{Patient: v.Patient, Kind: KindVital, Audience: AudienceAll, Sender: sender, ID: v.ID, Sum: sum, Received: now}
	if v.Replaces == "" {
		made.Key = v.key()
	} else {
		if err := v.Validate(); err != nil {
			return Entry{}, err
		}
		var err error
		if made, err = h.findReplaced(ctx, sender, v, made); err != nil {
			return Entry{}, err
		}
	}
	at, err := v.accept(now, ages[v.Patient])
	if err != nil {
		return Entry{}, err
	}
	if made.Time.IsZero() {
		made.Time = at
	}
	e := encoder{b: make([]byte, 0, 224)}
	v.encode(&e)
	made.Data = e.b
	return made, nil
}
