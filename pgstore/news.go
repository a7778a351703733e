package pgstore

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
)

const (
	maxNamed        = 1000 // patients that are named one by one; of more it is said that it may be any
	perNotification = 5800 // bytes of names: sealed and as text they must stay below the 8,000 that PostgreSQL takes
)

// news says whose logs have grown, to be taken by one who waits for it.
type news struct {
	came chan struct{} // there is some

	mu       sync.Mutex
	patients map[string]bool
	any      bool // it may be the log of any patient
}

func newNews() *news { return &news{came: make(chan struct{}, 1), patients: map[string]bool{}} }

// add adds patients; nil stands for any.
func (n *news) add(patients []string) {
	n.mu.Lock()
	for _, p := range patients {
		n.patients[p] = true
	}
	if patients == nil || len(n.patients) > maxNamed {
		n.any = true
		clear(n.patients)
	}
	n.mu.Unlock()
	select {
	case n.came <- struct{}{}:
	default:
	}
}

// take returns the patients that were added since it was last called, nil for
// any.
func (n *news) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	patients := slices.AppendSeq([]string{}, maps.Keys(n.patients))
	if n.any {
		patients = nil
	}
	clear(n.patients)
	n.any = false
	return patients
}

// payloads are the texts of the notifications that tell of patients. The names
// are sealed: every role that may connect to the database can listen.
func (s *Store) payloads(patients []string) []string {
	if patients == nil {
		return []string{s.node}
	}
	var all []string
	var part []byte
	send := func() {
		all = append(all, s.node+" "+base64.StdEncoding.EncodeToString(s.sealer.Seal(nil, nil, part, nil)))
		part = part[:0]
	}
	for _, p := range patients {
		if len(part)+len(p) > perNotification {
			send()
		}
		part = append(append(part, p...), 0) // which is in no name
	}
	if len(part) > 0 { // one without names would tell of any
		send()
	}
	return all
}

// read returns the patients of a notification, and whether it comes from
// another node.
func (s *Store) read(payload string) (patients []string, others bool) {
	node, sealed, _ := strings.Cut(payload, " ")
	if node == s.node || node == echo {
		return nil, false
	}
	b, err := base64.StdEncoding.DecodeString(sealed)
	if err == nil {
		b, err = s.sealer.Open(nil, nil, b, nil)
	}
	if err != nil || len(b) == 0 {
		return nil, true
	}
	return strings.Split(string(b[:len(b)-1]), "\x00"), true
}

// secretSQL reads a secret that is known only to roles that may read the
// tables: a part of it is told to nobody else.
const secretSQL = `select sha256(convert_to(epoch || ' ' || extract(epoch from began), 'UTF8')) from carewire.epochs order by num limit 1`

// newSealer makes the cipher with which nodes seal notifications.
func (s *Store) newSealer(ctx context.Context) (cipher.AEAD, error) {
	var key []byte
	if err := s.pool.QueryRow(ctx, s.sql(secretSQL)).Scan(&key); err != nil {
		return nil, failure("open", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// notify tells other nodes of commits. It does so after the commit, for all
// commits of the meantime together, because a commit that notifies waits for
// all others that do.
func (s *Store) notify() {
	for {
		select {
		case <-s.committed.came:
		case <-s.closing:
			return
		}
		b := &pgx.Batch{}
		b.Queue(`begin`)
		b.Queue(`set local synchronous_commit = off`) // nobody minds losing it
		for _, text := range s.payloads(s.committed.take()) {
			b.Queue(`select pg_notify($1, $2)`, s.channel(), text)
		}
		b.Queue(`commit`)
		ctx, cancel := context.WithTimeout(s.ctx, s.timeout)
		_ = s.pool.SendBatch(ctx, b).Close() // others look once in a while, too
		cancel()
		if !s.sleep(wakeEvery) {
			return
		}
	}
}

// rouse wakes the Hub with the patients heard.
func (s *Store) rouse() {
	for {
		select {
		case <-s.heard.came:
		case <-s.closing:
			return
		}
		select {
		case s.wake <- s.heard.take():
		case <-s.closing:
			return
		}
		if !s.sleep(wakeEvery) {
			return
		}
	}
}
