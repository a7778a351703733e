package carewire

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A damaged is a Store in which the data of one alert, or of all entries whose
// keys begin alike, up to a number, differs from the data that was written.
type damaged struct {
	Store
	data   string
	upTo   uint64
	prefix string // "": a/bad
}

func (d *damaged) spoil(list ...Entry) []Entry {
	for i := range list {
		if strings.HasPrefix(list[i].Key, cmp.Or(d.prefix, "a/bad")) && list[i].Seq <= d.upTo {
			list[i].Data = []byte(d.data)
		}
	}
	return list
}

func (d *damaged) Read(ctx context.Context, patient string, after Position, q ReadQuery) ([]Entry, error) {
	list, err := d.Store.Read(ctx, patient, after, q)
	return d.spoil(list...), err
}

func (d *damaged) Latest(ctx context.Context, patient string) ([]Entry, Head, error) {
	list, head, err := d.Store.Latest(ctx, patient)
	return d.spoil(list...), head, err
}

func (d *damaged) Get(ctx context.Context, patient, key string) (Entry, error) {
	e, err := d.Store.Get(ctx, patient, key)
	return d.spoil(e)[0], err
}

func (d *damaged) Changed(ctx context.Context, mark string, limit int) ([]Entry, string, error) {
	list, next, err := d.Store.Changed(ctx, mark, limit)
	return d.spoil(list...), next, err
}

func (d *damaged) Waiting(ctx context.Context, due time.Time, limit int) ([]Entry, error) {
	list, err := d.Store.Waiting(ctx, due, limit)
	return d.spoil(list...), err
}

// An alert that can no longer be read is a gap, and spoils nothing that comes
// with it; the Hub says so, to people too; and it can be raised anew.
func TestDamagedAlert(t *testing.T) {
	for _, data := range []string{``, `{"patient":"p1","key":"bad","te`, `}{`, `[]`, `"x"`, `{"text":5}`, `{}}`, "{\"text\":\"\xff\"}", `{"priority":"high"},"seq":9`} {
		t.Run(data, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log lockedBuffer
				store := &damaged{Store: NewMemoryStore(nil), data: data}
				before := newWorld(t, store, nil)
				for _, key := range []string{"bad", "good"} {
					_, err := before.hub.Raise(t.Context(), Raise{Patient: "p1", Key: key, ID: key, Text: key, Priority: PriorityHigh, To: []string{"person:nurse"}})
					require.NoError(t, err)
				}
				synctest.Wait()
				before.close()
				_, head, err := store.Latest(t.Context(), "p1")
				require.NoError(t, err)
				store.upTo = head.Seq

				w := newWorld(t, store, &Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
				defer w.close()
				time.Sleep(5 * time.Second)
				nurse := w.dial("nurse")
				items := listAt(nurse.until("inbox"), "items")
				require.Len(t, items, 1)
				assert.Equal(t, "good", valueAt(items, 0, "alert", "key"))
				nurse.ask(`{"type":"watch","req":"1","patients":["p1"]}`)
				assert.Equal(t, "good", valueAt(nurse.until("alert"), "alert", "key"))
				nurse.until("synced")
				nurse.ask(fmt.Sprintf(`{"type":"watch","req":"1","patients":["p1"],"since":{"p1":{"epoch":%q,"seq":0}}}`, head.Epoch))
				sync := nurse.until("sync")
				assert.Equal(t, true, sync["recovered"])
				assert.Equal(t, "gap", nurse.read()["type"], "the first that was raised")
				nurse.until("synced")
				page := nurse.ask(`{"type":"history","req":"1","patient":"p1"}`)
				require.Equal(t, "ok", page["type"])
				require.NotEmpty(t, page["events"])
				for _, e := range listAt(page, "events") {
					assert.Equal(t, "good", valueAt(e, "alert", "key"))
				}
				answer := `{"type":"answer","req":"1","patient":"p1","key":"KEY","alert_id":"KEY","event_id":"eKEY","do":"accept"}`
				assert.Equal(t, "ok", nurse.ask(strings.ReplaceAll(answer, "KEY", "good"))["type"])
				assert.Equal(t, "internal", nurse.ask(strings.ReplaceAll(answer, "KEY", "bad"))["code"])

				nurse.ws.CloseNow()
				time.Sleep(150 * time.Second)
				said := strings.Count(log.String(), "a stored alert cannot be read")
				assert.True(t, said >= 2 && said <= 4, "once a minute: %d", said)
				assert.NotContains(t, log.String(), "text")
				complaint, err := w.hub.Alert(t.Context(), SystemPatient, complaintKey(AlertRef{Patient: "p1", Key: "a/bad"}, "unreadable"))
				require.NoError(t, err)
				assert.Equal(t, ConditionPresent, complaint.Condition)

				nurse = w.dial("nurse")
				device := w.dial("device")
				defer nurse.ws.CloseNow()
				defer device.ws.CloseNow()
				nurse.ask(`{"type":"watch","req":"1","patients":["p1"]}`)
				raised := device.ask(`{"type":"raise","req":"1","event_id":"anew","alert":{"patient":"p1","key":"bad","text":"again","priority":"high"}}`)
				require.Equal(t, "ok", raised["type"], raised)
				for {
					if a := objectAt(nurse.until("alert"), "alert"); a["key"] == "bad" {
						assert.Equal(t, "anew", a["alert_id"])
						break
					}
				}
			})
		})
	}
}

// A revocation that can no longer be read counts all the same, for its person and its
// patient, until it ends: after a restart, and when it comes from
// another node. The Hub says so, to people too.
func TestDamagedRevocationCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole := NewMemoryStore(nil)
		before := newWorld(t, whole, nil)
		for _, r := range []Revocation{{Principal: "nurse"}, {Principal: "doctor", Patients: []string{"p1"}}, {Principal: "else", Session: "one"}} {
			r.Until = time.Now().Add(10 * time.Minute)
			require.NoError(t, before.hub.Revoke(t.Context(), r))
		}
		before.close()

		var log lockedBuffer
		store := &damaged{Store: whole, data: `{"kind":"revo`, upTo: 1 << 40, prefix: "x/revoked/"}
		w := newWorld(t, store, &Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		defer w.close()
		time.Sleep(2 * time.Second)
		_, err := w.tryDial("nurse")
		require.Error(t, err)
		require.EqualValues(t, 1, w.hub.Stats().Handshakes.Forbidden)
		doctor := w.dial("doctor")
		ok := doctor.ask(`{"type":"watch","req":"1","patients":["p1","p2"]}`)
		require.Equal(t, []any{"p2"}, ok["watching"])
		for session, revoked := range map[string]bool{"one": true, "two": false, "": false} {
			require.Equal(t, revoked, w.hub.access.revoked.covers(&Principal{ID: "else", Session: session}, "", time.Now()), session)
		}
		require.Contains(t, log.String(), "a stored revocation cannot be read")
		complaints := 0
		for _, e := range w.hub.open.entriesOf(SystemPatient) {
			if a, err := decodeAlert(&e); err == nil && a.Source.Rule == "unreadable" {
				complaints++
			}
		}
		require.Equal(t, 3, complaints)

		pat := w.watching("pat", "latest")
		other := newWorld(t, whole, nil)
		defer other.close()
		require.NoError(t, other.hub.Revoke(t.Context(), Revocation{Principal: "doctor", Patients: []string{"p2"}}))
		require.Equal(t, "p2", doctor.until("revoked")["patient"])
		require.NoError(t, other.hub.Revoke(t.Context(), Revocation{Principal: "pat"}))
		for err = nil; err == nil; {
			_, _, err = pat.ws.Read(context.Background())
		}
		require.EqualValues(t, CloseForbidden, websocket.CloseStatus(err))
		doctor.ws.CloseNow()

		time.Sleep(11 * time.Minute)
		nurse := w.dial("nurse")
		require.Equal(t, []any{"p1"}, nurse.ask(`{"type":"watch","req":"1","patients":["p1"]}`)["watching"])
		nurse.ws.CloseNow()
	})
}

// A device whose timer can no longer be read is reported as silent all the same, by
// its last vitals. Where these promise nothing, the Hub tells people so. When the
// device is heard again, it is expected as before.
func TestDamagedTimer(t *testing.T) {
	for _, promised := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			store := &damaged{Store: NewMemoryStore(nil), data: `{"dev`, upTo: 2, prefix: "t/"} // the vital and the timer
			w := newWorld(t, store, nil)
			defer w.close()
			start := time.Now()
			v := monitor()
			_, err := w.hub.Publish(t.Context(), v)
			require.NoError(t, err)
			synctest.Wait()
			if !promised {
				v.Every = 0
				_, err = w.hub.Publish(t.Context(), v)
				require.NoError(t, err)
			}
			silent := func() bool {
				a, err := w.hub.Alert(t.Context(), "p1", "no-data.mon-1")
				return err == nil && a.Condition == ConditionPresent
			}
			complaint := AlertRef{Patient: SystemPatient, Key: complaintKey(AlertRef{Patient: "p1", Key: "t/mon-1"}, "unreadable")}
			time.Sleep(18*time.Second - time.Since(start))
			require.Equal(t, promised, silent())
			_, err = w.hub.Alert(t.Context(), complaint.Patient, complaint.Key)
			require.Equal(t, !promised, err == nil)
			time.Sleep(time.Minute)
			_, err = w.hub.Publish(t.Context(), monitor())
			require.NoError(t, err)
			synctest.Wait()
			require.False(t, silent())
			time.Sleep(18 * time.Second)
			require.True(t, silent())
		})
	}
}

// People are told of a damaged revocation though the Store fails at first.
func TestDamagedRevocationIsToldLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole := NewMemoryStore(nil)
		before := newWorld(t, whole, nil)
		require.NoError(t, before.hub.Revoke(t.Context(), Revocation{Principal: "nurse"}))
		before.close()
		var refused atomic.Bool
		refused.Store(true)
		store := &seam{Store: &damaged{Store: whole, data: `{"kind":"revo`, upTo: 1 << 40, prefix: "x/revoked/"},
			appending: func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error) {
				if refused.Load() {
					return nil, errInjected
				}
				return next.Append(ctx, entries)
			}}
		w := newWorld(t, store, nil)
		defer w.close()
		time.Sleep(3 * time.Second)
		require.Zero(t, w.hub.open.alertsOf(SystemPatient))
		refused.Store(false)
		time.Sleep(5 * time.Second)
		require.Equal(t, 1, w.hub.open.alertsOf(SystemPatient))
	})
}
