package carewire

import (
	"bytes"
	"context"
	"slices"
	"strings"
)

// A complaint names a patient: only principals that may watch the patient learn
// it. Watchers of the log of the system get shared frames without that name.
// The inbox, history and replies are made for one client, whose rights are
// checked.

var aboutMember = []byte(`,"about":{`) // no text can contain it: its quotes would be escaped

// withoutAbout returns the JSON of an alert without about.
func withoutAbout(alert []byte) []byte {
	from := bytes.Index(alert, aboutMember)
	if from < 0 {
		return alert
	}
	to := from + bytes.IndexByte(alert[from:], '}') + 1
	return append(alert[:from:from], alert[to:]...)
}

// tellsAbout returns the patient that an entry's alert is about; "" if it is no
// complaint.
func (e *Entry) tellsAbout() string {
	if e.Patient != SystemPatient || e.Kind != KindAlert || !bytes.Contains(e.Data, aboutMember) {
		return ""
	}
	a, err := decodeAlert(e)
	if err != nil {
		return ""
	}
	return a.About.Patient
}

// shownTo returns entries as p may see them: without the subject of complaints
// where p may not watch that patient.
func (h *Hub) shownTo(ctx context.Context, p *Principal, entries []Entry) []Entry {
	var patients []string
	for i := range entries {
		if about := entries[i].tellsAbout(); about != "" && !slices.Contains(patients, about) {
			patients = append(patients, about)
		}
	}
	if len(patients) == 0 {
		return entries
	}
	rights := h.access.decide(ctx, p, ActionWatch, patients)
	shown := slices.Clone(entries)
	for i := range shown {
		if about := shown[i].tellsAbout(); about != "" && rights[about] != nil {
			shown[i].Data = withoutAbout(shown[i].Data)
		}
	}
	return shown
}

// aboutOf names in a complaint the alert with the key of an entry.
func aboutOf(about AlertRef) AlertRef {
	key, alert := strings.CutPrefix(about.Key, "a/")
	if !alert {
		return AlertRef{Patient: about.Patient, ID: about.ID}
	}
	about.Key, about.Test = strings.CutSuffix(key, "!test")
	return about
}

func (ref *AlertRef) encodeAbout(e *encoder) {
	if ref.Patient == "" {
		return
	}
	e.object("about", func() {
		e.str("patient", ref.Patient)
		e.str("key", ref.Key)
		e.str("alert_id", ref.ID)
		e.bool("test", ref.Test)
	})
}

func decodeAbout(s *scanner) (ref AlertRef) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "patient":
			ref.Patient = s.str()
		case "key":
			ref.Key = s.str()
		case "alert_id":
			ref.ID = s.str()
		case "test":
			ref.Test = s.bool()
		default:
			return false
		}
		return true
	})
	return ref
}
