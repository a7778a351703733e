package boltstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math"
	"math/bits"
	"slices"
	"sort"

	"github.com/carewire/carewire"
)

// The IDs of settled vitals are kept as digests, each with the number of its
// entry: 24 bytes, sorted. A patient has two such lists. What is settled is
// merged into the young one, and that into the old one before it gets so long
// that writing it again and again costs more than writing the old one once.
const (
	young byte = iota
	old
	ages
)

const (
	digestLen   = 16
	idRecordLen = digestLen + 8
	minOld      = 64 * 1024 // bytes; a shorter young list stays young
)

// digest stands for the sender and ID of an entry.
type digest [digestLen]byte

func digestOf(sender, id string) digest {
	b := make([]byte, 0, 128)
	sum := sha256.Sum256(append(appendBytes(b, sender), id...))
	return digest(sum[:digestLen])
}

func digestsKey(age byte, num uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{age}, num)
}

// digests returns a list, after comparing its checksum.
func (v view) digests(age byte, num uint64) ([]byte, error) {
	list, _, err := get(v, "digests", digestsKey(age, num), func(b []byte) ([]byte, error) {
		if len(b)%idRecordLen != 0 {
			return nil, ErrCorrupt
		}
		return b, nil
	})
	return list, err
}

// findDigest returns the number of the vital with that digest. The lists are
// too long for comparing the checksum each time: load has done that.
func (v view) findDigest(p *patient, d digest) (seq uint64, ok bool) {
	for age, has := range p.hasDigests {
		if !has {
			continue
		}
		list := v.bucket("digests").Get(digestsKey(byte(age), p.num))
		list = list[:len(list)/idRecordLen*idRecordLen]
		for i := searchDigests(list, d); i < len(list) && bytes.Compare(list[i:i+digestLen], d[:]) <= 0; i += idRecordLen {
			if digest(list[i:]) == d {
				return binary.BigEndian.Uint64(list[i+digestLen:]), true
			}
		}
	}
	return 0, false
}

// searchDigests returns where in the list d would be at the earliest. As digests
// are spread evenly, it looks first near where it would be then.
func searchDigests(list []byte, d digest) int {
	n, first := len(list)/idRecordLen, binary.BigEndian.Uint64(d[:])
	notBefore := func(i int) bool { return binary.BigEndian.Uint64(list[i*idRecordLen:]) >= first }
	guess, _ := bits.Mul64(first, uint64(n))
	near := 2 * int(math.Sqrt(float64(n)))
	from, to := max(int(guess)-near, 0), min(int(guess)+near, n)
	if from > 0 && notBefore(from) {
		from, to = 0, from
	} else if to < n && !notBefore(to) {
		from, to = to, n
	}
	return (from + sort.Search(to-from, func(i int) bool { return notBefore(from + i) })) * idRecordLen
}

// settleDigests adds the IDs of vitals that are being settled. It writes a long
// list anew only if there is room for that.
func (v view) settleDigests(num uint64, ids map[digest]uint64, room int64) error {
	var fresh []byte
	for _, d := range slices.SortedFunc(maps.Keys(ids), func(a, b digest) int { return bytes.Compare(a[:], b[:]) }) {
		fresh = binary.BigEndian.AppendUint64(append(fresh, d[:]...), ids[d])
	}
	list, err := v.digests(young, num)
	if err != nil || len(fresh) == 0 {
		return err
	}
	list = mergeDigests(list, fresh)
	lists := v.bucket("digests")
	grown := lists.Get(digestsKey(old, num))
	if len(list) < minOld || len(list)*len(list) < 2*len(fresh)*len(grown) || int64(len(list)+len(grown)) > room/4 {
		return put(lists, digestsKey(young, num), list)
	}
	if grown, err = v.digests(old, num); err != nil {
		return err
	}
	if err := put(lists, digestsKey(old, num), mergeDigests(grown, list)); err != nil {
		return err
	}
	return lists.Delete(digestsKey(young, num))
}

func mergeDigests(a, b []byte) []byte {
	merged := make([]byte, 0, len(a)+len(b)+4) // and the checksum
	for len(a) > 0 && len(b) > 0 {
		if bytes.Compare(a[:digestLen], b[:digestLen]) < 0 {
			merged, a = append(merged, a[:idRecordLen]...), a[idRecordLen:]
		} else {
			merged, b = append(merged, b[:idRecordLen]...), b[idRecordLen:]
		}
	}
	return append(append(merged, a...), b...)
}

// pruneDigests forgets the IDs of vitals up to the number pruned, except those
// that are still in the log. One that is left is not wrong: known looks for the
// entry.
func (v view) pruneDigests(p *patient, pruned uint64, room int64) error {
	kept := map[uint64]bool{}
	log := v.classReader(p, vitals, 0)
	for {
		r, ok, err := log.next()
		if err != nil {
			return err
		}
		if !ok || r.seq > pruned {
			break
		}
		kept[r.seq] = true
	}
	for age := range ages {
		list, err := v.digests(age, p.num)
		if err != nil {
			return err
		}
		var left []byte
		for record := range slices.Chunk(list, idRecordLen) {
			if seq := binary.BigEndian.Uint64(record[digestLen:]); seq > pruned || kept[seq] {
				left = append(left, record...)
			}
		}
		switch key := digestsKey(age, p.num); {
		case len(left) == len(list), int64(len(left)) > room/2: // the next Prune may have more room
		case len(left) == 0:
			err = v.bucket("digests").Delete(key)
		default:
			err = put(v.bucket("digests"), key, left)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// known returns what became of the entry with the ID of it; ok is whether there
// was one.
func (v view) known(p *patient, it *item) (known knownID, ok bool, err error) {
	if p.seq() == 0 {
		return knownID{}, false, nil
	}
	seq, ok := p.ids[it.digest]
	if !ok {
		seq, ok = v.findDigest(p, it.digest)
	}
	if ok {
		r, ok, err := v.at(p, vitals, seq)
		switch {
		case err != nil:
			return knownID{}, false, err
		case ok && (string(r.sender) != it.sender || string(r.id) != it.id):
			return knownID{}, false, damaged("digests", ErrCorrupt)
		case ok:
			return knownID{r.sum, r.epoch, r.seq, r.must}, true, nil
		}
		pruned, err := v.pruned(p.num)
		if err == nil && seq > pruned[carewire.KindVital] {
			err = damaged("digests", ErrCorrupt)
		}
		if err != nil {
			return knownID{}, false, err
		}
	}
	if !p.hasIDs {
		return knownID{}, false, nil
	}
	return get(v, "ids", idKey(p.num, it.sender, it.id), parseID)
}
