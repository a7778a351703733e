package carewire

import (
	"errors"
	"sync"
)

// An ether is a Relay in memory, for several Hubs. Each Hub has a port of its own.
type ether struct {
	mu    sync.Mutex
	subs  map[string]map[*int]func([]byte) // by subject
	sent  []parcel                         // everything that was sent
	carry func(p parcel)                   // nil: each message reaches all subscribers at once
	fail  bool                             // Send and Subscribe fail
}

// A parcel is one message on its way.
type parcel struct {
	subject string
	message []byte
	arrive  func(message []byte) // hands it, or another one, to the subscribers
}

func newEther() *ether { return &ether{subs: make(map[string]map[*int]func([]byte))} }

var errEther = errors.New("the ether is down")

func (x *ether) Send(subject string, message []byte) error {
	x.mu.Lock()
	if x.fail {
		x.mu.Unlock()
		return errEther
	}
	p := parcel{subject: subject, message: message, arrive: func(m []byte) { x.arrive(subject, m) }}
	x.sent = append(x.sent, p)
	carry := x.carry
	x.mu.Unlock()
	if carry == nil {
		p.arrive(message)
	} else {
		carry(p)
	}
	return nil
}

func (x *ether) arrive(subject string, message []byte) {
	x.mu.Lock()
	var all []func([]byte)
	for _, receive := range x.subs[subject] {
		all = append(all, receive)
	}
	x.mu.Unlock()
	for _, receive := range all {
		receive(message)
	}
}

func (x *ether) Subscribe(subject string, receive func([]byte)) (func(), error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.fail {
		return nil, errEther
	}
	if x.subs[subject] == nil {
		x.subs[subject] = make(map[*int]func([]byte))
	}
	id := new(int)
	x.subs[subject][id] = receive
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		if delete(x.subs[subject], id); len(x.subs[subject]) == 0 {
			delete(x.subs, subject)
		}
	}, nil
}

// by has messages carried by f from now on.
func (x *ether) by(f func(parcel)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.carry = f
}

// down has all calls fail from now on, or no more.
func (x *ether) down(yes bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fail = yes
}

// subjects counts the subjects that anybody listens to.
func (x *ether) subjects() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.subs)
}

// parcels returns the messages that were sent since it was last called.
func (x *ether) parcels() []parcel {
	x.mu.Lock()
	defer x.mu.Unlock()
	sent := x.sent
	x.sent = nil
	return sent
}
