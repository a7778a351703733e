package carewire

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"time"

	"golang.org/x/time/rate"
)

// A Hub connects devices, patients and staff. It receives vitals, alerts and
// notices, keeps them in a Store, and delivers them to the clients that may see
// them.
//
// A Hub is an http.Handler that serves WebSocket connections and POST requests.
// The host may also call its methods. All methods are safe for concurrent use.
// The host's own calls are not authorised, except those on behalf of a person,
// such as Answer and Pause: that person needs the right.
type Hub struct {
	*core
	auth  Authenticator
	store *guardedStore
	asked askedReads
	opt   Options
	calls hostCalls
	stats counters

	peers      *peers
	lanes      *lanes
	outboxes   *outboxes
	registry   *registry
	access     *accessControl
	changes    *accessChanges
	complaints *complaints
	receipts   *receipts
	pauses     *pauses
	signals    *signals
	clinicians *clinicians
	silences   *silences
	escalator  *escalator
	audit      *auditQueue
	tickets    *tickets
	janitor    *janitor

	doors        *doors
	seats        *seats
	slowness     slowness
	postPaces    principalPaces        // the pace of requests by POST
	requestPaces principalPaces        // the pace of requests, over all connections of a principal
	bytePaces    principalPaces        // the same in bytes
	readers      *sharedPlaces[string] // limits concurrent reads of history, by principal
	hostLogs     *rate.Limiter         // for log lines about the host's code
}

// New returns a Hub that authenticates callers by auth and keeps all events in
// store. Both are required. The Hub closes neither. If Options.Pager is a
// PageChecker, New returns its error.
func New(auth Authenticator, store Store, o *Options) (*Hub, error) {
	if auth == nil || store == nil {
		return nil, errors.New("carewire: an Authenticator and a Store are required")
	}
	if o != nil {
		if c, ok := o.Pager.(PageChecker); ok {
			if err := c.Validate(); err != nil {
				return nil, err
			}
		}
	}
	h := &Hub{auth: auth, opt: o.withDefaults()}
	h.connect(store)
	h.lanes.run(h.background)
	h.start(h.visitAll)
	h.start(func() {
		h.clock.run(h.ctx, h.quit, func() bool { return h.escalator.bringForward(h.ctx) })
	})
	h.start(func() { h.janitor.run(h.ctx, h.quit) })
	h.start(func() { h.janitor.awaitCheck(h.ctx, h.quit) })
	h.start(func() { h.open.run(h.handleRevision, h.lanes.compare, h.lanes.hint, h.peers.otherNews()) })
	h.peers.run()
	h.start(h.escalator.run)
	h.start(func() { h.changes.run(h.opt.Recheck) })
	h.start(h.deliverInboxes)
	h.start(h.audit.run)
	return h, nil
}

// connect makes the Hub's components, each from the components that it needs.
func (h *Hub) connect(store Store) {
	o := &h.opt
	clock := newClock(store, o.Logger)
	h.store = newGuardedStore(store, clock.now, o.Trace, &h.stats.append)
	h.core = newCore(h.store, clock, o.Logger, h.append)
	h.calls = newHostCalls(o, &h.stats)
	h.asked = newAskedReads(h.store, h.now)
	h.janitor = newJanitor(store, o.Retention, h.now, h.log)
	h.audit = newAuditQueue(o.Auditor, &h.calls, h.background, h.log, h.now, h.ticks)

	h.registry = newRegistry()
	h.doors = newDoors(o.MaxAuthenticating, o.CallTimeout)
	h.seats = newSeats()
	h.readers = newSharedPlaces[string](historyEach, historyAtOnce, o.CallTimeout)
	h.hostLogs = rate.NewLimiter(rate.Every(time.Second), 10)
	h.tickets = newTickets(h.logs, o.TicketsInStore)
	h.peers = newPeers(h.core, o.Relay)
	h.signals = newSignals(h.core, o.MaxSignals, h.peers, h.keepStrip)
	h.outboxes = &outboxes{ctx: h.ctx, clock: h.clock, asked: h.asked, signals: h.signals, stats: &h.stats, opt: o}

	h.clinicians = newClinicians(o.Person, h.calls.person, h.now)
	h.pauses = newPauses(h.core)
	h.receipts = newReceipts(h.core)
	h.complaints = newComplaints(h.core, h.raiseOwn, o.alertsMost)
	h.silences = newSilences(h.core, h.complaints, h.raiseOwn, o, h.calls.silence)
	h.access = newAccessControl(o, &h.calls, h.logs, h.audit.recordHost)
	h.changes = newAccessChanges(h.core, h.access, h.registry, h.complaints, h.pauses, h.clinicians, o.TestRecipients)
	h.escalator = newEscalator(h.core, h.receipts, h.complaints, h.pauses, o, &h.calls, &h.stats, h.anyConnected, h.audit.recordHost,
		map[Kind]func(context.Context, *Entry){KindTimer: h.silences.handleDue, KindAccess: h.changes.end, KindNotice: h.expireNotice})
	h.lanes = newLanes(h.core, h.peers, o, &h.stats.lag, h.silences.noteHeard)
}

// raiseOwn raises an alert of carewire's own.
func (h *Hub) raiseOwn(ctx context.Context, r Raise) error {
	_, err := h.raise(ctx, hostSender, r)
	return err
}

// expireNotice ends a notice that not every addressee has read within
// Options.NoticeLife.
func (h *Hub) expireNotice(ctx context.Context, e *Entry) { h.closeEntry(ctx, *e) }

// anyConnected reports whether any of the addressees is connected.
func (h *Hub) anyConnected(to []string, patient string) bool {
	return len(h.registry.addressees(&Entry{To: to, Patient: patient})) > 0
}

// handleRevision acts on a revision after the open index has recorded it. isNew
// reports that it was new to the index.
func (h *Hub) handleRevision(e *Entry, isNew bool) {
	if e.Kind == KindAccess {
		h.changes.apply(e)
		if e.Key == dischargeKey && e.Open {
			h.start(func() { h.signals.forget(h.ctx, e.Patient) })
		}
	}
	if isNew {
		h.complaints.relieveBy(e)
		h.signals.alerted(e, h.opt.Strips)
	}
	h.changes.disown(e)
}

// now returns the Hub's time, to the millisecond.
func (h *Hub) now() time.Time { return h.clock.now() }

// ticks returns a monotonic time in nanoseconds. Steps of the wall clock do not
// move it.
func (h *Hub) ticks() int64 { return h.clock.ticks() }

// append hands one entry to its lane and waits for the result.
func (h *Hub) append(ctx context.Context, e Entry, quiet bool) (AppendResult, error) {
	done := make(chan AppendResult, 1)
	err := h.lanes.of(e.Patient).submit(job{entry: &e, quiet: quiet, done: func(a AppendResult) {
		if a.Err == nil && !a.Repeated {
			e.Position, e.Must = a.Position, a.Must
			if h.open.noteRevision(e, quiet) {
				h.complaints.relieveBy(&e)
				h.start(func() { h.signals.alerted(&e, h.opt.Strips) }) // an alert's delivery must not wait for waves
			}
		}
		done <- a
	}})
	if err != nil {
		return AppendResult{}, err
	}
	h.stats.in.Add(1)
	select {
	case a := <-done:
		return a, a.Err
	case <-ctx.Done():
		return AppendResult{}, errors.Join(ErrUnknownOutcome, ctx.Err())
	}
}

// Raise raises an alert, or updates the open alert with the same patient and
// key. It returns the resulting state, which is then in the Store. Repeating a
// Raise without changes stores nothing.
func (h *Hub) Raise(ctx context.Context, r Raise) (Alert, error) {
	if r.ID == "" {
		r.ID = rand.Text()
	}
	if err := r.Validate(); err != nil {
		return Alert{}, err
	}
	return h.raise(ctx, hostSender, r)
}

func (h *Hub) raise(ctx context.Context, sender string, in Raise) (Alert, error) {
	if in.Key == "" {
		in.Key = in.ID
	}
	in.Text = cleanText(in.Text)
	var e encoder
	in.encode(&e)
	c := change{patient: in.Patient, key: in.Key, test: in.Test, sender: sender, id: in.ID, sum: digest(append(e.b, "raise"...)), afresh: true}
	var giveBack func()
	crowd := false
	a, err := h.alerts.change(ctx, c, func(prev *Alert, now time.Time) (Alert, error) {
		if (prev == nil || !prev.Open()) && giveBack == nil {
			var ok bool
			if giveBack, ok = h.open.claimAlert(fromKey{in.Patient, sender, in.Priority, in.Test}, &h.opt); !ok {
				return Alert{}, errLimit
			}
		}
		crowd = false
		switch {
		case prev != nil && prev.ID == in.ID && !prev.Open():
			return Alert{}, ErrEnded
		case prev != nil && (prev.unchangedBy(&in, sender) || prev.Latched && prev.Open() && in.Priority == PriorityInfo):
			return *prev, errUnchanged
		case prev != nil && prev.crowdedFor(sender):
			if crowd = true; !prev.outranked(in.Priority) {
				return Alert{}, errLimit
			}
		}
		return muteTest(raiseAlert(prev, in, sender, now), h.opt.TestRecipients), nil
	})
	if giveBack != nil {
		giveBack()
	}
	switch {
	case errors.Is(err, errLimit):
		err = h.refuseExcess(ctx, sender, &in, crowd)
	case err == nil && crowd:
		h.startRetrying("sources/"+in.Patient+"/"+alertKey(in.Key, in.Test), func(ctx context.Context) error { return h.complaints.manySources(ctx, a.Ref()) })
	}
	if err == nil && sender != hostSender {
		h.silences.noteRaised(in.Patient, sender, in.Test)
	}
	if sender == hostSender {
		h.audit.recordHost(Record{Event: AuditRaise, Patient: in.Patient, Key: in.Key, ID: cmp.Or(a.ID, in.ID), Test: in.Test}, err)
	}
	return a, err
}

// Answer records a person's answer to an alert. The person must have the right
// to answer. After AnswerAccept the person is responsible until the acceptance
// expires, is given back, or is taken over. Answer returns ErrNotFound if the
// alert never existed.
func (h *Hub) Answer(ctx context.Context, by Principal, ref AlertRef, w Answer) (Alert, error) {
	if err := ref.Validate(); err != nil {
		return Alert{}, err
	}
	if err := w.validate(); err != nil {
		return Alert{}, err
	}
	if !by.valid() {
		return Alert{}, invalid("principal", "must be usable")
	}
	a, err := h.answer(ctx, &by, ref, w)
	rec := Record{Event: AuditAnswer, Who: by.person(), Session: by.Session, Patient: ref.Patient, Key: ref.Key, ID: cmp.Or(ref.ID, a.ID), Do: w.Do, Test: a.Test}
	if w.Do == AnswerClose {
		rec.Event = AuditClose
	}
	h.audit.recordHost(rec, err)
	return a, err
}

func (h *Hub) answer(ctx context.Context, by *Principal, ref AlertRef, w Answer) (Alert, error) {
	h.clinicians.remember(by)
	w.Reason = cleanText(w.Reason)
	action := ActionAnswer
	if w.Do == AnswerClose {
		action = ActionClose
	}
	if !by.mayAnswer() {
		return Alert{}, ErrForbidden
	}
	if err := h.access.decide(ctx, by, action, []string{ref.Patient})[ref.Patient]; err != nil {
		return Alert{}, err
	}
	if w.To != "" {
		if err := h.mayBeGiven(ctx, w.To, ref.Patient); err != nil {
			return Alert{}, err
		}
	}
	id := w.ID
	text := string(w.Do) + "\x00" + ref.Key + "\x00" + ref.ID + "\x00" + w.To + "\x00" + w.For.String() + "\x00" + w.Reason
	if w.Force {
		text += "\x00force"
	}
	if r := w.Source; r != (Recognition{}) {
		text += "\x00source\x00" + string(r.Kind) + "\x00" + r.Model + "\x00" + string(r.Confidence)
	}
	c := change{patient: ref.Patient, key: ref.Key, alertID: ref.ID, test: ref.Test, sender: by.ID, id: id, sum: digest([]byte(text)), answer: true}
	return h.alerts.change(ctx, c, func(prev *Alert, now time.Time) (Alert, error) {
		switch {
		case prev == nil:
			return Alert{}, ErrNotFound
		case ref.ID != "" && ref.ID != prev.ID:
			return *prev, ErrEnded
		}
		w := w
		switch w.Do {
		case AnswerAccept:
			w.For, w.holder = h.opt.MaxHold.hold(prev.Priority, w.For), newHolder(by, prev.Patient)
			w.offered = prev.Responsibility.To != "" && by.addressed([]string{prev.Responsibility.To}, prev.Patient)
		case AnswerReject:
			w.offered = prev.Responsibility.To != "" && by.addressed([]string{prev.Responsibility.To}, prev.Patient)
		case AnswerHandover:
			w.For = h.opt.HandoverWithin
		}
		return answerAlert(prev, w, by.person(), h.receipts.sendersOf(prev), now)
	})
}

// Alert returns the newest state of an alert, open or ended. It returns
// ErrNotFound if the patient never had an alert under that key.
func (h *Hub) Alert(ctx context.Context, patient, key string) (Alert, error) {
	ref := AlertRef{Patient: patient, Key: key}
	if err := ref.Validate(); err != nil {
		return Alert{}, err
	}
	a, err := h.alerts.newest(ctx, change{patient: patient, key: key})
	if err == nil && a == nil {
		err = ErrNotFound
	}
	if err != nil {
		return Alert{}, err
	}
	return *a, nil
}

// Notify sends a notice. n.ID is the event ID. If it is empty, Notify generates
// one.
func (h *Hub) Notify(ctx context.Context, n Notice) (Notice, error) {
	if n.ID == "" {
		n.ID = rand.Text()
	}
	if err := n.Validate(); err != nil {
		return Notice{}, err
	}
	sent, err := h.notify(ctx, hostSender, n)
	h.audit.recordHost(Record{Event: AuditNotice, Patient: n.Patient, ID: n.ID}, err)
	return sent, err
}

func (h *Hub) notify(ctx context.Context, sender string, n Notice) (Notice, error) {
	if n.Audience == 0 {
		n.Audience = AudienceNamed
	}
	n.Text = cleanText(n.Text)
	var e encoder
	n.encode(&e)
	sum := digest(e.b)
	if sender != hostSender {
		giveBack, err := h.roomForNotice(ctx, sender, &n)
		if err != nil {
			return Notice{}, err
		}
		defer giveBack()
	}
	n.From, n.Time = sender, h.now()
	entry := noticeEntry(&n, 1)
	if life := h.opt.NoticeLife; entry.Open && life < 1<<60 {
		entry.Due = n.Time.Add(life)
	}
	entry.Sender, entry.ID, entry.Sum = sender, n.ID, sum
	a, err := h.append(ctx, entry, false)
	switch {
	case errors.Is(err, ErrConflict): // another sender's notice has this ID
		return Notice{}, ErrIDReused
	case err != nil:
		return Notice{}, err
	case a.Repeated:
		entry, err := h.logs.readAt(ctx, n.Patient, a.Position, KindNotice)
		if err != nil {
			return Notice{}, err
		}
		return n, n.UnmarshalJSON(entry.Data)
	}
	return n, nil
}

// roomForNotice reserves room for one more open notice from sender to each
// addressee and to all, unless n repeats an earlier notice.
func (h *Hub) roomForNotice(ctx context.Context, sender string, n *Notice) (giveBack func(), err error) {
	giveBack, ok := h.open.claimNotice(sender, n.To, &h.opt)
	if ok {
		return giveBack, nil
	}
	old, err := h.logs.newest(ctx, n.Patient, "n/"+n.ID)
	if err != nil {
		return nil, err
	}
	if old.Rev == 0 {
		h.stats.limits.notices.Add(1)
		return nil, errLimit
	}
	return func() {}, nil
}

// noticeEntry makes the entry of a revision of n. It stays open until every
// addressee has read it, or Options.NoticeLife ends it.
func noticeEntry(n *Notice, rev uint64) Entry {
	var e encoder
	n.encode(&e)
	return Entry{Patient: n.Patient, Kind: KindNotice, Key: "n/" + n.ID, Rev: rev, Open: rev == 1 && len(n.To) > 0, Audience: n.Audience, To: n.To,
		Sender: n.From, Time: n.Time, Received: n.Time, Data: e.b}
}

// Shutdown ends the Hub. The Hub refuses new connections, asks all clients to
// reconnect elsewhere (close code 1012) at a pace that spreads their return,
// and stores the events that it has accepted. Shutdown returns when all of this
// is done. If ctx ends first, the Hub cuts the remaining connections and
// Shutdown returns ctx's error. Afterwards all calls that write return ErrClosed.
//
// A call of the host's code (an interface or function of Options, or the
// Authenticator) that goes on after its context has ended may outlive Shutdown,
// and so may a call of the Store after ctx has ended. Nothing else does.
//
// Call Shutdown before http.Server.Shutdown, which does not close WebSocket
// connections, and before closing the Store.
func (h *Hub) Shutdown(ctx context.Context) error {
	conns, first := h.registry.close()
	var err error
	if first {
		for i, c := range conns {
			if i%500 == 499 { // 10,000 connections in two seconds
				select {
				case <-time.After(100 * time.Millisecond):
				case <-ctx.Done():
				}
			}
			c.close(CloseRestart)
		}
	}
	select {
	case <-h.registry.drained:
	case <-ctx.Done():
		err = ctx.Err()
		for _, c := range conns {
			c.cut()
		}
	}
	h.signals.close()
	h.lanes.close()
	if first {
		h.audit.recordTallies(0)
	}
	if e := h.end(ctx); e != nil {
		err = e
	}
	return err
}
