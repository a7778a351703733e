package storetest_test

import (
	"testing"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/storetest"
)

// The test of a Store of one's own: every rule of the contract, each on a store
// of its own.
func Example() {
	var t *testing.T // of func TestStore(t *testing.T)
	storetest.Run(t, func(t *testing.T) carewire.Store {
		store := carewire.NewMemoryStore(nil) // or one's own, in t.TempDir()
		t.Cleanup(func() { store.Close() })
		return store
	}, nil)
}
