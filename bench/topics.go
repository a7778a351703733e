package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// A topicFloor does the least for a ward: it reads a device's frame, copies a ready
// frame into the buffer of each client that watches the patient, and writes a ready answer.
type topicFloor struct {
	mu       sync.Mutex
	watchers map[int][]*bufferedClient // by patient
}

func newTopics(settings) (contender, error) {
	return &topicFloor{watchers: make(map[int][]*bufferedClient)}, nil
}

func (f *topicFloor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, in, err := upgrade(w, r)
	if err != nil {
		return
	}
	c := newBufferedClient(conn)
	defer c.close()
	f.serve(c, in)
}

func (f *topicFloor) serve(c *bufferedClient, in *bufio.Reader) {
	answer, ready := textFrame([]byte(topicAnswer)), textFrame([]byte(readyMessage))
	for {
		text, err := readMasked(in)
		if err != nil {
			return
		}
		if _, id, ok := bytes.Cut(text, idMark); ok {
			patient := int(digits(id[:5]))
			frame := textFrame(padded(text))
			f.mu.Lock()
			for _, w := range f.watchers[patient] {
				w.add(frame)
			}
			f.mu.Unlock()
			c.add(answer)
			continue
		}
		var first, count int
		fmt.Sscanf(string(text), "watch %d %d", &first, &count)
		f.mu.Lock()
		for i := range count {
			f.watchers[first+i] = append(f.watchers[first+i], c)
		}
		f.mu.Unlock()
		c.add(ready)
	}
}

// padded is text, as long as an event at least.
func padded(text []byte) []byte {
	return append(text, bytes.Repeat([]byte(" "), max(0, eventSize-len(text)))...)
}

func (f *topicFloor) publish(int, int, int, time.Time) error { return errors.ErrUnsupported }

const topicAnswer = `{"type":"ok","req":"1","results":[{"seq":1}]}`

var topicDialect = dialect{
	watch: func(first, count int) []string { return []string{fmt.Sprintf("watch %d %d", first, count)} },
	send:  publishRequest, accepted: accepted, ready: `"ready"`,
}
