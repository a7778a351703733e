package drive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
)

// Frame is one from the server. Objects are kept as the text that came.
type Frame struct {
	Type      string
	Req       string
	Code      string
	Retry     string
	RetryMS   int `json:"retry_ms"`
	Patient   string
	Epoch     string
	Seq, Must uint64
	Recovered bool
	Results   []Result
	Vital     json.RawMessage
	Alert     json.RawMessage
	Events    []Frame
	Next      uint64
	Store     string
	Watching  []string
	Refused   []json.RawMessage
}

// Result is that of one vital of a publish.
type Result struct {
	Seq      uint64
	Repeated bool
	Error    *struct{ Code, Retry, Field string }
}

// VitalText holds the members of a Vital that are compared.
type VitalText struct {
	ID     string `json:"vital_id"`
	Device string
	Value  json.Number
	Time   time.Time
}

// AlertText holds the members of an Alert that are compared.
type AlertText struct {
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

// Line is one connection. Its requests may be made concurrently.
type Line struct {
	ws     *websocket.Conn
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	events func(*Frame) // gets the frames that are no replies
	done   chan struct{}
	silent *time.Timer // cuts the line if it is not set again

	mu      sync.Mutex
	n       int
	waiting map[string]chan *Frame
}

var errCut = errors.New("the line was cut")

// Connect makes one attempt. events is called with each event in order, and
// must not block. A line on which nothing comes for as long as silence is cut;
// 0: never.
func Connect(ctx context.Context, url, token string, silence time.Duration, events func(*Frame)) (*Line, error) {
	within := 10 * time.Second
	if silence > 0 {
		within = min(within, silence)
	}
	dialing, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	ws, _, err := websocket.Dial(dialing, url, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}, Subprotocols: []string{carewire.Protocol}})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(4 << 20)
	l := &Line{ws: ws, events: events, done: make(chan struct{}), waiting: make(map[string]chan *Frame)}
	l.ctx, l.cancel = context.WithCancel(ctx)
	first, err := l.next(dialing)
	if err != nil || first.Type != "welcome" {
		l.Close()
		return nil, fmt.Errorf("no welcome: %w", err)
	}
	if silence > 0 {
		l.silent = time.AfterFunc(silence, l.Close)
	}
	go l.read(silence)
	return l, nil
}

// Done is closed when the line has ended, and its last event was taken.
func (l *Line) Done() <-chan struct{} { return l.done }

// Ended reports whether the line has.
func (l *Line) Ended() bool { return l.ctx.Err() != nil }

// Close cuts the line.
func (l *Line) Close() {
	l.cancel()
	l.ws.CloseNow()
}

// Ask sends a request, without its req, and returns the reply. An error means
// that nobody knows whether it was carried out.
func (l *Line) Ask(request map[string]any) (*Frame, error) {
	ch := make(chan *Frame, 1)
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
	late := time.NewTimer(process.Patience)
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

func (l *Line) next(ctx context.Context) (*Frame, error) {
	_, b, err := l.ws.Read(ctx)
	if err != nil {
		return nil, err
	}
	f := new(Frame)
	return f, json.Unmarshal(b, f)
}

func (l *Line) read(silence time.Duration) {
	defer close(l.done)
	defer l.Close()
	for {
		f, err := l.next(l.ctx)
		if l.silent != nil {
			l.silent.Reset(silence)
		}
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

// Caller makes requests until they have a final reply, over lost connections,
// at any of the nodes, and sends each again as it was.
type Caller struct {
	URLs  []string
	Token string
	// Silence is the time without a reply after which the line is given up, and the
	// request sent again elsewhere; 0: as long as the line is there.
	Silence time.Duration

	mu   sync.Mutex
	line *Line
}

// connected returns a line, a new one if need be.
func (c *Caller) connected(ctx context.Context) (*Line, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.line != nil && c.line.ctx.Err() == nil {
		return c.line, nil
	}
	for {
		l, err := Connect(ctx, c.URLs[rand.IntN(len(c.URLs))], c.Token, 0, nil)
		if err == nil {
			c.line = l
			return l, nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// pause waits, and returns an error if ctx ends meanwhile.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return ctx.Err()
}

// Call returns the final reply, and how often the request was sent. An error
// means that there is none: ctx has ended, or a line that is alive gives none.
func (c *Caller) Call(ctx context.Context, request map[string]any) (f *Frame, sent int, err error) {
	for {
		l, err := c.connected(ctx)
		if err != nil {
			return nil, sent, err
		}
		sent++
		var tooLong *time.Timer
		if c.Silence > 0 {
			tooLong = time.AfterFunc(c.Silence, l.Close)
		}
		f, err := l.Ask(request)
		if tooLong != nil {
			tooLong.Stop()
		}
		switch {
		case errors.Is(err, errCut):
			continue
		case err != nil:
			return nil, sent, err
		case f.Type == "error" && f.Retry == "later":
			if err := pause(ctx, max(50*time.Millisecond, time.Duration(f.RetryMS)*time.Millisecond)); err != nil {
				return nil, sent, err
			}
			continue
		}
		return f, sent, nil
	}
}

// Move gives up the line, so that the next request goes to a node anew.
func (c *Caller) Move() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.line != nil {
		c.line.Close()
	}
}

// History reads a patient's log behind a number: all kinds, if none are named.
func (c *Caller) History(ctx context.Context, patient string, after uint64, kinds ...string) ([]Frame, error) {
	var list []Frame
	for {
		request := map[string]any{"type": "history", "patient": patient}
		if after > 0 {
			request["cursor"] = after
		}
		if kinds != nil {
			request["kinds"] = kinds
		}
		f, _, err := c.Call(ctx, request)
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
