package spread

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/storetest"
)

// memory makes members in memory, without bounds.
func memory(n int) []Member {
	members := make([]Member, n)
	for i := range members {
		members[i] = Member{fmt.Sprint("m", i), carewire.NewMemoryStore(&carewire.MemoryOptions{Vitals: -1, Others: -1})}
	}
	return members
}

func open(t testing.TB, members []Member, o *Options) *Store {
	t.Helper()
	s, err := Open(context.Background(), members, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStore(t *testing.T) {
	for _, n := range []int{1, 3, 7} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) carewire.Store { return open(t, memory(n), nil) }, &storetest.Options{
				Reopen: func(t *testing.T, s carewire.Store) carewire.Store {
					members := s.(*Store).Stores()
					require.NoError(t, s.(*Store).Close())
					return open(t, members, nil)
				},
			})
		})
	}
}

func entry(patient, key string, rev uint64) carewire.Entry {
	return carewire.Entry{Patient: patient, Kind: carewire.KindAlert, Key: key, Rev: rev, Open: true, Audience: carewire.AudienceStaff, Sender: "s", Data: []byte(`{}`)}
}

func TestPatientsAreSpread(t *testing.T) {
	members := memory(3)
	slices.Reverse(members)
	s := open(t, members, nil)
	require.Equal(t, "m0", s.Members()[s.home], "in any order, or two nodes would make two tables")
	require.Equal(t, 257, s.Parts())
	require.Equal(t, 256, s.Part(carewire.SystemPatient), "on a part of its own")
	require.Equal(t, s.home, s.Owner(256), "where the table is")
	count := make([]int, 3)
	for i := range 3000 {
		p := fmt.Sprint("patient-", i)
		require.Less(t, s.Part(p), 256)
		require.Equal(t, s.Part(p), s.Part(p))
		count[s.Owner(s.Part(p))]++
	}
	for _, n := range count {
		require.Greater(t, n, 800, "of 3,000 patients on three members")
	}
	// The tables of installations rest on the hash.
	require.Equal(t, []int{140, 186, 220}, []int{s.Part("a"), s.Part("p1"), s.Part("Müller")})
}

func TestMembersAreThoseOfOneStore(t *testing.T) {
	three := memory(3)
	s := open(t, three, nil)
	_, err := s.Append(t.Context(), []carewire.Entry{entry("p1", "x", 1)})
	require.NoError(t, err)
	used := memory(1)
	_, err = used[0].Store.Append(t.Context(), []carewire.Entry{entry("p1", "x", 1)})
	require.NoError(t, err)
	other := memory(1)
	open(t, other, nil)
	renamed := []Member{three[0], {"m2", three[1].Store}, {"m1", three[2].Store}}
	as := func(name string, m Member) Member { return Member{name, m.Store} }
	for name, members := range map[string][]Member{
		"none":                   nil,
		"one is missing":         three[:2],
		"the table is missing":   three[1:],
		"two of one name":        {three[0], three[0]},
		"one without a name":     {{"", three[0].Store}},
		"names exchanged":        renamed,
		"another's":              append(three[:3:3], as("m3", other[0])),
		"not empty":              append(three[:3:3], as("m3", used[0])),
		"not empty at the start": {as("a", memory(1)[0]), as("b", used[0])},
		"cannot prune":           {{"a", struct{ carewire.Store }{memory(1)[0].Store}}},
	} {
		_, err := Open(t.Context(), members, nil)
		require.ErrorIs(t, err, ErrMembers, name)
	}
	_, err = Open(t.Context(), memory(1), &Options{Parts: -1})
	require.Error(t, err)

	// In another order, and with one more: all as before.
	again := open(t, []Member{three[2], as("m3", memory(1)[0]), three[1], three[0]}, &Options{Parts: 7})
	e, err := again.Get(t.Context(), "p1", "x")
	require.NoError(t, err)
	require.Equal(t, uint64(1), e.Rev)
	require.Equal(t, 257, again.Parts())
	for part := range again.Parts() {
		require.Equal(t, s.Members()[s.Owner(part)], again.Members()[again.Owner(part)])
	}
	require.NoError(t, s.refresh(t.Context()), "the first node reads the table with a member that it has not, which has no parts")

	// One that is in use, alone: it has all parts.
	alone := open(t, used, nil)
	e, err = alone.Get(t.Context(), "p1", "x")
	require.NoError(t, err)
	require.Equal(t, uint64(1), e.Rev)
}

func TestTwoNodesMakeOneTable(t *testing.T) {
	members := memory(4)
	type opened struct {
		s   *Store
		err error
	}
	all := make(chan opened)
	for i := range 8 {
		go func() {
			order := slices.Concat(members[i%4:], members[:i%4])
			s, err := Open(context.Background(), order, nil)
			all <- opened{s, err}
		}()
	}
	id := ""
	for range 8 {
		o := <-all
		require.NoError(t, o.err)
		t.Cleanup(func() { _ = o.s.Close() })
		if id == "" {
			id = o.s.table.Load().Store
		}
		require.Equal(t, id, o.s.table.Load().Store)
	}
}
