package boltstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"sort"

	"github.com/carewire/carewire"
)

// The IDs of settled vitals are kept as digests, each with the number of its
// entry: 24 bytes, sorted, in pieces that share pages (see piece). The key of a
// piece is its greatest possible digest, so the piece of a digest is the first
// one whose key is not before it. A new ID thus costs one page, independent of
// the patient's number of IDs.
const (
	digestLen   = 16
	idRecordLen = digestLen + 8
	pieceIDs    = 36 // a piece with more is split
	splitIDs    = 24 // into pieces of about as many
)

// digest stands for the sender and ID of an entry.
type digest [digestLen]byte

var lastDigest = digest(bytes.Repeat([]byte{0xff}, digestLen))

func digestOf(sender, id string) digest {
	b := make([]byte, 0, 128)
	sum := sha256.Sum256(append(appendBytes(b, sender), id...))
	return digest(sum[:digestLen])
}

func digestsKey(num uint64, last []byte) []byte { return append(numKey(num), last...) }

// digests returns the piece that d belongs into, and its key; an empty one if
// there is none.
func (v view) digests(num uint64, d []byte) (key, list []byte, err error) {
	k, sealed := v.bucket("vitalids").Cursor().Seek(digestsKey(num, d))
	if !bytes.HasPrefix(k, numKey(num)) {
		return digestsKey(num, lastDigest[:]), nil, nil
	}
	if list, err = unseal(k, sealed); err == nil && (len(list)%idRecordLen != 0 || len(k) != 8+digestLen) {
		err = ErrCorrupt
	}
	return k, list, damaged("vitalids", err)
}

// find returns where in a piece d is, or would be.
func findDigest(list, d []byte) (at int, ok bool) {
	n := sort.Search(len(list)/idRecordLen, func(i int) bool {
		return bytes.Compare(list[i*idRecordLen:][:digestLen], d) >= 0
	})
	at = n * idRecordLen
	return at, at < len(list) && bytes.Equal(list[at:at+digestLen], d)
}

// seqOf returns the number of the vital with that digest.
func (v view) seqOf(p *patient, d digest) (seq uint64, ok bool, err error) {
	if !p.hasDigests {
		return 0, false, nil
	}
	_, list, err := v.digests(p.num, d[:])
	if err != nil {
		return 0, false, err
	}
	at, ok := findDigest(list, d[:])
	if ok {
		seq = binary.BigEndian.Uint64(list[at+digestLen:])
	}
	return seq, ok, nil
}

// settleDigests adds the IDs of vitals that are being settled.
func (v view) settleDigests(num uint64, ids map[digest]uint64) error {
	fresh := make([]byte, 0, len(ids)*idRecordLen)
	for _, d := range slices.SortedFunc(maps.Keys(ids), func(a, b digest) int { return bytes.Compare(a[:], b[:]) }) {
		fresh = binary.BigEndian.AppendUint64(append(fresh, d[:]...), ids[d])
	}
	return v.addDigests(num, fresh)
}

// addDigests adds sorted records to the pieces that they belong into.
func (v view) addDigests(num uint64, fresh []byte) error {
	for len(fresh) > 0 {
		key, list, err := v.digests(num, fresh[:digestLen])
		if err != nil {
			return err
		}
		end, ok := findDigest(fresh, key[8:])
		if ok {
			end += idRecordLen
		}
		merged := mergeDigests(list, fresh[:end])
		fresh = fresh[end:]
		key = bytes.Clone(key) // it is part of a page
		for len(merged) > pieceIDs*idRecordLen {
			n := len(merged) / idRecordLen
			parts := (n + splitIDs - 1) / splitIDs
			part := merged[:n/parts*idRecordLen]
			merged = merged[len(part):]
			if err := put(v.bucket("vitalids"), digestsKey(num, part[len(part)-idRecordLen:][:digestLen]), slices.Clip(part)); err != nil {
				return err
			}
		}
		if err := put(v.bucket("vitalids"), key, slices.Clip(merged)); err != nil {
			return err
		}
	}
	return nil
}

// mergeDigests merges two sorted lists; of two records with one digest that of b
// stays.
func mergeDigests(a, b []byte) []byte {
	merged := make([]byte, 0, len(a)+len(b)+4) // and the checksum
	for len(a) > 0 && len(b) > 0 {
		switch bytes.Compare(a[:digestLen], b[:digestLen]) {
		case -1:
			merged, a = append(merged, a[:idRecordLen]...), a[idRecordLen:]
		case 0:
			a = a[idRecordLen:]
		default:
			merged, b = append(merged, b[:idRecordLen]...), b[idRecordLen:]
		}
	}
	return append(append(merged, a...), b...)
}

// removeDigest forgets the ID of a vital that is pruned.
func (v view) removeDigest(num uint64, d digest, seq uint64) error {
	key, list, err := v.digests(num, d[:])
	if err != nil {
		return err
	}
	at, ok := findDigest(list, d[:])
	if !ok || binary.BigEndian.Uint64(list[at+digestLen:]) != seq {
		return nil
	}
	key = bytes.Clone(key)
	if len(list) == idRecordLen {
		return v.bucket("vitalids").Delete(key)
	}
	left := append(append(make([]byte, 0, len(list)), list[:at]...), list[at+idRecordLen:]...)
	return put(v.bucket("vitalids"), key, left)
}

// known returns the result of the entry with the ID of it; ok is whether there
// was one.
func (v view) known(p *patient, it *item) (known knownID, ok bool, err error) {
	if p.seq() == 0 {
		return knownID{}, false, nil
	}
	seq, ok := p.ids[it.digest]
	if !ok {
		if seq, ok, err = v.seqOf(p, it.digest); err != nil {
			return knownID{}, false, err
		}
	}
	if ok {
		r, ok, err := v.at(p, vitals, seq)
		switch {
		case err != nil:
			return knownID{}, false, err
		case ok && string(r.sender) == it.sender && string(r.id) == it.id:
			return knownID{r.sum, r.epoch, r.seq, r.must}, true, nil
		case ok:
			return knownID{}, false, damaged("vitalids", ErrCorrupt)
		}
		pruned, err := v.pruned(p.num)
		if err == nil && seq > pruned[carewire.KindVital] {
			err = damaged("vitalids", ErrCorrupt)
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
