package carewire

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// slowStore is a Store whose maintenance and clock hang.
type slowStore struct {
	Store
	hang func(ctx context.Context, what string)
}

func (s *slowStore) Prune(ctx context.Context, now time.Time, r Retention) error {
	s.hang(ctx, "prune")
	return nil
}

func (s *slowStore) Now(ctx context.Context) (time.Time, error) {
	s.hang(ctx, "now")
	return time.Now(), nil
}

func (s *slowStore) Durable() bool { s.hang(context.Background(), "durable"); return true }

func (s *slowStore) Latest(ctx context.Context, p string) ([]Entry, Head, error) {
	s.hang(ctx, "latest "+p)
	if ctx.Err() != nil {
		return nil, Head{}, ctx.Err()
	}
	return s.Store.Latest(ctx, p)
}

func TestHeartbeatsWhileTheStoreHangs(t *testing.T) {
	for _, what := range []string{"prune", "now", "latest p2"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var hanging atomic.Bool
				w := newWorld(t, &slowStore{Store: NewMemoryStore(nil), hang: func(ctx context.Context, s string) {
					if s == what && hanging.Load() {
						<-ctx.Done()
					}
				}}, &Options{Retention: Retention{Vitals: time.Hour}})
				t.Cleanup(func() {
					w.hub.stop() // ends calls that hang
					w.close()
				})
				p := join(t, dialler(w, w.net, nil)(), "nurse")
				p.send(`{"type":"watch","req":"1","patients":["p1"]}`)
				p.text("synced")
				l := p.listen()
				time.Sleep(time.Second)
				hanging.Store(true)
				p.send(`{"type":"watch","req":"2","patients":["p2"]}`)
				for i := range 30 { // past the time to prune
					time.Sleep(25 * time.Second)
					_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 60))
					require.NoError(t, err)
					time.Sleep(6 * time.Second)
					require.Equal(t, i+1, l.count("vital"), "events of one patient wait for another's log")
				}
				require.LessOrEqual(t, l.silence(), 20*time.Second)
			})
		})
	}
}

// A watched patient's position is shown at least every 15 s.
func TestHeadsOfQuietPatients(t *testing.T) {
	for offset := range 12 {
		t.Run(fmt.Sprint(offset), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				t.Cleanup(w.close)
				p := join(t, dialler(w, w.net, nil)(), "nurse")
				p.send(`{"type":"watch","req":"1","patients":["p1"]}`)
				p.text("synced")
				go func() {
					time.Sleep(30*time.Second + time.Duration(offset)*time.Second)
					w.hub.Publish(context.Background(), HeartRate.Of("p1", 60))
				}()
				last, worst := time.Now(), time.Duration(0)
				for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
					first, b, err := p.frame()
					require.NoError(t, err)
					switch {
					case first == opPing:
						p.write(masked(opPong, ""))
					case strings.Contains(string(b), `"p1"`):
						worst, last = max(worst, time.Since(last)), time.Now()
					}
				}
				require.LessOrEqual(t, worst, 15*time.Second)
			})
		})
	}
}

// A live connection stays, a dead one is ended.
func TestDeadAndAlive(t *testing.T) {
	drip := func(frame []byte) func(*peer) { // a byte each half second, inside one message
		return func(p *peer) {
			for i := 0; p.write(frame[i%len(frame):i%len(frame)+1]) == nil; i++ {
				time.Sleep(500 * time.Millisecond)
			}
		}
	}
	flood := func(frame []byte) func(*peer) {
		return func(p *peer) {
			p.write(masked(0x01, "{"))
			for b := bytes.Repeat(frame, 100); p.write(b) == nil; {
				time.Sleep(100 * time.Millisecond)
			}
		}
	}
	for _, c := range []struct {
		name   string
		pong   bool // the client answers pings
		do     func(p *peer)
		code   CloseCode // 0: it stays
		within time.Duration
	}{
		{"idle, answers pings", true, func(*peer) {}, 0, time.Hour},
		{"reads, but answers nothing", false, func(*peer) {}, CloseTimeout, 40 * time.Second},
		{"reads and drips a frame", true, drip(masked(opText, strings.Repeat("x", 1000))), CloseTimeout, 20 * time.Second},
		{"drips a frame's header", true, drip(header(opText, 1<<30)[:8]), CloseTimeout, 40 * time.Second},
		{"floods with empty continuations", true, flood(masked(opMore, "")), CloseTimeout, 15 * time.Second},
		{"floods with continuations of a byte", true, flood(masked(opMore, "x")), CloseTimeout, 15 * time.Second},
		{"sends pings, but answers none", false, func(p *peer) {
			for p.write(masked(opPing, "")) == nil {
				time.Sleep(5 * time.Second)
			}
		}, CloseTimeout, 40 * time.Second},
		{"sends requests, but answers no pings", false, func(p *peer) {
			for range 3000 / 30 {
				p.send(`{"type":"unwatch","req":"1","patients":["p1"]}`)
				time.Sleep(30 * time.Second)
			}
			p.conn.Close()
		}, CloseAbnormal, time.Hour},
		{"sends pings often, for a while", true, func(p *peer) {
			for range 600 {
				p.write(masked(opPing, ""))
				time.Sleep(time.Second / 8)
			}
		}, 0, time.Hour},
		{"sends pings too often", true, func(p *peer) {
			for p.write(masked(opPing, "")) == nil {
				time.Sleep(time.Second / 50)
			}
		}, ClosePolicy, 10 * time.Second},
	} {
		for _, v := range venues[:2] {
			t.Run(c.name+"/"+v.name, func(t *testing.T) {
				certificate()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, nil, nil)
					t.Cleanup(w.close)
					p := join(t, v.open(w)(), "nurse")
					p.text("inbox")
					l := p.listenOr(!c.pong)
					begun, done := time.Now(), make(chan bool)
					t.Cleanup(func() { p.conn.Close(); <-done })
					go func() { c.do(p); close(done) }()
					select {
					case <-l.ended:
					case <-time.After(c.within):
					}
					if c.code == 0 {
						require.Equal(t, 1, w.hub.Stats().Connections)
						require.LessOrEqual(t, l.silence(), 20*time.Second)
						return
					}
					require.LessOrEqual(t, l.endedAt().Sub(begun), c.within)
					if c.code != CloseAbnormal {
						require.Equal(t, c.code, l.closeCode())
					}
				})
			})
		}
	}
}

// Something comes at least every 20 s, and not for all at once.
func TestHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		t.Cleanup(w.close)
		const n = 80
		var idle []*listening
		for range n {
			idle = append(idle, join(t, dialler(w, w.net, nil)(), "nurse").listen())
		}
		pinging := join(t, dialler(w, w.net, nil)(), "nurse") // which gets pongs, but must get texts too
		l := pinging.listen()
		t.Cleanup(func() { pinging.conn.Close(); time.Sleep(time.Minute) })
		go func() {
			for pinging.write(masked(opPing, "")) == nil {
				time.Sleep(5 * time.Second)
			}
		}()
		time.Sleep(10 * time.Minute)
		for _, l := range append(idle, l) {
			require.GreaterOrEqual(t, l.count("heartbeat"), 10*60/20)
			require.LessOrEqual(t, l.silence(), 20*time.Second)
		}
		for i := range visits {
			require.InDelta(t, n/visits, len(w.hub.registry.inSlot(i)), 1)
		}
	})
}

// I4: quiet patients' heads come at least every 15 s, read from the Store.
func TestQuietPatientsShowTheirHeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityInfo})
		require.NoError(t, err)
		nurse := w.watching("nurse", "latest")
		defer nurse.ws.CloseNow()
		start := time.Now()
		for range 5 {
			head := objectAt(nurse.until("head"), "heads", 0)
			require.LessOrEqual(t, time.Since(start), 15*time.Second)
			start = time.Now()
			require.Equal(t, "p1", head["patient"])
			require.EqualValues(t, 1, head["seq"])
			require.EqualValues(t, 1, head["must"])
		}
	})
}
