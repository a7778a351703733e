package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/carewire/carewire"
)

// What follows reads and writes frames as docs/protocol.md has them, without
// the library's own code: its client hides restarts, and would share its faults.

// A frame is one from the server. Objects are kept as the text that came.
type frame struct {
	Type      string
	Req       string
	Code      string
	Retry     string
	RetryMS   int `json:"retry_ms"`
	Patient   string
	Epoch     string
	Seq, Must uint64
	Recovered bool
	Results   []result
	Vital     json.RawMessage
	Alert     json.RawMessage
	Events    []frame
	Next      uint64
	Watching  []string
	Refused   []json.RawMessage
}

// A result is that of one vital of a publish.
type result struct {
	Seq      uint64
	Repeated bool
	Error    *struct{ Code, Retry, Field string }
}

type vitalText struct {
	ID    string `json:"vital_id"`
	Value json.Number
	Time  time.Time
}

type alertText struct {
	ID             string `json:"alert_id"`
	Patient, Key   string
	Text           string
	Kind           string
	Rev            uint64
	Condition      string
	Raised         time.Time
	Ended          time.Time
	Responsibility struct {
		State string
		By    struct{ ID string }
	}
	Answers     []answerText
	AnswerCount int `json:"answer_count"`
	Escalation  struct {
		Level, Step int
		State       string
		Due, Began  time.Time
		Told        []string
	}
}

type answerText struct {
	Do, Reason string
	By         struct{ ID string }
}

// A line is one connection. Its requests may be made concurrently.
type line struct {
	ws     *websocket.Conn
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	events func(*frame) // gets what is no reply

	mu      sync.Mutex
	n       int
	waiting map[string]chan *frame
}

var errCut = errors.New("the line was cut")

// connect makes one attempt. events is called with each event in order, and must not block.
func connect(ctx context.Context, url, token string, events func(*frame)) (*line, error) {
	dialing, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(dialing, url, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}, Subprotocols: []string{carewire.Protocol}})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(1 << 20)
	l := &line{ws: ws, events: events, waiting: make(map[string]chan *frame)}
	l.ctx, l.cancel = context.WithCancel(ctx)
	first, err := l.next(dialing)
	if err != nil || first.Type != "welcome" {
		l.close()
		return nil, fmt.Errorf("no welcome: %w", err)
	}
	go l.read()
	return l, nil
}

func (l *line) next(ctx context.Context) (*frame, error) {
	_, b, err := l.ws.Read(ctx)
	if err != nil {
		return nil, err
	}
	f := new(frame)
	return f, json.Unmarshal(b, f)
}

func (l *line) read() {
	defer l.close()
	for {
		f, err := l.next(l.ctx)
		switch {
		case err != nil:
			return
		case f.Type == "ok" || f.Type == "error":
			l.mu.Lock()
			ch := l.waiting[f.Req]
			delete(l.waiting, f.Req)
			l.mu.Unlock()
			if ch != nil {
				ch <- f
			}
		case l.events != nil:
			l.events(f)
		}
	}
}

func (l *line) close() {
	l.cancel()
	l.ws.CloseNow()
}

// ask sends a request, without its req, and returns the reply. errCut means
// that nobody knows whether it was carried out.
func (l *line) ask(request map[string]any) (*frame, error) {
	ch := make(chan *frame, 1)
	l.mu.Lock()
	l.n++
	req := strconv.Itoa(l.n)
	l.waiting[req] = ch
	l.mu.Unlock()
	sent := map[string]any{"req": req}
	for k, v := range request {
		sent[k] = v
	}
	b, err := json.Marshal(sent)
	if err != nil {
		return nil, err
	}
	if l.ws.Write(l.ctx, websocket.MessageText, b) != nil {
		return nil, errCut
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case f := <-ch:
		return f, nil
	case <-l.ctx.Done():
		select {
		case f := <-ch: // it came before the cut
			return f, nil
		default:
			return nil, errCut
		}
	case <-late.C:
		return nil, errors.New("a request has no reply, and the line is alive")
	}
}

// A caller makes requests until they have a final reply, over lost
// connections, and sends each again as it was.
type caller struct {
	t          testing.TB
	url, token string
	mu         sync.Mutex
	line       *line
}

// connected returns a line, a new one if need be.
func (c *caller) connected(ctx context.Context) (*line, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.line != nil && c.line.ctx.Err() == nil {
		return c.line, nil
	}
	for {
		l, err := connect(ctx, c.url, c.token, nil)
		if err == nil {
			c.line = l
			return l, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// call returns the final reply, and how often the request was sent.
func (c *caller) call(ctx context.Context, request map[string]any) (f *frame, sent int, err error) {
	for {
		l, err := c.connected(ctx)
		if err != nil {
			return nil, sent, err
		}
		sent++
		f, err := l.ask(request)
		switch {
		case errors.Is(err, errCut):
			continue
		case err != nil:
			return nil, sent, err
		case f.Type == "error" && f.Retry == "later":
			select {
			case <-time.After(max(50*time.Millisecond, time.Duration(f.RetryMS)*time.Millisecond)):
				continue
			case <-ctx.Done():
				return nil, sent, ctx.Err()
			}
		}
		return f, sent, nil
	}
}

func (c *caller) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.line != nil {
		c.line.close()
	}
}

// history reads a patient's log behind a number.
func (c *caller) history(ctx context.Context, patient string, after uint64) ([]frame, error) {
	var list []frame
	for {
		request := map[string]any{"type": "history", "patient": patient}
		if after > 0 {
			request["cursor"] = after
		}
		f, _, err := c.call(ctx, request)
		switch {
		case err != nil:
			return nil, err
		case f.Type != "ok":
			return nil, fmt.Errorf("history is answered %s", f.Code)
		}
		list = append(list, f.Events...)
		if f.Next == 0 {
			return list, nil
		}
		after = f.Next
	}
}
