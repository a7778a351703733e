package boltstore

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/carewire/carewire"
)

// Open entries are there as soon as the store is. If the indexes do not agree,
// that is found and said afterwards.
func TestCheckedAfterOpen(t *testing.T) {
	t.Parallel()
	for _, index := range []string{"changes", "live"} {
		path := newPath(t)
		s := open(t, path, small())
		add(t, s, alert("a", "x", 0), alert("b", "x", 0))
		require.NoError(t, s.Checked(t.Context()), "a new file")
		require.NoError(t, s.Close())

		s = open(t, path, small())
		list, _, err := s.Changed(t.Context(), "", 10)
		require.NoError(t, err)
		require.Len(t, list, 2)
		require.NoError(t, s.Checked(t.Context()))
		require.NoError(t, s.Close())

		db, err := bbolt.Open(path, 0o600, nil)
		require.NoError(t, err)
		require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(index))
			k, _ := b.Cursor().First()
			return b.Delete(k)
		}))
		require.NoError(t, db.Close())
		s = open(t, path, small())
		require.ErrorIs(t, s.Checked(t.Context()), ErrCorrupt, index)
		for err = nil; err == nil; { // it fails just then
			_, err = s.Append(t.Context(), []carewire.Entry{vital("a", 1)})
		}
		require.ErrorIs(t, err, ErrFailed)
		require.ErrorIs(t, err, ErrCorrupt)
	}
}

// Until it is known that no head is missing, nobody is taken for new, and those who
// are known wait for nothing.
func TestNobodyIsNewBeforeTheCheck(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t), small())
	add(t, s, vital("a", 1))
	s.check.done = make(chan struct{}) // as if it still went on
	got, err := s.Append(t.Context(), []carewire.Entry{vital("b", 1), vital("a", 2)})
	require.NoError(t, err)
	require.ErrorIs(t, got[0].Err, carewire.ErrBusy)
	require.NoError(t, got[1].Err)
	close(s.check.done)
	require.Equal(t, uint64(1), add(t, s, vital("b", 1))[0].Seq)
}

// A Hub reports the result of the check.
func TestHubLogsTheCheck(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t), small())
	log := make(lines, 100)
	auth := carewire.AuthenticatorFunc(func(*http.Request) (carewire.Principal, error) {
		return carewire.Principal{}, carewire.ErrUnauthenticated
	})
	s.check.done, s.check.err = make(chan struct{}), fmt.Errorf("%w: for this test", ErrCorrupt)
	hub, err := carewire.New(auth, s, &carewire.Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
	require.NoError(t, err)
	defer hub.Shutdown(context.Background())
	close(s.check.done)
	for line := ""; !strings.Contains(line, "the store is damaged"); {
		select {
		case line = <-log:
		case <-time.After(time.Minute):
			t.Fatal("the Hub says nothing of it")
		}
	}
}

// lines is a log.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}
