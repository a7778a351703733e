package pagerstest_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers"
	"github.com/carewire/carewire/pagers/pagerstest"
)

// A Pager of a host's own keeps the contract: here one that puts messages into a
// queue of the house.
func Example() {
	_ = testQueue // a host calls it TestQueue
}

func testQueue(t *testing.T) {
	pagerstest.Run(t, func(*testing.T) (carewire.Pager, pagerstest.Gateway) {
		q := new(queue)
		return q, q
	}, func(message string) string {
		var m pagers.Message
		if json.Unmarshal([]byte(message), &m) != nil {
			return ""
		}
		return m.Key
	})
}

type queue struct {
	mu       sync.Mutex
	down     bool
	messages []string
}

// Page implements carewire.Pager. No health data goes into the message.
func (q *queue) Page(ctx context.Context, p carewire.Page) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.To != "person:ada" {
		return pagers.ErrNoAddress
	}
	b, err := json.Marshal(pagers.Message{Key: p.Key, To: p.To, AlertID: p.Alert.ID, Level: p.Level, Priority: p.Alert.Priority})
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.down {
		return errors.New("the queue is down")
	}
	q.messages = append(q.messages, string(b))
	return nil
}

// Fail implements pagerstest.Gateway.
func (q *queue) Fail(down bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.down = down
}

// Messages implements pagerstest.Gateway.
func (q *queue) Messages() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.messages
}
