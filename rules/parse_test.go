package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

func TestParse(t *testing.T) {
	list, err := Parse([]byte(`[
		{"kind":"limit","key":"rr-low","text":"Breathing slow","priority":"high","code":"9279-1","unit":"/min","side":"below","at":8,"margin":2,"delay_s":60,"severe":{"at":4}},
		{"kind":"absent","key":"off","text":"Off","code":"59408-5","for_s":60},
		{"kind":"change","key":"up","text":"Up","code":"8867-4","unit":"/min","direction":"rise","by":40,"within_s":600},
		{"kind":"forecast","key":"soon","text":"Soon","code":"8867-4","unit":"/min","side":"below","at":50,"within_s":600},
		{"kind":"combination","key":"both","text":"Both","all":["rr-low","up"]},
		{"kind":"news2","delay_s":10}]`))
	require.NoError(t, err)
	require.Equal(t, Limit{About: About{Key: "rr-low", Text: "Breathing slow", Priority: carewire.PriorityHigh}, Timing: Timing{Delay: time.Minute},
		Code: "9279-1", Unit: "/min", Side: Below, At: 8, Margin: 2, Severe: &Severe{At: 4}}, list[0])
	_, err = NewSet(list...)
	require.NoError(t, err)
	for _, bad := range []string{`{}`, `[{"kind":"other"}]`, `[{"kind":"limit","limit":3}]`, `[] []`, `[{"kind":"limit","at":"3"}]`, ``} {
		_, err := Parse([]byte(bad))
		require.Error(t, err, bad)
	}
}

// A Set refuses rules that cannot be judged, and names the rule and member.
func TestNewSetRefuses(t *testing.T) {
	ok := high(Timing{})
	with := func(f func(*Limit)) Limit { r := ok; f(&r); return r }
	for want, r := range map[string][]Rule{
		"key":          {with(func(r *Limit) { r.Key = "a b" })},
		"twice":        {ok, ok},
		"at most 24":   {with(func(r *Limit) { r.Key = "a-key-that-is-much-too-long-for-us" })},
		"text":         {with(func(r *Limit) { r.Text = "" })},
		"code":         {with(func(r *Limit) { r.Code = "" })},
		"unit":         {with(func(r *Limit) { r.Unit = "" })},
		"side":         {with(func(r *Limit) { r.Side = "over" })},
		"margin":       {with(func(r *Limit) { r.Margin = -1 })},
		"severe":       {with(func(r *Limit) { r.Severe = &Severe{At: 170} })},
		"sensors":      {with(func(r *Limit) { r.Sensors = "some" })},
		"negative":     {with(func(r *Limit) { r.Delay = -1 })},
		"nil":          {nil},
		"before":       {Combination{About: About{Key: "c", Text: "c"}, All: []string{"c"}}},
		"model":        {Func{About: About{Key: "f", Text: "f"}}},
		"maximum age":  {Score{About: About{Key: "s", Text: "s"}, Parts: []Part{{Inputs: []Input{{Code: "x"}}, Rows: []Row{{}}}}}},
		"at least one": {Score{About: About{Key: "s", Text: "s"}}},
	} {
		_, err := NewSet(r...)
		if want == "at least one" {
			require.Error(t, err)
			continue
		}
		require.ErrorContains(t, err, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`[{"kind":"limit","key":"k","text":"t","code":"9279-1","unit":"/min","side":"below","at":8}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if list, err := Parse(text); err == nil {
			NewSet(list...) // must not panic
		}
	})
}
