// Package pagerstest tests the contract of the Pagers in package pagers, for
// these and for a host's own.
package pagerstest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/carewire/carewire"
)

// Gateway is a Pager's gateway in a test.
type Gateway interface {
	// Fail makes the gateway refuse everything from now on, or take it again.
	Fail(bool)
	// Messages returns all that has arrived and was taken, as it came, header
	// and all.
	Messages() []string
}

// The alert that is paged about holds these words. They must not leave.
const (
	Patient = "canary-patient"
	Text    = "canary text"
	Key     = "canary-key"
)

// Page is a page for to. n makes its key.
func Page(to string, n int) carewire.Page {
	return carewire.Page{Key: fmt.Sprintf("alert-1/%d/%s", n, to), To: to, Level: n,
		Alert: carewire.Alert{ID: "alert-1", Patient: Patient, Key: Key, Text: Text, Priority: carewire.PriorityHigh}}
}

// Run checks that the Pager of new keeps the contract: it hands over, it fails
// where the gateway fails, it ends with its context, the same key is the same
// message, many pages at once are safe, and no health data leaves or stands in
// an error. Person:ada must have an address, person:nobody none. name
// returns a message's name of the page; nil means that the way has no such name.
func Run(t *testing.T, new func(t *testing.T) (carewire.Pager, Gateway), name func(message string) string) {
	page := func(t *testing.T, p carewire.Pager, to string, n int, limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return p.Page(ctx, Page(to, n))
	}
	silent := func(t *testing.T, s string) {
		for _, word := range []string{Patient, Text, Key, "ada", "+49"} {
			if strings.Contains(s, word) {
				t.Errorf("an error says %q", word)
			}
		}
	}
	t.Run("HandsOver", func(t *testing.T) {
		p, g := new(t)
		if err := page(t, p, "person:ada", 1, time.Minute); err != nil {
			t.Fatal(err)
		}
		list := g.Messages()
		if len(list) != 1 {
			t.Fatalf("%d messages arrived, want 1", len(list))
		}
		for _, word := range []string{Patient, Text, Key} {
			if strings.Contains(list[0], word) {
				t.Errorf("health data has left: %q", word)
			}
		}
		if !strings.Contains(list[0], "igh") { // High alert, or priority high
			t.Error("the message does not say the priority")
		}
	})
	t.Run("FailsWithTheGateway", func(t *testing.T) {
		p, g := new(t)
		g.Fail(true)
		err := page(t, p, "person:ada", 1, time.Second)
		if err == nil {
			t.Fatal("a page that the gateway refused counts as handed over")
		}
		silent(t, err.Error())
		g.Fail(false)
		if err := page(t, p, "person:ada", 1, time.Minute); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("NoAddress", func(t *testing.T) {
		p, g := new(t)
		err := page(t, p, "person:nobody", 1, time.Minute)
		if err == nil || len(g.Messages()) > 0 {
			t.Fatal("a page without an address counts as handed over")
		}
		silent(t, err.Error())
	})
	t.Run("EndsWithItsContext", func(t *testing.T) {
		p, _ := new(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if p.Page(ctx, Page("person:ada", 1)) == nil {
			t.Fatal("a page under a context that is done counts as handed over")
		}
	})
	t.Run("SameKeySameName", func(t *testing.T) {
		if name == nil {
			t.Skip("this way names no message")
		}
		p, g := new(t)
		for _, n := range []int{1, 1, 2} {
			if err := page(t, p, "person:ada", n, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		count := map[string]int{}
		for _, m := range g.Messages() { // a gateway may deliver in another order
			count[name(m)]++
		}
		if got := slices.Sorted(maps.Values(count)); !slices.Equal(got, []int{1, 2}) || count[""] > 0 {
			t.Fatal("the same key is not the same name, or two keys are")
		}
	})
	t.Run("ManyAtOnce", func(t *testing.T) {
		p, g := new(t)
		errs := make(chan error)
		for n := range 20 {
			go func() { errs <- page(t, p, "person:ada", n, time.Minute) }()
		}
		for range 20 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if n := len(g.Messages()); n != 20 {
			t.Fatalf("%d messages arrived, want 20", n)
		}
	})
}
