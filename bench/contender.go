package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A contender is a server under measurement: a handler of WebSocket clients,
// and a host that publishes to them.
type contender interface {
	http.Handler
	// publish sends events first … first+n-1 of a patient to all who watch it,
	// which the host has had since at, as fast as can be. It may return before
	// they are delivered.
	publish(patient, first, n int, at time.Time) error
}

// An alerter can send alerts too, with the given number as part of their ID.
type alerter interface {
	raise(patient, number int) error
}

// A dialect is the messages that a client sends to a contender to get events.
type dialect struct {
	header func(client, patients int) string // of the handshake, lines with \r\n
	hello  func(client, patients int) []string
	ready  string // comes as often as patients are watched; at least once
	each   bool   // ready comes for each patient

	// Of a ward; nil: it takes no part in one.
	watch    func(first, count int) []string // to watch so many patients
	send     func(patient, number int, at time.Time) []byte
	accepted func(answer []byte) bool
}

type entrant struct {
	name  string
	about string
	make  func(settings) (contender, error)
	dialect
	special bool // takes part only where a workload names it
	nodes   int  // servers that share a PostgreSQL database; 0: one, without

	databases int // over which the patients are spread, each a PostgreSQL server; 0: it is not package spread's
}

// plain is the dialect of those who deliver everything to everybody: they say
// ready once the connection is among the receivers.
var plain = dialect{ready: `"ready"`}

const readyMessage = `{"type":"ready"}`

var entrants = []entrant{
	{"carewire", "the Hub with its defaults, MemoryStore, `delivery: every`; its log is formatted as text and thrown away", newCarewire, carewireDialect, false, 0, 0},
	{"floor-gathered", "ready frames, all available ones copied into one write", newGathered, plain, false, 0, 0},
	{"floor-buffered", "a buffer and a goroutine for each client; publish copies a ready frame into each buffer", newBuffered, plain, false, 0, 0},
	{"floor-topics", "the same for those who watch the patient; reads the frame of a device and writes a ready answer", newTopics, topicDialect, true, 0, 0},
	{"floor-single", "ready frames, one write for each", newSingle, plain, false, 0, 0},
	{"centrifuge", "Node.Publish, memory broker without history, its defaults", newCentrifuge, centrifugeDialect, false, 0, 0},
	{"centrifuge-delayed", "the same with a WriteDelay of 10 ms, MaxMessagesInFrame without limit and WriteWithTimer", newDelayedCentrifuge, centrifugeDialect, false, 0, 0},
	{"melody", "Broadcast; as many messages may wait for a client as the burst has", newMelody, plain, false, 0, 0},
	{"gws", "its Broadcaster, to all connections", newGWS, plain, false, 0, 0},
	{"gorilla", "the hub of its chat example with prepared messages and WriteBufferPool, as many messages waiting as the burst has", newGorilla, plain, false, 0, 0},
	{"coder", "the hub of its chat example, as many messages waiting as the burst has", newCoder, plain, false, 0, 0},
	{"carewire-boltstore", "the Hub with its defaults and boltstore, synced to disk", newCarewire, carewireDialect, true, 0, 0},
	{"floor-durable", "reads the frame, makes one write and one fdatasync for all frames of the meantime, writes a ready answer", newDurableFloor, plain, true, 0, 0},
	{"carewire-pgstore", "the Hub with its defaults and pgstore, on a PostgreSQL with its defaults, synced to disk", newCarewire, carewireDialect, true, 1, 0},
	{"carewire-pgstore-2", "two nodes of that on one database", newCarewire, carewireDialect, true, 2, 0},
	{"carewire-pgstore-2-polling", "the same without LISTEN and NOTIFY: each looks once a second", newCarewire, carewireDialect, true, 2, 0},
	{"carewire-pgstore-3", "three nodes", newCarewire, carewireDialect, true, 3, 0},
	{"carewire-spread-1", "the Hub with its defaults and package spread over one PostgreSQL server with its defaults, synced to disk", newCarewire, carewireDialect, true, 1, 1},
	{"carewire-spread-2", "the same over two servers", newCarewire, carewireDialect, true, 1, 2},
	{"carewire-spread-4", "over four", newCarewire, carewireDialect, true, 1, 4},
	{"floor-pgstore", "reads the frame, makes one INSERT, with a row each, for all frames of the meantime into the same PostgreSQL, writes a ready answer", newPostgresFloor, plain, true, 1, 0},
	{"centrifuge-recovering", "memory broker with a history of 1,000, positioning and recovery", newRecoveringCentrifuge, centrifugeDialect, true, 0, 0},
}

func find(name string) *entrant {
	i := slices.IndexFunc(entrants, func(e entrant) bool { return e.name == name })
	if i < 0 {
		return nil
	}
	return &entrants[i]
}

// eventSize is the length of an event's text, for every server: as long as
// carewire's for a heart rate with an ID.
const eventSize = 264

// idLength is that of an event's ID: patient, number, and when it was sent.
const idLength = 5 + 6 + 12

// eventID tells a client which event of which patient it has, and since when
// there is one: nanoseconds, of which the last twelve digits are enough.
func eventID(patient, number int, at time.Time) string {
	return fmt.Sprintf("%05d%06d%012d", patient, number, at.UnixNano()%clockRound)
}

const clockRound = 1e12

// event is the text that a host would publish, like carewire's text of a
// heart rate. It is eventSize long less the bytes that the contender itself adds.
func event(patient, number int, at time.Time, added int) []byte {
	b := make([]byte, 0, eventSize)
	b = fmt.Appendf(b, `{"type":"vital","patient":"p-%d","vital":{"vital_id":"%s","code":"8867-4","value":72,"unit":"/min","device":"`, patient, eventID(patient, number, at))
	b = append(b, strings.Repeat("m", max(0, eventSize-added-len(b)-3))...)
	return append(b, `"}}`...)
}
