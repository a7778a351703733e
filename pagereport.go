package carewire

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// PageOutcome is the fate of a Page.
type PageOutcome string

// The outcomes of a page, each of which may be reported more than once.
const (
	PageDelivered PageOutcome = "delivered" // it is on a person's device
	PageRead      PageOutcome = "read"      // a person has seen it
	PageAccepted  PageOutcome = "accepted"  // a person takes responsibility, as with AnswerAccept
	PageRejected  PageOutcome = "rejected"  // a person declines, as with AnswerReject
)

// PageReport is the report of a host's paging gateway on a Page.
type PageReport struct {
	Key     string        // Page.Key; required; of a group's page also with a slash and more behind it, as pagers.OnCall has it
	Outcome PageOutcome   // required
	By      Principal     // the answering person; required for accepted and rejected, else optional
	For     time.Duration // accepted: how long it holds; 0: by priority
	Reason  string        // of an answer; optional
}

// Receipt takes the report of a paging gateway on a Page, by the page's key.
// The team sees delivered and read as receipts. They count as reached while the
// alert is at the page's level. An answer is given in the name of r.By, whose
// right to answer is checked as by Answer. The same report may come again.
//
// Receipt returns the resulting state of the alert. The errors are a
// *ValidationError, ErrNotFound if no open alert has such a page, those of
// Answer, and those of the Store.
func (h *Hub) Receipt(ctx context.Context, r PageReport) (Alert, error) {
	id, level, to, ok := cutPageKey(r.Key)
	switch {
	case !ok:
		return Alert{}, invalid("key", "must be a Page's key")
	case r.Outcome != PageDelivered && r.Outcome != PageRead && r.Outcome != PageAccepted && r.Outcome != PageRejected:
		return Alert{}, invalid("outcome", "must be delivered, read, accepted or rejected")
	case r.By.ID != "" && !r.By.valid():
		return Alert{}, invalid("by", "must be usable")
	}
	if !h.isLoaded(ctx) {
		return Alert{}, ErrUnavailable
	}
	ref, ok := h.open.byID(id)
	if !ok {
		return Alert{}, ErrNotFound
	}
	w := Answer{Do: AnswerAccept, For: r.For, Reason: r.Reason, ID: "page." + sealedKey(r.Key+"/"+string(r.Outcome))}
	switch r.Outcome {
	case PageRejected:
		w.Do, w.For = AnswerReject, 0
		fallthrough
	case PageAccepted:
		return h.Answer(ctx, r.By, ref, w)
	}
	stage := StageDelivered
	if r.Outcome == PageRead {
		stage = StageRead
	}
	by := r.By.person()
	if by.ID == "" { // the person paged, if it was one
		by.ID = to
		if id, person := cutPerson(to); person {
			by.ID = id
		}
	}
	a, err := h.receipts.report(ctx, Receipt{Patient: ref.Patient, Key: ref.Key, AlertID: ref.ID, Level: level, Stage: stage, By: by}, to)
	h.audit.recordHost(Record{Event: AuditReceipt, Who: by, Patient: ref.Patient, Key: ref.Key, ID: ref.ID, Stage: stage, Level: level}, err)
	return a, err
}

// pageKey names alert, level and recipient.
func pageKey(a *Alert, to string) string {
	return a.ID + "/" + strconv.Itoa(a.Escalation.Level) + "/" + to
}

func cutPageKey(key string) (id string, level int, to string, ok bool) {
	id, rest, _ := strings.Cut(key, "/")
	n, to, _ := strings.Cut(rest, "/")
	level, err := strconv.Atoi(n)
	if strings.HasPrefix(to, "group:") {
		to, _, _ = strings.Cut(to, "/") // pagers.OnCall adds the person
	}
	return id, level, to, validID(id) && err == nil && level > 0 && validAddressee(to)
}
