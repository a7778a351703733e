package carewire

import (
	"encoding/binary"
	"math"
	"time"
)

// A messageWriter writes the bodies of messages between Hubs.
type messageWriter struct{ b []byte }

func (w *messageWriter) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *messageWriter) byte(v byte)   { w.b = append(w.b, v) }

func (w *messageWriter) bytes(v []byte) {
	w.uint(uint64(len(v)))
	w.b = append(w.b, v...)
}

func (w *messageWriter) str(v string) {
	w.uint(uint64(len(v)))
	w.b = append(w.b, v...)
}

// time writes t to the microsecond, as Stores keep it at least.
func (w *messageWriter) time(t time.Time) {
	us := int64(math.MinInt64) // zero
	if !t.IsZero() {
		us = t.UnixMicro()
	}
	w.b = binary.BigEndian.AppendUint64(w.b, uint64(us))
}

// entry writes e without its patient. An entry that every watcher gets as a gap goes
// without Data.
func (w *messageWriter) entry(e *Entry) {
	w.byte(byte(e.Kind))
	w.byte(byte(e.Audience))
	open := byte(0)
	if e.Open {
		open = 1
	}
	w.byte(open)
	w.str(e.Epoch)
	w.uint(e.Seq)
	w.uint(e.Must)
	w.str(e.Key)
	w.uint(e.Rev)
	w.time(e.Due)
	w.uint(uint64(len(e.To)))
	for _, to := range e.To {
		w.str(to)
	}
	w.str(e.Sender)
	w.str(e.ID)
	w.b = append(w.b, e.Sum[:]...)
	w.time(e.Time)
	w.time(e.Received)
	if e.hidden() {
		w.uint(0)
	} else {
		w.bytes(e.Data)
	}
}

// A messageReader reads the bodies of messages between Hubs. After a failure it reads
// zeros.
type messageReader struct {
	b      []byte
	failed bool
}

func (r *messageReader) take(n uint64) []byte {
	if r.failed || n > uint64(len(r.b)) {
		r.failed = true
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *messageReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.failed = true
	}
	if r.failed {
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *messageReader) byte() byte {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *messageReader) str() string { return string(r.take(r.uint())) }

func (r *messageReader) time() time.Time {
	v := r.take(8)
	if v == nil {
		return time.Time{}
	}
	us := int64(binary.BigEndian.Uint64(v))
	if us == math.MinInt64 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// entry reads an entry of a patient.
func (r *messageReader) entry(patient string) Entry {
	e := Entry{Patient: patient, Kind: Kind(r.byte()), Audience: Audience(r.byte())}
	open := r.byte()
	e.Open = open == 1
	e.Epoch, e.Seq, e.Must, e.Key, e.Rev, e.Due = r.str(), r.uint(), r.uint(), r.str(), r.uint(), r.time()
	for n := r.uint(); n > 0 && !r.failed; n-- {
		e.To = append(e.To, r.str())
	}
	e.Sender, e.ID = r.str(), r.str()
	copy(e.Sum[:], r.take(16))
	e.Time, e.Received = r.time(), r.time()
	if data := r.take(r.uint()); len(data) > 0 {
		e.Data = append([]byte(nil), data...)
	}
	if e.hidden() {
		e.Data = nil
	}
	if e.Kind < KindVital || e.Kind > KindStrip || e.Audience < AudienceStaff || e.Audience > AudienceNamed || open > 1 || e.Seq == 0 || e.Epoch == "" {
		r.failed = true
	}
	return e
}

// readEntries reads the entries of a patient; nil if any of them is damaged.
func readEntries(patient string, body []byte) (list []Entry) {
	r := messageReader{b: body}
	for len(r.b) > 0 {
		list = append(list, r.entry(patient))
		if r.failed {
			return nil
		}
	}
	return withoutDamaged(list)
}

// readMembers reads which members of the Store have news; nil if that is damaged.
func readMembers(body []byte) (list []int) {
	r := messageReader{b: body}
	for len(r.b) > 0 {
		n := r.uint()
		if r.failed || n > math.MaxInt32 {
			return nil
		}
		list = append(list, int(n))
	}
	return list
}
