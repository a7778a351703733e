package carewire

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// One connection too many is refused, with any claim about its address; the
// next one is taken when one has gone. Others notice nothing.
func TestConnectionLimits(t *testing.T) {
	proxy := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for name, c := range map[string]struct {
		o             Options
		who           func(i int) string // of the i-th connection
		from, said    func(i int) string // its address, and the address that it states
		free          func(i int) string // another address that may come; nil: none
		stranger      string             // somebody else
		strangerFrom  string
		count         func(LimitCounts) uint64
		handshakesAre int
	}{
		"of a principal": {o: Options{MaxPerPrincipal: 3}, stranger: "doctor", count: func(l LimitCounts) uint64 { return l.PerPrincipal }},
		"of an address": {o: Options{MaxPerAddress: 3}, who: func(i int) string { return []string{"nurse", "doctor", "pat", "family"}[i%4] },
			said: func(i int) string { return fmt.Sprint("1.1.1.", i) }, stranger: "nurse", strangerFrom: "203.0.113.9:1",
			count: func(l LimitCounts) uint64 { return l.PerAddress }},
		"of a network": {o: Options{MaxPerAddress: 3}, from: func(i int) string { return fmt.Sprintf("[2001:db8::%x]:1", i+1) }, stranger: "nurse",
			strangerFrom: "[2001:db8:0:1::1]:1", count: func(l LimitCounts) uint64 { return l.PerAddress }},
		"behind a proxy": {o: Options{MaxPerAddress: 3, TrustedProxies: proxy}, from: func(i int) string { return fmt.Sprintf("10.0.0.%d:1", i+1) },
			said:     func(i int) string { return fmt.Sprintf("8.8.8.%d, 198.51.100.7, 10.1.1.1", i) },
			stranger: "nurse", strangerFrom: "203.0.113.9:1", count: func(l LimitCounts) uint64 { return l.PerAddress }},
		"in all": {o: Options{MaxConnections: 4}, count: func(l LimitCounts) uint64 { return l.Connections }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, &c.o)
				t.Cleanup(w.close)
				w.srv.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if at := r.Header.Get("Test-From"); at != "" {
						r.RemoteAddr = at
					}
					w.hub.ServeHTTP(rw, r)
				})
				dial := func(token, from, said string) *peer {
					request := upgrade + "Authorization: Bearer " + token + "\r\n"
					if from != "" {
						request += "Test-From: " + from + "\r\n"
					}
					if said != "" {
						request += "X-Forwarded-For: " + said + "\r\n"
					}
					return shake(t, dialler(w, w.net, nil)(), request+"\r\n")
				}
				nth := func(i int) *peer {
					token, from, said := "nurse", "192.0.2.1:1", ""
					if c.who != nil {
						token = c.who(i)
					}
					if c.from != nil {
						from = c.from(i)
					}
					if c.said != nil {
						said = c.said(i)
					}
					return dial(token, from, said)
				}
				control := dial("viewer", "192.0.2.200:1", "")
				watcher := control.listen()
				control.send(`{"type":"watch","req":"1","patients":["p1"]}`)
				var in []*peer
				for i := range 3 {
					p := nth(i)
					require.Equal(t, 101, p.status.StatusCode, "%d", i)
					p.listen()
					in = append(in, p)
				}
				for i := range 5 {
					p := nth(3 + i)
					require.Equal(t, 429, p.status.StatusCode)
					require.NotEmpty(t, p.status.Header.Get("Retry-After"))
				}
				require.EqualValues(t, 5, c.count(w.hub.Stats().Limits))
				if c.stranger != "" {
					p := dial(c.stranger, c.strangerFrom, "")
					require.Equal(t, 101, p.status.StatusCode)
					p.listen()
				}
				in[0].conn.Close()
				synctest.Wait()
				p := nth(9)
				require.Equal(t, 101, p.status.StatusCode, "one has gone")
				p.listen()
				require.Equal(t, 429, nth(10).status.StatusCode)
				for range 10 {
					_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 60))
					require.NoError(t, err)
					synctest.Wait()
				}
				require.Equal(t, 10, watcher.count("vital"))
				w.hub.seats.mu.Lock()
				defer w.hub.seats.mu.Unlock()
				total := 0
				for _, n := range w.hub.seats.principals {
					total += n
				}
				require.Equal(t, len(w.hub.registry.conns), total)
			})
		})
	}
}

func TestAddress(t *testing.T) {
	h := &Hub{opt: Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}}}
	for _, c := range []struct {
		from string
		said []string
		want string
	}{
		{"192.0.2.1:99", nil, "192.0.2.1"},
		{"192.0.2.1:99", []string{"1.2.3.4"}, "192.0.2.1"}, // nobody that is trusted
		{"10.0.0.1:99", []string{"1.2.3.4"}, "1.2.3.4"},
		{"10.0.0.1:99", []string{"6.6.6.6, 1.2.3.4"}, "1.2.3.4"}, // the client has put the first there
		{"10.0.0.1:99", []string{"6.6.6.6", "1.2.3.4, 10.2.2.2"}, "1.2.3.4"},
		{"10.0.0.1:99", []string{"10.3.3.3"}, "10.3.3.3"},
		{"10.0.0.1:99", []string{"1.2.3.4, unknown"}, "10.0.0.1"},
		{"10.0.0.1:99", nil, "10.0.0.1"},
		{"[::1]:99", []string{"2001:db8::1"}, "2001:db8::1"},
		{"[::ffff:10.0.0.1]:99", []string{"1.2.3.4"}, "1.2.3.4"},
		{"[fe80::1%eth0]:99", nil, "fe80::1"},
		{"@", []string{"1.2.3.4"}, ""},
		{"", nil, ""},
	} {
		got := h.address(&http.Request{RemoteAddr: c.from, Header: http.Header{"X-Forwarded-For": c.said}})
		require.Equal(t, c.want, addressText(got), "%v", c)
	}
}

// A client that is too fast is asked to wait, and served when it has. One that
// does not wait is cut off.
func TestRequestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxRequests: 10})
		defer w.close()
		control := w.watching("doctor", "every")
		defer control.ws.CloseNow()
		c := control.follow()
		fast := w.dial("nurse")
		defer fast.ws.CloseNow()
		fast.until("inbox")
		busy := 0
		for i := range 100 {
			reply := fast.ask(`{"type":"unwatch","req":"1","patients":["p1"]}`)
			if reply["type"] == "error" {
				require.Equal(t, object{"type": "error", "req": "1", "code": "busy", "retry": "later", "retry_ms": 100.0}, reply)
				require.GreaterOrEqual(t, i, 20)
				busy++
			}
		}
		require.Equal(t, 80, busy)
		for range 100 { // a client that waits is served
			time.Sleep(100 * time.Millisecond)
			require.Equal(t, "ok", fast.ask(`{"type":"unwatch","req":"1","patients":["p1"]}`)["type"])
		}
		p := join(t, dialler(w, w.net, nil)(), "nurse")
		flood := p.listen()
		go func() {
			for range 2 * busyMost {
				if p.write(masked(opText, `{"type":"unwatch","req":"1","patients":["p1"]}`)) != nil {
					return
				}
			}
		}()
		w.vitals("p1", 20)
		synctest.Wait()
		require.Equal(t, ClosePolicy, flood.closeCode())
		require.EqualValues(t, 1, w.hub.Stats().Limits.Abuse)
		require.EqualValues(t, 80+busyMost+1, w.hub.Stats().Limits.Requests)
		require.Len(t, c.vitals, 20)
	})
}

func TestWatchLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := &wards{list: map[string][]string{"g1": {"a"}, "g2": {"b"}, "g3": {"c"}}}
		w := newWorld(t, nil, &Options{MaxGroups: 2, MaxPatients: 4, MaxHistory: 3, Directory: dir, Authorizer: &judge{decide: everyone}})
		defer w.close()
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		require.EqualValues(t, 3, valueAt(nurse.until("welcome"), "limits", "history"))
		ok := nurse.ask(`{"type":"watch","req":"1","groups":["g1","g2","g3"]}`)
		require.Equal(t, []any{"a", "b"}, ok["watching"])
		require.Equal(t, []any{object{"group": "g3", "code": "limit"}}, ok["refused"])
		ok = nurse.ask(`{"type":"watch","req":"2","groups":["g1"],"patients":["p1","p2","p3"]}`)
		require.Equal(t, []any{"a", "p1", "p2"}, ok["watching"], "one that is watched already takes no room")
		require.Equal(t, []any{object{"patient": "p3", "code": "limit"}}, ok["refused"])
		require.Equal(t, "limit", nurse.ask(`{"type":"watch","req":"3","patients":["a","b","p1","p2","p3"]}`)["code"])
		nurse.ask(`{"type":"unwatch","req":"4","groups":["g1"]}`)
		ok = nurse.ask(`{"type":"watch","req":"5","groups":["g3"]}`)
		require.Equal(t, []any{"c"}, ok["watching"])
		limits := w.hub.Stats().Limits
		require.EqualValues(t, 1, limits.Groups)
		require.EqualValues(t, 2, limits.Patients)
		for range 5 {
			_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 60))
			require.NoError(t, err)
		}
		require.Len(t, nurse.ask(`{"type":"history","req":"6","patient":"p1"}`)["events"], 3)
	})
}

// A client whose publishes take long is read from later, and gets every reply.
func TestPublishesUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		s := &seam{Store: NewMemoryStore(nil), appending: func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error) {
			<-gate
			return next.Append(ctx, entries)
		}}
		w := newWorld(t, s, &Options{MaxPublishes: 2})
		defer w.close()
		device := w.dial("device")
		defer device.ws.CloseNow()
		device.until("inbox")
		for i := range 3 {
			device.send(fmt.Sprintf(`{"type":"publish","req":"%d","vitals":[{"patient":"p1","code":"8867-4","value":72,"unit":"/min"}]}`, i))
		}
		synctest.Wait()
		require.EqualValues(t, 1, w.hub.Stats().Limits.Publishes)
		close(gate)
		for i := range 3 {
			require.Equal(t, fmt.Sprint(i), device.until("ok")["req"])
		}
	})
}

// A patient can have a bounded number of open alerts; one too many does not vanish
// in silence.
func TestOpenAlerts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxAlerts: 3, Pager: &pager{}})
		defer w.close()
		device, nurse := w.dial("device"), w.dial("nurse")
		defer device.ws.CloseNow()
		defer nurse.ws.CloseNow()
		nurse.ask(`{"type":"watch","req":"1","patients":["@system"],"delivery":"alerts"}`)
		nurse.until("synced")
		raise := func(patient, key, event string) object {
			return device.ask(fmt.Sprintf(`{"type":"raise","req":"1","event_id":"%s","alert":{"patient":"%s","key":"%s","text":"x","priority":"low","to":["person:nurse"]}}`, event, patient, key))
		}
		for i := range 3 {
			require.Equal(t, "ok", raise("p1", fmt.Sprint("k", i), fmt.Sprint("e", i))["type"])
		}
		for i := range 10 {
			require.Equal(t, "limit", raise("p1", "k9", fmt.Sprint("f", i))["code"])
		}
		a := objectAt(nurse.until("alert"), "alert")
		require.Equal(t, "too-many-alerts", valueAt(a, "source", "rule"))
		require.NotContains(t, fmt.Sprint(a), "p1")
		require.EqualValues(t, 10, w.hub.Stats().Limits.Alerts)
		entries, err := w.store.Read(t.Context(), SystemPatient, Position{}, ReadQuery{Kinds: []Kind{KindAlert}, Key: "a/" + a["key"].(string)})
		require.NoError(t, err)
		require.LessOrEqual(t, len(entries), 3, "raised once, and told")
		require.Equal(t, "ok", raise("p1", "k1", "g1")["type"], "one that is open")
		require.Equal(t, "ok", raise("p1", "k0", "e0")["type"], "one that was raised before")
		require.Equal(t, "ok", raise("p2", "k0", "h0")["type"], "another patient's")
		_, err = w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "h", Text: "x", Priority: PriorityLow})
		require.NoError(t, err, "the host's")
		for _, key := range []string{"k0", "h"} {
			_, err = w.hub.Answer(t.Context(), people["nurse"], AlertRef{Patient: "p1", Key: key}, Answer{Do: AnswerClose, Force: true, Reason: "x"})
			require.NoError(t, err)
		}
		require.Equal(t, "ok", raise("p1", "k9", "i")["type"], "when one has ended")
		for _, c := range []struct {
			key  string
			then Condition
		}{{"k1", ConditionPresent}, {"k2", ConditionOver}} {
			_, err = w.hub.Answer(t.Context(), people["nurse"], AlertRef{Patient: "p1", Key: c.key}, Answer{Do: AnswerClose, Force: true, Reason: "x"})
			require.NoError(t, err)
			synctest.Wait()
			complaint, err := w.hub.Alert(t.Context(), SystemPatient, a["key"].(string))
			require.NoError(t, err)
			require.Equal(t, c.then, complaint.Condition)
		}
	})
}

// When all outboxes together hold too much, those that hold more than a little
// are ended. A client that reads loses nothing.
func TestTotalOutboxBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxTotalOutboxBytes: 1 << 20, AlertLag: -1, IdleTimeout: -1})
		t.Cleanup(w.close)
		control := w.watching("doctor", "every")
		defer control.ws.CloseNow()
		c := control.follow()
		history := masked(opText, `{"type":"history","req":"1","patient":"p2"}`)
		for range 200 {
			_, err := w.hub.Publish(t.Context(), HeartRate.Of("p2", 60))
			require.NoError(t, err)
		}
		before := w.hub.Stats().OutboxBytes
		require.Less(t, before, 1<<10)
		for range 20 { // each asks for much and takes nothing
			p := join(t, dialler(w, w.net, nil)(), "nurse")
			go func() {
				for range 15 {
					p.write(history)
				}
			}()
		}
		synctest.Wait()
		require.Greater(t, w.hub.Stats().OutboxBytes, 1<<19)
		require.Less(t, w.hub.Stats().OutboxBytes, 1<<20+20*2*smallOutbox)
		w.vitals("p1", 30)
		s := w.hub.Stats()
		require.Positive(t, s.Limits.Outboxes)
		require.Positive(t, s.SlowClients)
		synctest.Wait()
		require.Len(t, c.vitals, 30)
		time.Sleep(time.Minute)
		require.Zero(t, w.hub.Stats().OutboxBytes, "there is room again")
	})
}

// The host chooses how long a client may take.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MessageTimeout: 20 * time.Second, IdleTimeout: 15 * time.Second})
		t.Cleanup(w.close)
		start := time.Now()
		slow := join(t, dialler(w, w.net, nil)(), "nurse")
		s := slow.listen()
		go func() { // a message that never ends
			slow.write(masked(0x01, `{"type":"unwatch","req":"1",`))
			for slow.write(masked(opMore, " ")) == nil {
				time.Sleep(time.Second)
			}
		}()
		silent := join(t, dialler(w, w.net, nil)(), "nurse")
		d := silent.listenOr(true)
		time.Sleep(time.Minute)
		require.Equal(t, CloseTimeout, s.closeCode())
		require.InDelta(t, 26, s.endedAt().Sub(start).Seconds(), 4, "and the time for an answer")
		require.Equal(t, CloseTimeout, d.closeCode())
		require.InDelta(t, 17, d.endedAt().Sub(start).Seconds(), 3)
		require.EqualValues(t, 2, w.hub.Stats().Limits.Timeouts)
	})
}

// Calls of a hung Authenticator are bounded, and the client is told to come back.
func TestAuthenticatorPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxAuthenticating: 1})
		t.Cleanup(w.close)
		hang := make(chan struct{})
		defer close(hang)
		w.hub.auth = AuthenticatorFunc(func(r *http.Request) (Principal, error) {
			if strings.HasPrefix(Token(r), "slow") {
				<-hang
			}
			return byToken(r)
		})
		start := time.Now()
		for range 2 {
			require.Equal(t, 503, shake(t, dialler(w, w.net, nil)(), hello("slow")).status.StatusCode)
		}
		require.Equal(t, 10*time.Second, time.Since(start))
		require.EqualValues(t, 1, w.hub.Stats().Limits.Host)
	})
}

// The limits hold by POST, too: pace and seats are the principal's, and
// published vitals are recorded.
func TestLimitsOfPosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := &notary{}
		w := newWorld(t, nil, &Options{MaxRequests: 5, MaxPerPrincipal: 1, Auditor: kept})
		t.Cleanup(w.close)
		device := w.poster("device")
		for i := range 10 {
			require.Equal(t, "ok", device.ask(`{"type":"publish","req":"1","vitals":[{"patient":"p1","code":"8867-4","value":72,"unit":"/min"}]}`)["type"], i)
		}
		busy := device.ask(`{"type":"publish","req":"1","vitals":[]}`)
		require.Equal(t, "busy", busy["code"])
		require.NotZero(t, busy["retry_ms"])
		require.Equal(t, "ok", w.poster("nurse").ask(`{"type":"history","req":"1","patient":"p1"}`)["type"], "another principal")
		time.Sleep(time.Second)
		require.Equal(t, "ok", device.ask(`{"type":"publish","req":"1","vitals":[{"patient":"p1","code":"8867-4","value":72,"unit":"/min"}]}`)["type"], "later")

		line := w.dial("device") // takes the only seat
		require.Equal(t, http.StatusTooManyRequests, device.do(t.Context(), `{"type":"publish","req":"1","vitals":[]}`).StatusCode)
		line.ws.CloseNow()
		synctest.Wait()
		require.Equal(t, http.StatusOK, device.do(t.Context(), `{"type":"unwatch","req":"1"}`).StatusCode)
		synctest.Wait()
		published := 0
		for _, r := range kept.of(AuditPublish) {
			published += r.Count
		}
		require.Equal(t, 11, published)
		require.Empty(t, w.hub.seats.principals)
		require.Empty(t, w.hub.seats.addresses)
	})
}

// A connection takes one place at any moment, also after its handshake. A refused
// client takes none once it has its answer.
func TestPlacesAreCountedOnce(t *testing.T) {
	w := newWorld(t, nil, &Options{MaxConnections: 3})
	defer w.close()
	taken := func() int {
		w.hub.registry.mu.Lock()
		defer w.hub.registry.mu.Unlock()
		return len(w.hub.registry.conns) + w.hub.registry.joining
	}
	for range 300 {
		one := shake(t, dialler(w, w.net, nil)(), upgrade+"Authorization: Bearer nurse\r\n\r\n")
		stranger := shake(t, dialler(w, w.net, nil)(), upgrade+"\r\n")
		two := shake(t, dialler(w, w.net, nil)(), upgrade+"Authorization: Bearer doctor\r\n\r\n")
		require.Equal(t, []int{101, 401, 101}, []int{one.status.StatusCode, stranger.status.StatusCode, two.status.StatusCode})
		require.Equal(t, 2, taken())
		for _, p := range []*peer{one, stranger, two} {
			p.conn.Close()
		}
		eventually(t, "they have gone", func() bool { return taken() == 0 })
	}
}

// A refusal that could not be reported to anybody does not count: the device has to
// try again.
func TestRefusedAlertIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused atomic.Bool
		store := &seam{Store: NewMemoryStore(nil), appending: func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error) {
			if refused.Load() && entries[0].Patient == SystemPatient {
				return nil, errInjected
			}
			return next.Append(ctx, entries)
		}}
		w := newWorld(t, store, &Options{MaxAlerts: 1, Policy: threeSteps, Pager: &pager{}})
		defer w.close()
		device := w.dial("device")
		defer device.ws.CloseNow()
		raise := func(key string) object {
			return device.ask(fmt.Sprintf(`{"type":"raise","req":"1","event_id":"%s","alert":{"patient":"p1","key":"%s","text":"x","priority":"medium"}}`, key, key))
		}
		require.Equal(t, "ok", raise("one")["type"])
		time.Sleep(time.Second)
		refused.Store(true)
		require.Equal(t, "later", raise("two")["retry"])
		refused.Store(false)
		require.Equal(t, "limit", raise("two")["code"])
		list, _, err := store.Latest(t.Context(), SystemPatient)
		require.NoError(t, err)
		require.Len(t, list, 1)
	})
}

// Vitals that the Store has refused do not count among the keys of a patient.
func TestRefusedVitalsTakeNoKey(t *testing.T) {
	for name, c := range map[string]struct {
		result error // of each entry
		err    error // of all
	}{"no room": {result: ErrFull}, "unknown": {err: errInjected}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var refused atomic.Bool
				store := &seam{Store: NewMemoryStore(nil), appending: func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error) {
					if !refused.Load() {
						return next.Append(ctx, entries)
					}
					return slices.Repeat([]AppendResult{{Err: c.result}}, len(entries)), c.err
				}}
				w := newWorld(t, store, &Options{MaxKeys: 2})
				defer w.close()
				refused.Store(true)
				for _, v := range []Vital{HeartRate.Of("p1", 60), SpO2.Of("p1", 97)} {
					_, err := w.hub.Publish(t.Context(), v)
					require.Error(t, err)
				}
				refused.Store(false)
				_, err := w.hub.Publish(t.Context(), RespiratoryRate.Of("p1", 12), HeartRate.Of("p1", 60))
				require.NoError(t, err)
				_, err = w.hub.Publish(t.Context(), SpO2.Of("p1", 97))
				require.ErrorIs(t, err, errLimit)
			})
		})
	}
}

// The connections of a principal hold one list of patients together. It goes with the
// last of them, and a new list takes its place.
func TestListsOfAPrincipalAreShared(t *testing.T) {
	s := newSeats()
	with := func(id string, patients ...string) *Principal {
		p := &Principal{ID: id, Patients: slices.Clone(patients)}
		require.True(t, s.takePrincipal(id, 10))
		s.share(p)
		return p
	}
	first, second, other := with("nurse", "p1", "p2"), with("nurse", "p1", "p2"), with("doctor", "p1", "p2")
	require.Same(t, &first.Patients[0], &second.Patients[0])
	require.NotSame(t, &first.Patients[0], &other.Patients[0])
	changed := with("nurse", "p1", "p3")
	require.Equal(t, []string{"p1", "p2"}, first.Patients)
	require.Same(t, &changed.Patients[0], &with("nurse", "p1", "p3").Patients[0])
	for range 4 {
		s.leave(netip.Addr{}, "nurse")
	}
	s.leave(netip.Addr{}, "doctor")
	require.Empty(t, s.lists)
}
