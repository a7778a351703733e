package carewire

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A receipt that comes while the pages of its level are still going out counts
// as one that comes afterwards.
func TestReceiptWhileItsLevelIsTold(t *testing.T) {
	for _, who := range []string{"nurse", "doctor"} { // the doctor is not told at this level
		synctest.Test(t, func(t *testing.T) {
			p := &pager{deaf: map[string]bool{"person:nurse": true}}
			slow := pagerFunc(func(ctx context.Context, page Page) error {
				if page.To == "person:nurse" {
					time.Sleep(2 * time.Second)
				}
				return p.Page(ctx, page)
			})
			w := newWorld(t, nil, &Options{Policy: threeSteps, Pager: slow})
			defer w.close()
			start := time.Now()
			client := w.dial(who)
			defer client.ws.CloseNow()
			_, err := w.hub.Raise(t.Context(), high("k"))
			require.NoError(t, err)
			time.Sleep(time.Second)
			a, err := w.hub.Alert(t.Context(), "p1", "k")
			require.NoError(t, err)
			require.Equal(t, EscalationClaimed, a.Escalation.State)
			require.Equal(t, "ok", client.ask(`{"type":"receipt","req":"r","patient":"p1","key":"k","alert_id":"k-1","stage":"delivered"}`)["type"])
			go func() {
				for {
					if _, _, err := client.ws.Read(context.Background()); err != nil {
						return
					}
				}
			}()
			time.Sleep(2 * time.Second) // the page has failed by now
			a, err = w.hub.Alert(t.Context(), "p1", "k")
			require.NoError(t, err)
			require.Equal(t, map[string]EscalationState{"nurse": EscalationNotified, "doctor": EscalationFailed}[who], a.Escalation.State)
			time.Sleep(38 * time.Second)
			want := map[string]string{"nurse": "30s person:doctor", "doctor": "5s person:doctor"}[who]
			require.Equal(t, []string{want}, p.told(start))
		})
	}
}
