package boltstore

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/storetest"
)

func TestDurable(t *testing.T) {
	storetest.RunDurable(t, storetest.Durable{
		Place:  newPath,
		Open:   func(path string) (carewire.Store, error) { return opened(Open(path, small())) },
		Locked: ErrLocked,
		Break: func(t *testing.T, path string, s carewire.Store) func() {
			file := s.(*Store).file
			readOnly, err := os.Open(path)
			require.NoError(t, err)
			syscall.ForkLock.RLock() // a child that another test starts must not have it, and the lock with it
			whole, err := syscall.Dup(int(file.Fd()))
			syscall.CloseOnExec(whole)
			syscall.ForkLock.RUnlock()
			require.NoError(t, err)
			require.NoError(t, syscall.Dup3(int(readOnly.Fd()), int(file.Fd()), syscall.O_CLOEXEC))
			return func() {
				require.NoError(t, syscall.Dup3(whole, int(file.Fd()), syscall.O_CLOEXEC))
				require.NoError(t, syscall.Close(whole))
				require.NoError(t, readOnly.Close())
			}
		},
		Failed: ErrFailed,
		Fill: func(_ *testing.T, path string, s carewire.Store) func() {
			store := s.(*Store)
			fill := func(f func(offset, n int64) error) {
				store.mu.Lock()
				defer store.mu.Unlock()
				store.fill = f
			}
			fill(func(int64, int64) error { return &os.PathError{Op: "write", Path: path, Err: syscall.ENOSPC} })
			return func() { fill(store.fillWithZeros) }
		},
		Reserve: true,
		Copy: func(t *testing.T, path string) func() {
			whole, err := os.ReadFile(path)
			require.NoError(t, err)
			return func() { require.NoError(t, os.WriteFile(path, whole, 0o600)) }
		},
		OpenCopy: func(path string) (carewire.Store, error) {
			return opened(Open(path, &Options{Reserve: 1, NewEpoch: true}))
		},
	})
}

// opened keeps a nil *Store from becoming a Store that is not.
func opened(s *Store, err error) (carewire.Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

func BenchmarkStore(b *testing.B) {
	storetest.Bench(b, func(b *testing.B) carewire.Store {
		s, err := Open(b.TempDir()+"/store", nil)
		require.NoError(b, err)
		b.Cleanup(func() { _ = s.Close() })
		return s
	})
}
