package carewire

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sessionsOf lets nurses in by a token that is their session, begun when it was
// first shown, or at the time that began says.
func sessionsOf(w *world, began map[string]time.Time) {
	w.hub.auth = AuthenticatorFunc(func(r *http.Request) (Principal, error) {
		p := people["nurse"]
		p.Session, p.Issued = Token(r), began[Token(r)]
		return p, nil
	})
}

// byName is an Options.Person: it knows people, and no sessions.
func byName(_ context.Context, id string) (Principal, error) { return people[id], nil }

// Revoke ends all present sessions; one that begins afterwards is good, and an
// alert that is accepted in it stays so.
func TestSessionsEndNotPeople(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{Person: byName})
		defer w.close()
		began := map[string]time.Time{"one": time.Now(), "two": time.Now()}
		sessionsOf(w, began)
		one, two := w.watching("one", "latest"), w.watching("two", "latest")
		defer one.ws.CloseNow()
		defer two.ws.CloseNow()
		a, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		_, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerAccept})
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse"}))
		for _, r := range []*raw{one, two} {
			_, code := r.all()
			assert.Equal(t, websocket.StatusCode(CloseForbidden), code)
		}
		a, err = w.hub.Alert(t.Context(), "p1", "k")
		require.NoError(t, err)
		assert.Equal(t, ResponsibilityUndefined, a.Responsibility.State, "nobody has it")
		_, err = w.tryDial("one")
		require.ErrorContains(t, err, "403")

		time.Sleep(time.Second)
		began["three"] = time.Now()
		three := w.watching("three", "latest")
		defer three.ws.CloseNow()
		three.until("alert")
		reply := three.ask(`{"type":"answer","req":"a","event_id":"e","patient":"p1","key":"k","alert_id":"` + a.ID + `","do":"accept"}`)
		require.Equal(t, "ok", reply["type"], "%v", reply)
		time.Sleep(10 * time.Minute) // rights are asked for again meanwhile
		a, err = w.hub.Alert(t.Context(), "p1", "k")
		require.NoError(t, err)
		assert.Equal(t, ResponsibilityAccepted, a.Responsibility.State, "accepted afterwards")
		other := newWorld(t, w.store, &Options{Person: byName})
		defer other.close()
		time.Sleep(10 * time.Minute)
		a, err = other.hub.Alert(t.Context(), "p1", "k")
		require.NoError(t, err)
		assert.Equal(t, ResponsibilityAccepted, a.Responsibility.State, "after a restart, too")
	})
}

// Suspend keeps a person out, with any session that they begin, until it is over or
// Restore.
func TestSuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		began := map[string]time.Time{"one": time.Now()}
		sessionsOf(w, began)
		one := w.watching("one", "latest")
		defer one.ws.CloseNow()
		var invalid *ValidationError
		require.ErrorAs(t, w.hub.Suspend(t.Context(), Revocation{Principal: "nurse", Session: "one"}), &invalid)
		require.NoError(t, w.hub.Suspend(t.Context(), Revocation{Principal: "nurse"}))
		_, code := one.all()
		assert.Equal(t, websocket.StatusCode(CloseForbidden), code)
		time.Sleep(25 * time.Hour)
		began["two"] = time.Now()
		_, err := w.tryDial("two")
		require.ErrorContains(t, err, "403")
		require.NoError(t, w.hub.Restore(t.Context(), Revocation{Principal: "nurse"}))
		w.dial("two").ws.CloseNow()

		require.NoError(t, w.hub.Suspend(t.Context(), Revocation{Principal: "nurse", Until: time.Now().Add(time.Hour)}))
		require.NoError(t, w.hub.Suspend(t.Context(), Revocation{Principal: "nurse", Until: time.Now().Add(time.Minute)}))
		_, err = w.tryDial("two")
		require.ErrorContains(t, err, "403")
		time.Sleep(2 * time.Minute)
		w.dial("two").ws.CloseNow() // a shorter Until shortens
	})
}

// Of some patients only: the connection stays, and the team sees both.
func TestSuspendFromPatients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		doctor := w.watching("doctor", "latest")
		nurse := w.watching("nurse", "latest")
		defer doctor.ws.CloseNow()
		defer nurse.ws.CloseNow()
		r := Revocation{Principal: "nurse", Patients: []string{"p1"}}
		require.NoError(t, w.hub.Suspend(t.Context(), r))
		require.Equal(t, "p1", nurse.until("revoked")["patient"])
		require.Equal(t, "suspended", valueAt(doctor.until("access"), "access", "kind"))
		require.Equal(t, "forbidden", nurse.ask(`{"type":"history","req":"1","patient":"p1"}`)["code"])
		require.NoError(t, w.hub.Restore(t.Context(), r))
		require.Equal(t, object{"kind": "restored", "principal": "nurse"}, doctor.until("access")["access"])
		require.Equal(t, "ok", nurse.ask(`{"type":"history","req":"2","patient":"p1"}`)["type"])
		require.NoError(t, w.hub.Restore(t.Context(), r), "there is nothing to lift")
	})
}

// The session of a renewed token is the connection's from then on.
func TestRenewedSessionIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		sessionsOf(w, map[string]time.Time{})
		nurse := w.watching("one", "latest")
		defer nurse.ws.CloseNow()
		require.Equal(t, "ok", nurse.ask(`{"type":"token","req":"t","token":"two"}`)["type"])
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse", Session: "one"}))
		require.Equal(t, "ok", nurse.ask(`{"type":"history","req":"1","patient":"p1"}`)["type"], "the old one is not the connection's any more")
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse", Session: "two"}))
		_, code := nurse.all()
		require.Equal(t, websocket.StatusCode(CloseForbidden), code)
	})
}

// A token that was issued after its holder's sessions were ended keeps a
// connection that the revocation of patients has left, and gives these back.
func TestRenewedTokenIsIssuedAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		began := map[string]time.Time{"one": time.Now()}
		sessionsOf(w, began)
		nurse := w.watching("one", "latest")
		defer nurse.ws.CloseNow()
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse", Patients: []string{"p1"}}))
		nurse.until("revoked")
		require.Equal(t, "forbidden", nurse.ask(`{"type":"history","req":"1","patient":"p1"}`)["code"])
		time.Sleep(time.Second)
		began["two"] = time.Now()
		require.Equal(t, "ok", nurse.ask(`{"type":"token","req":"t","token":"two"}`)["type"])
		require.Equal(t, "ok", nurse.ask(`{"type":"history","req":"2","patient":"p1"}`)["type"])
	})
}
