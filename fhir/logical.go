package fhir

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/carewire/carewire"
)

// The logical ID of an entry of a patient's log is its number, a digest of the
// epoch that wrote it, and the patient, so that it is found without an index:
// "42.9f86.p-17". A patient's ID that is longer than 64 characters less these
// has none.

// entryID returns the logical ID of an entry; "" if it cannot have one.
func entryID(patient string, at carewire.Position) string {
	id := strconv.FormatUint(at.Seq, 10) + "." + epochDigest(at.Epoch) + "." + escapeID(patient)
	if len(id) > 64 {
		return ""
	}
	return id
}

// splitEntryID is the reverse; epoch is the digest.
func splitEntryID(id string) (patient string, seq uint64, epoch string, ok bool) {
	parts := strings.SplitN(id, ".", 3)
	if len(parts) != 3 {
		return "", 0, "", false
	}
	seq, err := strconv.ParseUint(parts[0], 10, 64)
	patient, ok = unescapeID(parts[2])
	return patient, seq, parts[1], ok && err == nil && seq > 0 && parts[0][0] != '0'
}

func epochDigest(epoch string) string {
	sum := sha256.Sum256([]byte(epoch))
	return hex.EncodeToString(sum[:2])
}

// A logical ID has no _ and no :, which carewire's IDs may have.
var (
	escaper   = strings.NewReplacer("-", "--", "_", "-u", ":", "-c", "@", "-a")
	unescaper = strings.NewReplacer("--", "-", "-u", "_", "-c", ":", "-a", "@")
)

func escapeID(id string) string { return escaper.Replace(id) }

func unescapeID(s string) (id string, ok bool) {
	id = unescaper.Replace(s)
	return id, escapeID(id) == s && (validID(id) || id == carewire.SystemPatient)
}

// alertID is the logical ID of an occurrence of an alert.
func alertID(a *carewire.Alert) string {
	return digestID(a.Patient + "\x00" + a.Key + "\x00" + a.ID)
}

// epochOf returns the epoch that wrote a number.
func epochOf(h carewire.Head, seq uint64) string {
	for _, e := range h.Epochs {
		if seq <= e.Seq {
			return e.Epoch
		}
	}
	return h.Epoch
}
