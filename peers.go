package carewire

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/carewire/carewire/internal/wsconn"
)

// relayShared is the name under which the Hubs on one Store share the key of their
// messages.
const relayShared = "carewire.relay"

// The kinds of topics.
const (
	topicNews  = 'n' // news of the Store's members: every Hub listens to it
	topicLog   = 'l' // entries of one patient's log
	topicWaves = 'w' // waves of one patient
)

// A topic is the content of one subject.
type topic struct {
	kind    byte
	patient string
}

// peers are the other Hubs on the same Store, as far as a Relay reaches them. They
// own the key, the subscriptions and the waiting messages. One goroutine calls the
// Relay, so that the rest of the Hub never waits for it. A Hub without a Relay has a nil
// *peers, which appended entries are not given to; its other methods then do nothing.
type peers struct {
	*background
	relay Relay
	share func(ctx context.Context, name string, next func([]byte) []byte) ([]byte, error)
	now   func() time.Time
	log   *slog.Logger
	stats relayCounters
	news  chan []int // members of the Store with news of other Hubs

	mu      sync.Mutex
	wanted  map[topic]func(*relayMessage)
	changed map[topic]bool // wanted, or no longer wanted, since the worker looked
	queue   []outgoing
	waiting int // entries in the queue
	bytes   int // of these
	wake    chan struct{}
	leaving *relayWaves // waves of this Hub
	coming  *relayWaves // waves of others
	written *gathering  // members with revisions of this Hub
	heard   *gathering  // members with revisions of others
	keys    chan relayKey

	// The worker's:
	relayCipher *relayCipher // nil while the key is not known
	own         hubName
	number      uint64
	subs        map[topic]func() // the subscriptions, and how each ends
	panicked    bool             // the Relay has panicked
}

// An outgoing is one thing to tell other Hubs.
type outgoing struct {
	entries []Entry // as appended has them
	news    []int   // members of the Store
}

// A relayMessage is an opened message of another Hub.
type relayMessage struct {
	kind   byte
	body   []byte
	from   hubName
	number uint64 // greater than those of the messages that from has sent before
}

const (
	outgoingMost  = 16 << 10 // waiting entries
	outgoingBytes = 16 << 20
)

// newPeers returns nil without a Relay.
func newPeers(c *core, r Relay) *peers {
	if r == nil {
		return nil
	}
	x := &peers{background: c.background, relay: r, share: c.logs.share, now: c.clock.now, log: c.log, news: make(chan []int),
		wanted: make(map[topic]func(*relayMessage)), changed: make(map[topic]bool), wake: make(chan struct{}, 1),
		leaving: newRelayWaves(), coming: newRelayWaves(), written: newGathering(), heard: newGathering(),
		keys: make(chan relayKey), own: newHubName(), subs: make(map[topic]func())}
	x.subscribe(topic{kind: topicNews}, x.takeNews)
	return x
}

// run starts x's goroutines.
func (x *peers) run() {
	if x == nil {
		return
	}
	x.start(x.runWorker)
	x.start(x.keepKey)
	x.start(func() { x.coming.run(x.quit) })
	x.start(func() {
		x.written.each(x.quit, func(members []int) { x.enqueue(outgoing{news: members}, 1, 0) })
	})
	x.start(func() {
		x.heard.each(x.quit, func(members []int) {
			select {
			case x.news <- members:
			case <-x.quit:
			}
		})
	})
}

// counts returns the counts of messages.
func (x *peers) counts() RelayStats {
	if x == nil {
		return RelayStats{}
	}
	return x.stats.snapshot()
}

// otherNews receives the members of the Store that have news of other Hubs; nil without a
// Relay.
func (x *peers) otherNews() <-chan []int {
	if x == nil {
		return nil
	}
	return x.news
}

// subscribe has use called with each message about t, until unsubscribe. It is called from
// goroutines of the Relay, and must not block.
func (x *peers) subscribe(t topic, use func(*relayMessage)) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.wanted[t] = use
	x.changed[t] = true
	signal(x.wake)
}

func (x *peers) unsubscribe(t topic) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.wanted, t)
	x.changed[t] = true
	signal(x.wake)
}

// tellAppended tells other Hubs of entries that the Store has taken. It keeps a.
func (x *peers) tellAppended(a *appended) {
	if len(a.entries) == 0 {
		return
	}
	size := 0
	for i := range a.entries {
		size += len(a.entries[i].Data)
	}
	x.enqueue(outgoing{entries: a.entries}, len(a.entries), size)
	x.written.add(slices.Collect(maps.Keys(a.members)))
}

// tellWave tells other Hubs of a chunk of a wave.
func (x *peers) tellWave(c *waveChunk) {
	if x != nil {
		x.stats.dropped.Add(uint64(x.leaving.add(c.size(), func() { x.sendWave(c) })))
	}
}

// enqueue queues something to tell. If there is no room, it is lost, and others read it
// from the Store.
func (x *peers) enqueue(o outgoing, n, size int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.waiting+n > outgoingMost || x.bytes+size > outgoingBytes {
		x.stats.dropped.Add(1)
		return
	}
	x.queue = append(x.queue, o)
	x.waiting += n
	x.bytes += size
	signal(x.wake)
}

// runWorker calls the Relay until the Hub ends. After each chunk of a wave it looks for
// events.
func (x *peers) runWorker() {
	for {
		over := false
		select {
		case key := <-x.keys:
			x.useKey(key)
		case <-x.wake:
		case <-x.leaving.came:
		case <-x.quit:
			over = true
		}
		x.mu.Lock()
		changed, queue := x.changed, x.queue
		x.changed, x.queue, x.waiting, x.bytes = make(map[topic]bool), nil, 0, 0
		x.mu.Unlock()
		for t := range changed {
			x.updateSubscription(t)
		}
		for i := range queue {
			x.sendQueued(&queue[i])
		}
		if over {
			x.endSubscriptions()
			return
		}
		x.leaving.next()
	}
}

// endSubscriptions ends all subscriptions.
func (x *peers) endSubscriptions() {
	for t, stop := range x.subs {
		x.callRelay(stop)
		delete(x.subs, t)
	}
}

// keepKey hands the key to the worker, again and again, until the Hub ends.
func (x *peers) keepKey() {
	failing := false
	for {
		key, err := x.sharedKey(x.ctx)
		if err != nil && !failing {
			x.log.Warn("carewire: the key for messages between nodes cannot be read from the store; nodes learn of each other's events from the store alone")
		}
		failing = err != nil
		pause := relayRetry
		if !failing {
			pause = relayAgree
			select {
			case x.keys <- key:
			case <-x.quit:
				return
			}
		}
		select {
		case <-time.After(pause):
		case <-x.quit:
			return
		}
	}
}

// sharedKey returns the key, which the first Hub makes.
func (x *peers) sharedKey(ctx context.Context) (key relayKey, err error) {
	text, err := x.share(ctx, relayShared, func(old []byte) []byte {
		if old != nil {
			return nil
		}
		rand.Read(key[:])
		b, _ := json.Marshal(sharedKey{key[:]})
		return b
	})
	if err != nil {
		return key, err
	}
	var got sharedKey
	if err := json.Unmarshal(text, &got); err != nil || len(got.Key) != len(key) {
		return key, errStored
	}
	return relayKey(got.Key), nil
}

// useKey begins to use a key. With another one than before, all subscriptions begin
// anew; else those that failed are tried again.
func (x *peers) useKey(key relayKey) {
	if x.relayCipher == nil || x.relayCipher.key != key {
		x.endSubscriptions()
		x.relayCipher = newRelayCipher(key, x.own, &x.number)
	}
	x.mu.Lock()
	wanted := slices.Collect(maps.Keys(x.wanted))
	x.mu.Unlock()
	for _, t := range wanted {
		x.updateSubscription(t)
	}
}

// A sharedKey is a relayKey as it is shared.
type sharedKey struct {
	Key []byte `json:"key"`
}

// updateSubscription begins or ends the subscription to a topic, as it is wanted now.
func (x *peers) updateSubscription(t topic) {
	if x.relayCipher == nil {
		return
	}
	stop, subscribed := x.subs[t]
	wanted := x.handlerOf(t) != nil
	switch {
	case subscribed && !wanted:
		delete(x.subs, t)
		x.callRelay(stop)
	case wanted && !subscribed:
		post, subject := x.relayCipher, x.relayCipher.key.subject(t)
		x.callRelay(func() {
			stop, err := x.relay.Subscribe(subject, func(m []byte) { x.receive(post, subject, t, m) })
			if err == nil && stop != nil {
				x.subs[t] = stop
			}
		})
	}
}

// handlerOf returns the handler of messages about a topic; nil: none.
func (x *peers) handlerOf(t topic) func(*relayMessage) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.wanted[t]
}

// receive takes a message in. Waves wait, so that the Relay goes on to the next message,
// which may be an event.
func (x *peers) receive(post *relayCipher, subject string, t topic, m []byte) {
	if t.kind != topicWaves {
		x.handle(post, subject, t, m)
		return
	}
	m = bytes.Clone(m)
	x.stats.dropped.Add(uint64(x.coming.add(len(m), func() { x.handle(post, subject, t, m) })))
}

// handle opens a message and hands it to the topic's handler.
func (x *peers) handle(post *relayCipher, subject string, t topic, m []byte) {
	opened, err := post.open(subject, m, x.now())
	if err == errOwnMessage {
		return
	}
	x.stats.received.Add(1)
	if use := x.handlerOf(t); err == nil && use != nil {
		use(opened)
	} else {
		x.stats.ignored.Add(1)
	}
}

// callRelay calls the host's Relay, and reports whether it panicked. The log tells the
// first time.
func (x *peers) callRelay(f func()) (panicked bool) {
	defer func() {
		if recover() != nil {
			if panicked = true; !x.panicked {
				x.log.Error("carewire: the Relay panicked")
			}
			x.panicked = true
		}
	}()
	f()
	return false
}

// sendQueued sends one thing that waits: entries in one message for each patient, or in
// several if that would be large.
func (x *peers) sendQueued(o *outgoing) {
	if x.relayCipher == nil {
		x.stats.dropped.Add(1)
		return
	}
	var w messageWriter
	if o.news != nil {
		for _, m := range o.news {
			w.uint(uint64(m))
		}
		x.sendMessage(topic{kind: topicNews}, messageNews, w.b)
		return
	}
	slices.SortStableFunc(o.entries, func(a, b Entry) int { return strings.Compare(a.Patient, b.Patient) })
	for i := range o.entries {
		w.entry(&o.entries[i])
		if patient := o.entries[i].Patient; i+1 == len(o.entries) || o.entries[i+1].Patient != patient || len(w.b) > bodyMost/2 {
			x.sendMessage(topic{topicLog, patient}, messageEntries, w.b)
			w.b = w.b[:0]
		}
	}
}

// sendWave sends a chunk of a wave.
func (x *peers) sendWave(c *waveChunk) {
	if x.relayCipher == nil {
		x.stats.dropped.Add(1)
		return
	}
	var body []byte
	for text := range wsconn.Texts(c.frame) {
		body = append(body, text...)
	}
	x.sendMessage(topic{topicWaves, c.Patient}, messageWave, body)
}

// sendMessage sends one message. Entries that are too large are only told of.
func (x *peers) sendMessage(t topic, kind byte, body []byte) {
	if len(body) > bodyMost {
		if kind != messageEntries {
			x.stats.dropped.Add(1)
			return
		}
		kind, body = messageCompare, nil
	}
	subject := x.relayCipher.key.subject(t)
	message := x.relayCipher.seal(subject, kind, x.now(), body)
	var err error
	if x.callRelay(func() { err = x.relay.Send(subject, message) }) || err != nil {
		x.stats.dropped.Add(1)
		return
	}
	x.stats.sent.Add(1)
}

// takeNews notes which members of the Store have revisions of another Hub.
func (x *peers) takeNews(m *relayMessage) {
	members := readMembers(m.body)
	if m.kind != messageNews || len(members) == 0 {
		x.stats.ignored.Add(1)
		return
	}
	x.stats.used.Add(1)
	x.heard.add(members)
}

// A gathering gathers numbers, for one goroutine that waits for them.
type gathering struct {
	mu   sync.Mutex
	all  map[int]bool
	came chan struct{}
}

func newGathering() *gathering {
	return &gathering{all: make(map[int]bool), came: make(chan struct{}, 1)}
}

func (g *gathering) add(list []int) {
	if len(list) == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range list {
		g.all[n] = true
	}
	signal(g.came)
}

// each calls f with the gathered numbers: at once, and then no more often than every
// newsEvery, until quit.
func (g *gathering) each(quit <-chan struct{}, f func([]int)) {
	for {
		select {
		case <-g.came:
		case <-quit:
			return
		}
		g.mu.Lock()
		list := slices.Sorted(maps.Keys(g.all))
		clear(g.all)
		g.mu.Unlock()
		f(list)
		select {
		case <-time.After(newsEvery):
		case <-quit:
			return
		}
	}
}
