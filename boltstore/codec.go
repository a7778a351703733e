package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/carewire/carewire"
)

// ErrCorrupt means that the file contains data that no Store wrote. Damaged
// data is neither returned nor repaired: restore a backup.
var ErrCorrupt = errors.New("boltstore: the file is damaged")

// How things are written. All numbers are big endian, so that keys sort by
// them. Every value ends with a CRC-32C of its key and itself. A patient has a
// number ("num") that stands for the name in all keys.
//
//	meta     "version" → 4, "epochs" → all epochs, the last one is current
//	journal  count piece → the vitals of one commit, see journal.go
//	heads    "p" name → num, settled, counts, the last number of each epoch
//	log      num class seq [piece] → entries, the last one of them was written with seq
//	states   num key → the newest state of a key, see state
//	live     num key → nothing; the states that Latest shows, so that it reads no ended ones
//	vitalids num digest → digests of vitals' IDs, see digests.go
//	ids      num len(sender) sender ID → sum, position, must; not for vitals
//	due      time num key → nothing; the states that wait
//	changes  count → open num key; the undroppable states in order of writing
//	pruned   num kind → the greatest number pruned
//	expiry   time ID's key → nothing; IDs that outlived their entries
//
// No value is longer than piece. An entry begins with entryVersion. migrate.go
// describes the differences of earlier versions.
const (
	version      = 4
	entryVersion = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// seal appends to value the checksum of key and value.
func seal(key, value []byte) []byte {
	return binary.BigEndian.AppendUint32(value, checksum(key, value))
}

// unseal returns the value without its checksum.
func unseal(key, sealed []byte) ([]byte, error) {
	n := len(sealed) - 4
	if n < 0 || binary.BigEndian.Uint32(sealed[n:]) != checksum(key, sealed[:n]) {
		return nil, ErrCorrupt
	}
	return sealed[:n:n], nil
}

// decoder takes values off the front of b. After the first one that is not
// there it is bad, and returns zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.b, d.bad = nil, true
	}
	if d.bad {
		return nil
	}
	taken := d.b[:n:n]
	d.b = d.b[n:]
	return taken
}

func (d *decoder) uint8() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// bool takes a byte that is 0 or 1.
func (d *decoder) bool() bool {
	b := d.uint8()
	d.bad = d.bad || b > 1
	return b == 1
}

func (d *decoder) bytes() []byte { return d.take(uint64(d.uint32())) }

func (d *decoder) time() time.Time {
	sec, nsec := d.uint64(), d.uint32()
	d.bad = d.bad || nsec >= 1e9
	if d.bad {
		return time.Time{}
	}
	return time.Unix(int64(sec^1<<63), int64(nsec)).UTC()
}

// done reports damage unless exactly everything was taken.
func (d *decoder) done() error {
	if d.bad || len(d.b) > 0 {
		return ErrCorrupt
	}
	return nil
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendBytes[T string | []byte](b []byte, v T) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
}

// appendTime appends 12 bytes that sort as the times do.
func appendTime(b []byte, t time.Time) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(t.Unix())^1<<63)
	return binary.BigEndian.AppendUint32(b, uint32(t.Nanosecond()))
}

// record is an entry as it is in the file; its slices are valid no longer than
// the transaction.
type record struct {
	kind                     carewire.Kind
	open                     bool
	audience                 carewire.Audience
	epoch                    uint32 // index into the epochs
	seq, must, count, rev    uint64
	due, time, received      time.Time
	sum                      [16]byte
	patient, key, sender, id []byte
	to, data                 []byte
	encoded                  []byte // the whole of it
}

// The trailer of an encoded entry: its epoch, number, must and count. The count
// is the number of entries of its class up to it.
const (
	positionAt  = 1
	positionLen = 4 + 8 + 8 + 8
	seqAt       = positionAt + 4
)

// encodeEntry encodes e without its position, which place fills in.
func encodeEntry(e *carewire.Entry) []byte {
	size := 128 + len(e.Patient) + len(e.Key) + len(e.Sender) + len(e.ID) + len(e.Data)
	for _, to := range e.To {
		size += 4 + len(to)
	}
	b := append(make([]byte, 0, size), entryVersion)
	b = append(b, make([]byte, positionLen)...)
	b = appendBool(append(b, byte(e.Kind)), e.Open)
	b = binary.BigEndian.AppendUint64(append(b, byte(e.Audience)), e.Rev)
	b = appendTime(appendTime(appendTime(b, e.Due), e.Time), e.Received)
	b = append(b, e.Sum[:]...)
	b = appendBytes(appendBytes(appendBytes(appendBytes(b, e.Patient), e.Key), e.Sender), e.ID)
	var to []byte
	for _, one := range e.To {
		to = appendBytes(to, one)
	}
	return appendBytes(appendBytes(b, to), e.Data)
}

// place fills in the position of an encoded entry.
func place(encoded []byte, epoch uint32, seq, must, count uint64) {
	b := binary.BigEndian.AppendUint32(encoded[:positionAt], epoch)
	b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, seq), must)
	binary.BigEndian.AppendUint64(b, count)
}

// parseEntry reads an entry that encodeEntry and place have written.
func parseEntry(b []byte) (record, error) {
	d := decoder{b: b}
	if v := d.uint8(); v != entryVersion {
		return record{}, ErrCorrupt
	}
	r := record{encoded: b, epoch: d.uint32(), seq: d.uint64(), must: d.uint64(), count: d.uint64()}
	r.kind, r.open, r.audience, r.rev = carewire.Kind(d.uint8()), d.bool(), carewire.Audience(d.uint8()), d.uint64()
	r.due, r.time, r.received = d.time(), d.time(), d.time()
	copy(r.sum[:], d.take(16))
	r.patient, r.key, r.sender, r.id = d.bytes(), d.bytes(), d.bytes(), d.bytes()
	r.to, r.data = d.bytes(), d.bytes()
	if err := d.done(); err != nil {
		return record{}, err
	}
	return r, nil
}

// entry returns a copy of r that outlives the transaction.
func (r *record) entry(epochs []string) (carewire.Entry, error) {
	if r.epoch >= uint32(len(epochs)) {
		return carewire.Entry{}, ErrCorrupt
	}
	e := carewire.Entry{
		Patient: string(r.patient), Position: carewire.Position{Epoch: epochs[r.epoch], Seq: r.seq}, Must: r.must,
		Kind: r.kind, Key: string(r.key), Rev: r.rev, Open: r.open, Due: r.due, Audience: r.audience,
		Sender: string(r.sender), ID: string(r.id), Sum: r.sum, Time: r.time, Received: r.received, Data: slices.Clone(r.data),
	}
	d := decoder{b: r.to}
	for len(d.b) > 0 {
		e.To = append(e.To, string(d.bytes()))
	}
	return e, d.done()
}

// head is the end of a patient's log.
type head struct {
	num     uint64
	settled uint64          // how many vitals are in the bucket log; the others are in the journal
	counts  [classes]uint64 // how many entries of each class there are
	epochs  []epochEnd      // the last one is the end of the log
}

type epochEnd struct {
	epoch uint32
	seq   uint64
}

func (h *head) seq() uint64 {
	if len(h.epochs) == 0 {
		return 0
	}
	return h.epochs[len(h.epochs)-1].seq
}

func (h *head) must() uint64 { return h.counts[undroppable] }

// advance counts one more entry and returns its number.
func (h *head) advance(epoch uint32, class byte) uint64 {
	seq := h.seq() + 1
	if n := len(h.epochs); n == 0 || h.epochs[n-1].epoch != epoch {
		h.epochs = append(h.epochs, epochEnd{epoch: epoch})
	}
	h.epochs[len(h.epochs)-1].seq = seq
	h.counts[class]++
	return seq
}

func (h *head) encode() []byte {
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, h.num), h.settled)
	for _, n := range h.counts {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	for _, end := range h.epochs {
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(b, end.epoch), end.seq)
	}
	return b
}

func parseHead(b []byte) (head, error) {
	d := decoder{b: b}
	h := head{num: d.uint64(), settled: d.uint64()}
	for i := range h.counts {
		h.counts[i] = d.uint64()
	}
	for len(d.b) > 0 {
		h.epochs = append(h.epochs, epochEnd{d.uint32(), d.uint64()})
	}
	return h, d.done()
}

// state is the state of a key.
type state struct {
	seq    uint64 // of the newest entry; 0: there is none
	rev    uint64 // the newest revision that is not 0
	change uint64 // its key among the changes; 0: it is not among them
	kind   carewire.Kind
	open   bool
	due    time.Time
	time   time.Time
}

func (s *state) encode() []byte {
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, s.seq), s.rev)
	b = appendBool(append(binary.BigEndian.AppendUint64(b, s.change), byte(s.kind)), s.open)
	return appendTime(appendTime(b, s.due), s.time)
}

func parseState(b []byte) (state, error) {
	d := decoder{b: b}
	s := state{seq: d.uint64(), rev: d.uint64(), change: d.uint64(), kind: carewire.Kind(d.uint8()), open: d.bool(), due: d.time(), time: d.time()}
	return s, d.done()
}

// take makes an entry the newest state, if it is.
func (s *state) take(kind carewire.Kind, seq, rev uint64, open bool, due, time, received time.Time) {
	s.rev = max(s.rev, rev)
	if s.seq == 0 || kind != carewire.KindVital || carewire.TakesPlace(time, received, s.time) {
		s.seq, s.kind, s.open, s.due, s.time = seq, kind, open, due.UTC(), time.UTC()
	}
}

// shows reports whether Latest shows the state.
func (s *state) shows() bool {
	return s.kind == carewire.KindVital || s.open && s.kind != carewire.KindTimer
}

// waits reports whether the state belongs among the due ones.
func (s *state) waits() bool { return s.open && !s.due.IsZero() }

// knownID is the fate of an entry with an ID.
type knownID struct {
	sum   [16]byte
	epoch uint32
	seq   uint64
	must  uint64
}

func (k *knownID) encode() []byte {
	b := binary.BigEndian.AppendUint32(k.sum[:16:16], k.epoch)
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, k.seq), k.must)
}

func parseID(b []byte) (knownID, error) {
	d := decoder{b: b}
	var k knownID
	copy(k.sum[:], d.take(16))
	k.epoch, k.seq, k.must = d.uint32(), d.uint64(), d.uint64()
	return k, d.done()
}

func headKey(patient string) []byte { return append([]byte("p"), patient...) }

// The classes of entries. Each has its own part of a patient's log, in which
// every entry has the count of its class.
const (
	vitals byte = iota
	undroppable
	timers
	classes
)

func class(k carewire.Kind) byte {
	switch {
	case k == carewire.KindVital:
		return vitals
	case k.Droppable():
		return timers
	}
	return undroppable
}

// numKey is the beginning of all keys of a patient.
func numKey(num uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 0, 64), num) }

func classKey(num uint64, class byte) []byte { return append(numKey(num), class) }

const logKeyLen = 8 + 1 + 8

func logKey(num uint64, class byte, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(classKey(num, class), seq)
}

func stateKey[T string | []byte](num uint64, key T) []byte { return append(numKey(num), key...) }

func idKey[T string | []byte](num uint64, sender, id T) []byte {
	return append(appendBytes(numKey(num), sender), id...)
}

func timeKey(t time.Time, rest []byte) []byte {
	return append(appendTime(make([]byte, 0, 64), t), rest...)
}

func changeKey(count uint64) []byte { return binary.BigEndian.AppendUint64(nil, count) }

func encodeChange(open bool, stateKey []byte) []byte {
	return append(appendBool(nil, open), stateKey...)
}

func encodeEpochs(epochs []string) []byte {
	var b []byte
	for _, e := range epochs {
		b = appendBytes(b, e)
	}
	return b
}

func parseEpochs(b []byte) ([]string, error) {
	d := decoder{b: b}
	var epochs []string
	for len(d.b) > 0 {
		epochs = append(epochs, string(d.bytes()))
	}
	return epochs, d.done()
}

// damaged says where damage was found, without saying whose data it is.
func damaged(bucket string, err error) error {
	if errors.Is(err, ErrCorrupt) {
		return fmt.Errorf("%w, in %s", err, bucket)
	}
	return err
}
