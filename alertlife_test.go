package carewire

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The life of an alert as a table here and a model in alerthistories_test.go. Both
// were written from docs/protocol.md and the comments of message.go, without alert.go
// and the files around it. They drive the Hub, not those functions. Cells that
// differed from the code were then decided by the protocol, or the protocol now
// decides a question that it had left open.

// lifeOfAnAlert has a column for each state and a row for each action. A cell is the
// state that follows, or the code of the refusal; "=" leaves the alert as it was,
// and "new" begins an occurrence. The states:
//
//	told      present, people were told
//	unheard   present, nobody was reached
//	rejected  present, bob has rejected, ann was told too
//	accepted  ann has accepted for ten minutes
//	handing   ann is handing it over to bob
//	latched   over, people were told, and nobody has accepted
//	telling   latched, and nobody was reached
//	info      present, and nobody needs to be told
//	due       present again, and people are told again when it is time
//	ended     ann had accepted, and it is over
const lifeOfAnAlert = `
                     told      unheard   rejected  accepted  handing   latched   telling   info      ended
raise same           =         =         =         =         =         due       unheard   =         new told
raise higher         told      unheard   told      told      told      told      unheard   told      new told
raise lower          told      unheard   rejected  accepted  handing   due       unheard   told      new told
raise info           info      info      rejected  accepted  handing   =         =         =         new info
raise by another     told      unheard   rejected  accepted  handing   due       unheard   told      new told
clear own            latched   telling   latched   ended     ended     =         =         ended     =
clear by a stranger  forbidden forbidden forbidden forbidden forbidden forbidden forbidden forbidden forbidden
clear by another     told      unheard   rejected  accepted  handing   forbidden forbidden info      new ended
clear by a service   latched   telling   latched   ended     ended     =         =         ended     =
accept ann           accepted  accepted  accepted  accepted  accepted  ended     ended     accepted  ended
accept bob           accepted  accepted  accepted  conflict  accepted  ended     ended     accepted  ended
accept cat           accepted  accepted  accepted  conflict  conflict  ended     ended     accepted  ended
force cat            accepted  accepted  accepted  accepted  accepted  ended     ended     accepted  ended
reject ann           rejected  rejected  rejected  rejected  rejected  latched   telling   rejected  ended
reject bob           rejected  rejected  rejected  refused   accepted  latched   telling   rejected  ended
reject both          rejected  rejected  rejected  rejected  rejected  latched   telling   rejected  ended
reject cat           rejected  rejected  rejected  refused   refused   latched   telling   rejected  ended
release ann          refused   refused   refused   told      told      refused   refused   refused   ended
release bob          refused   refused   refused   refused   refused   refused   refused   refused   ended
assign ann           told      unheard   told      told      told      refused   refused   info      ended
assign bob           told      unheard   told      refused   refused   refused   refused   info      ended
assign to viewer     refused   refused   refused   refused   refused   refused   refused   refused   refused
handover ann         refused   refused   refused   handing   handing   refused   refused   refused   ended
handover bob         refused   refused   refused   refused   refused   refused   refused   refused   ended
handover to viewer   refused   refused   refused   refused   refused   refused   refused   refused   refused
close                refused   refused   refused   refused   refused   ended     ended     refused   ended
close by force       ended     ended     ended     ended     ended     ended     ended     ended     ended
six minutes          told      unheard   rejected  accepted  told      latched   telling   info      =
eleven minutes       told      unheard   rejected  told      told      latched   telling   info      =
reached              told      told      rejected  accepted  handing   latched   latched   info      =
lose ann             told      unheard   rejected  told      told      latched   telling   info      =
pause                told      unheard   rejected  accepted  handing   latched   telling   info      =
discharge            ended     ended     ended     ended     ended     ended     ended     ended     =
`

// prepared tells how each state is reached.
var prepared = map[string][]string{
	"told":     {"raise same"},
	"unheard":  {"deaf", "raise same"},
	"rejected": {"raise same", "reject bob"},
	"accepted": {"raise same", "accept ann"},
	"handing":  {"raise same", "accept ann", "handover ann"},
	"latched":  {"raise same", "clear own"},
	"telling":  {"deaf", "raise same", "clear own"},
	"info":     {"raise info"},
	"ended":    {"raise same", "accept ann", "clear own"},
}

// staff may answer, except eve, who may only watch.
var staff = map[string]Principal{
	"ann": {ID: "ann", Role: RoleClinician, Patients: []string{"p1"}},
	"bob": {ID: "bob", Role: RoleClinician, Patients: []string{"p1"}},
	"cat": {ID: "cat", Role: RoleClinician, Patients: []string{"p1"}},
	"eve": {ID: "eve", Role: RoleViewer, Patients: []string{"p1"}},
}

// shift is a policy: ann and bob for 30 s, bob and cat for a minute, cat for two.
var shift = []Step{
	{To: []string{"person:ann", "person:bob"}, After: 30 * time.Second},
	{To: []string{"person:bob", "person:cat"}, After: time.Minute},
	{To: []string{"person:cat"}, After: 2 * time.Minute},
}

// attended is a Hub with one alert, of which people are told by shift.
type attended struct {
	*world
	deaf  atomic.Bool // pages reach nobody
	last  Priority
	kind  AlertKind
	latch bool
}

func newAttended(t *testing.T) *attended {
	b := &attended{last: PriorityMedium, latch: true}
	b.world = newWorld(t, nil, &Options{HandoverWithin: 5 * time.Minute,
		Policy: func(_ context.Context, _ Alert, step int) (Step, error) {
			if step > len(shift) {
				return Step{}, ErrNoStep
			}
			return shift[step-1], nil
		},
		Pager: pagerFunc(func(context.Context, Page) error {
			if b.deaf.Load() {
				return errors.New("no such pager")
			}
			return nil
		}),
		Person: func(_ context.Context, id string) (Principal, error) {
			if p, ok := staff[id]; ok {
				return p, nil
			}
			return Principal{}, ErrNotFound
		}})
	return b
}

// alert returns the newest state, the zero Alert if there was none.
func (b *attended) alert() Alert {
	a, err := b.hub.Alert(context.Background(), "p1", "k")
	if !errors.Is(err, ErrNotFound) {
		require.NoError(b.t, err)
	}
	return a
}

func (b *attended) raise(by string, p Priority) error {
	_, err := b.hub.raise(context.Background(), by, Raise{ID: rand.Text(), Patient: "p1", Key: "k", Text: string(p), Priority: p, Kind: b.kind, NoLatch: !b.latch})
	return err
}

func (b *attended) clear(by string) error {
	role := RoleDevice
	if by == "service" {
		role = RoleService
	}
	a := b.alert()
	_, err := b.hub.clear(context.Background(), &Principal{ID: by, Role: role, Patients: []string{"p1"}}, by, a.Ref(), rand.Text())
	return err
}

func (b *attended) answer(by string, w Answer) error {
	a := b.alert()
	_, err := b.hub.Answer(context.Background(), staff[by], a.Ref(), w)
	return err
}

// codeFor is the code of an error as the wire has it.
func codeFor(err error) string {
	for sentinel, code := range codeOf {
		if errors.Is(err, sentinel) {
			return string(code)
		}
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// do carries out an action of lifeOfAnAlert.
func (b *attended) do(action string) error {
	verb, rest, _ := strings.Cut(action, " ")
	by := rest
	switch action {
	case "deaf":
		b.deaf.Store(true)
	case "raise same":
		return b.raise("mon", b.last)
	case "raise higher":
		return b.raise("mon", PriorityHigh)
	case "raise lower":
		return b.raise("mon", PriorityLow)
	case "raise info":
		b.last = PriorityInfo
		return b.raise("mon", PriorityInfo)
	case "raise by another":
		return b.raise("app", PriorityLow)
	case "clear own":
		return b.clear("mon")
	case "clear by a stranger":
		return b.clear("stranger")
	case "clear by another":
		return errors.Join(b.raise("app", PriorityInfo), b.clear("app"))
	case "clear by a service":
		return b.clear("service")
	case "force cat":
		return b.answer("cat", Answer{Do: AnswerAccept, Force: true, Reason: "she is in theatre"})
	case "reject both":
		return errors.Join(b.answer("ann", Answer{Do: AnswerReject}), b.answer("bob", Answer{Do: AnswerReject}))
	case "assign to viewer", "handover to viewer":
		return b.answer("ann", Answer{Do: AnswerVerb(verb), To: "person:eve"})
	case "close":
		return b.answer("cat", Answer{Do: AnswerClose})
	case "close by force":
		return b.answer("cat", Answer{Do: AnswerClose, Force: true, Reason: "probe is off"})
	case "six minutes":
		time.Sleep(6 * time.Minute)
	case "eleven minutes":
		time.Sleep(11 * time.Minute)
	case "reached":
		b.deaf.Store(false)
		time.Sleep(8 * time.Second)
	case "lose ann":
		return errors.Join(b.hub.Suspend(context.Background(), Revocation{Principal: "ann", Patients: []string{"p1"}, Until: time.Now().Add(time.Hour)}))
	case "pause":
		return b.hub.Pause(context.Background(), staff["bob"], Pause{Patient: "p1", For: time.Minute, Reason: "washing"})
	case "discharge":
		return b.hub.Discharge(context.Background(), "p1")
	default:
		w := Answer{Do: AnswerVerb(verb)}
		switch w.Do {
		case AnswerAccept:
			w.For = 10 * time.Minute
		case AnswerAssign:
			w.To = "person:cat"
		case AnswerHandover:
			w.To = "person:bob"
		}
		return b.answer(by, w)
	}
	return nil
}

// lifeState names the state of an alert as lifeOfAnAlert does.
func lifeState(a *Alert) string {
	off := a.Escalation.State == EscalationOff
	switch {
	case !a.Open():
		return "ended"
	case a.Responsibility.To != "":
		return "handing"
	case a.Responsibility.State == ResponsibilityAccepted:
		if !off {
			return "accepted, and people are told"
		}
		return "accepted"
	case a.Condition == ConditionOver && off:
		return "latched"
	case a.Condition == ConditionOver:
		return "telling"
	case a.Responsibility.State == ResponsibilityRejected:
		return "rejected"
	case a.Priority == PriorityInfo && off:
		return "info"
	case a.Escalation.State == EscalationFailed:
		return "unheard"
	case a.Escalation.State == EscalationNotified:
		return "told"
	}
	return string(a.Escalation.State)
}

// From each state each action leads where the table says.
func TestLifeOfAnAlert(t *testing.T) {
	lines := strings.Split(strings.Trim(lifeOfAnAlert, "\n"), "\n")
	const first, width = 21, 10
	var states []string
	for at := first; at < len(lines[0]); at += width {
		states = append(states, strings.TrimSpace(lines[0][at:min(at+width, len(lines[0]))]))
	}
	var wrong []string
	for _, line := range lines[1:] {
		action := strings.TrimSpace(line[:first])
		for i, state := range states {
			at := first + i*width
			want := strings.TrimSpace(line[at:min(at+width, len(line))])
			if i == len(states)-1 {
				want = strings.TrimSpace(line[at:])
			}
			synctest.Test(t, func(t *testing.T) {
				b := newAttended(t)
				defer b.close()
				for _, step := range prepared[state] {
					require.NoError(t, b.do(step))
					synctest.Wait()
				}
				before := b.alert()
				require.Equal(t, state, lifeState(&before))
				time.Sleep(time.Second)
				code := codeFor(b.do(action))
				synctest.Wait()
				after := b.alert()
				got := lifeState(&after)
				switch {
				case code != "":
					got = code
					if !strings.Contains(action, "both") && before.Rev != after.Rev {
						got += ", and it changed"
					}
				case after.ID != before.ID:
					got = "new " + got
				case after.Rev == before.Rev && want == "=":
					got = "="
				}
				if got != want {
					wrong = append(wrong, fmt.Sprintf("%s, %s: %s, not %s", state, action, got, want))
				}
			})
		}
	}
	require.Empty(t, wrong)
}

// An info that a person assigns is told to the one it is assigned to, and to nobody
// after that.
func TestAssignedInfoIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newAttended(t)
		defer b.close()
		require.NoError(t, b.do("raise info"))
		require.NoError(t, b.do("assign ann"))
		time.Sleep(11 * time.Minute)
		x := b.alert().Escalation
		require.Equal(t, 1, x.Level)
		require.Equal(t, []string{"person:cat"}, x.recipients)
		require.Equal(t, EscalationOff, x.State)
	})
}

// When all who were told reject after an alert has come back, the next are told at once.
func TestAllRejectARecurrence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newAttended(t)
		defer b.close()
		for _, step := range []string{"raise same", "clear own", "raise same", "reject both"} {
			require.NoError(t, b.do(step))
			synctest.Wait()
		}
		time.Sleep(time.Second)
		x := b.alert().Escalation
		require.Equal(t, 2, x.Level)
		require.Equal(t, []string{"person:bob", "person:cat"}, x.recipients)
	})
}
