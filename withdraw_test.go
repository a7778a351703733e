package carewire

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// slowGateway is a Pager that hands pages to the doctor over after a second, and
// withdraws pages.
type slowGateway struct {
	mu        sync.Mutex
	handed    []string
	withdrawn []string
}

func (g *slowGateway) Page(_ context.Context, p Page) error {
	if p.To == "person:doctor" {
		time.Sleep(time.Second)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.handed = append(g.handed, p.Alert.ID+" "+p.To)
	return nil
}

func (g *slowGateway) Withdraw(_ context.Context, a Alert, to []string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.withdrawn = append(g.withdrawn, a.ID+" "+strings.Join(to, ","))
	return nil
}

// A page that is being handed over while somebody accepts the alert, or while it
// ends, is withdrawn afterwards. Its recipient hears of the acceptance.
func TestPagesHandedOverTooLateAreWithdrawn(t *testing.T) {
	t.Parallel()
	nurse := people["nurse"]
	for name, meanwhile := range map[string]func(*world, AlertRef){
		"accepted": func(w *world, ref AlertRef) {
			_, err := w.hub.Answer(w.t.Context(), nurse, ref, Answer{Do: AnswerAccept})
			require.NoError(w.t, err)
		},
		"closed": func(w *world, ref AlertRef) {
			_, err := w.hub.Answer(w.t.Context(), nurse, ref, Answer{Do: AnswerClose, Force: true, Reason: "x"})
			require.NoError(w.t, err)
		},
		"closed and raised again": func(w *world, ref AlertRef) {
			_, err := w.hub.Answer(w.t.Context(), nurse, ref, Answer{Do: AnswerClose, Force: true, Reason: "x"})
			require.NoError(w.t, err)
			again := high("k")
			again.ID = "k-2"
			_, err = w.hub.Raise(w.t.Context(), again)
			require.NoError(w.t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &slowGateway{}
				w := newWorld(t, nil, &Options{Policy: steps([]string{"person:nurse", "person:doctor"}), Pager: g})
				defer w.close()
				a, err := w.hub.Raise(t.Context(), high("k"))
				require.NoError(t, err)
				time.Sleep(500 * time.Millisecond)
				meanwhile(w, a.Ref())
				time.Sleep(4 * time.Second)
				g.mu.Lock()
				defer g.mu.Unlock()
				require.Contains(t, g.handed, "k-1 person:doctor")
				require.Contains(t, g.withdrawn, "k-1 person:nurse,person:doctor")
				now, err := w.hub.Alert(t.Context(), "p1", "k")
				require.NoError(t, err)
				if name == "accepted" {
					require.Equal(t, ResponsibilityAccepted, now.Responsibility.State)
					require.Contains(t, now.Escalation.addressed, "person:doctor")
				}
			})
		})
	}
}

// The pages of a test alert went to the recipients of tests, and are withdrawn
// from these.
func TestPagesOfATestAlertAreWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &slowGateway{}
		w := newWorld(t, nil, &Options{Policy: threeSteps, Pager: g, TestRecipients: []string{"person:tester"}})
		defer w.close()
		drill := high("k")
		drill.Test = true
		a, err := w.hub.Raise(t.Context(), drill)
		require.NoError(t, err)
		time.Sleep(time.Second)
		_, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerClose, Force: true, Reason: "x"})
		require.NoError(t, err)
		time.Sleep(time.Second)
		g.mu.Lock()
		defer g.mu.Unlock()
		require.Equal(t, []string{"k-1 person:tester"}, g.handed)
		require.Equal(t, []string{"k-1 person:tester"}, g.withdrawn)
	})
}

// When an alert ends, in whatever way, its pages are withdrawn once, also if nobody
// has accepted it. An alert that is latched still waits for a person.
func TestPagesOfAnEndedAlertAreWithdrawn(t *testing.T) {
	for name, c := range map[string]struct {
		latch bool
		end   func(*world, AlertRef) error
		want  []string
	}{
		"closed": {true, func(w *world, ref AlertRef) error {
			_, err := w.hub.Answer(w.t.Context(), people["nurse"], ref, Answer{Do: AnswerClose, Force: true, Reason: "x"})
			return err
		}, []string{"k-1 person:nurse"}},
		"it ends by itself": {false, func(w *world, ref AlertRef) error {
			_, err := w.hub.Clear(w.t.Context(), ref)
			return err
		}, []string{"k-1 person:nurse"}},
		"discharged": {true, func(w *world, ref AlertRef) error {
			return w.hub.Discharge(w.t.Context(), "p1")
		}, []string{"k-1 person:nurse"}},
		"latched": {true, func(w *world, ref AlertRef) error {
			_, err := w.hub.Clear(w.t.Context(), ref)
			return err
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &slowGateway{}
				w := newWorld(t, nil, &Options{Policy: threeSteps, Pager: g})
				defer w.close()
				in := high("k")
				if !c.latch {
					in.NoLatch, in.Kind = true, AlertTechnical
				}
				a, err := w.hub.Raise(t.Context(), in)
				require.NoError(t, err)
				time.Sleep(time.Second)
				require.NoError(t, c.end(w, a.Ref()))
				time.Sleep(time.Minute)
				g.mu.Lock()
				defer g.mu.Unlock()
				require.Equal(t, []string{"k-1 person:nurse"}, g.handed)
				require.Equal(t, c.want, g.withdrawn)
			})
		})
	}
}
