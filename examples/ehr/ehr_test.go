package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/oauth2-proxy/mockoidc"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/carewiretest"
	"github.com/carewire/carewire/hl7v2"
	"github.com/carewire/carewire/pgstore"
	"github.com/carewire/carewire/pgstore/pgtest"
)

// A house is the running host, with its database and its provider.
type house struct {
	*host
	t        *testing.T
	provider *mockoidc.MockOIDC
	web      *httptest.Server
	paged    chan string
}

// open starts the host, with a change of its settings if one is given.
func open(t *testing.T, store carewire.Store, change ...func(*settings)) *house {
	t.Helper()
	provider, err := newProvider()
	require.NoError(t, err)
	t.Cleanup(func() { provider.Shutdown() })
	x := &house{t: t, provider: provider, paged: make(chan string, 100)}
	secret := []byte("a secret of the test's own, long enough")
	gateway := httptest.NewServer(newGateway(secret, paged(x.paged)))
	t.Cleanup(gateway.Close)
	x.web = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { x.handler().ServeHTTP(w, r) }))
	s := settings{base: "http://" + x.web.Listener.Addr().String(), issuer: provider.Issuer(), clientID: provider.ClientID, audience: "http://" + x.web.Listener.Addr().String() + "/carewire",
		clientSecret: provider.ClientSecret, gateway: gateway.URL, secret: secret, step: time.Second, plain: true, audit: filepath.Join(t.TempDir(), "audit.jsonl"), log: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&s)
	}
	x.host, err = newHost(context.Background(), s, store)
	require.NoError(t, err)
	x.web.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, x.shutdown(ctx))
		x.web.Close()
	})
	return x
}

type paged chan string

func (p paged) Write(b []byte) (int, error) {
	p <- string(b)
	return len(b), nil
}

// signedIn is a browser in which a person has signed in at the provider.
func (x *house) signedIn(who string) *http.Client {
	x.t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(x.t, err)
	browser := &http.Client{Jar: jar}
	resp, err := browser.Get(x.base + "/login?as=" + who)
	require.NoError(x.t, err)
	resp.Body.Close()
	require.Equal(x.t, http.StatusOK, resp.StatusCode)
	return browser
}

// connect connects as the browser's pages do.
func (x *house) connect(browser *http.Client) (*websocket.Conn, *http.Response) {
	ws, resp, _ := websocket.Dial(x.t.Context(), x.base+"/carewire", &websocket.DialOptions{HTTPClient: browser, HTTPHeader: http.Header{"Origin": {x.base}},
		Subprotocols: []string{carewire.Protocol}})
	return ws, resp
}

func (x *house) await(ws *websocket.Conn, text string) string {
	x.t.Helper()
	for {
		_, b, err := ws.Read(x.t.Context())
		require.NoError(x.t, err, "%q did not come", text)
		if strings.Contains(string(b), text) {
			return string(b)
		}
	}
}

// ends reads on until the connection ends, and says how.
func (x *house) ends(ws *websocket.Conn) websocket.StatusCode {
	var err error
	for err == nil {
		_, _, err = ws.Read(x.t.Context())
	}
	return websocket.CloseStatus(err)
}

func (x *house) send(ws *websocket.Conn, frame string) {
	require.NoError(x.t, ws.Write(x.t.Context(), websocket.MessageText, []byte(frame)))
}

func (x *house) get(browser *http.Client, path string) (int, string) {
	resp, err := browser.Get(x.base + path)
	require.NoError(x.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(x.t, err)
	return resp.StatusCode, string(b)
}

// A user who signs in at the provider watches their ward; logging out ends it
// at once.
func TestSignInAndOut(t *testing.T) {
	x := open(t, carewire.NewMemoryStore(nil))
	status, _ := x.get(http.DefaultClient, "/me")
	require.Equal(t, http.StatusUnauthorized, status)
	ada := x.signedIn("ada")
	_, me := x.get(ada, "/me")
	require.Contains(t, me, `"ward-5"`)
	ws, _ := x.connect(ada)
	require.NotNil(t, ws)
	x.send(ws, `{"type":"watch","req":"1","groups":["ward-5","ward-6"]}`)
	require.Contains(t, x.await(ws, `"req":"1"`), `"refused"`)
	_, err := x.hub.Publish(t.Context(), carewire.HeartRate.Of("p-17", 71))
	require.NoError(t, err)
	x.await(ws, `"value":71`)

	_, numbers := x.get(http.DefaultClient, "/metrics")
	require.Contains(t, numbers, `carewire_issuer_tokens_total{kind="accepted"} 1`)
	other, _ := x.connect(x.signedIn("ada"))
	resp, err := ada.Post(x.base+"/logout", "", nil)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, websocket.StatusCode(carewire.CloseForbidden), x.ends(ws))
	ws, resp = x.connect(ada)
	require.Nil(t, ws)
	require.Contains(t, []int{401, 403}, resp.StatusCode)
	x.send(other, `{"type":"watch","req":"2","patients":["p-18"]}`)
	x.await(other, `"req":"2"`) // the other session goes on

	stranger := &http.Client{}
	stranger.Jar, _ = cookiejar.New(nil)
	status, _ = x.get(stranger, "/login?as=mallory")
	require.Equal(t, http.StatusForbidden, status)
}

// A user whom the provider logs out is out at once, here too: one session, or a
// person.
func TestBackChannelLogout(t *testing.T) {
	x := open(t, carewire.NewMemoryStore(nil))
	logout := func(more jwt.MapClaims) int {
		claims := jwt.MapClaims{"aud": x.provider.ClientID, "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}
		maps.Copy(claims, more)
		resp, err := http.PostForm(x.base+"/backchannel-logout", url.Values{"logout_token": {x.signed(claims)}})
		require.NoError(t, err)
		resp.Body.Close()
		return resp.StatusCode
	}
	here := x.signedIn("ada")
	at, err := url.Parse(x.base)
	require.NoError(t, err)
	var session string // the provider's name for it
	for _, cookie := range here.Jar.Cookies(at) {
		if p, err := x.people.sessions.Find(t.Context(), cookie.Value); err == nil {
			session = p.Session
		}
	}
	require.NotEmpty(t, session)
	there := x.signedIn("ada")
	ws, _ := x.connect(here)
	other, _ := x.connect(there)
	require.Equal(t, http.StatusBadRequest, logout(jwt.MapClaims{"sub": "ada", "nonce": "n"}))
	require.Equal(t, http.StatusOK, logout(jwt.MapClaims{"sub": "ada", "sid": session})) // mockoidc's tokens have no sid, so it must name the person too
	require.Equal(t, websocket.StatusCode(carewire.CloseForbidden), x.ends(ws))
	status, _ := x.get(here, "/me")
	require.Equal(t, http.StatusUnauthorized, status)
	x.send(other, `{"type":"watch","req":"1","patients":["p-18"]}`)
	x.await(other, `"req":"1"`) // the other session goes on

	require.Equal(t, http.StatusOK, logout(jwt.MapClaims{"sub": "ada"}))
	require.Equal(t, websocket.StatusCode(carewire.CloseForbidden), x.ends(other))
	status, _ = x.get(there, "/me")
	require.Equal(t, http.StatusUnauthorized, status)
	for status != http.StatusOK { // a sign-in of the next second is a fresh one
		status, _ = x.get(x.signedIn("ada"), "/me")
	}
	_, numbers := x.get(http.DefaultClient, "/metrics")
	require.Contains(t, numbers, `carewire_issuer_logouts_total{kind="ended"} 2`)
}

// A nurse of another ward sees a patient by break-glass only, and the log shows it.
func TestBreakGlass(t *testing.T) {
	x := open(t, carewire.NewMemoryStore(nil))
	ws, _ := x.connect(x.signedIn("ben"))
	x.send(ws, `{"type":"watch","req":"1","patients":["p-17"]}`)
	require.Contains(t, x.await(ws, `"req":"1"`), "forbidden")
	x.send(ws, `{"type":"watch","req":"2","patients":["p-17"],"emergency":true,"reason":"cardiac arrest"}`)
	require.NotContains(t, x.await(ws, `"req":"2"`), "forbidden")
	require.Contains(t, x.await(ws, `"type":"access"`), "cardiac arrest")
	x.send(ws, `{"type":"watch","req":"3","patients":["p-99"],"emergency":true,"reason":"nobody"}`)
	require.Contains(t, x.await(ws, `"req":"3"`), "forbidden")

	// While it lasts ben may read, and do nothing else for the patient.
	a, err := x.hub.Raise(t.Context(), carewire.Raise{Patient: "p-17", Key: "k", Text: "x", Priority: carewire.PriorityLow})
	require.NoError(t, err)
	for _, frame := range []string{
		`{"type":"raise","req":"R","event_id":"e1","alert":{"patient":"p-17","key":"k2","text":"x","priority":"low"}}`,
		`{"type":"answer","req":"R","event_id":"e2","patient":"p-17","key":"k","alert_id":"` + a.ID + `","do":"accept"}`,
		`{"type":"publish","req":"R","vitals":[{"patient":"p-17","code":"8867-4","value":70,"unit":"/min"}]}`,
		`{"type":"notify","req":"R","notice":{"patient":"p-17","notice_id":"n1","to":["patient"],"text":"x"}}`,
	} {
		x.send(ws, frame)
		require.Contains(t, x.await(ws, `"req":"R"`), `"forbidden"`, frame)
	}
	x.send(ws, `{"type":"history","req":"8","patient":"p-17"}`)
	require.NotContains(t, x.await(ws, `"req":"8"`), "forbidden")

	// The audit trail has it, with the reason; of ben's refusal too.
	require.Equal(t, []carewire.Record{{Outcome: carewire.OutcomeDone, Who: carewire.Person{ID: "ben"}, Patient: "p-17", Reason: "cardiac arrest"},
		{Outcome: carewire.OutcomeRefused, Who: carewire.Person{ID: "ben"}, Patient: "p-99", Reason: "nobody"}}, x.emergencies())
}

// emergencies reads the records of break-glass from the audit trail.
func (x *house) emergencies() (list []carewire.Record) {
	b, err := os.ReadFile(x.audit)
	require.NoError(x.t, err)
	for line := range bytes.Lines(b) {
		var r carewire.Record
		require.NoError(x.t, json.Unmarshal(line, &r))
		if r.Event == carewire.AuditEmergency {
			list = append(list, carewire.Record{Outcome: r.Outcome, Who: carewire.Person{ID: r.Who.ID}, Patient: r.Patient, Reason: r.Reason})
		}
	}
	return list
}

// A reading that is too low is paged: to those on duty, then to more, without
// health data.
func TestRulesAndPages(t *testing.T) {
	x := open(t, carewire.NewMemoryStore(nil))
	_, err := x.hub.Publish(t.Context(), carewire.SpO2.Of("p-61", 80))
	require.NoError(t, err)
	require.Contains(t, <-x.paged, `"to":"person:ben"`)
	for page := ""; !strings.Contains(page, `person:kim`); {
		page = <-x.paged
		require.NotContains(t, page, "p-61")
		require.NotContains(t, strings.ToLower(page), "spo2")
	}
	_, open := x.get(x.signedIn("ben"), "/open")
	require.Contains(t, open, `"key":"spo2-low"`)
	_, open = x.get(x.signedIn("ada"), "/open")
	require.NotContains(t, open, "spo2-low")
	_, numbers := x.get(http.DefaultClient, "/metrics")
	require.Contains(t, numbers, `carewire_rule_raised_total{rule="spo2-low"} 1`)
	require.NotContains(t, numbers, "p-61")
}

// A patient who moves to another ward is watched there, and no longer here.
func TestWardsChange(t *testing.T) {
	x := open(t, carewire.NewMemoryStore(nil))
	ws, _ := x.connect(x.signedIn("ada"))
	x.send(ws, `{"type":"watch","req":"1","groups":["ward-5"]}`)
	x.await(ws, `"req":"1"`)
	movement := func(event, id, patient, ward string) {
		text := fmt.Sprintf("MSH|^~\\&|ADT|H|EHR|H|20260301080000+0000||ADT^%s^ADT_A01|%s|P|2.6\rEVN||20260301080000+0000\rPID|1||%s^^^H^MR||Doe^Jo\rPV1|1|I|%s^1^1\r", event, id, patient, ward)
		require.Contains(t, string(x.hl7.Handle(t.Context(), hl7v2.Peer{}, []byte(text))), "MSA|AA|")
	}
	movement("A01", "1", "p-70", "5")
	x.await(ws, `"p-70"`)
	movement("A02", "2", "p-70", "6")
	x.await(ws, `"type":"revoked"`)
	movement("A03", "3", "p-61", "6")
}

// The Hub is told of both wards. If it does not take that, the message that is sent
// again tells it of the patient's ward again.
func TestMoveIsToldAgain(t *testing.T) {
	var told []string
	lost := errors.New("the Hub cannot write")
	w := &wards{of: map[string]string{"p-17": "ward-5"}, changed: func(_ context.Context, group string) error {
		told = append(told, group)
		return lost
	}}
	for _, c := range []struct {
		to   string
		told []string
	}{{"ward-6", []string{"ward-5", "ward-6"}}, {"ward-6", []string{"ward-6"}}, {"", []string{"ward-6"}}, {"", nil}, {"ward-5", []string{"ward-5"}}} {
		told = nil
		err := w.move(t.Context(), "p-17", c.to)
		require.Equal(t, c.told, told, "to %q", c.to)
		require.Equal(t, len(told) > 0, errors.Is(err, lost))
	}
}

// A list of open alerts is whole, or there is none.
func TestOpenIsWhole(t *testing.T) {
	x := open(t, carewire.NewMemoryStore(nil), func(s *settings) { s.step = time.Hour })
	go func() {
		for range x.paged { // to the test's end
		}
	}()
	const each = 105 // of two patients: more than a page of Hub.Open
	for n := range each {
		for _, patient := range []string{"p-17", "p-18"} {
			_, err := x.hub.Raise(t.Context(), carewire.Raise{Patient: patient, Key: fmt.Sprint("k", n), Text: "x", Priority: carewire.PriorityLow})
			require.NoError(t, err)
		}
	}
	status, body := x.get(x.signedIn("ada"), "/open")
	require.Equal(t, http.StatusOK, status)
	var alerts []carewire.Alert
	require.NoError(t, json.Unmarshal([]byte(body), &alerts))
	require.Len(t, alerts, 2*each)

	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this machine has no /dev/full: ", err)
	}
	full := open(t, carewire.NewMemoryStore(nil), func(s *settings) { s.audit = "/dev/full" })
	_, err := full.hub.Raise(t.Context(), carewire.Raise{Patient: "p-17", Key: "k", Text: "x", Priority: carewire.PriorityHigh})
	require.NoError(t, err)
	status, _ = full.get(full.signedIn("ada"), "/open")
	require.Equal(t, http.StatusServiceUnavailable, status)
}

// A monitor's readings come by HL7 version 2, over MLLP as a gateway sends them.
func TestHL7(t *testing.T) {
	x := open(t, carewire.NewMemoryStore(nil))
	ws, _ := x.connect(x.signedIn("ada"))
	x.send(ws, `{"type":"watch","req":"1","patients":["p-17"]}`)
	x.await(ws, `"req":"1"`)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go x.hl7.Serve(listener)
	line, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	defer line.Close()
	_, err = fmt.Fprintf(line, "\x0bMSH|^~\\&|MON|ICU|EHR|H|%s+0000||ORU^R01^ORU_R01|1|P|2.6\rPID|||p-17^^^H^MR\rOBR|1\r"+
		"OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1|73|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R\r\x1c\r", time.Now().UTC().Format("20060102150405"))
	require.NoError(t, err)
	reply, err := bufio.NewReader(line).ReadString(0x1c)
	require.NoError(t, err)
	require.Contains(t, reply, "MSA|AA|1")
	x.await(ws, `"value":73`)
}

// A service sends an Observation by FHIR, with a token of the provider. A clinician
// may not.
func TestFHIR(t *testing.T) {
	x := open(t, carewire.NewMemoryStore(nil))
	ws, _ := x.connect(x.signedIn("ada"))
	x.send(ws, `{"type":"watch","req":"1","patients":["p-17"]}`)
	x.await(ws, `"req":"1"`)
	require.Equal(t, http.StatusForbidden, x.observeAs("ada", "p-17", "8867-4", 65, "/min"))
	require.Equal(t, http.StatusCreated, x.observe("p-17", "8867-4", 66, "/min"))
	x.await(ws, `"value":66`)
}

func (x *house) observe(patient, code string, value int, unit string) int {
	return x.observeAs("lab", patient, code, value, unit)
}

// observeAs posts an Observation, and returns the status.
func (x *house) observeAs(who, patient, code string, value int, unit string) int {
	body := fmt.Sprintf(`{"resourceType":"Observation","status":"final","subject":{"reference":"Patient/%s"},"effectiveDateTime":"%s","code":{"coding":[{"system":"http://loinc.org","code":"%s"}]},`+
		`"valueQuantity":{"value":%d,"unit":"%s","system":"http://unitsofmeasure.org","code":"%[5]s"}}`, patient, time.Now().UTC().Format(time.RFC3339), code, value, unit)
	r, err := http.NewRequestWithContext(x.t.Context(), http.MethodPost, x.base+"/fhir/Observation", strings.NewReader(body))
	require.NoError(x.t, err)
	r.Header.Set("Content-Type", "application/fhir+json")
	r.Header.Set("Authorization", "Bearer "+x.token(who))
	resp, err := http.DefaultClient.Do(r)
	require.NoError(x.t, err)
	resp.Body.Close()
	return resp.StatusCode
}

// token is an access token of the provider, for the host's API.
func (x *house) token(who string) string {
	return x.signed(jwt.MapClaims{"sub": who, "aud": x.base + "/carewire"})
}

// signed is a token of the provider.
func (x *house) signed(more jwt.MapClaims) string {
	now := time.Now()
	claims := jwt.MapClaims{"iss": x.provider.Issuer(), "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}
	maps.Copy(claims, more)
	token, err := x.provider.Keypair.SignJWT(claims)
	require.NoError(x.t, err)
	return token
}

// An access token lets somebody in, and no other token of the provider does.
func TestTokens(t *testing.T) {
	x := open(t, carewire.NewMemoryStore(nil))
	api, client := x.base+"/carewire", x.provider.ClientID
	events := map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}
	for name, c := range map[string]struct {
		claims jwt.MapClaims
		status int
	}{
		"an access token":         {jwt.MapClaims{"aud": api}, http.StatusNoContent},
		"an ID token":             {jwt.MapClaims{"aud": client}, http.StatusUnauthorized},
		"an ID token for both":    {jwt.MapClaims{"aud": []string{client, api}, "nonce": "n"}, http.StatusUnauthorized},
		"a logout token":          {jwt.MapClaims{"aud": client, "events": events}, http.StatusUnauthorized},
		"a logout token for both": {jwt.MapClaims{"aud": []string{client, api}, "events": events}, http.StatusUnauthorized},
	} {
		c.claims["sub"] = "ada"
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, x.base+"/carewire", nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+x.signed(c.claims))
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, c.status, resp.StatusCode, name)
	}
}

// On PostgreSQL an alert of the host's own transaction is raised if, and only if,
// that commits.
func TestPostgreSQL(t *testing.T) {
	server := pgtest.Database(t)
	store, end, err := openStore(t.Context(), server, "")
	require.NoError(t, err)
	t.Cleanup(end)
	pool, err := pgxpool.New(t.Context(), server)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	x := open(t, store)
	lost := errors.New("the host's own part fails")
	for _, own := range []error{lost, nil} {
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			err := store.(*pgstore.Store).RaiseTx(t.Context(), tx, carewire.Raise{Patient: "p-61", Key: "potassium", Text: "Potassium is 6.9 mmol/L", Priority: carewire.PriorityHigh})
			return errors.Join(err, own)
		})
		require.ErrorIs(t, err, own)
	}
	require.Contains(t, <-x.paged, `"to":"person:ben"`)
	a, err := x.hub.Alert(t.Context(), "p-61", "potassium")
	require.NoError(t, err)
	require.Equal(t, uint64(1), a.Rev)
}

// A host tests its own part in memory, with a clock of the test's.
func TestPolicy(t *testing.T) {
	w := &wards{of: map[string]string{"p-17": "ward-5"}}
	var pager carewiretest.Recorder
	hub, err := carewire.New(&carewiretest.Door{}, carewire.NewMemoryStore(nil), &carewire.Options{Policy: w.policy(time.Second), Pager: &pager, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer hub.Shutdown(context.Background())
	_, err = hub.Raise(t.Context(), carewire.Raise{Patient: "p-17", Key: "k", Text: "x", Priority: carewire.PriorityHigh})
	require.NoError(t, err)
	require.Equal(t, "group:ward-5", pager.Pages(t, 1)[0].To)
}
