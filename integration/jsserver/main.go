// Command jsserver is a Hub for the tests of js/client, which start it as a
// program of its own: they stop it, kill it, and tell it to fail.
//
// A token is a Principal as JSON in base64url. GET / serves the client and the
// pages of the tests; POST /control takes a control as JSON and answers with
// the Hub's statistics.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/carewire/carewire"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "where to listen")
	files := flag.String("files", "", "a directory to serve")
	say := flag.Bool("say", false, "take frames that are said (settings.Say)")
	flag.Parse()
	s := &server{Store: carewire.NewMemoryStore(nil), groups: make(map[string][]string)}
	hub, err := carewire.New(s, s, &carewire.Options{Directory: s, MaxPatients: 10000, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Origins: []string{"http://other.example"}})
	if err != nil {
		log.Fatal(err)
	}
	s.hub = hub
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/carewire", s.serve)
	mux.HandleFunc("POST /control", s.control)
	if *files != "" {
		mux.Handle("/", http.FileServer(http.Dir(*files)))
	}
	fmt.Println("listening", l.Addr())
	srv := &http.Server{Handler: mux}
	if *say {
		l, srv.ConnContext = said{l}, withConn
		s.said = make(map[speaker]bool)
	}
	log.Fatal(srv.Serve(l))
}

// A server is a Hub with its Store, users and groups, whose behaviour can be set.
type server struct {
	carewire.Store
	hub *carewire.Hub

	mu     sync.Mutex
	groups map[string][]string
	set    settings
	posts  int              // requests by POST, but for probes
	said   map[speaker]bool // the connections that hear what is said; nil: none does
}

// settings are the values that a control may change. A field that it leaves out stays.
type settings struct {
	FailStore bool                // reads and writes fail
	FailWards bool                // the patients of a group cannot be found out
	Refuse    int                 // the status for everything
	Block     bool                // 502 for WebSockets only
	Unknown   []string            // principals whose tokens are not good any more
	Members   map[string][]string // of groups: replaces theirs
	Revoke    string              // the principal whose access ends; it is not kept
	Say       string              // a frame that is written to all clients, between those of the Hub; it is not kept
}

func (s *server) control(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.set.Revoke, s.set.Members, s.set.Say = "", nil, ""
	err := json.NewDecoder(r.Body).Decode(&s.set)
	set := s.set
	for g, members := range set.Members {
		s.groups[g] = members
	}
	posts := s.posts
	s.mu.Unlock()
	for g := range set.Members {
		err = errors.Join(err, s.hub.MembersChanged(r.Context(), g))
	}
	if set.Revoke != "" {
		err = errors.Join(err, s.hub.Revoke(r.Context(), carewire.Revocation{Principal: set.Revoke}))
	}
	if set.Say != "" {
		err = errors.Join(err, s.say(set.Say))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	stats := s.hub.Stats()
	json.NewEncoder(w).Encode(map[string]any{"connections": stats.Connections, "watches": stats.Watches, "accepted": stats.Handshakes.Accepted,
		"posts": posts, "alerts": stats.AlertsOpen, "wavesIn": stats.WavesIn, "wavesOut": stats.WavesOut})
}

func (s *server) now() settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	set := s.now()
	if r.Method == http.MethodPost && r.ContentLength != 0 {
		s.mu.Lock()
		s.posts++
		s.mu.Unlock()
	}
	switch {
	case set.Refuse != 0:
		http.Error(w, "refused", set.Refuse)
	case set.Block && r.Method == http.MethodGet:
		http.Error(w, "no WebSocket here", http.StatusBadGateway)
	default:
		w, forget := s.listen(w, r)
		defer forget()
		s.hub.ServeHTTP(w, r)
	}
}

// Authenticate reads a token: a Principal as JSON in base64url.
func (s *server) Authenticate(r *http.Request) (carewire.Principal, error) {
	var p carewire.Principal
	text, err := base64.RawURLEncoding.DecodeString(carewire.Token(r))
	if err != nil || json.NewDecoder(bytes.NewReader(text)).Decode(&p) != nil || p.ID == "" {
		return p, carewire.ErrUnauthenticated
	}
	for _, id := range s.now().Unknown {
		if id == p.ID || strings.HasPrefix(p.Session, id) {
			return p, carewire.ErrUnauthenticated
		}
	}
	if !p.Expires.IsZero() && time.Now().After(p.Expires) {
		return p, carewire.ErrUnauthenticated
	}
	return p, nil
}

// Patients lists the patients of a group.
func (s *server) Patients(_ context.Context, group string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set.FailWards {
		return nil, errWards
	}
	return s.groups[group], nil
}

var (
	errStore = errors.New("the store fails, as it was told")
	errWards = errors.New("the directory fails, as it was told")
)

// Append fails when it was told to.
func (s *server) Append(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
	if s.now().FailStore {
		return nil, errStore
	}
	return s.Store.Append(ctx, entries)
}

// Heads fails when it was told to: the Hub looks at it to judge the Store.
func (s *server) Heads(ctx context.Context, patients []string) ([]carewire.Head, error) {
	if s.now().FailStore {
		return nil, errStore
	}
	return s.Store.Heads(ctx, patients)
}
