package fhir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/memnet"
)

// wish is a Subscription as a client writes it.
func wish(topic, filter, content string) string {
	return `{"resourceType":"Subscription","status":"requested","reason":"x","criteria":"` + base + `/SubscriptionTopic/` + topic + `",
 "_criteria":{"extension":[{"url":"` + backportBase + `StructureDefinition/backport-filter-criteria","valueString":"` + filter + `"}]},
 "channel":{"type":"websocket","payload":"application/fhir+json","extension":[
  {"url":"` + backportBase + `StructureDefinition/backport-heartbeat-period","valueUnsignedInt":20},
  {"url":"` + backportBase + `StructureDefinition/backport-max-count","valuePositiveInt":20}],
 "_payload":{"extension":[{"url":"` + backportBase + `StructureDefinition/backport-payload-content","valueCode":"` + content + `"}]}}}`
}

// subscribe creates a Subscription and returns its ID.
func (w *world) subscribe(who, body string) string {
	w.t.Helper()
	r := w.do(who, "POST", "Subscription", body)
	require.Equal(w.t, 201, r.Code, r.Body)
	id := at(r.json(), "id").(string)
	require.Equal(w.t, base+"/Subscription/"+id, r.Header().Get("Location"))
	return id
}

func (w *world) token(who string, ids ...string) string {
	w.t.Helper()
	r := w.do(who, "GET", "Subscription/$get-ws-binding-token?id="+strings.Join(ids, "&id="), "")
	require.Equal(w.t, 200, r.Code, r.Body)
	require.Equal(w.t, "wss://ehr.test/fhir/subscription-websocket", at(r.json(), "parameter", 2+len(ids), "valueUrl"))
	return at(r.json(), "parameter", 0, "valueString").(string)
}

// A listener is a client on a socket.
type listener struct {
	t  *testing.T
	ws *websocket.Conn

	inbox chan string // the notifications that have come, if they are read as they come
	code  websocket.StatusCode
}

// listen serves w in memory and returns a function that connects to it.
func (w *world) listen() func(header ...string) *listener {
	l := memnet.Listen()
	srv := &http.Server{Handler: w}
	go srv.Serve(l)
	w.t.Cleanup(func() { srv.Close() })
	return func(header ...string) *listener {
		w.t.Helper()
		o := &websocket.DialOptions{HTTPHeader: http.Header{}, HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) }}}}
		for i := 0; i < len(header); i += 2 {
			o.HTTPHeader.Set(header[i], header[i+1])
		}
		ws, _, err := websocket.Dial(w.t.Context(), "ws://ehr.test/fhir/"+socketPath, o)
		require.NoError(w.t, err)
		ws.SetReadLimit(1 << 20)
		return &listener{t: w.t, ws: ws}
	}
}

func (l *listener) say(text string) {
	l.t.Helper()
	require.NoError(l.t, l.ws.Write(l.t.Context(), websocket.MessageText, []byte(text)))
}

func (l *listener) text() string {
	l.t.Helper()
	if l.inbox != nil {
		text, ok := <-l.inbox
		require.True(l.t, ok, "closed")
		return text
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	_, b, err := l.ws.Read(ctx)
	require.NoError(l.t, err)
	return string(b)
}

// A told is a notification as a client reads it, in any form.
type told struct {
	sub, kind, status, failure string
	count                      int
	numbers                    []int
	focus                      []string
	bundle                     object
}

func readTold(t *testing.T, text string) told {
	t.Helper()
	var b object
	require.NoError(t, json.Unmarshal([]byte(text), &b), text)
	n := told{bundle: b}
	status := at(b, "entry", 0, "resource")
	number := func(v any) int {
		i, err := strconv.Atoi(fmt.Sprint(v))
		require.NoError(t, err, text)
		return i
	}
	if at(status, "resourceType") == "SubscriptionStatus" {
		n.sub, n.kind, n.status = at(status, "subscription", "reference").(string), at(status, "type").(string), at(status, "status").(string)
		n.count = number(at(status, "eventsSinceSubscriptionStart"))
		events, _ := at(status, "notificationEvent").([]any)
		for _, e := range events {
			n.numbers = append(n.numbers, number(at(e, "eventNumber")))
			n.focus = append(n.focus, fmt.Sprint(at(e, "focus", "reference")))
		}
		if code := at(status, "error", 0, "coding", 0, "code"); code != nil {
			n.failure = code.(string)
		}
		return n
	}
	list, ok := at(status, "parameter").([]any)
	require.True(t, ok, text)
	for _, p := range list {
		switch at(p, "name") {
		case "subscription":
			n.sub = at(p, "valueReference", "reference").(string)
		case "type":
			n.kind = at(p, "valueCode").(string)
		case "status":
			n.status = at(p, "valueCode").(string)
		case "error":
			n.failure = at(p, "valueCodeableConcept", "coding", 0, "code").(string)
		case "events-since-subscription-start":
			n.count = number(at(p, "valueString"))
		case "notification-event":
			focus := "<nil>"
			for _, part := range at(p, "part").([]any) {
				switch at(part, "name") {
				case "event-number":
					n.numbers = append(n.numbers, number(at(part, "valueString")))
				case "focus":
					focus = at(part, "valueReference", "reference").(string)
				}
			}
			n.focus = append(n.focus, focus)
		}
	}
	return n
}

// next returns the next notification, which must be of kind.
func (l *listener) next(kind string) told {
	l.t.Helper()
	n := readTold(l.t, l.text())
	require.Equal(l.t, kind, n.kind, "%v", n.bundle)
	return n
}

// closed waits for the connection's end.
func (l *listener) closed() websocket.StatusCode {
	if l.inbox != nil {
		for range l.inbox {
		}
		return l.code
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for {
		if _, _, err := l.ws.Read(ctx); err != nil {
			return websocket.CloseStatus(err)
		}
	}
}

func (w *world) publish(patient string, values ...float64) {
	w.t.Helper()
	for _, v := range values {
		_, err := w.hub.Publish(w.t.Context(), carewire.HeartRate.Of(patient, v))
		require.NoError(w.t, err)
	}
}

func TestSubscriptionOverASocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil, nil)
		defer w.close()
		dial := w.listen()
		w.publish("p1", 50)
		id := w.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1&code=8867-4", "id-only"))
		assert.Equal(t, "requested", at(w.do("nurse", "GET", "Subscription/"+id, "").json(), "status"))
		w.publish("p1", 51)
		_, err := w.hub.Publish(t.Context(), carewire.SpO2.Of("p1", 97))
		require.NoError(t, err)

		l := dial()
		l.say("bind-with-token " + w.token("nurse", id))
		n := l.next("handshake")
		assert.Equal(t, base+"/Subscription/"+id, n.sub)
		assert.Equal(t, "requested", n.status)
		assert.Equal(t, 1, n.count, "events since the subscription began count, and nothing else")
		w.publish("p1", 52)
		_, err = w.hub.Publish(t.Context(), carewire.SpO2.Of("p1", 98))
		require.NoError(t, err)
		w.publish("p2", 99)
		w.publish("p1", 53)
		for i, value := range []float64{52, 53} {
			n = l.next("event-notification")
			assert.Equal(t, []int{i + 2}, n.numbers)
			assert.Equal(t, i+2, n.count)
			assert.Equal(t, "active", n.status)
			assert.Equal(t, n.focus[0], at(n.bundle, "entry", 1, "fullUrl"))
			assert.Nil(t, at(n.bundle, "entry", 1, "resource"), "id-only")
			read := w.do("nurse", "GET", strings.TrimPrefix(n.focus[0], base+"/"), "").json()
			assert.EqualValues(t, value, at(read, "valueQuantity", "value"))
		}
		before := time.Now()
		n = l.next("heartbeat")
		assert.Equal(t, 3, n.count, "a heartbeat raises nothing")
		assert.LessOrEqual(t, time.Since(before), 20*time.Second)
		assert.Equal(t, "active", at(w.do("nurse", "GET", "Subscription/"+id, "").json(), "status"))

		status := w.do("nurse", "GET", "Subscription/"+id+"/$status", "").json()
		assert.Equal(t, 3, readTold(t, string(encode(status))).count)
		assert.Equal(t, "searchset", status["type"])
		missed := w.do("nurse", "GET", "Subscription/"+id+"/$events?eventsSinceNumber=1&eventsUntilNumber=2", "").json()
		n = readTold(t, string(encode(missed)))
		assert.Equal(t, "query-event", n.kind)
		assert.Equal(t, []int{1, 2}, n.numbers, "both ends are included")
		assert.Equal(t, 3, n.count)
		answered := make(chan result, 1) // the network in memory has no buffers
		go func() {
			answered <- w.do("nurse", "POST", "Subscription/"+id+"/$resend", `{"resourceType":"Parameters","parameter":[{"name":"eventsSinceNumber","valueString":"2"}]}`)
		}()
		assert.Equal(t, []int{2}, l.next("event-notification").numbers)
		assert.Equal(t, []int{3}, l.next("event-notification").numbers)
		r := <-answered
		require.Equal(t, 200, r.Code, r.Body)
		assert.Equal(t, "OperationOutcome", at(r.json(), "resourceType"))

		require.Equal(t, 204, w.do("nurse", "DELETE", "Subscription/"+id, "").Code)
		assert.Equal(t, 404, w.do("nurse", "GET", "Subscription/"+id, "").Code)
		l.ws.CloseNow()
	})
}

// The three forms in which clients bind, and the form of status that each gets.
func TestFormsOfBinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil, nil)
		defer w.close()
		dial := w.listen()
		id := w.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "full-resource"))
		for form, typ := range map[string]string{"bind-with-token TOKEN": "Parameters", "bind-with-token: TOKEN": "Parameters",
			`{"type":"bind-with-token","payload":{"token":"TOKEN"}}`: "SubscriptionStatus"} {
			l := dial()
			token := w.token("nurse", id)
			l.say(strings.Replace(form, "TOKEN", token, 1))
			n := l.next("handshake")
			assert.Equal(t, typ, at(n.bundle, "entry", 0, "resource", "resourceType"), form)
			w.publish("p1", 60)
			n = l.next("event-notification")
			assert.EqualValues(t, 60, at(n.bundle, "entry", 1, "resource", "valueQuantity", "value"))
			l.say(`{"type":"ping"}`)
			assert.Equal(t, `{"type":"pong"}`, l.text())
			l.say(`{"type":"unbind-from-token","payload":{"token":"` + token + `"}}`)
			l.say(`{"type":"ping"}`)
			assert.Equal(t, `{"type":"pong"}`, l.text())
			w.publish("p1", 61)
			l.say(strings.Replace(form, "TOKEN", token, 1))
			assert.Equal(t, "OperationOutcome", at(jsonOf(l.text()), "resourceType"), "a token is good once, and an unbound subscription says nothing")
			l.ws.CloseNow()
		}
		old := dial("Authorization", "Bearer nurse")
		old.say("bind " + id)
		assert.Equal(t, "bound "+id, old.text())
		w.publish("p1", 62)
		assert.Equal(t, "ping "+id, old.text())
		old.ws.CloseNow()
	})
}

func jsonOf(text string) (v object) {
	json.Unmarshal([]byte(text), &v)
	return v
}

func TestBindingIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil, nil)
		defer w.close()
		dial := w.listen()
		id := w.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
		others := w.subscribe("gateway", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
		l := dial()
		code := func(text string) any {
			l.say(text)
			return at(jsonOf(l.text()), "issue", 0, "code")
		}
		assert.Equal(t, "login", code("bind-with-token x"))
		assert.Equal(t, "login", code("bind-with-token x."+id))
		assert.Equal(t, "login", code("bind "+id), "the old channel asks for a login")
		assert.Equal(t, "structure", code("hello"))
		assert.Equal(t, "not-supported", code(`{"type":"x"}`))
		forged := strings.Replace(w.token("nurse", id), id, others, 1)
		assert.Equal(t, "not-found", code("bind-with-token "+forged), "a token of one's own for another's subscription")
		late := w.token("nurse", id)
		require.Equal(t, 404, w.do("viewer", "GET", "Subscription/"+id+"/$get-ws-binding-token", "").Code)
		require.Equal(t, 404, w.do("viewer", "GET", "Subscription/"+id+"/$events", "").Code)
		require.Equal(t, 404, w.do("viewer", "PUT", "Subscription/"+id, wish("vitals", "Observation?patient=Patient/p1", "id-only")).Code)
		assert.Equal(t, websocket.StatusPolicyViolation, l.closed(), "a socket that has bound nothing is closed")
		time.Sleep(30 * time.Second)
		l = dial()
		assert.Equal(t, "login", code("bind-with-token "+late), "after 30 s")
		l.ws.CloseNow()
		l = dial()
		for range refusedMost {
			assert.Equal(t, "login", code("bind-with-token guessed."+id))
		}
		guessed := time.Now()
		assert.Equal(t, websocket.StatusPolicyViolation, l.closed(), "guesses end the socket")
		assert.Less(t, time.Since(guessed), time.Second, "and not only because nothing is bound")
		l = dial()
		l.ws.Write(t.Context(), websocket.MessageBinary, []byte("x"))
		assert.Equal(t, websocket.StatusPolicyViolation, l.closed())
		l = dial()
		l.ws.Write(t.Context(), websocket.MessageText, []byte(strings.Repeat("x", 10000)))
		assert.Equal(t, websocket.StatusMessageTooBig, l.closed())
		_, err := websocketDial(w, "Authorization", "Bearer unknown")
		assert.ErrorContains(t, err, "401")
	})
}

func websocketDial(w *world, header ...string) (*websocket.Conn, error) {
	l := memnet.Listen()
	srv := &http.Server{Handler: w}
	go srv.Serve(l)
	defer srv.Close()
	o := &websocket.DialOptions{HTTPHeader: http.Header{header[0]: {header[1]}}, HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) }}}}
	ws, _, err := websocket.Dial(w.t.Context(), "ws://ehr.test/fhir/"+socketPath, o)
	return ws, err
}

// Subscriptions that are refused when they are made.
func TestSubscriptionsThatAreRefused(t *testing.T) {
	w := newWorld(t, nil, nil, &Options{MaxSubscriptions: 3})
	defer w.close()
	good := wish("vitals", "Observation?patient=Patient/p1", "id-only")
	for old, c := range map[string]struct {
		new, field string
		status     int
	}{
		`"requested"`:             {`"entered-in-error"`, "status", 422},
		`/SubscriptionTopic/vit`:  {`/SubscriptionTopic/x`, "criteria", 422},
		`?patient=Patient/p1`:     {`?patient=Patient/p1&value-quantity=gt5`, "_criteria.extension[0]", 422},
		`Observation?`:            {`Encounter?`, "_criteria.extension[0]", 422},
		`patient=Patient/p1`:      {`code=1`, "criteria", 422},
		`"valueCode":"id-only"`:   {`"valueCode":"all"`, "channel._payload", 422},
		`"type":"websocket"`:      {`"type":"rest-hook","endpoint":"https://x"`, "channel.type", 422},
		`,"payload":`:             {`,"header":["a: b"],"payload":`, "channel.header", 422},
		`application/fhir+json`:   {`application/fhir+xml`, "channel.payload", 422},
		`"valueUnsignedInt":20`:   {`"valueUnsignedInt":0`, "channel.extension[0]", 422},
		`Patient/p1`:              {`Patient/stranger`, "", 403},
		`backport-filter-criteri`: {`other`, "_criteria.extension[0]", 422},
		`"reason"`:                {`"modifierExtension":[],"reason"`, "modifierExtension", 422},
		`"reason":"x"`:            {`"reason":"` + strings.Repeat("x", 20000) + `"`, "", 413},
	} {
		require.Contains(t, good, old)
		r := w.do("nurse", "POST", "Subscription", strings.Replace(good, old, c.new, 1))
		assert.Equal(t, c.status, r.Code, "%s: %s", old, r.Body)
		if c.field != "" {
			assert.Equal(t, c.field, at(r.json(), "issue", 0, "expression", 0), old)
		}
	}
	for range 3 {
		w.subscribe("nurse", good)
	}
	assert.Equal(t, 429, w.do("nurse", "POST", "Subscription", good).Code)
	list := w.do("nurse", "GET", "Subscription", "").json()
	require.Len(t, list["entry"], 3)
	assert.Empty(t, w.do("gateway", "GET", "Subscription", "").json()["entry"])
	first := at(list, "entry", 0, "resource", "id").(string)
	assert.Equal(t, 204, w.do("nurse", "DELETE", "Subscription/"+first, "").Code)
	w.subscribe("nurse", good)
	classic := `{"resourceType":"Subscription","status":"active","reason":"x","criteria":"DetectedIssue?patient=Patient/p1","channel":{"type":"websocket"}}`
	for filter, status := range map[string]int{"high,moderate": 201, systemSeverity + "|low": 201, "hgih": 422, "high,urgent": 422, "http://x|high": 422, `high\\,low`: 422} {
		r := w.do("gateway", "POST", "Subscription", strings.Replace(classic, "Patient/p1", "Patient/p1&severity="+filter, 1))
		assert.Equal(t, status, r.Code, "%s: %s", filter, r.Body)
	}
	require.Equal(t, 201, w.do("gateway", "POST", "Subscription", classic).Code, "as R4 was before topics")
	twice := strings.Replace(wish("alerts", "DetectedIssue?severity=low", "id-only"), base+"/SubscriptionTopic/alerts", "DetectedIssue?patient=Patient/p1&severity=high", 1)
	r := w.do("nurse", "POST", "Subscription", twice)
	assert.Equal(t, 422, r.Code, "both severities at once is nothing: %s", r.Body)
	assert.Equal(t, "_criteria.extension[0]", at(r.json(), "issue", 0, "expression", 0))
}

// Several subscriptions on one socket, of different topics, each with its count;
// an event that somebody may not see has a number and no content.
func TestSeveralOnOneSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil, nil)
		defer w.close()
		vitals := w.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
		alerts := w.subscribe("nurse", wish("alerts", "DetectedIssue?patient=Patient/p1&severity=high", "full-resource"))
		notices := w.subscribe("nurse", wish("notices", "Communication?patient=Patient/p1", "empty"))
		l := w.listen()()
		l.say("bind-with-token " + w.token("nurse", vitals, alerts, notices))
		var subs []string
		for range 3 {
			subs = append(subs, strings.TrimPrefix(l.next("handshake").sub, base+"/Subscription/"))
		}
		assert.ElementsMatch(t, []string{vitals, alerts, notices}, subs)
		w.publish("p1", 70)
		assert.Equal(t, vitals, strings.TrimPrefix(l.next("event-notification").sub, base+"/Subscription/"))
		_, err := w.hub.Raise(t.Context(), carewire.Raise{Patient: "p1", Key: "low", Text: "x", Priority: carewire.PriorityLow})
		require.NoError(t, err)
		_, err = w.hub.Raise(t.Context(), carewire.Raise{Patient: "p1", Key: "hidden", Text: "x", Priority: carewire.PriorityHigh, Audience: carewire.AudienceNamed, To: []string{"person:other"}})
		require.NoError(t, err)
		_, err = w.hub.Raise(t.Context(), carewire.Raise{Patient: "p1", Key: "high", Text: "y", Priority: carewire.PriorityHigh})
		require.NoError(t, err)
		n := l.next("event-notification")
		assert.Equal(t, []int{1}, n.numbers, "neither another severity nor an alert that is not hers counts")
		assert.Equal(t, "y", at(n.bundle, "entry", 1, "resource", "code", "text"))
		assert.Equal(t, "PUT", at(n.bundle, "entry", 1, "request", "method"))
		for n.sub != base+"/Subscription/"+notices {
			_, err = w.hub.Notify(t.Context(), carewire.Notice{Patient: "p1", Text: "secret", To: []string{"person:nurse"}})
			require.NoError(t, err)
			n = l.next("event-notification") // the alert's further states come between
		}
		assert.Equal(t, []string{"<nil>"}, n.focus, "empty")
		assert.NotContains(t, string(encode(n.bundle)), "secret")
		assert.NotContains(t, string(encode(n.bundle)), "SubscriptionTopic")
		l.ws.CloseNow()

		// A client that may see less than when the subscription began gets the
		// number only.
		was := people["nurse"]
		defer func() { people["nurse"] = was }()
		patient := was
		patient.Role = carewire.RolePatient
		people["nurse"] = patient
		events := w.do("nurse", "GET", "Subscription/"+alerts+"/$events", "").json()
		n = readTold(t, string(encode(events)))
		require.NotEmpty(t, n.numbers)
		assert.Equal(t, 1, n.numbers[0])
		assert.Equal(t, "<nil>", n.focus[0])
		assert.Len(t, events["entry"], 1)
	})
}

// switchable is an Authorizer that a test turns.
type switchable struct {
	no, fails atomic.Bool
	asked     atomic.Int64
}

func (a *switchable) Authorize(_ context.Context, q carewire.Access) ([]carewire.Decision, error) {
	a.asked.Add(1)
	if a.fails.Load() {
		return nil, errors.New("down")
	}
	list := make([]carewire.Decision, len(q.Patients))
	for i := range list {
		list[i].Allow = !a.no.Load()
	}
	return list, nil
}

// Access is asked for when each event is sent. An undecided event waits, and a
// refused one sets the subscription in error until the client reactivates it.
// The count goes on.
func TestAccessIsAskedForEachEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := &switchable{}
		w := newWorld(t, nil, &carewire.Options{Authorizer: rules}, nil)
		defer w.close()
		dial := w.listen()
		body := wish("vitals", "Observation?patient=Patient/p1", "id-only")
		id := w.subscribe("nurse", body)
		l := dial()
		l.say("bind-with-token " + w.token("nurse", id))
		l.next("handshake")
		asked := rules.asked.Load()
		w.publish("p1", 60, 61, 62)
		for i := range 3 {
			assert.Equal(t, []int{i + 1}, l.next("event-notification").numbers)
		}
		assert.EqualValues(t, 3, rules.asked.Load()-asked)

		rules.fails.Store(true)
		w.publish("p1", 63)
		time.Sleep(5 * time.Second)
		rules.fails.Store(false)
		assert.Equal(t, []int{4}, l.next("event-notification").numbers, "it was kept until access was decided")

		rules.no.Store(true)
		w.publish("p1", 64)
		n := l.next("heartbeat")
		assert.Equal(t, "error", n.status)
		assert.Equal(t, failedAccess, n.failure)
		assert.Empty(t, n.numbers)
		rules.no.Store(false)
		w.publish("p1", 65)
		assert.Equal(t, "error", at(w.do("nurse", "GET", "Subscription/"+id, "").json(), "status"))
		status := readTold(t, w.do("nurse", "GET", "Subscription/"+id+"/$status", "").Body.String())
		assert.Equal(t, 6, status.count, "the server goes on counting")
		l.say("bind-with-token " + w.token("nurse", id))
		assert.Equal(t, "conflict", at(jsonOf(l.text()), "issue", 0, "code"), "only the client reactivates it")
		r := w.do("nurse", "PUT", "Subscription/"+id, strings.Replace(body, `"status"`, `"id":"`+id+`","status"`, 1))
		require.Equal(t, 200, r.Code, r.Body)
		l.say("bind-with-token " + w.token("nurse", id))
		assert.Equal(t, 6, l.next("handshake").count)
		w.publish("p1", 66)
		assert.Equal(t, []int{7}, l.next("event-notification").numbers)

		require.NoError(t, w.hub.Revoke(t.Context(), carewire.Revocation{Principal: "nurse", Patients: []string{"p1"}}))
		w.publish("p1", 67)
		assert.Equal(t, failedAccess, l.next("heartbeat").failure)
		l.ws.CloseNow()
	})
}

// The end of a token is announced, and ends the subscriptions bound with it.
func TestTokenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil, nil)
		defer w.close()
		was := people["nurse"]
		defer func() { people["nurse"] = was }()
		short := was
		short.Expires = time.Now().Add(70 * time.Second)
		people["nurse"] = short
		id := w.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
		l := w.listen()()
		l.say("bind-with-token " + w.token("nurse", id))
		l.next("handshake")
		from := time.Now()
		n := l.next("heartbeat")
		for n.failure == "" {
			n = l.next("heartbeat")
		}
		assert.Equal(t, tokenEnds, n.failure)
		assert.Equal(t, "active", n.status)
		assert.Equal(t, 40*time.Second, time.Since(from))
		for n.failure != tokenEnded {
			n = l.next("heartbeat")
		}
		assert.Equal(t, 70*time.Second, time.Since(from))
		assert.Equal(t, websocket.StatusCode(3000), l.closed())
		people["nurse"] = was
		assert.Equal(t, "active", at(w.do("nurse", "GET", "Subscription/"+id, "").json(), "status"), "the subscription goes on")
	})
}

// If events can no longer be counted, the client is told so, and counting
// begins anew when the client reactivates it.
func TestPrunedSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := carewire.NewMemoryStore(nil)
		w := newWorld(t, store, nil, nil)
		defer w.close()
		body := wish("vitals", "Observation?patient=Patient/p1", "id-only")
		id := w.subscribe("nurse", body)
		w.publish("p1", 60, 61, 62)
		time.Sleep(time.Hour)
		require.NoError(t, store.Prune(t.Context(), time.Now(), carewire.Retention{Vitals: time.Minute, Others: time.Minute}))
		r := w.do("nurse", "GET", "Subscription/"+id+"/$events?eventsSinceNumber=1", "")
		assert.Equal(t, 410, r.Code, r.Body)
		n := readTold(t, w.do("nurse", "GET", "Subscription/"+id+"/$status", "").Body.String())
		assert.Equal(t, "error", n.status)
		l := w.listen()()
		l.say("bind-with-token " + w.token("nurse", id))
		n = l.next("heartbeat")
		assert.Equal(t, failedPruned, n.failure)
		require.Equal(t, 200, w.do("nurse", "PUT", "Subscription/"+id, strings.Replace(body, `"status"`, `"id":"`+id+`","status"`, 1)).Code)
		l.say("bind-with-token " + w.token("nurse", id))
		assert.Equal(t, 0, l.next("handshake").count)
		w.publish("p1", 63)
		assert.Equal(t, []int{1}, l.next("event-notification").numbers)
		l.ws.CloseNow()
	})
}

// A count that was remembered gives the numbers that counting from the beginning
// gives.
func TestCountsFromMarks(t *testing.T) {
	store := carewire.NewMemoryStore(&carewire.MemoryOptions{Vitals: -1})
	w := newWorld(t, store, nil, nil)
	defer w.close()
	id := w.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
	x := &w.server.subscriptions
	total := 0
	for range 7 {
		var list []carewire.Vital
		for range 1000 {
			list = append(list, carewire.HeartRate.Of("p1", 60))
		}
		_, err := w.hub.Publish(t.Context(), list...)
		require.NoError(t, err)
		total += 1000
		n := readTold(t, w.do("nurse", "GET", "Subscription/"+id+"/$status", "").Body.String())
		require.Equal(t, total, n.count)
	}
	sub, err := x.get(t.Context(), id)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, sub.Mark.N, uint64(markSaved), "the Store keeps how far it was counted")
	other := newWorld(t, store, nil, nil) // another node, that remembers nothing
	defer other.close()
	for _, at := range []string{"1", "999", "1000", "1001", "4999", "6001", "7000"} {
		q := "Subscription/" + id + "/$events?eventsSinceNumber=" + at + "&eventsUntilNumber=" + at
		one, two := readTold(t, w.do("nurse", "GET", q, "").Body.String()), readTold(t, other.do("nurse", "GET", q, "").Body.String())
		assert.Equal(t, []string{at}, []string{fmt.Sprint(one.numbers[0])})
		assert.Equal(t, one.focus, two.focus, at)
	}
}

// A client that is cut at random, a hundred times, and comes back to either of two
// nodes, misses and doubles no event: by the count of the handshake and $events.
func TestCutAHundredTimesOverTwoNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := carewire.NewMemoryStore(&carewire.MemoryOptions{Vitals: -1})
		nodes := []*world{newWorld(t, store, nil, nil), newWorld(t, store, nil, nil)}
		for _, n := range nodes {
			defer n.close()
		}
		dials := []func(...string) *listener{nodes[0].listen(), nodes[1].listen()}
		id := nodes[0].subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1&code=8867-4", "full-resource"))

		const all = 1500
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			random := rand.New(rand.NewPCG(1, 2))
			for i := range all {
				v := carewire.HeartRate.Of("p1", float64(i))
				v.ID = fmt.Sprint("m", i)
				node := nodes[random.IntN(2)]
				if _, err := node.hub.Publish(context.Background(), v, carewire.SpO2.Of("p1", 97)); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
			}
		}()

		random := rand.New(rand.NewPCG(3, 4))
		var numbers []int
		var seen []string
		take := func(n told) {
			numbers = append(numbers, n.numbers...)
			for i := range n.numbers {
				seen = append(seen, at(n.bundle, "entry", 1+i, "resource", "identifier", 0, "value").(string))
			}
		}
		cuts := 0
		for len(numbers) < all {
			at := random.IntN(2)
			l := dials[at]()
			l.say("bind-with-token " + nodes[random.IntN(2)].token("nurse", id))
			n := l.next("handshake")
			fill := func(upTo int) {
				for have := len(numbers); have < upTo; have = len(numbers) {
					q := fmt.Sprintf("Subscription/%s/$events?eventsSinceNumber=%d&eventsUntilNumber=%d", id, have+1, upTo)
					take(readTold(t, nodes[random.IntN(2)].do("nurse", "GET", q, "").Body.String()))
				}
			}
			fill(n.count)
			for range random.IntN(12) {
				if len(numbers) == all {
					break
				}
				n := readTold(t, l.text())
				if n.kind != typeEvent {
					continue
				}
				fill(n.numbers[0] - 1)
				take(n)
			}
			l.ws.CloseNow()
			cuts++
			time.Sleep(time.Duration(random.IntN(500)) * time.Millisecond)
		}
		<-sent
		assert.GreaterOrEqual(t, cuts, 100)
		want := make([]int, all)
		names := make([]string, all)
		for i := range all {
			want[i], names[i] = i+1, fmt.Sprint("m", i)
		}
		assert.Equal(t, want, numbers, "no number is missing, doubled or out of order")
		assert.True(t, slices.IsSorted(numbers))
		slices.Sort(seen)
		slices.Sort(names)
		assert.Equal(t, names, seen, "and no event")
	})
}

// $resend reaches the socket whichever node is asked, once for each request, and
// nobody else's.
func TestResendOverTwoNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := carewire.NewMemoryStore(nil)
		one, two := newWorld(t, store, nil, nil), newWorld(t, store, nil, nil)
		defer one.close()
		defer two.close()
		dial := one.listen()
		id := one.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
		l := dial()
		l.say("bind-with-token " + one.token("nurse", id))
		l.next("handshake")
		for i := range 4 {
			_, err := one.hub.Publish(t.Context(), carewire.HeartRate.Of("p1", float64(70+i)))
			require.NoError(t, err)
			require.Equal(t, []int{i + 1}, l.next(typeEvent).numbers)
		}
		for _, asked := range []*world{two, one, two} {
			answered := make(chan result, 1) // the network in memory has no buffers
			go func() {
				answered <- asked.do("nurse", "GET", "Subscription/"+id+"/$resend?eventsSinceNumber=2&eventsUntilNumber=3", "")
			}()
			require.Equal(t, []int{2}, l.next(typeEvent).numbers)
			require.Equal(t, []int{3}, l.next(typeEvent).numbers)
			r := <-answered
			require.Equal(t, 200, r.Code, r.Body)
		}
		require.Equal(t, 404, two.do("gateway", "GET", "Subscription/"+id+"/$resend", "").Code)
		time.Sleep(5 * resendLook)
		_, err := one.hub.Publish(t.Context(), carewire.HeartRate.Of("p1", 80))
		require.NoError(t, err)
		require.Equal(t, []int{5}, l.next(typeEvent).numbers, "nothing more was sent again")
	})
}

// restored is a Store whose logs have been set back: another epoch.
type restored struct {
	carewire.Store
	epoch atomic.Pointer[string]
}

func (s *restored) Heads(ctx context.Context, patients []string) ([]carewire.Head, error) {
	heads, err := s.Store.Heads(ctx, patients)
	for i := range heads {
		if epoch := s.epoch.Load(); epoch != nil {
			heads[i].Epoch = *epoch
		}
	}
	return heads, err
}

// A log that was restored to an older state begins a new epoch, in which numbers
// mean other events: the subscription is in error, at whichever node, until it is
// reactivated, and then counts anew.
func TestRestoredSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &restored{Store: carewire.NewMemoryStore(nil)}
		one, two := newWorld(t, store, nil, nil), newWorld(t, store, nil, nil)
		defer one.close()
		defer two.close()
		publish := func() {
			_, err := one.hub.Publish(t.Context(), carewire.HeartRate.Of("p1", 70))
			require.NoError(t, err)
		}
		publish()
		body := wish("vitals", "Observation?patient=Patient/p1", "id-only")
		id := one.subscribe("nurse", body)
		l := one.listen()()
		l.say("bind-with-token " + one.token("nurse", id))
		l.next("handshake")
		publish()
		require.Equal(t, []int{1}, l.next(typeEvent).numbers)
		epoch := "another"
		store.epoch.Store(&epoch)
		publish()
		n := l.next(typeHeartbeat)
		require.Equal(t, []string{statusError, failedRestored}, []string{n.status, n.failure})
		r := two.do("nurse", "GET", "Subscription/"+id+"/$events", "")
		require.Equal(t, 410, r.Code, r.Body)
		status := two.do("nurse", "GET", "Subscription/"+id+"/$status", "").json()
		require.Contains(t, fmt.Sprint(status), failedRestored)
		refused := two.listen()()
		refused.say("bind-with-token " + two.token("nurse", id))
		require.Contains(t, refused.text(), failureTexts[failedRestored])

		again := strings.Replace(body, `"resourceType":"Subscription",`, `"resourceType":"Subscription","id":"`+id+`",`, 1)
		require.Equal(t, 200, two.do("nurse", "PUT", "Subscription/"+id, again).Code)
		l = two.listen()()
		l.say("bind-with-token " + two.token("nurse", id))
		require.Zero(t, l.next("handshake").count)
		publish()
		require.Equal(t, []int{1}, l.next(typeEvent).numbers)
	})
}

// Frames that strangers send on a socket harm nobody.
func FuzzSocketText(f *testing.F) {
	for _, s := range []string{"bind-with-token x", "bind-with-token: x.y", `{"type":"bind-with-token","payload":{"token":"x.y"}}`, "bind x", `{"type":"ping"}`, "", "{"} {
		f.Add(s)
	}
	w := newWorld(&testing.T{}, nil, nil, nil)
	f.Fuzz(func(t *testing.T, text string) {
		token, ok := bindText(text)
		if ok && strings.HasPrefix(token, " ") {
			t.Fatal("not trimmed")
		}
		ticket, _, _ := strings.Cut(token, ".")
		r, _ := http.NewRequest(http.MethodGet, base, nil)
		r.Header.Set("Sec-WebSocket-Protocol", "carewire.ticket."+ticket)
		if _, err := w.server.identifyTicket(r); err == nil {
			t.Fatal("let in")
		}
	})
}

// Each request has an answer, and a subscription that is taken can be read again.
func FuzzSubscription(f *testing.F) {
	w := newWorld(&testing.T{}, nil, nil, nil)
	f.Add([]byte(wish("vitals", "Observation?patient=Patient/p1&code=1", "id-only")))
	f.Add([]byte(wish("alerts", "DetectedIssue?patient=p1&severity=high", "empty")))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parse(b)
		if err != nil {
			return
		}
		sub, err := w.server.readResource(e, b)
		if err != nil {
			return
		}
		sub.ID = "x"
		e, err = parse(sub.resource())
		require.NoError(t, err)
		again, err := w.server.readResource(e, sub.resource())
		require.NoError(t, err, "%s", sub.resource())
		require.Equal(t, sub.Patient, again.Patient)
	})
}
