package carewire

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An envelope is opened once, by another Hub with the key, under its own subject, as it
// was sealed, and soon.
func TestEnvelope(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	key, other := relayKey{1}, relayKey{2}
	number := uint64(0)
	from := newRelayCipher(key, newHubName(), &number)
	to := newRelayCipher(key, newHubName(), new(uint64))
	seal := func(at time.Time) []byte { return from.seal("subject", messageNews, at, []byte("body")) }

	m := seal(now)
	got, err := to.open("subject", m, now)
	require.NoError(t, err)
	require.Equal(t, &relayMessage{kind: messageNews, body: []byte("body"), from: from.own, number: 1}, got)
	_, err = to.open("subject", m, now)
	require.Equal(t, errMessage, err, "again")
	_, err = from.open("subject", m, now)
	require.Equal(t, errOwnMessage, err)

	refused := func(name string, x *relayCipher, subject string, m []byte, at time.Time) {
		t.Helper()
		_, err := x.open(subject, m, at)
		require.Equal(t, errMessage, err, name)
	}
	m = seal(now)
	refused("another subject", to, "subjecT", m, now)
	refused("another key", newRelayCipher(other, newHubName(), new(uint64)), "subject", m, now)
	refused("late", to, "subject", m, now.Add(relayLate+time.Second))
	refused("early", to, "subject", m, now.Add(-relayLate-time.Second))
	for i := range m {
		refused("cut", to, "subject", m[:i], now)
		forged := bytes.Clone(m)
		forged[i] ^= 1
		refused("forged", to, "subject", forged, now)
	}
	refused("longer", to, "subject", append(bytes.Clone(m), 0), now)
	require.Len(t, to.senders, 1, "forged messages leave nothing behind")
	_, err = to.open("subject", m, now.Add(relayLate))
	require.NoError(t, err, "none of these used it up")

	again := newRelayCipher(key, from.own, &number)
	_, err = to.open("subject", again.seal("subject", messageNews, now, nil), now)
	require.NoError(t, err, "numbers go on though the key was looked at again")
}

// No number of a sender counts twice, whatever the order; those too far behind do not
// count at all.
func TestNumbersCountOnce(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		s, seen, greatest := new(sender), make(map[uint64]bool), uint64(0)
		at := uint64(1)
		for range 2000 {
			n := at
			switch r.IntN(8) {
			case 0:
				n = uint64(max(1, int64(at)-r.Int64N(2*numbersSeen)))
			case 1:
				at += r.Uint64N(300)
			case 2:
				if r.IntN(50) == 0 {
					at += r.Uint64N(3 * numbersSeen)
				}
			default:
				at++
			}
			behind := n < greatest && greatest-n >= numbersSeen-64
			require.Equal(t, !seen[n] && !behind, s.fresh(n), "%d after %d", n, greatest)
			seen[n], greatest = true, max(greatest, n)
		}
	}
}

// A Hub remembers a limited number of others.
func TestSendersAreBounded(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	to := newRelayCipher(relayKey{1}, newHubName(), new(uint64))
	for i := range sendersMost + 10 {
		m := newRelayCipher(relayKey{1}, newHubName(), new(uint64)).seal("s", messageNews, now, nil)
		_, err := to.open("s", m, now.Add(time.Duration(i)*time.Millisecond))
		require.NoError(t, err)
	}
	require.Len(t, to.senders, sendersMost)
}

// The key decides the subject of each topic; no two are alike.
func TestSubjects(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, key := range []relayKey{{1}, {2}} {
		for _, of := range []topic{{topicNews, ""}, {topicLog, "p1"}, {topicLog, "p2"}, {topicWaves, "p1"}} {
			s := key.subject(of)
			require.Regexp(t, `^[0-9a-f]{32}$`, s)
			require.False(t, seen[s])
			seen[s] = true
		}
	}
}

// An entry comes out of a message as it would come out of the Store.
func TestEntryInAMessage(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 8, 0, 0, 123456000, time.UTC)
	e := Entry{Patient: "p1", Position: Position{"epoch", 7}, Must: 3, Kind: KindVital, Key: "k", Rev: 2, Open: true, Due: now.Add(time.Hour), Audience: AudienceStaff,
		To: []string{"person:a", "group:b"}, Sender: "s", ID: "id", Sum: [16]byte{1, 15: 2}, Time: now, Received: now.Add(time.Second), Urgent: true, Data: []byte(`{"patient":"p1"}`)}
	for v, i := reflect.ValueOf(e), 0; i < v.NumField(); i++ {
		require.False(t, v.Field(i).IsZero(), "the test lacks %s", v.Type().Field(i).Name)
	}
	var w messageWriter
	w.entry(&e)
	e.Urgent = false // it is for Append alone
	second := Entry{Patient: "p1", Position: Position{"epoch", 8}, Kind: KindTimer, Audience: AudienceNamed, Data: []byte(`{"secret":1}`)}
	w.entry(&second)
	got := readEntries("p1", w.b)
	require.Len(t, got, 2)
	require.Equal(t, e, got[0])
	require.True(t, got[1].Due.IsZero() && got[1].Time.IsZero() && got[1].Received.IsZero())
	require.Nil(t, got[1].Data, "nobody is shown it")
	for i := 1; i < len(w.b); i++ {
		require.NotEqual(t, 2, len(readEntries("p1", w.b[:i])), "cut")
	}
	e.Data = []byte("no JSON")
	w = messageWriter{}
	w.entry(&e)
	require.Nil(t, readEntries("p1", w.b)[0].Data, "as of a damaged entry in the Store")
}

// Reading messages of a Relay does not panic. A message that no Hub has sealed is
// refused. The entries of a body stay the same when they are written and read again.
func FuzzRelayMessage(f *testing.F) {
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	e := Entry{Position: Position{"epoch", 7}, Kind: KindAlert, Audience: AudienceAll, To: []string{"x"}, Time: now, Data: []byte(`{}`)}
	var w messageWriter
	w.entry(&e)
	f.Add(w.b)
	f.Add(newRelayCipher(relayKey{1}, hubName{1}, new(uint64)).seal("s", messageEntries, now, w.b))
	f.Add([]byte{1, 2, 200, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := newRelayCipher(relayKey{3}, newHubName(), new(uint64)).open("s", b, now)
		require.Equal(t, errMessage, err)
		for _, m := range readMembers(b) {
			require.GreaterOrEqual(t, m, 0)
		}
		list := readEntries("p1", b)
		var w messageWriter
		for i := range list {
			require.Equal(t, "p1", list[i].Patient)
			w.entry(&list[i])
		}
		require.Equal(t, list, readEntries("p1", w.b))
	})
}
