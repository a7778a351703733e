package carewire

import (
	"sync/atomic"
	"time"
)

// Relay carries messages between the Hubs on one Store, beside the Store: entries
// that were just appended, news of changes, and waves. Module natsrelay has one for
// NATS.
//
// A Relay may lose, delay, repeat and reorder messages. The Store remains the truth:
// a Hub uses an entry of a message only if that is the next one of its log. Otherwise
// it reads the Store, as it does without a Relay.
//
// A subject is 32 hexadecimal digits, in lower case. A message has at most
// [MaxRelayMessage] bytes. Hubs encrypt and authenticate each message with a key that
// they keep in the Store, and derive subjects from it. So a Relay, and anybody else
// who sees its messages, learns only their sizes, their times and the number of
// subjects, and cannot forge a message.
//
// A Hub calls Send and Subscribe from one goroutine. A call that blocks delays only
// later messages; those that find no room meanwhile are dropped. A panic counts as an
// error.
type Relay interface {
	// Send sends a message to all subscribers of the subject at any node. It may
	// keep the message. An error means that the message was dropped.
	Send(subject string, message []byte) error
	// Subscribe has receive called with each message that is sent to the subject,
	// until stop is called. The Hub's own messages may come too. Calls of receive
	// may be concurrent, and may come shortly after stop. receive does not block
	// and does not keep the message. If Subscribe fails, the Hub tries again a
	// minute later at the latest.
	Subscribe(subject string, receive func(message []byte)) (stop func(), err error)
}

// MaxRelayMessage is the size of the largest message that a Hub gives to a [Relay],
// in bytes. Entries that do not fit are read from the Store.
const MaxRelayMessage = 64 << 10

const (
	relayLate   = 10 * time.Second       // a message that is older, or newer, is ignored
	relayMoot   = 200 * time.Millisecond // a wake-up of the Store within this after a prompt entry is put off
	relayOwed   = time.Second            // for how long: it is moot if the log has gone on by then
	relayPrompt = 100 * time.Millisecond // an entry that a Relay brings within this was prompt
	relayJoin   = time.Second            // until a subscription is known at all nodes: then the Store is read once more
	relayAgree  = time.Minute            // how often the key is looked at, and failed subscriptions are tried again
	relayRetry  = time.Second            // the same while there is no key
	newsEvery   = 20 * time.Millisecond  // news of changes are sent, and acted on, no more often
)

// RelayStats counts messages of a [Relay], since the Hub was made.
type RelayStats struct {
	Sent     uint64 // messages that the Relay took
	Received uint64 // messages of others
	Used     uint64 // received messages that told something new
	Gaps     uint64 // received messages that did not follow on the last known entry: the Store was read
	Ignored  uint64 // received messages that told nothing new, or were repeated, late, forged or damaged
	Dropped  uint64 // messages that found no room, or that the Relay did not take
}

type relayCounters struct{ sent, received, used, gaps, ignored, dropped atomic.Uint64 }

func (c *relayCounters) snapshot() RelayStats {
	return RelayStats{Sent: c.sent.Load(), Received: c.received.Load(), Used: c.used.Load(), Gaps: c.gaps.Load(), Ignored: c.ignored.Load(), Dropped: c.dropped.Load()}
}
