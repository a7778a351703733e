package carewire

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const waveWelcome = `{"type":"welcome","session":"s","time":"2026-03-01T08:00:00Z","heartbeat_s":20,"limits":{"frame":65536,"waves":64}}`

func waveText(t *testing.T, n int, began time.Time) string {
	t.Helper()
	w := chunk(n, began)
	w.Patient = "p"
	b, err := w.MarshalJSON()
	require.NoError(t, err)
	return `{"type":"wave","wave":` + string(b) + `}`
}

// A Client sends waves as far as the server has looked at them, drops chunks that
// are older than two seconds, and says once which were refused.
func TestClientSendsWaves(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		s.welcome = waveWelcome
		c, conn := s.dial(nil)
		began := time.Now()
		sent := func() (numbers []int) {
			synctest.Wait()
			for {
				select {
				case q := <-conn.frames:
					require.Equal(t, reqWave, q.Type)
					for _, w := range q.Chunks {
						numbers = append(numbers, int(w.Number))
					}
				default:
					return numbers
				}
			}
		}
		bad := chunk(0, began)
		require.Error(t, c.PublishWaves(chunk(1, began), bad), "one is wrong: nothing is sent")
		require.Empty(t, sent())
		for n := 1; n <= 80; n++ {
			require.NoError(t, c.PublishWaves(chunk(n, began)))
		}
		require.Equal(t, upTo(1, 64), sent(), "no more than the server lets ahead")
		conn.send(`{"type":"waves","count":10}`)
		require.Equal(t, upTo(65, 74), sent())
		time.Sleep(3 * time.Second)
		require.NoError(t, c.PublishWaves(chunk(81, began)))
		conn.send(`{"type":"waves","count":74,"refused":[{"patient":"p1","code":"131330","n":3,"error":{"code":"forbidden","retry":"never"}}]}`)
		require.Equal(t, []int{81}, sent(), "a chunk that waited for more than two seconds is lost")
		require.ErrorIs(t, c.PublishWaves(chunk(82, began)), ErrForbidden)
		require.NoError(t, c.PublishWaves(chunk(83, began)), "said once")
		require.Equal(t, []int{82, 83}, sent())
		s.refuse(503, 503, 503)
		conn.close(CloseRestart)
		for n := 84; n <= 200; n++ { // while there is no line
			require.NoError(t, c.PublishWaves(chunk(n, began)))
			time.Sleep(50 * time.Millisecond)
		}
		conn = <-s.conns
		time.Sleep(10 * time.Millisecond)
		require.NoError(t, c.PublishWaves(chunk(201, began)))
		numbers := sent()
		require.Greater(t, numbers[0], 150)
		require.Equal(t, 201, numbers[len(numbers)-1])
		require.Less(t, len(numbers), 45)
		require.NoError(t, c.Close())
		require.ErrorIs(t, c.PublishWaves(chunk(202, began)), ErrClosed)
	})
}

// Waves come to the reader after all else, ten seconds of each signal at most, of
// patients only who are watched for them; after a lost line they are asked for again.
func TestClientWatchesWaves(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		s.welcome = waveWelcome
		c, conn := s.dial(nil)
		s.follow(c, conn, WatchOptions{Patients: []string{"p"}, Waves: []string{"131330", "*"}}, 7, 3)
		began := time.Now()
		for n := 1; n <= 60; n++ {
			conn.send(waveText(t, n, began))
		}
		conn.send(`{"type":"wave","wave":{"patient":"q","code":"131330","system":"mdc","unit":"mV","rate":250,"n":1,"time":"2026-03-01T08:00:00Z","data":"AA=="}}`)
		conn.send(entry("alert", "p", 8, 4), entry("vital", "p", 9, 4))
		synctest.Wait()
		reads(t, c, "alert 8", "vital 9")
		for n := 21; n <= 60; n++ {
			ev := read(t, c)
			require.Equal(t, EventWave, ev.Type)
			require.Equal(t, fmt.Sprint("p ", n), fmt.Sprint(ev.Patient, " ", ev.Wave.Number))
		}
		conn.send(waveText(t, 61, began))
		conn.close(CloseRestart)
		conn = <-s.conns
		q := conn.next(reqWatch)
		require.Equal(t, []string{"131330", "*"}, q.Waves)
		require.Equal(t, map[string]Position{"p": {"E", 9}}, q.Since)
		c.mu.Lock()
		c.forget("p")
		require.Zero(t, c.queue.waves.Len()+len(c.queue.waiting), "no chunk of a patient who is not watched any more")
		c.mu.Unlock()
	})
}
