package fhir

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/carewire/carewire"
)

// The statuses of a subscription.
const (
	statusRequested = "requested"
	statusActive    = "active"
	statusError     = "error"
	statusOff       = "off"
)

// Why a subscription is in error, or is about to end.
const (
	failedAccess   = "access-ended"
	failedPruned   = "events-no-longer-kept"
	failedRestored = "log-restored"
	failedHook     = "no-response"
	storeDown      = "store-unavailable"
	tokenEnds      = "token-ends"
	tokenEnded     = "token-ended"
)

var failureTexts = map[string]string{
	failedAccess:   "Access to the patient has ended. Reactivate when it is there again.",
	failedPruned:   "Events that are to be counted are no longer kept. Fetch again and reactivate: the count begins anew.",
	failedRestored: "The log was restored to an older state. Fetch again and reactivate: the count begins anew.",
	failedHook:     "The endpoint does not take notifications.",
	storeDown:      "The log cannot be read now. Events are told when it can.",
	tokenEnds:      "The token ends soon. Bind with a fresh one.",
	tokenEnded:     "The token has ended. Bind with a fresh one.",
}

const (
	channelSocket = "websocket"
	channelHook   = "rest-hook"

	maxSubscription = 16 << 10 // bytes of the resource
)

// A subscription is somebody's wish to be told, as the Store keeps it. Its events
// are the entries of one patient's log that match, from Start on: so their
// numbers are a function of the log, and the same at every node and after every
// restart.
type subscription struct {
	ID       string
	Owner    carewire.Principal // as of its creation or reactivation: their rights at that time decide which entries count
	Resource json.RawMessage    // as the client has written it
	Status   string
	Failure  string            // while the status is error
	Topic    string            // after the base
	Focus    string            // the type of resource that an event is about
	Patient  string            // whose log
	Codes    []coding          // of vitals: only these; none: all
	Severity []string          // of DetectedIssues: only these; none: all
	Start    carewire.Position // the end of the log when it began
	Count    string            // another each time that the count begins: Start alone may be the same
	Mark     tally             // counted up to here
	Channel  string
	Endpoint string
	Content  string
	Version  string        // "": as the client binds
	Beat     time.Duration // from one heartbeat to the next; 0: not said
	End      time.Time

	rev uint64 // of its entry
}

// kind is the kind of entries that are its events.
func (sub *subscription) kind() carewire.Kind {
	switch sub.Topic {
	case topicAlerts:
		return carewire.KindAlert
	case topicNotices:
		return carewire.KindNotice
	}
	return carewire.KindVital
}

// matches reports whether an entry is an event of the subscription.
func (sub *subscription) matches(ev carewire.Event) bool {
	if !sub.Owner.Sees(ev) {
		return false
	}
	switch {
	case ev.Vital != nil:
		f := search{codes: sub.Codes}
		return f.measures(ev.Vital)
	case ev.Alert != nil:
		return len(sub.Severity) == 0 || slices.Contains(sub.Severity, newDetectedIssue(ev.Alert).Severity)
	}
	return ev.Notice != nil
}

// happened is an event in the form for its receiver; content that they may not
// see is left out.
func (sub *subscription) happened(ev carewire.Event, number uint64, who carewire.Principal) happened {
	h := happened{number: number, method: "POST"}
	seen := who.Sees(ev)
	switch {
	case ev.Vital != nil:
		h.at = ev.Vital.Received
		if id := entryID(ev.Patient, ev.Position); id != "" {
			h.url = "Observation/" + id
			h.resource = newObservation(ev.Vital, id)
		}
	case ev.Alert != nil:
		h.at, h.method = ev.Alert.Updated, "PUT"
		h.url = sub.Focus + "/" + alertID(ev.Alert)
		if h.resource = any(newFlag(ev.Alert)); sub.Focus == "DetectedIssue" {
			h.resource = newDetectedIssue(ev.Alert)
		}
	case ev.Notice != nil:
		h.at = ev.Notice.Time
		if id := entryID(ev.Patient, ev.Position); id != "" {
			h.url = "Communication/" + id
			h.resource = newCommunication(ev.Notice, id)
		}
	}
	if !seen {
		h.url, h.resource = "", nil
	}
	return h
}

// over reports whether the subscription has ended.
func (sub *subscription) over(now time.Time) bool {
	return sub.Status == statusOff || !sub.End.IsZero() && !sub.End.After(now)
}

// status is the client's view of its status.
func (sub *subscription) status(now time.Time) string {
	if sub.over(now) {
		return statusOff
	}
	return sub.Status
}

// resource is the subscription as a client reads it: as it was written, with ID and status.
func (sub *subscription) resource() json.RawMessage {
	var m map[string]json.RawMessage
	if json.Unmarshal(sub.Resource, &m) != nil {
		m = make(map[string]json.RawMessage)
	}
	m["id"] = json.RawMessage(strconv.Quote(sub.ID))
	m["status"] = json.RawMessage(strconv.Quote(sub.status(time.Now())))
	delete(m, "error")
	if sub.Failure != "" {
		m["error"], _ = json.Marshal(failureTexts[sub.Failure])
	}
	return encode(m)
}

// readSubscription reads a client's wishes: which events, and how. Unsupported
// ones are refused.
func (s *Server) readResource(e *element, raw []byte) (*subscription, error) {
	sub := &subscription{Resource: raw, Status: statusRequested, Content: contentID}
	switch {
	case len(raw) > maxSubscription:
		return nil, fail(413, "too-long", "too long")
	case e.get("resourceType").str() != "Subscription":
		return nil, invalid("resourceType", "must be Subscription")
	case e.get("modifierExtension") != nil || e.get("implicitRules") != nil:
		return nil, invalid("modifierExtension", "is not understood, and must be")
	}
	switch status := e.get("status").str(); status {
	case statusRequested, statusActive:
	case statusOff:
		sub.Status = statusOff
	default:
		e.doc.fail("status", "must be requested or off")
	}
	if end := e.get("end"); end != nil {
		t, exact, ok := parseDateTime(end.str())
		if !ok || !exact {
			e.doc.fail("end", "must be an instant")
		}
		sub.End = t
	}
	s.readCriteria(sub, e)
	s.readChannel(sub, e.get("channel"))
	if e.doc.err != nil {
		return nil, e.doc.err
	}
	if sub.Patient == "" {
		return nil, invalid("criteria", "patient is required, exactly one: subscribe to each patient, on one socket")
	}
	return sub, nil
}

// readCriteria reads the topic with its filters, or a query as in R4 before topics.
func (s *Server) readCriteria(sub *subscription, e *element) {
	criteria := e.get("criteria")
	text := criteria.str()
	switch topic := strings.TrimPrefix(text, s.opt.Base); {
	case topic == topicVitals, topic == topicAlerts, topic == topicNotices:
		sub.Topic = topic
		sub.Focus = map[string]string{topicVitals: "Observation", topicAlerts: "Flag", topicNotices: "Communication"}[topic]
	default:
		s.readFilter(sub, "criteria", text, e.doc)
	}
	for _, x := range e.get("_criteria").get("extension").items() {
		if x.get("url").str() != backportBase+"StructureDefinition/backport-filter-criteria" {
			e.doc.fail(x.path, "is not supported")
			return
		}
		s.readFilter(sub, x.path, x.get("valueString").str(), e.doc)
	}
}

// readFilter reads "Observation?patient=Patient/p1&code=…".
func (s *Server) readFilter(sub *subscription, path, text string, doc *document) {
	typ, query, ok := strings.Cut(text, "?")
	if !ok {
		typ, query = "", text
	}
	topics := map[string]string{"Observation": topicVitals, "Flag": topicAlerts, "DetectedIssue": topicAlerts, "Communication": topicNotices}
	q, err := url.ParseQuery(query)
	switch {
	case err != nil || len(q) == 0:
		doc.fail(path, "must be a topic of this server, or a query such as Observation?patient=Patient/1")
		return
	case typ != "" && (topics[typ] == "" || sub.Topic != "" && topics[typ] != sub.Topic):
		doc.fail(path, "must be a query for the resource of the topic: Observation, Flag, DetectedIssue or Communication")
		return
	case typ != "":
		sub.Topic, sub.Focus = topics[typ], typ
	case sub.Topic == "":
		doc.fail(path, "must be a topic of this server, or a query such as Observation?patient=Patient/1")
		return
	}
	for name, values := range q {
		if len(values) != 1 || !sub.filter(name, values[0]) {
			doc.fail(path, "has a filter that is not supported")
		}
	}
}

func (sub *subscription) filter(name, v string) bool {
	var f search
	switch {
	case name == "patient" || name == "subject":
		if f.set("patient", v) != nil || sub.Patient != "" && sub.Patient != f.patient {
			return false
		}
		sub.Patient = f.patient
	case name == "code" && sub.Topic == topicVitals && sub.Codes == nil:
		if f.set("code", v) != nil || len(f.codes) > 32 {
			return false
		}
		sub.Codes = f.codes
	case name == "category" && sub.Topic == topicVitals:
		return f.set("category", v) == nil && !f.none
	case name == "severity" && sub.Focus == "DetectedIssue" && sub.Severity == nil:
		list, ok := readTokens(v)
		for _, t := range list { // another one would never be met, in silence
			ok = ok && slices.ContainsFunc([]string{"high", "moderate", "low"}, func(code string) bool { return t.is(systemSeverity, code) })
			sub.Severity = append(sub.Severity, t.code)
		}
		return ok && len(list) <= 3
	default:
		return false
	}
	return true
}

// readChannel reads the destination of notifications, and their content.
func (s *Server) readChannel(sub *subscription, ch *element) {
	if ch == nil {
		sub.Channel = ""
		return
	}
	doc := ch.doc
	sub.Channel = ch.get("type").str()
	endpoint := ch.get("endpoint")
	switch {
	case sub.Channel == channelSocket && endpoint == nil:
	case sub.Channel == channelHook && s.opt.Hooks != nil && endpoint != nil:
		sub.Endpoint = endpoint.str()
	default:
		doc.fail(ch.path+".type", "must be websocket, without an endpoint, or rest-hook, with one, where that is offered")
	}
	if ch.get("header") != nil {
		doc.fail(ch.path+".header", "is not supported")
	}
	if p := ch.get("payload"); p != nil {
		typ, param, _ := strings.Cut(p.str(), ";")
		if typ != "application/fhir+json" && typ != "application/json" {
			doc.fail(p.path, "must be application/fhir+json")
		}
		sub.Content = contentFull
		if v, ok := strings.CutPrefix(strings.TrimSpace(param), "fhirVersion="); ok {
			sub.Version = v
			if v != versionR4 && v != versionR4B && v != versionR5 {
				doc.fail(p.path, "fhirVersion must be 4.0, 4.3 or 5.0")
			}
		}
	}
	for _, x := range ch.get("_payload").get("extension").items() {
		if x.get("url").str() == backportBase+"StructureDefinition/backport-payload-content" {
			sub.Content = x.get("valueCode").str()
		}
	}
	if sub.Content != contentEmpty && sub.Content != contentID && sub.Content != contentFull {
		doc.fail(ch.path+"._payload", "must be empty, id-only or full-resource")
	}
	for _, x := range ch.get("extension").items() {
		if x.get("url").str() == backportBase+"StructureDefinition/backport-heartbeat-period" {
			n, err := strconv.Atoi(string(x.get("valueUnsignedInt").number()))
			if err != nil || n < 1 || n > 3600 {
				doc.fail(x.path, "must be 1 to 3600 seconds")
			}
			sub.Beat = time.Duration(n) * time.Second
		}
	}
}
