package storetest_test

import (
	"testing"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/storetest"
)

// The test of a host's own Store: every rule of the contract, each on a store of
// its own.
func Example() {
	_ = testStore // a host calls it TestStore
}

func testStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) carewire.Store {
		store := carewire.NewMemoryStore(nil) // or the host's own, in t.TempDir()
		t.Cleanup(func() { store.Close() })
		return store
	}, nil)
}
