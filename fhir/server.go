package fhir

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/carewire/carewire"
)

// Options are a host's choices for a Server.
type Options struct {
	// Base is the URL under which clients reach the Server, such as
	// "https://ehr.example/fhir". It is required.
	Base string

	// Hooks lets clients have notifications posted to them (rest-hook); nil: they
	// may not. See [Hooks].
	Hooks *Hooks

	MaxBody          int           // bytes of a request; 0: 1 MiB
	MaxEntries       int           // of a Bundle; 0: 500
	MaxSubscriptions int           // of one principal; 0: 200
	MaxSockets       int           // sockets for notifications at once; 0: 10,000
	Heartbeat        time.Duration // of a subscription that names none; 0: 30 s
	Logger           *slog.Logger  // gets no health data; nil: slog.Default()
}

func (o *Options) withDefaults() (c Options, err error) {
	if o != nil {
		c = *o
	}
	u, err := url.Parse(c.Base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return c, errors.New("fhir: Options.Base must be an absolute http or https URL")
	}
	c.Base = strings.TrimSuffix(c.Base, "/")
	for _, n := range []struct {
		v   *int
		def int
	}{{&c.MaxBody, 1 << 20}, {&c.MaxEntries, 500}, {&c.MaxSubscriptions, 200}, {&c.MaxSockets, 10000}} {
		if *n.v <= 0 {
			*n.v = n.def
		}
	}
	if c.Heartbeat <= 0 {
		c.Heartbeat = 30 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// A Server is an http.Handler that offers a Hub by FHIR, to hosts without a
// FHIR server. Mount it beside the Hub, under its base path with
// [http.StripPrefix]. The Hub's Authenticator identifies callers, and its
// Authorizer decides. All access is in the Hub's audit trail. docs/interop.md
// lists the supported requests. It is safe for concurrent use.
type Server struct {
	hub   *carewire.Hub
	store carewire.Store
	opt   Options
	log   *slog.Logger
	ctx   context.Context // ends with Close
	stop  context.CancelFunc
	wg    sync.WaitGroup

	subscriptions subscriptions
	sockets       sockets
	resends       resends
	looks         looks
	stats         counters
}

// New returns a Server for hub. store must be the Hub's own Store; the Server
// keeps its state there. Both, and Options.Base, are required. Close ends it.
func New(hub *carewire.Hub, store carewire.Store, o *Options) (*Server, error) {
	if hub == nil || store == nil {
		return nil, errors.New("fhir: a Hub and its Store are required")
	}
	opt, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{hub: hub, store: store, opt: opt, log: opt.Logger}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.subscriptions.init(s)
	s.sockets.init(s)
	s.resends.init(s)
	s.looks.init()
	if opt.Hooks != nil {
		if err := opt.Hooks.check(); err != nil {
			return nil, err
		}
		s.wg.Go(s.postHooks)
	}
	return s, nil
}

// Close ends the sockets and rest-hooks, and returns when all have ended. Close
// the Server before the Hub. Later requests are answered 503.
func (s *Server) Close() {
	s.stop()
	s.sockets.closeAll()
	s.wg.Wait()
}

// A caller is the sender of a request.
type caller struct {
	r   *http.Request
	who carewire.Principal
}

// A response is the answer to a request.
type response struct {
	status   int // 0: 200
	resource any // nil: none
	location string
	etag     string
}

type handler func(*Server, *caller, []string) (*response, error)

// A route is one interaction. An asterisk in the path stands for one segment,
// which the handler is given.
type route struct {
	method, path string
	handle       handler
}

var routes = []route{
	{"POST", "", (*Server).postBundle},
	{"POST", "Observation", (*Server).createObservation},
	{"GET", "Observation", (*Server).searchObservations},
	{"POST", "Observation/_search", (*Server).searchObservations},
	{"GET", "Observation/$lastn", (*Server).lastObservations},
	{"GET", "Observation/*", (*Server).readObservation},
	{"POST", "Communication", (*Server).createCommunication},
	{"GET", "Communication", (*Server).searchCommunications},
	{"POST", "Communication/_search", (*Server).searchCommunications},
	{"GET", "Communication/*", (*Server).readCommunication},
	{"GET", "Flag", (*Server).searchFlags},
	{"POST", "Flag/_search", (*Server).searchFlags},
	{"GET", "Flag/*", (*Server).readFlag},
	{"GET", "DetectedIssue", (*Server).searchDetectedIssues},
	{"POST", "DetectedIssue/_search", (*Server).searchDetectedIssues},
	{"GET", "DetectedIssue/*", (*Server).readDetectedIssue},
	{"POST", "Subscription", (*Server).createSubscription},
	{"GET", "Subscription", (*Server).searchSubscriptions},
	{"GET", "Subscription/$status", (*Server).subscriptionStatus},
	{"POST", "Subscription/$status", (*Server).subscriptionStatus},
	{"GET", "Subscription/$get-ws-binding-token", (*Server).bindingToken},
	{"POST", "Subscription/$get-ws-binding-token", (*Server).bindingToken},
	{"GET", "Subscription/*", (*Server).readSubscription},
	{"PUT", "Subscription/*", (*Server).updateSubscription},
	{"DELETE", "Subscription/*", (*Server).deleteSubscription},
	{"GET", "Subscription/*/$status", (*Server).subscriptionStatus},
	{"POST", "Subscription/*/$status", (*Server).subscriptionStatus},
	{"GET", "Subscription/*/$events", (*Server).subscriptionEvents},
	{"POST", "Subscription/*/$events", (*Server).subscriptionEvents},
	{"GET", "Subscription/*/$resend", (*Server).resendEvents},
	{"POST", "Subscription/*/$resend", (*Server).resendEvents},
	{"GET", "Subscription/*/$get-ws-binding-token", (*Server).bindingToken},
	{"POST", "Subscription/*/$get-ws-binding-token", (*Server).bindingToken},
}

// socketPath is where sockets for notifications connect, under the base.
const socketPath = "subscription-websocket"

// ServeHTTP answers one request, or accepts a socket.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	path := strings.Trim(r.URL.Path, "/")
	switch {
	case s.ctx.Err() != nil:
		refuse(w, carewire.ErrClosed)
	case path == socketPath:
		s.sockets.serve(w, r)
	case r.Method == http.MethodOptions:
		s.preflight(w, r)
	case !acceptsJSON(r):
		refuse(w, fail(http.StatusNotAcceptable, "not-supported", "only application/fhir+json is written"))
	case path == "metadata" && r.Method == http.MethodGet:
		answer(w, http.StatusOK, s.capabilities())
	default:
		s.serve(w, r, path)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, path string) {
	handle, args, allowed := match(r.Method, path)
	switch {
	case handle != nil:
	case len(allowed) > 0:
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		refuse(w, errMethod)
		return
	default:
		refuse(w, errNotOffered)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, int64(s.opt.MaxBody))
	who, err := s.hub.Identify(r)
	if err != nil {
		refuse(w, err)
		return
	}
	if origin := r.Header.Get("Origin"); origin != "" { // the Hub has allowed it
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Allow-Credentials", "true")
		w.Header().Set("Access-Control-Expose-Headers", "Location, ETag, Retry-After")
		w.Header().Add("Vary", "Origin")
	}
	res, err := handle(s, &caller{r, who}, args)
	if err != nil {
		refuse(w, err)
		return
	}
	if res.location != "" {
		w.Header().Set("Location", res.location)
	}
	if res.etag != "" {
		w.Header().Set("ETag", res.etag)
	}
	if res.status == 0 {
		res.status = http.StatusOK
	}
	answer(w, res.status, res.resource)
}

// match finds a route; without one, allowed has the other methods of the path.
func match(method, path string) (h handler, args, allowed []string) {
	parts := strings.Split(path, "/")
next:
	for _, route := range routes {
		want := strings.Split(route.path, "/")
		if len(want) != len(parts) {
			continue
		}
		args = nil
		for i, w := range want {
			switch {
			case w == "*" && parts[i] != "" && parts[i][0] != '$' && parts[i][0] != '_':
				args = append(args, parts[i])
			case w != parts[i]:
				continue next
			}
		}
		if route.method == method {
			return route.handle, args, nil
		}
		allowed = append(allowed, route.method)
	}
	return nil, nil, allowed
}

// acceptsJSON reports whether r takes JSON as its answer.
func acceptsJSON(r *http.Request) bool {
	wanted := r.Header.Get("Accept")
	if i := strings.Index(r.URL.RawQuery, "_format="); i >= 0 {
		if f := r.URL.Query().Get("_format"); f != "" {
			wanted = f
		}
	}
	return wanted == "" || strings.Contains(wanted, "json") || strings.Contains(wanted, "*/*") || strings.Contains(wanted, "application/*")
}

// preflight tells a browser whether a page of another origin may call: if the Hub
// lets it.
func (s *Server) preflight(w http.ResponseWriter, r *http.Request) {
	rec := newRecorder()
	s.hub.ServeHTTP(rec, r)
	origin := rec.header.Get("Access-Control-Allow-Origin")
	if origin == "" {
		refuse(w, errForbidden)
		return
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Accept, Prefer, If-None-Exist")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}

// body reads a request's resource.
func (c *caller) body() ([]byte, error) {
	typ, _, _ := strings.Cut(c.r.Header.Get("Content-Type"), ";")
	if typ = strings.TrimSpace(typ); typ != "application/fhir+json" && typ != "application/json" {
		return nil, fail(http.StatusUnsupportedMediaType, "not-supported", "only application/fhir+json is read")
	}
	b, err := io.ReadAll(c.r.Body)
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig):
		return nil, fail(http.StatusRequestEntityTooLarge, "too-long", "too long")
	case err != nil:
		return nil, fail(http.StatusBadRequest, "incomplete", "the request did not come whole")
	}
	return b, nil
}

// resource reads a request's resource as elements.
func (c *caller) resource() (*element, []byte, error) {
	b, err := c.body()
	if err != nil {
		return nil, nil, err
	}
	e, err := parse(b)
	if err != nil {
		f := failureOf(err)
		f.status, f.code = http.StatusBadRequest, "structure"
		return nil, nil, f
	}
	return e, b, nil
}

// wants reports whether a client prefers an answer of one form: minimal,
// representation or OperationOutcome.
func (c *caller) wants(what string) bool {
	for part := range strings.SplitSeq(strings.Join(c.r.Header.Values("Prefer"), ","), ",") {
		if strings.TrimSpace(part) == "return="+what {
			return true
		}
	}
	return false
}
