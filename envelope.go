package carewire

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

// An envelope is one message between Hubs:
//
//	version 1 | sender 16 | number 8 | sealed (time 8 | kind 1 | body) | tag 16
//
// The sender is a random name of a Hub, and number counts its messages. Both are in
// the clear. AES-256-GCM seals the rest, with a key of that sender and the number as
// the nonce, so no nonce is used twice. Subject and head are authenticated too.
const (
	envelopeVersion = 1
	envelopeHead    = 1 + 16 + 8
	envelopeCover   = 8 + 1 // before the body, sealed
	envelopeTag     = 16    // behind it
	bodyMost        = MaxRelayMessage - envelopeHead - envelopeCover - envelopeTag
	sendersMost     = 256     // Hubs whose numbers are remembered
	numbersSeen     = 8 << 10 // numbers of one Hub that may come in another order
)

// The kinds of messages.
const (
	messageEntries byte = 1 + iota // entries just appended to the log of the subject's patient
	messageCompare                 // there are entries, which the message has no room for
	messageNews                    // members of the Store have new revisions
	messageWave                    // a chunk of a wave of the subject's patient
)

// A hubName names one Hub, for as long as it lives.
type hubName [16]byte

func newHubName() (n hubName) {
	rand.Read(n[:])
	return n
}

// A relayKey is the secret that the Hubs on one Store share.
type relayKey [32]byte

func (k relayKey) derive(purpose string, of []byte) []byte {
	h := hmac.New(sha256.New, k[:])
	h.Write([]byte(purpose))
	h.Write([]byte{0})
	h.Write(of)
	return h.Sum(nil)
}

// subject is the subject of a topic. Without the key it does not tell the topic.
func (k relayKey) subject(t topic) string {
	return hexOf([16]byte(k.derive("subject "+string(t.kind), []byte(t.patient))))
}

// cipherOf is the cipher of the messages of one Hub.
func (k relayKey) cipherOf(sender hubName) cipher.AEAD {
	block, err := aes.NewCipher(k.derive("seal", sender[:]))
	if err != nil {
		panic(err) // the key has the right length
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has the right block size
	}
	return aead
}

// A relayCipher seals the messages of one Hub and opens those of others. It is safe for
// concurrent use, but for seal.
type relayCipher struct {
	key    relayKey
	own    hubName
	seals  cipher.AEAD
	number *uint64 // of the last message; never used twice, though a relayCipher is made anew

	mu      sync.Mutex
	senders map[hubName]*sender
}

// A sender is another Hub, as its messages show it.
type sender struct {
	cipher cipher.AEAD
	last   uint64 // its greatest number
	seen   [numbersSeen / 64]uint64
	heard  time.Time
}

func newRelayCipher(key relayKey, own hubName, number *uint64) *relayCipher {
	return &relayCipher{key: key, own: own, seals: key.cipherOf(own), number: number, senders: make(map[hubName]*sender)}
}

func nonceOf(head []byte) []byte {
	var nonce [12]byte
	copy(nonce[4:], head[17:envelopeHead])
	return nonce[:]
}

// seal makes a message of a body of at most bodyMost bytes.
func (x *relayCipher) seal(subject string, kind byte, now time.Time, body []byte) []byte {
	*x.number++
	m := make([]byte, 0, envelopeHead+envelopeCover+len(body)+envelopeTag)
	m = append(append(m, envelopeVersion), x.own[:]...)
	m = binary.BigEndian.AppendUint64(m, *x.number)
	plain := make([]byte, 0, envelopeCover+len(body))
	plain = binary.BigEndian.AppendUint64(plain, uint64(now.UnixMilli()))
	plain = append(append(plain, kind), body...)
	return x.seals.Seal(m, nonceOf(m), plain, append([]byte(subject), m...))
}

var (
	errOwnMessage = errors.New("carewire: a message of this Hub")
	errMessage    = errors.New("carewire: a message that is forged, damaged, repeated or late")
)

// open opens a message. It returns errOwnMessage for a message of this Hub, and
// errMessage for one that does not count.
func (x *relayCipher) open(subject string, m []byte, now time.Time) (*relayMessage, error) {
	if len(m) < envelopeHead+envelopeCover+envelopeTag || len(m) > MaxRelayMessage || m[0] != envelopeVersion {
		return nil, errMessage
	}
	head := m[:envelopeHead]
	from, number := hubName(head[1:17]), binary.BigEndian.Uint64(head[17:])
	if from == x.own {
		return nil, errOwnMessage
	}
	x.mu.Lock()
	s := x.senders[from]
	x.mu.Unlock()
	if s == nil {
		s = &sender{cipher: x.key.cipherOf(from)}
	}
	plain, err := s.cipher.Open(nil, nonceOf(head), m[envelopeHead:], append([]byte(subject), head...))
	if err != nil {
		return nil, errMessage
	}
	sent := time.UnixMilli(int64(binary.BigEndian.Uint64(plain)))
	if now.Sub(sent).Abs() > relayLate {
		return nil, errMessage
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if known := x.senders[from]; known != nil {
		s = known
	} else {
		x.makeRoom()
		x.senders[from] = s
	}
	s.heard = now
	if !s.fresh(number) {
		return nil, errMessage
	}
	return &relayMessage{kind: plain[8], body: plain[envelopeCover:], from: from, number: number}, nil
}

// makeRoom forgets the Hub that was not heard for the longest time, if there are too
// many. Its older messages count again, until they are late. Under x.mu.
func (x *relayCipher) makeRoom() {
	if len(x.senders) < sendersMost {
		return
	}
	var oldest hubName
	for name, s := range x.senders {
		if o := x.senders[oldest]; o == nil || s.heard.Before(o.heard) {
			oldest = name
		}
	}
	delete(x.senders, oldest)
}

// fresh notes a number, and reports whether it has not come before and is not too far
// behind.
func (s *sender) fresh(n uint64) bool {
	const words = uint64(len(sender{}.seen))
	if n > s.last {
		for w, end := s.last/64+1, n/64; w <= end && w <= s.last/64+words; w++ {
			s.seen[w%words] = 0
		}
		s.last = n
	} else if s.last-n >= numbersSeen-64 {
		return false
	}
	bit := uint64(1) << (n % 64)
	was := s.seen[n/64%words]
	s.seen[n/64%words] = was | bit
	return was&bit == 0
}
