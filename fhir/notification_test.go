package fhir

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// shape lists the members of a JSON value, with their types.
func shape(v any) []string {
	found := make(map[string]bool)
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case object:
			for name, m := range v {
				walk(path+"."+name, m)
			}
		case []any:
			for _, m := range v {
				walk(path+"[]", m)
			}
		case string:
			found[path+" string"] = true
		case float64:
			found[path+" number"] = true
		default:
			found[path+" other"] = true
		}
	}
	walk("", v)
	list := make([]string, 0, len(found))
	for p := range found {
		list = append(list, p)
	}
	sort.Strings(list)
	return list
}

// HL7's own notifications are read as ours are, and ours have the members that
// they have, each of the same type. The differences are listed.
func TestNotificationsAsHL7HasThem(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	s := w.server
	sub := &subscription{ID: "123", Topic: topicVitals, Patient: "p1", Focus: "Observation"}
	v := carewire.HeartRate.Of("p1", 72)
	v.Time, v.Received = noon, noon
	event := sub.happened(carewire.Event{Patient: "p1", Vital: &v, Position: carewire.Position{Epoch: "e", Seq: 2}}, 2, carewire.Principal{ID: "x", Role: carewire.RoleViewer})
	// The meta of HL7's Bundles is the tag of test data, and Encounters are no Observations.
	leave := regexp.MustCompile(`^\.(meta|implicitRules|language|text)\b|^\.entry\[\]\.resource\.(meta|text|class|code|valueQuantity|category|effectiveDateTime|issued|subject)\b|^\.entry\[\]\.resource\.(parameter\[\]\.part|id)\[?`)
	members := func(b any) (list []string) {
		for _, p := range shape(b) {
			if !leave.MatchString(p) {
				list = append(list, p)
			}
		}
		return list
	}
	for _, c := range []struct {
		file, version string
		m             message
		more, less    []string // the members that ours has, and has not
	}{
		{file: "r4b-notification-handshake", version: versionR4B, m: message{kind: typeHandshake, status: statusRequested, content: contentID}},
		{file: "r4b-notification-heartbeat", version: versionR4B, m: message{kind: typeHeartbeat, status: statusActive, count: 310, content: contentID}},
		{file: "r4b-notification-query-status", version: versionR4B, m: message{kind: typeQueryStatus, status: statusActive, count: 310, content: contentID}},
		{file: "r4b-notification-empty", version: versionR4B, m: message{kind: typeEvent, status: statusActive, count: 2, content: contentEmpty, events: []happened{event}},
			less: []string{".entry[].resource.topic string"}}, // the guide says that it should be left out
		{file: "r4b-notification-id-only", version: versionR4B, m: message{kind: typeEvent, status: statusActive, count: 2, content: contentID, events: []happened{event}},
			more: []string{".entry[].resource.notificationEvent[].timestamp string"}},
		{file: "r4b-notification-id-only-query", version: versionR4B, m: message{kind: typeQueryEvent, status: statusActive, count: 2, content: contentID, events: []happened{event}},
			more: []string{".entry[].resource.notificationEvent[].timestamp string"}},
		{file: "r4b-notification-full-resource", version: versionR4B, m: message{kind: typeEvent, status: statusActive, count: 2, content: contentFull, events: []happened{event}},
			more: []string{".entry[].resource.notificationEvent[].timestamp string"}},
	} {
		text, err := os.ReadFile("testdata/" + c.file + ".json")
		require.NoError(t, err)
		theirs, ours := readTold(t, string(text)), readTold(t, string(encode(s.notification(sub, c.version, c.m))))
		assert.Equal(t, c.m.kind, theirs.kind, c.file)
		assert.Equal(t, theirs.kind, ours.kind, c.file)
		assert.Equal(t, theirs.status, ours.status, c.file)
		assert.Equal(t, int(c.m.count), theirs.count, c.file)
		assert.Equal(t, theirs.count, ours.count, c.file)
		var more, less []string
		theirMembers, ourMembers := members(theirs.bundle), members(ours.bundle)
		for _, p := range ourMembers {
			if !slices.Contains(theirMembers, p) {
				more = append(more, p)
			}
		}
		for _, p := range theirMembers {
			if !slices.Contains(ourMembers, p) {
				less = append(less, p)
			}
		}
		assert.Equal(t, c.more, more, c.file)
		assert.Equal(t, c.less, less, c.file)
	}
	assert.Equal(t, "subscription-notification", member(t, encode(s.notification(sub, versionR5, message{})), "type"))
}

// The form of R4, as the guide gives it.
func TestNotificationOfR4(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	s := w.server
	b := s.notification(&subscription{ID: "123", Topic: topicVitals}, versionR4, message{kind: typeEvent, status: statusActive, count: 2, content: contentID, failure: failedHook,
		events: []happened{{number: 2, at: noon, url: "Observation/7", method: "POST"}}})
	id := b.Entry[0].Resource.(*parameters).ID
	assert.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, id)
	b.ID, b.Timestamp = "b", instant(time.Unix(0, 0))
	assert.JSONEq(t, `{"resourceType":"Bundle","id":"b","type":"history","timestamp":"1970-01-01T00:00:00.000Z","entry":[
 {"fullUrl":"urn:uuid:`+id+`","resource":{"resourceType":"Parameters","id":"`+id+`",
  "meta":{"profile":["http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-subscription-status-r4"]},
  "parameter":[{"name":"subscription","valueReference":{"reference":"https://ehr.test/fhir/Subscription/123"}},
   {"name":"topic","valueCanonical":"https://ehr.test/fhir/SubscriptionTopic/vitals"},
   {"name":"status","valueCode":"active"},{"name":"type","valueCode":"event-notification"},
   {"name":"events-since-subscription-start","valueString":"2"},
   {"name":"notification-event","part":[{"name":"event-number","valueString":"2"},{"name":"timestamp","valueInstant":"2026-03-01T12:00:00.250Z"},
    {"name":"focus","valueReference":{"reference":"https://ehr.test/fhir/Observation/7"}}]},
   {"name":"error","valueCodeableConcept":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/subscription-error","code":"no-response"}],
    "text":"The endpoint does not take notifications."}}]},
  "request":{"method":"GET","url":"https://ehr.test/fhir/Subscription/123/$status"},"response":{"status":"200"}},
 {"fullUrl":"https://ehr.test/fhir/Observation/7","request":{"method":"POST","url":"Observation"},"response":{"status":"201"}}]}`, string(encode(b)))
	var any json.RawMessage = encode(b)
	assert.Equal(t, "event-notification", readTold(t, string(any)).kind)
}
