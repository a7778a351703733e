package boltstore_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/boltstore"
)

func nobody(*http.Request) (carewire.Principal, error) {
	return carewire.Principal{}, carewire.ErrUnauthenticated
}

// An answered event is on disk: another run of the program finds it.
func ExampleOpen() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "carewire")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	for range 2 {
		store, err := boltstore.Open(filepath.Join(dir, "carewire.db"), nil)
		if err != nil {
			panic(err)
		}
		hub, err := carewire.New(carewire.AuthenticatorFunc(nobody), store, nil)
		if err != nil {
			panic(err)
		}
		results, err := hub.Publish(ctx, carewire.HeartRate.Of("p-17", 72))
		fmt.Println("number", results[0].Seq, err)
		hub.Shutdown(ctx) // before the Store is closed
		store.Close()
	}
	// Output:
	// number 1 <nil>
	// number 2 <nil>
}

// Backup copies the file while it is in use.
func ExampleStore_Backup() {
	dir, err := os.MkdirTemp("", "carewire")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	store, err := boltstore.Open(filepath.Join(dir, "carewire.db"), nil)
	if err != nil {
		panic(err)
	}
	defer store.Close()
	copied, err := os.Create(filepath.Join(dir, "backup.db"))
	if err != nil {
		panic(err)
	}
	defer copied.Close()
	fmt.Println(store.Backup(context.Background(), copied))

	again, err := boltstore.Open(copied.Name(), &boltstore.Options{NewEpoch: true})
	if err != nil {
		panic(err)
	}
	fmt.Println(again.Close())
	// Output:
	// <nil>
	// <nil>
}
