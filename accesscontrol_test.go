package carewire

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Access control decides without a Hub.
func TestAccessControl(t *testing.T) {
	o := (&Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}).withDefaults()
	calls := newHostCalls(&o, new(counters))
	asked := 0
	directory := directoryFunc(func(_ context.Context, group string) ([]string, error) {
		asked++
		return map[string][]string{"icu": {"g1", "g2"}}[group], nil
	})
	a := &accessControl{call: calls.authorize, now: time.Now, groups: newGroups(directory, calls.directory), revoked: newRevocations(),
		emergencies: newEmergencies(nil, nil)}
	nurse := &Principal{ID: "nurse", Role: RoleClinician, Patients: []string{"p1"}, Groups: []string{"icu"}}
	got := a.decide(t.Context(), nurse, ActionWatch, []string{"p1", "p2", "g1"})
	require.Equal(t, map[string]error{"p1": nil, "p2": ErrForbidden, "g1": nil}, got)
	require.Equal(t, map[string]error{"p1": ErrForbidden}, a.decide(t.Context(), nurse, ActionPublish, []string{"p1"}))
	require.Equal(t, 1, asked, "a group is remembered")
	a.revoked.add("nurse", revokedScope{patient: "g1"}, revoked{until: time.Now().Add(time.Hour), issuedUntil: time.Now()}, time.Now())
	require.Equal(t, map[string]error{"g1": ErrForbidden, "g2": nil}, a.decide(t.Context(), nurse, ActionWatch, []string{"g1", "g2"}))
}

// A caller cannot find out whether a patient is unknown or only forbidden, neither
// by the answer nor by its time: nothing is looked up before the decision, and the
// answers are the same to the byte.
func TestForbiddenIsNotLookedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &asked{Store: NewMemoryStore(nil), about: make(map[string]int)}
		w := newWorld(t, store, &Options{Directory: &wards{list: map[string][]string{"icu": {"p7"}, "ward-9": {"known"}}}})
		defer w.close()
		_, err := w.hub.Publish(t.Context(), HeartRate.Of("known", 60))
		require.NoError(t, err)
		_, err = w.hub.Raise(t.Context(), Raise{Patient: "known", Key: "k", ID: "a", Text: "x", Priority: PriorityInfo})
		require.NoError(t, err)
		_, err = w.hub.Notify(t.Context(), Notice{Patient: "known", ID: "n", Text: "x", To: []string{"person:doctor"}})
		require.NoError(t, err)
		time.Sleep(30 * time.Second)
		for _, token := range []string{"nurse", "device", "pat", "viewer", "service", "nobody"} {
			p, post := w.dial(token), w.poster(token)
			defer p.ws.CloseNow()
			ask := func(frame string) string {
				p.send(frame)
				for {
					_, b, err := p.ws.Read(t.Context())
					require.NoError(t, err)
					if typ := peekType(b); typ == "ok" || typ == "error" {
						return string(b)
					}
				}
			}
			before := store.asked("known")
			for _, frame := range []string{
				`{"type":"watch","req":"1","patients":["known"]}`,
				`{"type":"watch","req":"1","patients":["known"],"emergency":true,"reason":"x","since":{"known":{"epoch":"e","seq":1}}}`,
				`{"type":"unwatch","req":"1","patients":["known"]}`,
				`{"type":"publish","req":"1","vitals":[{"patient":"known","code":"8867-4","value":72,"unit":"/min","vital_id":"v"}]}`,
				`{"type":"raise","req":"1","event_id":"e","alert":{"patient":"known","key":"k","text":"x","priority":"high"}}`,
				`{"type":"clear","req":"1","patient":"known","key":"k","alert_id":"a","event_id":"e"}`,
				`{"type":"answer","req":"1","patient":"known","key":"k","alert_id":"a","event_id":"e","do":"accept"}`,
				`{"type":"receipt","req":"1","patient":"known","key":"k","alert_id":"a","stage":"read"}`,
				`{"type":"receipt","req":"1","patient":"known","notice_id":"n","stage":"read"}`,
				`{"type":"notify","req":"1","notice":{"patient":"known","notice_id":"n","to":["patient"],"text":"x"}}`,
				`{"type":"history","req":"1","patient":"known"}`,
				`{"type":"watch","req":"1","groups":["ward-known"]}`,
			} {
				unknown := strings.NewReplacer("ward-known", "ward-other", "known", "other").Replace(frame)
				frame = strings.ReplaceAll(frame, "ward-known", "ward-9")
				same := strings.NewReplacer("ward-9", "ward-other", "known", "other")
				assert.Equal(t, ask(unknown), same.Replace(ask(frame)), "%s: %s", token, frame)
				one, two := post.do(t.Context(), frame), post.do(t.Context(), unknown)
				assert.Equal(t, answerText(t, two), same.Replace(answerText(t, one)), "%s: %s", token, frame)
			}
			assert.Equal(t, before, store.asked("known"), token)
			assert.Zero(t, store.asked("other"), token)
		}
	})
}
