package carewire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// An inbox of more than any queue holds arrives, the most urgent first, and
// newer entries go before less urgent ones.
func TestInboxOfAnySizeArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		raise := func(key string, p Priority) {
			time.Sleep(time.Millisecond)
			_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: key, Text: strings.Repeat("x", 900), Priority: p, Test: true, To: []string{"role:clinician", "person:nurse"}}) // a test, so that nobody is paged
			require.NoError(t, err)
		}
		const n = 1200
		for i := range n {
			raise(fmt.Sprint("low-", i), PriorityLow)
			if i == n/2 {
				raise("high", PriorityHigh)
			}
		}
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		synctest.Wait() // until it is one of the Hub's connections
		c := w.hub.registry.of("nurse")[0]
		var order []string
		seen := make(map[string]bool)
		for pages := 0; ; pages++ {
			c.out.mu.Lock()
			require.LessOrEqual(t, c.out.held, inboxAhead+2*inboxPage, "the queue is bounded")
			c.out.mu.Unlock()
			page := nurse.until("inbox")
			for _, i := range listAt(page, "items") {
				key := valueAt(i, "alert", "key").(string)
				if !seen[key] {
					order, seen[key] = append(order, key), true
				}
			}
			if pages == 3 {
				raise("new", PriorityHigh)
				synctest.Wait()
			}
			if page["done"] == true {
				break
			}
			time.Sleep(200 * time.Millisecond) // a slow line
		}
		require.Len(t, order, n+2)
		require.Equal(t, "high", order[0])
		require.Equal(t, "low-1199", order[1], "of equals the newest")
		require.Less(t, slices.Index(order, "new"), n/4)
		require.EqualValues(t, n+2, nurse.until("heartbeat")["inbox"])
	})
}

// States of one alert that come faster than the client reads are not queued: it
// gets the newest.
func TestInboxShowsTheNewestState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		nurse.until("inbox")
		const n = 3000
		for i := range n {
			a := high("k")
			a.ID, a.Text, a.To = fmt.Sprint("e", i), fmt.Sprint(i, strings.Repeat("x", 900)), []string{"person:nurse"}
			_, err := w.hub.Raise(t.Context(), a)
			require.NoError(t, err)
		}
		frames := 0
		for last := false; !last; frames++ {
			for _, i := range listAt(nurse.until("inbox"), "items") {
				last = strings.HasPrefix(valueAt(i, "alert", "text").(string), fmt.Sprint(n-1, "x"))
			}
		}
		require.Less(t, frames, 200)
	})
}

// While no entry comes or goes, a heartbeat asks nobody and counts nothing again.
func TestIdleHeartbeatsCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &judge{decide: everyone}
		w := newWorld(t, nil, &Options{Authorizer: j, Recheck: -1, Policy: func(context.Context, Alert, int) (Step, error) {
			return Step{To: []string{"person:nurse"}, After: time.Second}, nil // told again and again
		}})
		defer w.close()
		for i := range 5 {
			a := high(fmt.Sprint("k", i))
			a.To = []string{"person:nurse"}
			_, err := w.hub.Raise(t.Context(), a)
			require.NoError(t, err)
		}
		nurse := w.watching("nurse", "alerts")
		defer nurse.ws.CloseNow()
		nurse.follow()
		time.Sleep(time.Minute) // the Hub's own alerts about them have been raised
		c := w.hub.registry.of("nurse")[0]
		open := c.inbox.count(t.Context())
		require.GreaterOrEqual(t, open, 5)
		questions := func() int {
			j.mu.Lock()
			defer j.mu.Unlock()
			return len(j.asked)
		}
		asked := questions()
		for range 3 {
			require.Equal(t, open, c.inbox.count(t.Context()))
		}
		require.Equal(t, asked, questions())
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p9", Key: "other", Text: "x", Priority: PriorityLow, To: []string{"person:nurse"}})
		require.NoError(t, err)
		require.Equal(t, open+1, c.inbox.count(t.Context()))
	})
}

// The index by addressee and patient agrees with a look at everything.
func TestOpenIndexAgreesWithAModel(t *testing.T) {
	x := newOpenIndex(newBackground(), nil)
	model := make(map[openKey]Entry)
	read := make(map[openKey]map[string]bool)
	everybody := []string{"person:a", "person:b", "group:g", "role:clinician", "patient"}
	pick := func(list []string) (some []string) {
		for _, v := range list {
			if rand.IntN(2) == 0 {
				some = append(some, v)
			}
		}
		return some
	}
	patients := []string{"p1", "p2", "p3"}
	for i := range 5000 {
		key := rand.IntN(12)
		k := openKey{patients[rand.IntN(3)], fmt.Sprint([]string{"n/", silentPrefix}[key%2], key)}
		switch e := model[k]; {
		case e.Open && rand.IntN(4) == 0:
			to := everybody[rand.IntN(5)]
			x.noteReading(k, to)
			if read[k] == nil {
				read[k] = make(map[string]bool)
			}
			read[k][to] = true
		default:
			e = Entry{Patient: k.patient, Key: k.key, Kind: KindAlert, Position: e.Position, Rev: uint64(i + 1), Open: rand.IntN(3) > 0, To: pick(everybody), Data: []byte(`{"priority":"low"}`)}
			if e.Open && rand.IntN(2) == 0 {
				e.Due = time.Unix(rand.Int64N(10), 0)
			}
			if rand.IntN(3) == 0 {
				e.Data = fmt.Appendf(nil, `{"priority":"low","responsibility":{"state":"accepted","by":{"id":"holder%d"}}}`, rand.IntN(3))
			}
			require.True(t, x.noteRevision(e, false))
			require.False(t, x.noteRevision(e, false), "once")
			if model[k] = e; !e.Open {
				delete(model, k)
				delete(read, k)
			}
		}
		keys := pick([]string{"person:a", "person:b", "group:g", "role:clinician", selfKey + "p1"})
		allowed := pick(patients)
		want := make(map[openKey]bool)
		of := make(map[string]bool)
		for k, e := range model {
			for _, key := range keys {
				to := addresseeOf(key)
				if slices.Contains(e.To, to) && !read[k][to] && (to != "patient" || k.patient == "p1") {
					of[k.patient] = true
					want[k] = slices.Contains(allowed, k.patient)
				}
			}
		}
		for k, is := range want {
			if !is {
				delete(want, k)
			}
		}
		got := make(map[openKey]bool)
		for _, item := range x.itemsTo(keys, allowed) {
			require.False(t, got[openKey{item.Patient, item.Key}], "twice")
			got[openKey{item.Patient, item.Key}] = true
		}
		require.Equal(t, want, got)
		require.Equal(t, len(want), x.countTo(keys, allowed))
		require.Len(t, x.patientsTo(keys), len(of))
		viewsAgree(t, x, model)
		silent := 0
		for m := range model {
			if m.patient == k.patient && strings.HasPrefix(m.key, silentPrefix) {
				silent++
			}
		}
		require.Equal(t, silent, x.silentOf(k.patient))
	}
	for k := range model {
		x.noteRevision(Entry{Patient: k.patient, Key: k.key, Kind: KindAlert, Rev: 1 << 20}, false)
	}
	require.Empty(t, x.silent)
	require.Empty(t, x.addressees, "nothing stays")
	require.Empty(t, x.items)
	require.Equal(t, newOpenViews(), openViews{alerts: x.views.alerts, ripe: x.views.ripe, held: x.views.held, keys: x.views.keys}, "nothing stays")
	require.Empty(t, x.views.patients)
	require.Empty(t, x.views.waiting)
	require.Empty(t, x.alerts)
}

// If many connections raise at once, MaxAlerts holds. An alert counts twice for the
// moment between its noting and the return of its place, so that others may be
// refused too early. Afterwards there is room up to the limit.
func TestOpenAlertsAreBoundedWhereTheyCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxAlerts: 10})
		defer w.close()
		var wg sync.WaitGroup
		var taken, refused atomic.Int32
		raise := func(i int) {
			_, err := w.hub.raise(t.Context(), "device", Raise{Patient: "p1", Key: fmt.Sprint("k", i), ID: fmt.Sprint("e", i), Text: "x", Priority: PriorityMedium})
			switch {
			case err == nil:
				taken.Add(1)
			case errors.Is(err, errLimit):
				refused.Add(1)
			}
		}
		for i := range 100 {
			wg.Go(func() { raise(i) })
		}
		wg.Wait()
		require.EqualValues(t, 100, taken.Load()+refused.Load())
		require.LessOrEqual(t, taken.Load(), int32(10))
		for i := range 11 {
			raise(100 + i)
		}
		require.EqualValues(t, 10, taken.Load())
		require.Equal(t, 10, w.hub.open.alertsOf("p1"))
	})
}

// One principal's open notices to one addressee are bounded; a notice that is
// repeated is answered as the first time, and a notice that is read makes room.
func TestOpenNoticesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxNotices: 3})
		defer w.close()
		send := func(i int, to string) error {
			_, err := w.hub.notify(t.Context(), "pat", Notice{Patient: "p1", ID: fmt.Sprint("n", i), To: []string{to}, Text: "x"})
			return err
		}
		for i := range 3 {
			require.NoError(t, send(i, "person:nurse"))
		}
		require.ErrorIs(t, send(3, "person:nurse"), errLimit)
		require.NoError(t, send(0, "person:nurse"), "repeated")
		require.NoError(t, send(4, "person:doctor"), "to somebody else")
		require.EqualValues(t, 1, w.hub.Stats().Limits.Notices)
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		nurse.ask(`{"type":"receipt","req":"r","patient":"p1","notice_id":"n1","stage":"read"}`)
		require.NoError(t, send(3, "person:nurse"))
	})
}

// A principal that invents addressees has no more open notices than to all of them
// together, also after a restart.
func TestOpenNoticesOfOneSenderAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		o := &Options{MaxSenderNotices: 5}
		w := newWorld(t, store, o)
		send := func(by string, i int) error {
			_, err := w.hub.notify(t.Context(), by, Notice{Patient: "p1", ID: fmt.Sprint(by, i), To: []string{fmt.Sprint("person:invented", i), fmt.Sprint("group:invented", i)}, Text: "x"})
			return err
		}
		for i := range 5 {
			require.NoError(t, send("pat", i))
		}
		for i := range 100 {
			require.ErrorIs(t, send("pat", 5+i), errLimit)
		}
		require.NoError(t, send("pat", 0), "repeated")
		require.NoError(t, send("family", 0), "somebody else's")
		require.EqualValues(t, 100, w.hub.Stats().Limits.Notices)
		require.Len(t, w.hub.open.addressees, 10)
		w.close()

		w = newWorld(t, store, o)
		defer w.close()
		synctest.Wait()
		require.ErrorIs(t, send("pat", 5), errLimit)
		e, err := store.Get(t.Context(), "p1", "n/pat0")
		require.NoError(t, err)
		w.hub.expireNotice(t.Context(), &e)
		require.NoError(t, send("pat", 5))
		require.ErrorIs(t, send("pat", 6), errLimit)
	})
}

// Entries that were listed for an inbox are not shown after access to their patient has
// ended.
func TestListedEntriesOfARevokedPatientAreNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, now := NewMemoryStore(nil), time.Now()
		var batch []Entry
		for i := range 200 { // those of p1 are newer, and go first
			n := &Notice{Patient: []string{"p2", "p1"}[i/100], ID: fmt.Sprint("n", i), From: "family", To: []string{"role:clinician"}, Audience: AudienceNamed, Text: strings.Repeat("x", 1000), Time: now.Add(time.Duration(i) * time.Millisecond)}
			batch = append(batch, noticeEntry(n, 1))
		}
		_, err := store.Append(t.Context(), batch)
		require.NoError(t, err)
		w := newWorld(t, store, nil)
		defer w.close()
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		synctest.Wait() // the first pages wait for the client
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse", Patients: []string{"p2"}}))
		of := make(map[string]int)
		for done := false; !done; {
			o := nurse.until("inbox")
			for _, item := range listAt(o, "items") {
				of[fmt.Sprint(valueAt(item, "notice", "patient"))]++
			}
			done = o["done"] == true
		}
		require.Equal(t, map[string]int{"p1": 100}, of)
	})
}

// A page that could not be sent, because rights have changed meanwhile, comes again
// with all its entries.
func TestPageThatIsDecidedAgainLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, now := NewMemoryStore(nil), time.Now()
		var batch []Entry
		for i := range 200 {
			n := &Notice{Patient: "p1", ID: fmt.Sprint("n", i), From: "family", To: []string{"role:clinician"}, Audience: AudienceNamed, Text: strings.Repeat("x", 1000), Time: now.Add(time.Duration(i) * time.Millisecond)}
			batch = append(batch, noticeEntry(n, 1))
		}
		_, err := store.Append(t.Context(), batch)
		require.NoError(t, err)
		var w *world
		changes := 0
		w = newWorld(t, store, &Options{Authorizer: &judge{decide: func(_ Access, patient string) (Decision, error) {
			if patient == "p2" && changes < 20 {
				changes++
				w.hub.access.generations.nextOfAll()
			}
			return Decision{Allow: true}, nil
		}}})
		defer w.close()
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		synctest.Wait() // the first pages wait for the client
		_, err = w.hub.Raise(t.Context(), Raise{Patient: "p2", Key: "k", Text: "x", Priority: PriorityHigh, To: []string{"role:clinician"}})
		require.NoError(t, err)
		synctest.Wait()
		of := make(map[string]bool)
		for range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, b, err := nurse.ws.Read(ctx)
			cancel()
			if err != nil { // nothing more comes
				break
			}
			var o map[string]any
			require.NoError(t, json.Unmarshal(b, &o))
			for _, item := range listAt(o, "items") {
				of[fmt.Sprint(valueAt(item, "notice", "notice_id"), valueAt(item, "alert", "key"))] = true
			}
		}
		require.Equal(t, 20, changes)
		require.Len(t, of, 201)
	})
}

// Revoking many people costs those who stay nothing: neither the pages of their inboxes
// nor the counts of their heartbeats are decided again for each revocation, or for all
// that is open.
func TestRevocationsOfOthersCostInboxesLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const items, others = 2000, 1000
		store, now := NewMemoryStore(nil), time.Now()
		var batch []Entry
		for i := range items {
			batch = append(batch, noticeEntry(&Notice{Patient: fmt.Sprint("patient", i), ID: "n", From: "family", To: []string{"role:clinician"}, Audience: AudienceNamed, Text: "x", Time: now}, 1))
		}
		_, err := store.Append(t.Context(), batch)
		require.NoError(t, err)
		var asked atomic.Int64
		w := newWorld(t, store, &Options{Authorizer: &judge{decide: func(Access, string) (Decision, error) {
			asked.Add(1)
			return Decision{Allow: true}, nil
		}}})
		defer w.close()
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		synctest.Wait() // the first pages wait for the client
		n := 0
		revoke := func() {
			n++
			require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: fmt.Sprint("other", n)}))
		}
		seen := 0
		for done := false; !done; {
			_, b, err := nurse.ws.Read(t.Context())
			require.NoError(t, err)
			seen += strings.Count(string(b), `{"notice":{`)
			done = strings.Contains(string(b), `"done":true`)
			w.hub.access.generations.nextOfAll() // as a changed group does
			revoke()
			synctest.Wait()
		}
		require.Equal(t, items, seen)
		require.LessOrEqual(t, asked.Load(), int64(3*items), "each item when it is listed, and when it is shown")

		c := w.hub.registry.of("nurse")[0]
		asked.Store(0)
		for range others {
			revoke()
			require.Equal(t, items, c.inbox.count(t.Context()))
		}
		require.Less(t, asked.Load(), int64(others/10*items), "counted again for few of them")
	})
}

// A watch of a group of any size is answered: refusals are listed up to a bound, and
// the rest is counted.
func TestRefusalsOfALargeGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ward []string
		for i := range 20000 {
			ward = append(ward, fmt.Sprintf("patient-of-a-large-ward-%05d", i))
		}
		w := newWorld(t, nil, &Options{MaxPatients: 10, Directory: directoryFunc(func(context.Context, string) ([]string, error) { return ward, nil })})
		defer w.close()
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		ok := nurse.ask(`{"type":"watch","req":"1","groups":["icu"]}`)
		require.Len(t, ok["watching"], 10)
		require.Len(t, ok["refused"], refusalsShown)
		require.EqualValues(t, len(ward)-10-refusalsShown, ok["more"])
	})
}

// 100,000 open alerts and notices arrive over a slow line, the alerts first, and
// little of them waits at any time.
func TestInboxOfManyThousandsArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const alerts, notices = 20000, 80000
		store := NewMemoryStore(nil)
		now := time.Now()
		var batch []Entry
		put := func(e Entry) {
			if batch = append(batch, e); len(batch) == 1000 {
				_, err := store.Append(t.Context(), batch)
				require.NoError(t, err)
				batch = nil
			}
		}
		for i := range alerts + notices {
			if i%5 > 0 {
				put(noticeEntry(&Notice{Patient: "p1", ID: fmt.Sprint("n", i), From: fmt.Sprint("family", i), To: []string{"role:clinician"}, Audience: AudienceNamed, Text: "x", Time: now}, 1))
				continue
			}
			in := Raise{Patient: "p2", Key: fmt.Sprint("k", i), ID: fmt.Sprint("e", i), Text: "x", Priority: PriorityLow, Test: true, To: []string{"role:clinician"}}
			a := raiseAlert(nil, in, "device", now)
			a.stop() // nobody is to be paged
			e := alertEntry(&a, now)
			e.Rev = 1
			put(e)
		}
		w := newWorld(t, store, nil)
		defer w.close()
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		var c *conn
		seenAlerts, seenNotices := 0, 0
		for done := false; !done; {
			_, b, err := nurse.ws.Read(t.Context())
			require.NoError(t, err, "%d alerts, %d notices", seenAlerts, seenNotices)
			if c == nil {
				synctest.Wait()
				c = w.hub.registry.of("nurse")[0]
			}
			c.out.mu.Lock()
			held := c.out.held
			c.out.mu.Unlock()
			require.LessOrEqual(t, held, inboxAhead+2*inboxPage, "the queue is bounded")
			if peekType(b) != "inbox" {
				continue
			}
			n := strings.Count(string(b), `{"alert":{`)
			require.True(t, n == 0 || seenNotices == 0, "an alert behind a notice")
			seenAlerts += n
			seenNotices += strings.Count(string(b), `{"notice":{`)
			done = strings.Contains(string(b), `"done":true`)
			time.Sleep(20 * time.Millisecond) // a slow line: 800 KB a second
		}
		require.Equal(t, alerts, seenAlerts)
		require.Equal(t, notices, seenNotices)
	})
}

// viewsAgree compares the entries found by the index with a walk over model.
func viewsAgree(t *testing.T, x *openIndex, model map[openKey]Entry) {
	now := time.Unix(rand.Int64N(10), 0)
	var due, all, sameKey []string
	held := make(map[string]map[string]bool)
	overdue := 0
	key := fmt.Sprint("n/", rand.IntN(12))
	for _, e := range model {
		at := openCursor(&e)
		all = append(all, at)
		if e.Key == key {
			sameKey = append(sameKey, at)
		}
		if !e.Due.IsZero() && !e.Due.After(now) {
			due = append(due, at)
		}
		if !e.Due.IsZero() && e.Due.Before(now) {
			overdue++
		}
		a, err := decodeAlert(&e)
		require.NoError(t, err)
		if by := a.Responsibility.By.ID; by != "" {
			if held[by] == nil {
				held[by] = make(map[string]bool)
			}
			held[by][e.Patient] = true
		}
	}
	var found []string
	for _, d := range x.due(now, func(string) bool { return true }, nil) {
		found = append(found, openCursor(d.Entry))
	}
	require.ElementsMatch(t, due, found)
	open, late := x.count(now)
	require.Equal(t, []int{len(model), overdue}, []int{open, late})
	found = nil
	for _, e := range x.withKey(key) {
		found = append(found, openCursor(&e))
	}
	require.ElementsMatch(t, sameKey, found)
	holders := x.holders()
	require.Len(t, holders, len(held))
	for by, of := range held {
		require.ElementsMatch(t, slices.Collect(maps.Keys(of)), holders[by])
		for _, a := range x.acceptedBy(by) {
			require.Equal(t, by, a.Responsibility.By.ID)
		}
	}
	slices.Sort(all)
	found = nil
	for after := ""; ; after = found[len(found)-1] {
		list := x.page(nil, after, 2)
		for _, o := range list {
			found = append(found, openCursor(&o.Entry))
		}
		if len(list) < 2 {
			break
		}
	}
	require.Equal(t, all, found, "in pages")
}
