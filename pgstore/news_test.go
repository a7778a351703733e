package pgstore

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/pgstore/pgtest"
)

// A node is told whose logs another one has appended to, and not of its own
// appends, nor of entries that were refused or known. A role that listens but may not
// read the tables learns no names.
func TestWakeUpsName(t *testing.T) {
	dsn := pgtest.Database(t)
	s, other := open(t, connect(t, dsn, 8), nil), open(t, connect(t, dsn, 8), nil)
	require.Nil(t, waitFor(t, s.Wake(), "a wake-up as soon as it listens"))
	stranger, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer stranger.Close(t.Context())
	_, err = stranger.Exec(t.Context(), `listen `+pgx.Identifier{s.channel()}.Sanitize())
	require.NoError(t, err)

	mustAppend(t, s, notice("mine", "1"))
	mustAppend(t, other, notice("patient-a", "1"), notice("patient-b", "1"))
	require.ElementsMatch(t, []string{"patient-a", "patient-b"}, waitFor(t, s.Wake(), "another node's append"))
	mustAppend(t, other, notice("patient-a", "1"), notice("patient-c", "1"))
	require.Equal(t, []string{"patient-c"}, waitFor(t, s.Wake(), "another append"))
	for heard := 0; heard < 2; {
		n, err := stranger.WaitForNotification(t.Context())
		require.NoError(t, err)
		require.NotContains(t, n.Payload, "patient")
		if strings.HasPrefix(n.Payload, other.node) {
			heard++
		}
	}

	many := make([]string, 300) // whose names do not fit into one notification
	for i := range many {
		many[i] = fmt.Sprint(i, strings.Repeat("n", 700))
	}
	other.committed.add(many)
	var told []string
	for len(told) < len(many) {
		told = append(told, waitFor(t, s.Wake(), "all of them")...)
	}
	require.ElementsMatch(t, many, told)
}

// A notification that cannot be read, or has more names than one wants to send,
// may be anybody's.
func TestUnnamedWakeUps(t *testing.T) {
	dsn := pgtest.Database(t)
	s := open(t, connect(t, dsn, 8), nil)
	apart := open(t, connect(t, dsn, 8), &Options{Schema: "apart"})
	for payload, want := range map[string]bool{
		apart.node: true, apart.payloads([]string{"a"})[0]: true, apart.node + " x": true, apart.node + " ": true, "": true,
		s.node: false, s.payloads([]string{"a"})[0]: false, echo + " " + apart.node: false,
	} {
		patients, others := s.read(payload)
		require.Nil(t, patients)
		require.Equal(t, want, others)
	}

	require.Empty(t, s.payloads([]string{}), "an entry that was told of before it was taken is no news")

	n := newNews()
	require.Empty(t, n.came)
	n.add([]string{"b", "a"})
	n.add([]string{"b"})
	require.Len(t, n.came, 1)
	require.ElementsMatch(t, []string{"a", "b"}, n.take())
	require.NotNil(t, n.take())
	n.add([]string{"a"})
	n.add(nil)
	n.add([]string{"b"})
	require.Nil(t, n.take())
	for i := range maxNamed + 1 {
		n.add([]string{fmt.Sprint(i)})
	}
	n.add([]string{"b"})
	require.Nil(t, n.take())
	require.Empty(t, n.take())
}
