package boltstore

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/carewire/carewire"
)

// model plays one random history to a store in a file and to one in memory,
// which must always say the same. The one in the file settles early, crashes,
// and is pruned and erased.
type model struct {
	t      *testing.T
	rand   *rand.Rand
	store  *Store
	memory *carewire.MemoryStore
	n      int // entries so far
	sent   []carewire.Entry
	now    time.Time
}

func TestModel(t *testing.T) {
	t.Parallel()
	for range 4 {
		seed := rand.Uint64()
		m := &model{t: t, rand: rand.New(rand.NewPCG(seed, 1)), memory: carewire.NewMemoryStore(&carewire.MemoryOptions{Vitals: -1, Others: -1}), now: start}
		t.Logf("seed %d", seed)
		m.use(open(t, newPath(t), small()))
		for range 120 {
			switch m.rand.IntN(13) {
			case 12:
				m.erase()
			case 0:
				m.crash()
			case 1:
				m.prune()
			case 2:
				settle(t, m.store)
			default:
				m.append()
			}
			m.compare()
		}
	}
}

func (m *model) use(s *Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.store = s
	s.maxJournals = int64(m.rand.IntN(20_000))
}

// crash goes on with the present content of the file.
func (m *model) crash() {
	path := newPath(m.t)
	m.store.mu.Lock()
	file, err := os.ReadFile(m.store.file.Name())
	m.store.mu.Unlock()
	require.NoError(m.t, err)
	require.NoError(m.t, os.WriteFile(path, file, 0o600))
	require.NoError(m.t, m.store.Close())
	require.NoError(m.t, os.Remove(m.store.file.Name()))
	s := open(m.t, path, small())
	require.NoError(m.t, s.db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			return err
		}
		return nil
	}))
	m.use(s)
}

func (m *model) prune() {
	keep := carewire.Retention{Vitals: time.Duration(m.rand.IntN(40)) * time.Minute, Others: time.Duration(m.rand.IntN(40)) * time.Minute}
	require.NoError(m.t, m.store.Prune(m.t.Context(), m.now, keep))
	require.NoError(m.t, m.memory.Prune(m.t.Context(), m.now, keep))
	m.sent = nil // the stores forget IDs at different times
}

func (m *model) erase() {
	patient := fmt.Sprint("p", m.rand.IntN(5))
	require.NoError(m.t, m.store.Erase(m.t.Context(), patient))
	require.NoError(m.t, m.memory.Erase(m.t.Context(), patient))
	v, err := m.store.beginView(nil)
	require.NoError(m.t, err)
	defer func() { _ = v.tx.Rollback() }()
	p, err := v.patient(patient)
	require.NoError(m.t, err)
	for _, bucket := range []string{"log", "states", "live", "ids", "vitalids"} {
		require.False(m.t, p.num != 0 && v.has(bucket, p.num), bucket)
	}
}

func (m *model) append() {
	var batch []carewire.Entry
	for range 1 + m.rand.IntN(1<<m.rand.IntN(6)) {
		if len(m.sent) > 0 && m.rand.IntN(8) == 0 {
			e := m.sent[m.rand.IntN(len(m.sent))]
			e.Sum[0] ^= byte(m.rand.IntN(2))
			e.Received = m.now
			batch = append(batch, e)
			continue
		}
		batch = append(batch, m.entry())
	}
	m.sent = append(m.sent, batch...)
	want, err := m.memory.Append(m.t.Context(), batch)
	require.NoError(m.t, err)
	got, err := m.store.Append(m.t.Context(), batch)
	require.NoError(m.t, err)
	for i := range want {
		got[i].Epoch, want[i].Epoch = "", ""
		require.Equal(m.t, want[i], got[i], "entry %d", i)
	}
}

// entry makes an entry of any kind. Kinds share keys, sometimes.
func (m *model) entry() carewire.Entry {
	m.n++
	m.now = m.now.Add(time.Duration(m.rand.IntN(20)) * time.Second)
	patient := fmt.Sprint("p", m.rand.IntN(4))
	e := vital(patient, m.n)
	e.Key = fmt.Sprint("k", m.rand.IntN(3))
	e.Time = m.now.Add(time.Duration(m.rand.IntN(3)-2) * 15 * time.Second)
	e.Data = bytes.Repeat([]byte{byte(m.n)}, m.rand.IntN(9)*m.rand.IntN(40))
	if m.rand.IntN(4) == 0 {
		e.Kind = carewire.Kind(1 + m.rand.IntN(6))
		e.Key = []string{"", "a", "b", "k0", fmt.Sprint("new", m.n)}[m.rand.IntN(5)]
	}
	if (e.Kind != carewire.KindVital || m.rand.IntN(30) == 0) && e.Key != "" {
		e.Open = m.rand.IntN(2) == 0
		if m.rand.IntN(2) == 0 {
			e.Due = m.now.Add(time.Duration(m.n) * time.Nanosecond)
		}
		if was, err := m.memory.Get(m.t.Context(), patient, e.Key); err == nil && m.rand.IntN(3) > 0 {
			e.Rev = was.Rev + 1
		}
	}
	if m.rand.IntN(5) == 0 {
		e.ID = ""
	}
	e.Received = m.now
	return e
}

func (m *model) compare() {
	t, ctx := m.t, m.t.Context()
	same := func(want, got []carewire.Entry, what ...any) {
		t.Helper()
		text := func(entries []carewire.Entry) (lines []string) {
			for _, e := range entries {
				e.Epoch = ""
				lines = append(lines, fmt.Sprintf("%+v", e))
			}
			return lines
		}
		require.Equal(t, text(want), text(got), what...)
	}
	for i := range 5 {
		patient := fmt.Sprint("p", i)
		heads, err := m.memory.Heads(ctx, []string{patient})
		require.NoError(t, err)
		mine, err := m.store.Heads(ctx, []string{patient})
		require.NoError(t, err)
		require.Equal(t, heads[0].Seq, mine[0].Seq)
		require.Equal(t, heads[0].Must, mine[0].Must)
		for range 3 {
			q := carewire.ReadQuery{Limit: 1 + m.rand.IntN(200)}
			if m.rand.IntN(2) == 0 {
				q.Kinds = []carewire.Kind{carewire.Kind(1 + m.rand.IntN(6)), carewire.KindVital}[m.rand.IntN(2):]
			}
			if m.rand.IntN(4) == 0 {
				q.Key = "k1"
			}
			if m.rand.IntN(4) == 0 {
				q.From = m.now.Add(-5 * time.Minute)
			}
			after := carewire.Position{Seq: m.rand.Uint64N(heads[0].Seq + 2)}
			if m.rand.IntN(3) == 0 {
				after.Seq = 0
			}
			want, wantErr := m.memory.Read(ctx, patient, after, q)
			got, err := m.store.Read(ctx, patient, after, q)
			require.ErrorIs(t, err, wantErr)
			same(want, got, "after %d, %+v", after.Seq, q)
		}
		want, _, err := m.memory.Latest(ctx, patient)
		require.NoError(t, err)
		got, _, err := m.store.Latest(ctx, patient)
		require.NoError(t, err)
		same(want, got)
		for _, key := range []string{"k0", "k1", "a", "b", "none"} {
			want, wantErr := m.memory.Get(ctx, patient, key)
			got, err := m.store.Get(ctx, patient, key)
			require.ErrorIs(t, err, wantErr)
			same([]carewire.Entry{want}, []carewire.Entry{got})
		}
	}
	want, err := m.memory.Waiting(ctx, m.now, 0)
	require.NoError(t, err)
	got, err := m.store.Waiting(ctx, m.now, 0)
	require.NoError(t, err)
	same(want, got)
	want, _, err = m.memory.Changed(ctx, "", 0)
	require.NoError(t, err)
	got, _, err = m.store.Changed(ctx, "", 0)
	require.NoError(t, err)
	for _, entries := range [][]carewire.Entry{want, got} {
		slices.SortFunc(entries, func(a, b carewire.Entry) int {
			return cmp.Or(cmp.Compare(a.Patient, b.Patient), cmp.Compare(a.Seq, b.Seq))
		})
	}
	same(want, got)
}
