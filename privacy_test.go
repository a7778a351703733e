package carewire

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/memnet"
)

// All that is about a patient in these tests is one of these words, or the
// number.
var canaries = regexp.MustCompile(`(?i)canary|71937193|` + fmt.Sprintf("%x", "canary"))

// secrets holds requests with a canary in every member that takes one.
var secrets = []string{
	`{"type":"watch","req":"1","patients":["canary-patient"],"groups":["canary-group"],"since":{"canary-patient":{"epoch":"canary-epoch","seq":71937193}},
		"delivery":"every","emergency":true,"reason":"canary-reason"}`,
	`{"type":"unwatch","req":"1","patients":["canary-patient"],"groups":["canary-group"]}`,
	`{"type":"publish","req":"1","vitals":[{"patient":"canary-patient","code":"canary-code","system":"canary-system","value":71937193,"unit":"canary-unit","time":"2026-03-01T08:00:00Z",
		"device":"canary-device","site":"canary-site","method":"canary-method","every":71937.193,"status":"corrected","replaces":"canary-old","vital_id":"canary-vital"},
		{"patient":"canary-patient","code":"canary-panel","components":[{"code":"canary-part","value":71937193,"unit":"canary-unit"}]},
		{"patient":"canary-patient","code":"80288-4","coded":{"system":"canary-system","code":"canary-coded"}},
		{"patient":"canary-patient","code":"8867-4","value":71937193,"unit":"canary-unit"},
		{"patient":"canary patient","code":"8867-4","value":71937193,"unit":"/min"}]}`,
	`{"type":"raise","req":"1","event_id":"canary-event","alert":{"patient":"canary-patient","key":"canary-key","code":"canary-code","system":"canary-system","text":"canary text",
		"priority":"high","onset":"2026-03-01T08:00:00Z","audience":"all","to":["group:canary-group","person:canary person"],
		"source":{"rule":"canary-rule","limits":"canary-limits","value":71937193,"unit":"canary-unit","vital_id":"canary-vital"}}}`,
	`{"type":"clear","req":"1","patient":"canary-patient","key":"canary-key","alert_id":"canary-event","event_id":"canary-clear"}`,
	`{"type":"answer","req":"1","patient":"canary-patient","key":"canary-key","alert_id":"canary-event","event_id":"canary-answer","do":"accept","for_s":7193.7193,"reason":"canary reason","rev":71937193}`,
	`{"type":"answer","req":"1","patient":"canary-patient","key":"canary-key","alert_id":"canary-event","event_id":"canary-answer","do":"assign","to":"person:canary person"}`,
	`{"type":"answer","req":"1","patient":"canary-patient","key":"canary-key","alert_id":"canary-other","event_id":"canary-answer-2","do":"close","reason":"canary reason","force":true}`,
	`{"type":"receipt","req":"1","patient":"canary-patient","key":"canary-key","alert_id":"canary-event","stage":"presented"}`,
	`{"type":"receipt","req":"1","patient":"canary-patient","notice_id":"canary-notice","stage":"read"}`,
	`{"type":"notify","req":"1","notice":{"patient":"canary-patient","notice_id":"canary-notice","to":["person:canary person","group:canary-group"],"audience":"named","text":"canary text",
		"replies_to":"canary-notice-0"}}`,
	`{"type":"history","req":"1","patient":"canary-patient","key":"canary-key","from":"2026-03-01T08:00:00Z","cursor":71937193,"limit":71937193}`,
	`{"type":"token","req":"1","token":"canary-token"}`,
	`{"type":"ticket","req":"1"}`,
	`{"type":"wave","waves":[{"patient":"canary-patient","code":"canary-code","system":"canary-system","device":"canary-device","site":"canary-site","unit":"canary-unit",
		"factor":71937.193,"origin":71937193,"rate":719.37193,"n":71937193,"time":"2026-03-01T08:00:00Z","data":"canary=="}]}`,
	`{"type":"canary","req":"1","canary":{"canary":71937193}}`,
}

// spoilt returns a request with each of its members wrong in each way.
func spoilt(t *testing.T, frame string) (bad []string) {
	t.Helper()
	var object map[string]any
	require.NoError(t, json.Unmarshal([]byte(frame), &object))
	for _, path := range append(leaves(object, ""), "canary") {
		if path == "req" {
			continue // it is echoed
		}
		for _, wrong := range []string{`"canary\u0000"`, `"canary\ud800"`, `{"canary":71937193}`, `["canary\u0000"]`, `[{"canary":"canary"}]`, `7.1937193e7`, `-71937193`,
			`"` + strings.Repeat("canary", 1400) + `"`, `"canary`} {
			var changed map[string]any
			require.NoError(t, json.Unmarshal([]byte(frame), &changed))
			at, names := changed, strings.Split(path, ".")
			for _, name := range names[:len(names)-1] {
				at = objectAt(at, name)
			}
			at[names[len(names)-1]] = "MARK"
			b, err := json.Marshal(changed)
			require.NoError(t, err)
			bad = append(bad, strings.Replace(string(b), `"MARK"`, wrong, 1))
		}
	}
	return append(bad, frame[:len(frame)/2], frame+`"canary"`, frame[:len(frame)-1]+`,"type":"canary"}`, strings.Replace(frame, `"req":"1"`, `"canary":1`, 1), "\xffcanary")
}

// An exposure is everything that reaches people without a right to it.
type exposure struct {
	t   *testing.T
	log lockedBuffer
	n   int // how much was looked at
}

func (x *exposure) logger() *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}
	return slog.New(slog.NewMultiHandler(slog.NewTextHandler(&x.log, o), slog.NewJSONHandler(&x.log, o)))
}

// clean fails the test if a text has a canary in it.
func (x *exposure) clean(text, about string, args ...any) {
	x.t.Helper()
	x.n++
	if found := canaries.FindString(text); found != "" {
		assert.Fail(x.t, "a canary", "%s: %.300s", fmt.Sprintf(about, args...), text)
	}
}

// error looks at an error, and at all that is in it, in every way it can be printed.
func (x *exposure) error(err error, about string) {
	x.t.Helper()
	if err == nil {
		return
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		x.clean(fmt.Sprintf(verb, err), "%s under %s", about, verb)
	}
	x.logger().Error("seen", "error", err)
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		x.error(e.Unwrap(), about)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			x.error(inner, about)
		}
	}
}

// reply looks at the reply to a request: its errors hold nothing but an alert,
// for those who may see it.
func (x *exposure) reply(text []byte, about string) {
	x.t.Helper()
	var o object
	require.NoError(x.t, json.Unmarshal(text, &o), "%s: %.300s", about, text)
	if o["type"] == "error" {
		if c := o["code"]; c == "conflict" || c == "refused" || c == "ended" {
			delete(o, "alert")
		}
		x.clean(fmt.Sprint(o), "error for %.100s", about)
	}
	for _, r := range listAt(o, "results") {
		x.clean(fmt.Sprint(r), "result of %.100s", about)
	}
}

// A faulty is all of the host's code, which does well, fails, panics or hangs.
type faulty struct {
	Store
	mode atomic.Int32
}

const (
	well = iota
	failing
	refusing // the Store: one entry
	panics
	hangs
)

var errCanary = errors.New("canary 71937193")

func (f *faulty) fault() error {
	switch f.mode.Load() {
	case failing:
		return fmt.Errorf("about canary-patient: %w", errCanary)
	case panics:
		panic("canary-panic of canary-patient: 71937193")
	case hangs:
		time.Sleep(time.Minute)
		return errCanary
	}
	return nil
}

func (f *faulty) storeFault(own error) error {
	if f.mode.Load() == failing {
		return fmt.Errorf("canary-patient: %w", errors.Join(own, errCanary))
	}
	return nil
}

func (f *faulty) Append(ctx context.Context, entries []Entry) ([]AppendResult, error) {
	if f.mode.Load() == refusing {
		list := make([]AppendResult, len(entries))
		for i := range list {
			list[i].Err = fmt.Errorf("entry canary-key of canary-patient: %w", []error{ErrFull, ErrConflict, errCanary, ErrIDReused}[i%4])
		}
		return list, nil
	}
	if err := f.storeFault(ErrFull); err != nil {
		return nil, err
	}
	return f.Store.Append(ctx, entries)
}

func (f *faulty) Read(ctx context.Context, patient string, after Position, q ReadQuery) ([]Entry, error) {
	if err := f.storeFault(ErrGap); err != nil {
		return nil, err
	}
	return f.Store.Read(ctx, patient, after, q)
}

func (f *faulty) Latest(ctx context.Context, patient string) ([]Entry, Head, error) {
	if err := f.storeFault(ErrClosed); err != nil {
		return nil, Head{}, err
	}
	return f.Store.Latest(ctx, patient)
}

func (f *faulty) Get(ctx context.Context, patient, key string) (Entry, error) {
	if err := f.storeFault(ErrClosed); err != nil {
		return Entry{}, err
	}
	return f.Store.Get(ctx, patient, key)
}

func (f *faulty) Prune(context.Context, time.Time, Retention) error { return f.storeFault(nil) }

func (f *faulty) Authenticate(r *http.Request) (Principal, error) {
	if err := f.fault(); err != nil {
		return Principal{}, err
	}
	p := Principal{ID: "canary person", Name: "Canary Person", Role: RoleService, Session: "canary-session", Patients: []string{"canary-patient"}, Groups: []string{"canary-group"}}
	switch Token(r) {
	case "canary-token":
	case "canary-clinician":
		p.Role = RoleClinician
	case "canary-stranger":
		p.Patients, p.Groups = nil, nil
	case "canary-unusable":
		p.Role = "canary"
	default:
		return p, fmt.Errorf("token canary: %w", ErrUnauthenticated)
	}
	return p, nil
}

func (f *faulty) Authorize(_ context.Context, a Access) ([]Decision, error) {
	list := make([]Decision, len(a.Patients))
	for i, p := range a.Patients {
		list[i].Allow = p == "canary-patient" && len(a.Principal.Patients) > 0
	}
	return list, f.fault()
}

func (f *faulty) Patients(context.Context, string) ([]string, error) {
	if f.mode.Load() == hangs { // a lock is held meanwhile, and time stands still in a bubble
		return nil, errCanary
	}
	return []string{"canary-patient", "canary\npatient"}, f.fault()
}

func (f *faulty) Page(context.Context, Page) error { return f.fault() }

func (f *faulty) Record(context.Context, Record) error { return f.fault() }

func (f *faulty) options(x *exposure) *Options {
	return &Options{Authorizer: f, Directory: f, Pager: f, Auditor: f, Logger: x.logger(), MaxFrame: 8 << 10, MaxRequests: -1, Retention: Retention{Vitals: time.Hour},
		Policy: func(context.Context, Alert, int) (Step, error) {
			return Step{To: []string{"person:canary person", "group:canary-group"}}, f.fault()
		},
		Resolve: func(_ context.Context, _ Principal, v *Vital) error { return f.fault() }}
}

// Nothing about a patient reaches anybody without a right to it, after any request
// and any failure or panic: not in logs, errors, metrics, close reasons, or in answers
// to others.
func TestCanariesShowNowhere(t *testing.T) {
	for _, byHost := range []bool{false, true} {
		t.Run(map[bool]string{false: "by rule", true: "by the host"}[byHost], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { showNothing(t, byHost) })
		})
	}
}

func showNothing(t *testing.T, byHost bool) {
	x := &exposure{t: t}
	f := &faulty{Store: NewMemoryStore(nil)}
	o := f.options(x)
	if !byHost {
		o.Authorizer, o.Auditor = nil, nil // the rules, and an audit trail in the log
	}
	h, err := New(f, f, o)
	require.NoError(t, err)
	w := &world{t: t, hub: h, store: f, net: memnet.Listen()}
	w.srv = &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(x.logger().Handler(), slog.LevelError)}
	go w.srv.Serve(w.net)
	for mode := int32(well); mode <= hangs; mode++ {
		for _, token := range []string{"canary-token", "canary-clinician", "canary-stranger", "canary-unusable", "canary-nobody"} {
			f.mode.Store(well)
			ws := connectPeer(x, w, token)
			post := w.poster(token)
			f.mode.Store(mode)
			for _, frame := range secrets {
				tries := []string{frame, strings.ReplaceAll(frame, "canary-patient", "canary-unknown")}
				if mode == well && token == "canary-clinician" && !byHost || mode == failing && token == "canary-token" && byHost {
					tries = append(tries, spoilt(t, frame)...)
				}
				x.stream(post, frame)
				for _, try := range tries {
					x.post(post, try)
					if ws = x.send(ws, try); ws == nil {
						f.mode.Store(well)
						ws = connectPeer(x, w, token)
						f.mode.Store(mode)
					}
				}
			}
			x.hostCalls(h)
			time.Sleep(2 * time.Second) // escalation, inboxes
			if ws != nil {
				ws.conn.Close()
			}
		}
		x.clean(fmt.Sprintf("%v %+v %#v", h.Stats(), h.Stats(), h.Stats()), "Stats")
		x.error(h.Ready(), "Ready")
		time.Sleep(15 * time.Minute) // regular work
	}
	assert.NotZero(t, h.Stats().Panics)
	f.mode.Store(well)
	ws := connectPeer(x, w, "canary-token")
	require.NoError(t, h.Revoke(t.Context(), Revocation{Principal: "canary person"}))
	code, reason := ws.end()
	assert.Equal(t, CloseForbidden, code)
	x.clean(reason, "close reason")
	time.Sleep(time.Hour)
	w.close()
	x.error(h.Ready(), "Ready")
	x.hostCalls(h) // of a closed Hub
	assert.Greater(t, x.n, 2000)
	text := x.log.String()
	assert.Contains(t, text, "panicked")
	assert.Contains(t, text, "could not be sent")
	for line := range strings.Lines(text) {
		x.clean(line, "log")
	}
}

// connectPeer connects, or looks at the refusal and returns nil.
func connectPeer(x *exposure, w *world, token string) *peer {
	conn, err := w.net.Dial(context.Background())
	require.NoError(x.t, err)
	p := shake(x.t, conn, hello(token))
	if p.status.StatusCode != http.StatusSwitchingProtocols {
		x.answer(p.status, "handshake")
		conn.Close()
		return nil
	}
	return p
}

// answer looks at a whole HTTP answer.
func (x *exposure) answer(res *http.Response, about string) {
	x.t.Helper()
	defer res.Body.Close()
	var all bytes.Buffer
	res.Header.Write(&all)
	x.clean(res.Status+all.String(), "header for %.100s", about)
	all.Reset()
	_, err := all.ReadFrom(res.Body)
	require.NoError(x.t, err)
	switch {
	case res.StatusCode == http.StatusOK:
		x.reply(all.Bytes(), about)
	default:
		assert.Equal(x.t, http.StatusText(res.StatusCode)+"\n", all.String(), "%.100s", about)
	}
}

func (x *exposure) post(p *poster, frame string) {
	x.t.Helper()
	x.answer(p.do(context.Background(), frame), frame)
}

// stream posts a request that asks for a stream if it is a watch, looks at its
// reply, and goes.
func (x *exposure) stream(p *poster, frame string) {
	x.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	res := p.do(ctx, frame, "Accept: text/event-stream")
	if res.Header.Get("Content-Type") != eventStream {
		x.answer(res, frame)
		return
	}
	defer res.Body.Close()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		text := strings.TrimPrefix(lines.Text(), "data: ")
		if typ := peekType([]byte(text)); typ == "ok" || typ == "error" {
			x.reply([]byte(text), frame)
			return
		}
	}
}

// send sends a request and looks at its reply; nil if the connection is over.
func (x *exposure) send(p *peer, frame string) *peer {
	x.t.Helper()
	if p == nil {
		return nil
	}
	go p.write(masked(opText, frame)) // which the Hub may cut short
	for {
		first, b, err := p.frame()
		switch {
		case err != nil:
			p.conn.Close()
			return nil
		case first == opClose:
			x.clean(string(b), "close reason for %.100s", frame)
			p.conn.Close()
			return nil
		case first == opText:
			if typ := peekType(b); typ == "ok" || typ == "error" {
				x.reply(b, frame)
				return p
			}
		}
	}
}

// hostCalls makes all calls of the host, good and bad ones.
func (x *exposure) hostCalls(h *Hub) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	by := Principal{ID: "canary person", Name: "Canary Person", Role: RoleClinician, Patients: []string{"canary-patient"}}
	for _, patient := range []string{"canary-patient", "canary-unknown", "canary patient", "canary\x00", strings.Repeat("canary", 20)} {
		ref := AlertRef{Patient: patient, Key: "canary-key", ID: "canary-event"}
		v := Vital{Patient: patient, Code: "8867-4", Value: "71937193", Unit: "canary", ID: "canary"}
		_, err := h.Publish(ctx, v, HeartRate.Of(patient, 71937193), Vital{Patient: patient, Code: "canary-code", Value: "71937193canary"})
		x.error(err, "Publish")
		_, err = h.Raise(ctx, Raise{Patient: patient, Key: "canary-key", ID: "canary", Text: "canary", Priority: PriorityHigh, To: []string{"person:canary person"}})
		x.error(err, "Raise")
		_, err = h.Raise(ctx, Raise{Patient: patient, Key: "canary-key", Text: "canary", Priority: "canary"})
		x.error(err, "Raise")
		_, err = h.Clear(ctx, ref)
		x.error(err, "Clear")
		for _, a := range []Answer{{Do: AnswerAccept, Reason: "canary"}, {Do: AnswerAccept, Rev: 71937193}, {Do: "canary"}, {Do: AnswerRelease}, {Do: AnswerAssign, To: "canary"}} {
			_, err = h.Answer(ctx, by, ref, a)
			x.error(err, "Answer")
		}
		_, err = h.Answer(ctx, Principal{ID: "canary", Role: "canary"}, ref, Answer{Do: AnswerAccept})
		x.error(err, "Answer")
		_, err = h.Alert(ctx, patient, "canary-key")
		x.error(err, "Alert")
		_, err = h.Notify(ctx, Notice{Patient: patient, ID: "canary", To: []string{"person:canary person"}, Text: "canary"})
		x.error(err, "Notify")
		_, err = h.Notify(ctx, Notice{Patient: patient, ID: "canary", To: []string{"canary"}, Text: "canary"})
		x.error(err, "Notify")
		_, err = h.History(ctx, HistoryQuery{Patient: patient, Key: "canary-key", Cursor: 71937193})
		x.error(err, "History")
		x.error(h.MembersChanged(ctx, patient), "MembersChanged")
		x.error(h.Revoke(ctx, Revocation{Principal: "canary nobody", Patients: []string{patient}}), "Revoke")
		soon, cancel := context.WithTimeout(ctx, time.Second)
		for _, err := range h.Watch(soon, WatchOptions{Patients: []string{patient}, Groups: []string{"canary-group"}, Since: map[string]Position{patient: {"canary", 71937193}}}) {
			x.error(err, "Watch")
		}
		cancel()
	}
}

// answerText is a whole HTTP answer.
func answerText(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := httputil.DumpResponse(res, true)
	require.NoError(t, err)
	return string(b)
}
