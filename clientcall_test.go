package carewire

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A publish without an answer is repeated under the same ID on the next
// connection, and the caller learns that it had arrived the first time.
func TestClientRepeats(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		var got []PublishResult
		done := make(chan error, 1)
		go func() {
			var err error
			got, err = c.Publish(t.Context(), HeartRate.Of("p", 72), Vital{}, HeartRate.Of("p", 73), Vital{Value: "x"}, Vital{Site: "\xff"})
			done <- err
		}()
		q := conn.next(reqPublish)
		require.Len(t, q.Vitals, 3)
		ids := []string{q.Vitals[0].ID, q.Vitals[1].ID, q.Vitals[2].ID}
		require.True(t, validID(ids[0]))
		require.NotEqual(t, ids[0], ids[2])
		conn.ws.CloseNow()
		conn = <-s.conns
		q = conn.next(reqPublish)
		for i := range ids {
			require.Equal(t, ids[i], q.Vitals[i].ID)
		}
		conn.ok(q, `,"results":[{"seq":4,"repeated":true},{"error":{"code":"invalid","retry":"never","field":"patient"}},{"seq":5}]`)
		require.NoError(t, <-done)
		require.Equal(t, PublishResult{Seq: 4, Repeated: true}, got[0])
		require.Equal(t, PublishResult{Seq: 5}, got[2])
		var refused *RequestError
		require.ErrorAs(t, got[1].Err, &refused)
		require.Equal(t, "patient", refused.Field)
		for _, i := range []int{3, 4} {
			var wrong *ValidationError
			require.ErrorAs(t, got[i].Err, &wrong)
		}
		conn.none()
		require.NoError(t, c.Close())
	})
}

// "Later" is done later, at the time the server asks for, under the same ID.
func TestClientLater(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		start := time.Now()
		done := make(chan error, 1)
		go func() {
			a, err := c.Raise(t.Context(), Raise{Patient: "p", Key: "k", Text: "t", Priority: PriorityHigh, Source: Source{By: "me", Rule: "r"}})
			require.Equal(t, "k", a.Key)
			done <- err
		}()
		q := conn.next(reqRaise)
		id := q.EventID
		conn.fail(q, `"code":"busy","retry":"later","retry_ms":3000`)
		q = conn.next(reqRaise)
		require.Equal(t, 3500*time.Millisecond, time.Since(start))
		require.Equal(t, id, q.EventID)
		conn.fail(q, `"code":"unknown","retry":"later"`)
		q = conn.next(reqRaise)
		require.Equal(t, 4500*time.Millisecond, time.Since(start))
		require.Equal(t, id, q.EventID)
		conn.ok(q, `,"alert":{"patient":"p","key":"k"}`)
		require.NoError(t, <-done)

		// Of a publish only those are sent again that wait.
		go func() {
			got, err := c.Publish(t.Context(), HeartRate.Of("p", 1), HeartRate.Of("p", 2), HeartRate.Of("p", 3))
			require.Equal(t, []PublishResult{{Seq: 1}, {Seq: 4, Repeated: true}, {Seq: 3}}, got)
			done <- err
		}()
		start = time.Now()
		q = conn.next(reqPublish)
		id = q.Vitals[1].ID
		conn.ok(q, `,"results":[{"seq":1},{"error":{"code":"unknown","retry":"later","retry_ms":1000}},{"seq":3}]`)
		q = conn.next(reqPublish)
		require.Equal(t, 1500*time.Millisecond, time.Since(start))
		require.Len(t, q.Vitals, 1)
		require.Equal(t, id, q.Vitals[0].ID)
		conn.ok(q, `,"results":[{"seq":4,"repeated":true}]`)
		require.NoError(t, <-done)
		require.NoError(t, c.Close())
	})
}

// A call ends with its context, and returns the last error that it got.
func TestClientContext(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() {
			_, err := c.Answer(ctx, AlertRef{Patient: "p", Key: "k", ID: "a"}, Answer{Do: AnswerAccept, For: time.Minute})
			done <- err
		}()
		q := conn.next(reqAnswer)
		require.Equal(t, time.Minute, q.Answer.For)
		conn.fail(q, `"code":"busy","retry":"later","retry_ms":600000`)
		err := <-done
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, ErrBusy)
		require.ErrorIs(t, c.Receipt(ctx, Receipt{}), context.DeadlineExceeded)

		// A call that can never succeed is not repeated.
		go func() {
			_, err := c.Clear(t.Context(), AlertRef{Patient: "p", Key: "k", ID: "a"})
			done <- err
		}()
		conn.fail(conn.next(reqClear), `"code":"ended","retry":"never","alert":{"patient":"p","key":"k"}`)
		err = <-done
		require.ErrorIs(t, err, ErrEnded)
		var f *RequestError
		require.ErrorAs(t, err, &f)
		require.Equal(t, "k", f.Alert.Key)

		// A caller that waits for a turn can give up too.
		for range cap(c.slots) {
			c.slots <- struct{}{}
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = c.Notify(ctx, Notice{})
		require.ErrorIs(t, err, context.DeadlineExceeded)

		// A reader whose context ends leaves the events to the next.
		for ev, err := range c.Events(ctx) {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Zero(t, ev)
		}
		reads(t, c, "live", "welcome")
		require.NoError(t, c.Close())
	})
}

// History, receipts and notices go over the wire as they were meant.
func TestClientCalls(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		done := make(chan error, 1)
		go func() {
			n, err := c.Notify(t.Context(), Notice{Patient: "p", To: []string{"patient"}, Text: "t", From: "x", Time: time.Now()})
			require.Equal(t, "n", n.ID)
			done <- err
		}()
		q := conn.next(reqNotify)
		require.True(t, validID(q.Notice.ID))
		conn.ok(q, `,"notice":{"notice_id":"n"}`)
		require.NoError(t, <-done)

		go func() {
			done <- c.Receipt(t.Context(), Receipt{Patient: "p", NoticeID: "n", Stage: StageRead, Level: 3, By: Person{ID: "x"}})
		}()
		q = conn.next(reqReceipt)
		require.Equal(t, Receipt{Patient: "p", NoticeID: "n", Stage: StageRead}, q.Receipt)
		conn.ok(q, "")
		require.NoError(t, <-done)

		from := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
		query := HistoryQuery{Patient: "p", Kinds: []Kind{KindVital, KindAlert}, Key: "k", From: from, To: from.Add(time.Hour), Cursor: 3, Limit: 9}
		go func() {
			page, err := c.History(t.Context(), query)
			require.Equal(t, uint64(5), page.Next)
			require.Len(t, page.Events, 1)
			done <- err
		}()
		q = conn.next(reqHistory)
		require.Equal(t, query, q.History)
		conn.ok(q, `,"next":5,"events":[`+entry("alert", "p", 4, 1)+`]`)
		require.NoError(t, <-done)
		require.NoError(t, c.Close())
	})
}

// Many goroutines publish over a line that breaks, and each vital gets its answer.
func TestClientManyCalls(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		o := s.options()
		o.Outstanding = 16
		c, conn := s.dial(o)
		answered := make(map[string]int)
		stop := make(chan struct{})
		go func() { // the server
			defer close(stop)
			for n := 0; ; {
				q, ok := <-conn.frames
				if !ok {
					select {
					case conn = <-s.conns:
						continue
					case <-c.Done():
						return
					}
				}
				if n++; n%50 == 0 {
					conn.ws.CloseNow()
					continue
				}
				id := q.Vitals[0].ID
				answered[id]++
				conn.ok(q, fmt.Sprintf(`,"results":[{"seq":%s,"repeated":%v}]`, q.Vitals[0].Value, answered[id] > 1))
			}
		}()
		var wg sync.WaitGroup
		for g := range 40 {
			wg.Go(func() {
				for i := range 20 {
					n := 1 + g*20 + i
					got, err := c.Publish(t.Context(), HeartRate.Of("p", float64(n)))
					if err != nil || got[0].Err != nil || got[0].Seq != uint64(n) {
						t.Error(n, got, err)
					}
				}
			})
		}
		wg.Wait()
		require.NoError(t, c.Close())
		<-stop
		require.Len(t, answered, 800)
		require.Empty(t, c.slots)
	})
}
