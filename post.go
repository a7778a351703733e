package carewire

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/carewire/carewire/internal/wsconn"
)

// replyWithin is how long a request by POST waits for its outcome: then the
// reply is that the outcome is unknown.
const replyWithin = 30 * time.Second

const eventStream = "text/event-stream"

// servePost takes one request and answers with its reply, or with the stream
// of events that it asks for.
func (h *Hub) servePost(w http.ResponseWriter, r *http.Request) {
	h.showTo(w, r)
	// Also while a refused body is drained. net/http lifts it at the body's end.
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.opt.MessageTimeout))
	g := h.admit(w, r, h.checkPost(r))
	if g == nil {
		return
	}
	kept := false
	defer func() {
		if !kept {
			g.leave()
		}
	}()
	body, status := readBody(w, r, h.opt.MaxFrame)
	if status != 0 {
		h.refuse(w, r, g.who, status, &h.stats.badRequest)
		return
	}
	w.Header().Set("Cache-Control", "no-store, no-transform")
	c := newConn(h, g, r)
	switch {
	case len(body) == 0: // a probe: may I come in?
		h.stats.accepted.Add(1)
		w.WriteHeader(http.StatusNoContent)
	case h.wantsStream(r, body):
		c.stream(w, r, body, g)
	default:
		kept = true // for as long as the request takes
		c.answer(w, r, body, g)
	}
}

// checkPost returns the status that refuses a malformed POST, or 0.
func (h *Hub) checkPost(r *http.Request) int {
	if r.ContentLength == 0 {
		return 0
	}
	typ, param, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, given := param["charset"]
	switch {
	case err != nil || typ != "application/json" || len(r.Header["Content-Type"]) > 1, given && !strings.EqualFold(charset, "utf-8"):
		return http.StatusUnsupportedMediaType
	case r.Header.Get("Content-Encoding") != "":
		return http.StatusUnsupportedMediaType
	case r.ContentLength > int64(h.opt.MaxFrame):
		return http.StatusRequestEntityTooLarge
	}
	return 0
}

func readBody(w http.ResponseWriter, r *http.Request, most int) (b []byte, status int) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(most)))
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig):
		return nil, http.StatusRequestEntityTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, http.StatusRequestTimeout
	case err != nil || !utf8.Valid(b):
		return nil, http.StatusBadRequest
	}
	return b, 0
}

// wantsStream reports whether a request is a good watch whose reply is to be a
// stream.
func (h *Hub) wantsStream(r *http.Request, body []byte) bool {
	if peekType(body) != string(reqWatch) {
		return false
	}
	for _, accept := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(accept, ",") {
			typ, _, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(typ), eventStream) {
				_, err := decodeRequest(body, h.opt.MaxVitals)
				return err == nil
			}
		}
	}
	return false
}

// showTo lets the page that asks read the answer, if its origin is allowed.
func (h *Hub) showTo(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !h.servesHost(r) || !originAllowed(r, h.opt.Origins) {
		return false
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	w.Header().Set("Access-Control-Allow-Credentials", "true")
	w.Header().Set("Access-Control-Expose-Headers", "Retry-After")
	return true
}

// servePreflight tells a browser whether a page of another origin may POST.
func (h *Hub) servePreflight(w http.ResponseWriter, r *http.Request) {
	allowed := h.showTo(w, r)
	switch {
	case !h.servesHost(r):
		h.refuse(w, r, &Principal{}, http.StatusMisdirectedRequest, &h.stats.badRequest)
		return
	case !allowed:
		h.refuse(w, r, &Principal{}, http.StatusForbidden, &h.stats.forbidden)
		return
	}
	w.Header().Set("Access-Control-Allow-Methods", http.MethodPost)
	w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
	w.Header().Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}

// A replyLine is the line of a single request: it takes the one reply.
type replyLine struct {
	reply chan []byte // with room for it
	leave func()      // gives the request's place back
}

func (l *replyLine) WriteFrames(p []byte, _ bool) error {
	_, text, _ := wsconn.CutFrame(p)
	l.leave() // first: the client may come again at once
	l.reply <- slices.Clone(text)
	return nil
}

func (l *replyLine) Cut() {}

// answer carries out one request and writes its reply. The request goes on,
// and keeps its place, even if nobody waits for the reply any more.
func (c *conn) answer(w http.ResponseWriter, r *http.Request, body []byte, g *guest) {
	l := &replyLine{reply: make(chan []byte, 1), leave: func() {
		c.recordSent(0)
		g.leave()
	}}
	c.line, c.pace = l, c.hub.postPaces.pace(c.principal().ID, c.hub.opt.MaxRequests)
	c.out = c.replyTo(l, body)
	if c.hub.registry.isClosing() || !c.hub.start(func() { c.handle(body) }) {
		g.leave()
		c.hub.refuse(w, r, g.who, http.StatusServiceUnavailable, &c.hub.stats.refused)
		return
	}
	c.hub.stats.accepted.Add(1)
	var text []byte
	select {
	case text = <-l.reply:
	case <-time.After(replyWithin):
		sent, _ := decodeRequest(body, c.hub.opt.MaxVitals)
		_, text, _ = wsconn.CutFrame(errorFrame(sent.Req, ErrUnknownOutcome))
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Write(text)
}

// replyTo returns the outbox of a request by POST. A reply that finds no room is
// replaced by one that says so.
func (c *conn) replyTo(l *replyLine, body []byte) outbox {
	return outbox{shared: c.hub.outboxes, sink: l, who: c.principal(), fail: func() {}, full: func() {
		l.WriteFrames(errorFrame(reqOf(body), ErrUnknownOutcome), false)
	}}
}

// checkTransport returns an error if a request of type t cannot come by POST, or on a
// connection, as this one did.
func (c *conn) checkTransport(t requestType) error {
	_, posted := c.line.(*replyLine)
	switch {
	case posted && t == reqWatch:
		return invalid("type", "needs a connection, or a POST that accepts text/event-stream")
	case posted && (t == reqUnwatch || t == reqToken || t == reqWave):
		return invalid("type", "needs a connection")
	case !posted && t == reqTicket:
		return invalid("type", "needs a POST")
	}
	return nil
}
