package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers/webpush"
)

// pushes are the push subscriptions of the staff, and a webpush.Keeper. A real host
// keeps them, and the key, in its database: here they end with the process, and
// pages subscribe again.
type pushes struct {
	key    *webpush.Key
	people *people
	pager  webpush.Pager

	mu   sync.Mutex
	list map[string][]webpush.Subscription // by user
}

const browsersKept = 5 // of one user

func newPushes(p *people) (*pushes, error) {
	key, err := webpush.NewKey()
	x := &pushes{key: key, people: p, list: map[string][]webpush.Subscription{}}
	x.pager = webpush.Pager{Keeper: x, Contact: "mailto:ward@example.com"}
	return x, err
}

func (x *pushes) Key(context.Context) (*webpush.Key, error) { return x.key, nil }

// Subscriptions are those of a person, or of all in a group.
func (x *pushes) Subscriptions(_ context.Context, to string) (list []webpush.Subscription, _ error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, u := range x.people.users {
		if isTo(u.Principal, to) {
			list = append(list, x.list[u.ID]...)
		}
	}
	return list, nil
}

// Gone forgets a subscription.
func (x *pushes) Gone(_ context.Context, s webpush.Subscription) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, list := range x.list {
		x.list[id] = slices.DeleteFunc(list, func(y webpush.Subscription) bool { return y == s })
	}
	return nil
}

// add keeps a subscription for u alone: the last user to subscribe has the browser.
func (x *pushes) add(u carewire.Principal, s webpush.Subscription) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, list := range x.list {
		x.list[id] = slices.DeleteFunc(list, func(y webpush.Subscription) bool { return y.Endpoint == s.Endpoint })
	}
	list := append(x.list[u.ID], s)
	x.list[u.ID] = list[max(0, len(list)-browsersKept):]
}

// isTo reports whether a page for to is for u.
func isTo(u carewire.Principal, to string) bool {
	group, isGroup := strings.CutPrefix(to, "group:")
	return to == "person:"+u.ID || isGroup && u.Role == carewire.RoleClinician && slices.Contains(u.Groups, group)
}

// servePush takes subscriptions from the page, and reports from its service worker.
func (w *ward) servePush(mux *http.ServeMux) {
	mux.HandleFunc("POST /push", w.known(func(r *http.Request, u carewire.Principal) (any, error) {
		b, _ := io.ReadAll(io.LimitReader(r.Body, 5000))
		s, err := webpush.ParseSubscription(b)
		if err != nil {
			return nil, badLimit(err.Error())
		}
		if u.Role != carewire.RoleClinician {
			return nil, carewire.ErrForbidden
		}
		w.push.add(u, s)
		return nil, nil
	}))
	mux.HandleFunc("POST /page", w.known(w.reportPage))
}

// reportPage takes the report of a service worker on a page for u, and answers with
// the alert's text and bed.
func (w *ward) reportPage(r *http.Request, u carewire.Principal) (any, error) {
	var in struct {
		Key     string
		Outcome carewire.PageOutcome
	}
	if json.NewDecoder(io.LimitReader(r.Body, 5000)).Decode(&in) != nil {
		return nil, badLimit("key and outcome are needed")
	}
	if parts := strings.SplitN(in.Key, "/", 3); len(parts) < 3 || !isTo(u, parts[2]) {
		return nil, carewire.ErrForbidden
	}
	a, err := w.hub.Receipt(r.Context(), carewire.PageReport{Key: in.Key, Outcome: in.Outcome, By: u})
	if err != nil {
		return nil, err
	}
	if _, err := w.hub.Disclose(r.Context(), carewire.Access{Principal: u, Action: carewire.ActionWatch, Patients: []string{a.Patient}}); err != nil {
		return nil, err
	}
	p, _ := w.people.patient(a.Patient)
	return map[string]any{"text": a.Text, "bed": p.Bed, "accepted": a.Responsibility.State == carewire.ResponsibilityAccepted}, nil
}
