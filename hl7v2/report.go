package hl7v2

import (
	"crypto/rand"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/mdc"
)

// Phase is the kind of a change of an alert (facet 3 of IHE PCD-04).
type Phase string

// The phases.
const (
	PhaseStart      Phase = "start"      // the condition has come
	PhaseContinue   Phase = "continue"   // unchanged, sent again
	PhaseUpdate     Phase = "update"     // anything else has changed; the condition is gone and the alert latched
	PhaseEscalate   Phase = "escalate"   // only the priority has changed, upwards
	PhaseDeescalate Phase = "deescalate" // only the priority has changed, downwards
	PhaseEnd        Phase = "end"        // it is over, and nothing latched
	PhaseReset      Phase = "reset"      // a latched alert is over
)

var rank = map[carewire.Priority]int{carewire.PriorityInfo: 1, carewire.PriorityLow: 2, carewire.PriorityMedium: 3, carewire.PriorityHigh: 4}

// PhaseOf returns the change between prev and a, two states of one alert. prev
// is nil, or of another occurrence, if a is the first state of its own.
func PhaseOf(prev *carewire.Alert, a *carewire.Alert) Phase {
	present := a.Open() && a.Condition != carewire.ConditionOver
	if prev == nil || prev.ID != a.ID {
		switch {
		case present:
			return PhaseStart
		case a.Open():
			return PhaseUpdate
		case a.Latched:
			return PhaseReset
		}
		return PhaseEnd
	}
	wasPresent := prev.Open() && prev.Condition != carewire.ConditionOver
	switch {
	case !a.Open() && !prev.Open():
		return PhaseContinue
	case !a.Open() && !wasPresent:
		return PhaseReset
	case !a.Open():
		return PhaseEnd
	case present && !wasPresent:
		return PhaseStart
	case !present && wasPresent:
		return PhaseUpdate
	}
	same := prev.Text == a.Text && prev.Code == a.Code && prev.System == a.System && prev.Kind == a.Kind && reflect.DeepEqual(prev.Source, a.Source) &&
		prev.Responsibility.State == a.Responsibility.State && prev.Responsibility.By == a.Responsibility.By && prev.AnswerCount == a.AnswerCount
	switch {
	case !same:
		return PhaseUpdate
	case rank[a.Priority] > rank[prev.Priority]:
		return PhaseEscalate
	case rank[a.Priority] < rank[prev.Priority]:
		return PhaseDeescalate
	}
	return PhaseContinue
}

// Writer writes alerts as ORU^R40 messages, as in IHE PCD-04, HL7 2.6. The zero
// Writer is usable. It is safe for concurrent use.
type Writer struct {
	// Application and Facility name the sender: MSH-3 and MSH-4, as HL7 writes them,
	// such as "CAREWIRE^0200000000000001^EUI-64". Application is "CAREWIRE" if it
	// is left out.
	Application, Facility string
	// ToApplication and ToFacility are the receiver: MSH-5 and MSH-6.
	ToApplication, ToFacility string

	// PatientID writes PID-3 of a patient, as HL7 writes it. Nil: the patient's ID
	// in carewire.
	PatientID func(patient string) string
	// Metric names the vital that broke the limits of an alert, as a LOINC code. Nil, or "":
	// the alert's own code, if that is one of LOINC or MDC.
	Metric func(*carewire.Alert) string
}

// Message writes the state of an alert after the given change.
func (w *Writer) Message(phase Phase, a *carewire.Alert, now time.Time) []byte {
	message, _ := w.message(phase, a, "", now)
	return message
}

// message writes the state of an alert, for a page if its key is given, and
// returns its MSH-10 too.
func (w *Writer) message(phase Phase, a *carewire.Alert, page string, now time.Time) (message []byte, id string) {
	id = rand.Text()[:20]
	app := w.Application
	if app == "" {
		app = "CAREWIRE"
	}
	mode := "P"
	if a.Test {
		mode = "D"
	}
	patient := escape(a.Patient)
	if w.PatientID != nil {
		patient = w.PatientID(a.Patient)
	}
	if a.Patient == carewire.SystemPatient {
		patient = ""
	}
	segments := []string{
		`MSH|^~\&|` + app + "|" + w.Facility + "|" + w.ToApplication + "|" + w.ToFacility + "|" + formatTime(now) + "||ORU^R40^ORU_R40|" + id +
			"|" + mode + "|2.6|||NE|AL||UNICODE UTF-8",
		"PID|||" + patient,
		w.order(phase, a, page, app, now),
		"OBX|1||" + mdc.DevMultiParamDevice.String() + "|1.0.0.0|||||||X",
	}
	for i, facet := range w.facets(phase, a) {
		place := "1.1.1.1." + strconv.Itoa(i+1)
		segments = append(segments, "OBX|"+strconv.Itoa(i+2)+"|"+strings.Replace(facet, here, place, 1))
	}
	return []byte(strings.Join(segments, "\r") + "\r"), id
}

// order writes OBR: OBR-2 names the page, OBR-3 this message, OBR-29 the first of the alert.
func (w *Writer) order(phase Phase, a *carewire.Alert, page, app string, now time.Time) string {
	fields := make([]string, 30)
	id, first := escape(a.ID)+"^"+app, ""
	if phase != PhaseStart {
		first = "^" + strings.ReplaceAll(id, "^", "&")
		id = escape(a.ID) + "-" + strconv.FormatUint(a.Rev, 10) + "-" + rand.Text()[:8] + "^" + app
	}
	placer := id
	if page != "" {
		placer = escape(page) + "^" + app
	}
	fields[0], fields[1], fields[2], fields[3], fields[4], fields[7], fields[29] = "OBR", "1", placer, id, mdc.EvtAlarm.String(), formatTime(now), first
	return strings.TrimRight(strings.Join(fields, "|"), "|")
}

// here stands for OBX-4 of a facet; no text has such a character.
const here = "\x00"

// facets writes the seven parts of an alert, each from OBX-2 on.
func (w *Writer) facets(phase Phase, a *carewire.Alert) []string {
	text, at := escape(a.Text), formatTime(a.Updated)
	event := "ST|" + condition(a) + "|" + here + "|" + text + "||||||R|||" + at
	if a.Kind == carewire.AlertTechnical {
		event = "CWE|" + mdc.EvtAlarm.String() + "|" + here + "|" + ownCode(a, text) + "||||||R|||" + at
	}
	simple := func(term mdc.Term, value string) string {
		return "ST|" + term.String() + "|" + here + "|" + value + "||||||R"
	}
	return []string{event, w.source(a), simple(mdc.AttrEventPhase, string(phase)), simple(mdc.AttrAlarmState, state(a)),
		simple(mdc.AttrInactivation, inactivation(a)), simple(mdc.AttrAlarmPriority, priority(a)), simple(mdc.AttrAlertType, kind(a))}
}

// source writes facet 2: the number that broke the limits, or the subject of the
// alert.
func (w *Writer) source(a *carewire.Alert) string {
	metric, known := w.metric(a)
	if a.Kind == carewire.AlertTechnical || !known {
		return "CWE|" + mdc.AttrAlertSource.String() + "|" + here + "|" + ownCode(a, escape(a.Source.Rule)) + "||||||R"
	}
	return "NM|" + metric.Term().String() + "|" + here + "|" + string(a.Source.Value) + "|" + unitTerm(metric, a.Source.Unit) + "|" + reference(a.Source.Limits) + "||||R"
}

// limits reads the lower and the upper limit of Source.Limits: a range such as
// "90-110", or the form of package rules, "≥ 90 %, …". A missing limit is "".
func limits(text string) (low, high string, ok bool) {
	for sign, to := range map[string]*string{"≥ ": &low, "≤ ": &high} {
		if rest, found := strings.CutPrefix(text, sign); found {
			*to, _, _ = strings.Cut(rest, " ")
			return low, high, true
		}
	}
	return strings.Cut(text, "-")
}

// reference writes limits as OBX-7: a range, else as they are.
func reference(text string) string {
	if low, high, ok := limits(text); ok {
		text = low + "-" + high
	}
	return escape(text)
}

func (w *Writer) metric(a *carewire.Alert) (mdc.Metric, bool) {
	if w.Metric != nil {
		if loinc := w.Metric(a); loinc != "" {
			return mdc.MetricByLOINC(loinc)
		}
	}
	switch systemOf(a) {
	case carewire.MDC, mdc.System:
		n, err := strconv.ParseUint(a.Code, 10, 32)
		m, ok := mdc.MetricByCode(uint32(n))
		return m, ok && err == nil
	case carewire.LOINC, "http://loinc.org":
		return mdc.MetricByLOINC(a.Code)
	}
	return mdc.Metric{}, false
}

// unitTerm writes a unit: as a device's, else as UCUM's.
func unitTerm(m mdc.Metric, ucum string) string {
	if ucum == "" {
		return ""
	}
	if ucum == "/min" && m.LOINC == carewire.RespiratoryRate.Code {
		u, _ := mdc.UnitByName("MDC_DIM_RESP_PER_MIN")
		return u.Term().String()
	}
	if u, ok := mdc.UnitByUCUM(ucum); ok {
		return u.Term().String()
	}
	return escape(ucum) + "^" + escape(ucum) + "^UCUM"
}

// condition names the event: below or above the limits, or an alarm.
func condition(a *carewire.Alert) string {
	low, high, isRange := limits(a.Source.Limits)
	if value := a.Source.Value; isRange && value != "" {
		if limit, ok := number(low); ok && value.Float64() < limit.Float64() {
			return mdc.EvtLowLimit.String()
		}
		if limit, ok := number(high); ok && value.Float64() > limit.Float64() {
			return mdc.EvtHigh.String()
		}
	}
	if a.Code == "" {
		return mdc.EvtAlarm.String()
	}
	return mdc.EvtAlarm.String() + "^" + ownCode(a, "")
}

// ownCode writes the alert's own code, else its key as a code of the sender's.
func ownCode(a *carewire.Alert, text string) string {
	if a.Code == "" {
		return escape(a.Key) + "^" + text + "^L"
	}
	systems := map[string]string{carewire.MDC: "MDC", carewire.LOINC: "LN", "": "L", carewire.SNOMED: "SCT"}
	system, known := systems[systemOf(a)]
	if !known {
		system = "99" + escape(a.System)
	}
	return escape(a.Code) + "^" + text + "^" + system
}

// systemOf returns the system of the alert's code. A code of LOINC's form without
// one is LOINC's, as in a Vital.
func systemOf(a *carewire.Alert) string {
	if a.System == "" && isLOINC(a.Code) {
		return carewire.LOINC
	}
	return a.System
}

func state(a *carewire.Alert) string {
	switch {
	case !a.Open():
		return "inactive"
	case a.Condition == carewire.ConditionOver:
		return "latched"
	}
	return "active"
}

func inactivation(a *carewire.Alert) string {
	if a.Responsibility.State == carewire.ResponsibilityAccepted {
		return "alert-acknowledged"
	}
	return "enabled"
}

func priority(a *carewire.Alert) string {
	switch a.Priority {
	case carewire.PriorityHigh:
		return "PH"
	case carewire.PriorityMedium:
		return "PM"
	case carewire.PriorityLow:
		return "PL"
	}
	return "PN"
}

func kind(a *carewire.Alert) string {
	switch {
	case a.Priority == carewire.PriorityInfo, a.Kind == carewire.AlertAdvisory:
		return "SA"
	case a.Kind == carewire.AlertTechnical:
		return "ST"
	}
	return "SP"
}
