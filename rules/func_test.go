package rules

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

func TestFunc(t *testing.T) {
	var given int
	var says Finding
	var fails error
	model := func(_ context.Context, vitals []carewire.Vital) (Finding, error) {
		given = len(vitals)
		if says.Text == "panic" {
			panic("health data")
		}
		return says, fails
	}
	h := newChart(t, Func{About: About{Key: "sepsis", Text: "Sepsis likely"}, Model: "net", ModelVersion: "1.2", Inputs: []Input{{Code: carewire.HeartRate.Code}},
		Window: 10 * time.Second, MinConfidence: 0.8, Judge: model})
	says = Finding{Present: true, Confidence: 0.7}
	h.rate(time.Second, 70)
	require.Empty(t, h.story())
	says = Finding{Present: true, Confidence: 0.93, Priority: carewire.PriorityHigh, Text: "pattern 3"}
	h.rate(time.Second, 71)
	require.Equal(t, 2, given)
	require.Equal(t, "Sepsis likely (pattern 3; net 1.2, confidence 0.93)", h.found[0].Alert.Text)
	require.Equal(t, "net 1.2, confidence 0.93 of 0.80", h.found[0].Alert.Source.Limits)
	require.Equal(t, carewire.Recognition{Kind: carewire.RecognitionModel, Model: "net 1.2", Confidence: "0.93"}, h.found[0].Alert.Source.Recognition)
	require.Equal(t, "raised 1s high", h.story())
	h.rate(time.Second, repeat(30, 72)...)
	require.Equal(t, 11, given, "the window is ten seconds")
	// nocturne: rule errors were only logged. One alert, not one a reading.
	for name, wrong := range map[string]func(){
		"error": func() { fails = errors.New("health data") }, "panic": func() { says = Finding{Text: "panic"} },
	} {
		h.story()
		wrong()
		h.rate(time.Second, repeat(20, 73)...)
		require.Len(t, h.found, 1, name)
		require.Equal(t, blindKey, h.found[0].Rule)
		require.NotContains(t, h.found[0].Alert.Text, "health data")
		require.Contains(t, h.found[0].Alert.Text, "sepsis: the model has")
		says, fails = Finding{Present: true, Confidence: 0.9}, nil
		h.story()
		h.rate(time.Second, 74)
		require.Contains(t, h.story(), "cleared", name)
	}
}

// The confidence that a model states is told as it is, from 0 to 1, and the Hub
// accepts the alert with any confidence.
func TestConfidence(t *testing.T) {
	for stated, want := range map[float64]carewire.Decimal{0: "0", 2. / 3: "0.6667", 1: "1", 1.5: "1", -1: "0", math.NaN(): "0", math.Inf(1): "1"} {
		h := newChart(t, Func{About: About{Key: "fall", Text: "Has fallen"}, Model: "eye", ModelVersion: "3", Recognises: carewire.RecognitionImage, Inputs: []Input{{Code: carewire.HeartRate.Code}},
			Judge: func(context.Context, []carewire.Vital) (Finding, error) {
				return Finding{Present: true, Confidence: stated}, nil
			}})
		h.rate(time.Second, 70)
		require.Len(t, h.found, 1, stated)
		require.Equal(t, carewire.Recognition{Kind: carewire.RecognitionImage, Model: "eye 3", Confidence: want}, h.found[0].Alert.Source.Recognition, stated)
		require.NoError(t, h.found[0].Alert.Validate(), stated)
	}
	_, err := NewSet(Func{About: About{Key: "k", Text: "t"}, Model: "m", ModelVersion: "1", Recognises: "smell", Inputs: []Input{{Code: "x"}}, Judge: nothing})
	require.ErrorContains(t, err, "recognises")
}

// A model that does not return holds nobody up, and is not called meanwhile.
func TestFuncThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		release := make(chan bool)
		h := newChart(t, Func{About: About{Key: "slow", Text: "Slow"}, Model: "m", ModelVersion: "1", Inputs: []Input{{Code: carewire.HeartRate.Code}}, Timeout: time.Second,
			Judge: func(context.Context, []carewire.Vital) (Finding, error) {
				calls.Add(1)
				<-release
				return Finding{}, nil
			}})
		h.rate(time.Second, 70, 70, 70)
		require.EqualValues(t, 1, calls.Load())
		require.Contains(t, h.found[0].Alert.Text, "the model takes too long")
		close(release)
		time.Sleep(10 * time.Second) // it rests
		h.story()
		h.rate(time.Second, 70)
		require.EqualValues(t, 2, calls.Load())
		require.Contains(t, h.story(), "cleared")
	})
}

// A model that is always too slow takes at most a tenth of the time from the other
// rules and patients, however many patients it is asked about.
func TestSlowModelRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		set := mustSet(t, high(Timing{}), Func{About: About{Key: "slow", Text: "Slow"}, Model: "m", ModelVersion: "1", Inputs: []Input{{Code: carewire.HeartRate.Code}}, Timeout: time.Second,
			Judge: func(ctx context.Context, _ []carewire.Vital) (Finding, error) {
				calls++
				<-ctx.Done()
				return Finding{}, nil
			}})
		var charts []*chart
		for range 50 {
			charts = append(charts, &chart{t: t, c: NewCase(set, "p1", Settings{}), now: start})
		}
		began := time.Now()
		for time.Since(began) < time.Minute {
			for _, h := range charts {
				h.rate(time.Second, 200)
			}
			time.Sleep(time.Second)
		}
		require.LessOrEqual(t, calls, 7)
		for _, h := range charts {
			require.Contains(t, h.story(), "raised 0s medium", "the limit judges")
		}
	})
}

// A rule says in words that its model cannot judge, and sees which inputs are
// absent.
func TestFuncThatCannotJudge(t *testing.T) {
	camera := func(out float64) carewire.Vital {
		v := carewire.Vital{Code: "bed-exit", System: "urn:x", Every: time.Second}
		if out < 0 {
			v.Absent = carewire.AbsentUnknown
		} else {
			v.Value, v.Unit = carewire.DecimalOf(out), "1"
		}
		return v
	}
	h := newChart(t, Func{About: About{Key: "exit", Text: "Has left the bed"}, Model: "m", ModelVersion: "1", Inputs: []Input{{Code: "bed-exit", System: "urn:x"}},
		Judge: func(_ context.Context, vitals []carewire.Vital) (Finding, error) {
			newest := vitals[len(vitals)-1]
			if newest.Absent != "" {
				return Finding{Unknown: "it is dark"}, nil
			}
			return Finding{Present: newest.Value.Float64() > 0.5, Confidence: 1}, nil
		}})
	for name, first := range map[string]float64{"from the beginning": -1, "later": 0} {
		h.vital(camera(first))
		for range 400 {
			h.vital(camera(-1))
			h.wait(time.Second)
		}
		require.Len(t, h.found, 1, name)
		require.Equal(t, "Cannot be judged: exit: it is dark.", h.found[0].Alert.Text, name)
		s := h.c.Explain(h.now)[0]
		require.Equal(t, StandingUnknown, s.State)
		require.Equal(t, "it is dark", s.Detail)
		h.story()
		h.vital(camera(0))
		require.Contains(t, h.story(), "cleared", name)
	}
	h.vital(camera(1))
	require.Contains(t, h.story(), "raised")
	h.vital(camera(-1))
	require.Empty(t, h.story(), "an alert that cannot be judged is not over")
	h.vital(camera(0))
	require.Contains(t, h.story(), "cleared")
}

// A finding after a questionable vital raises, and does not clear.
func TestFuncHeedsQuality(t *testing.T) {
	h := newChart(t, Func{About: About{Key: "fast", Text: "Fast"}, Model: "m", ModelVersion: "1", Inputs: []Input{{Code: carewire.HeartRate.Code}},
		Judge: func(_ context.Context, vitals []carewire.Vital) (Finding, error) {
			return Finding{Present: vitals[len(vitals)-1].Value.Float64() > 180, Confidence: 1}, nil
		}})
	doubtful := flagged(carewire.QualityQuestionable)
	h.vital(heart(200, doubtful))
	require.Contains(t, h.found[0].Alert.Text, "the reading is questionable")
	require.Equal(t, "raised 0s medium", h.story())
	h.vital(heart(100, doubtful))
	require.Empty(t, h.story())
	h.vital(heart(100, flagged(carewire.QualityInvalid)))
	require.Empty(t, h.story())
	h.vital(heart(100, nil))
	require.Equal(t, "cleared 0s", h.story())
}

func nothing(context.Context, []carewire.Vital) (Finding, error) { return Finding{}, nil }

// A model of numbers and codes without IDs, as a camera sends them, makes alerts that
// a Hub takes.
func TestFuncOfNumbersAndCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		w.run(w.hub, Options{}, Func{About: About{Key: "exit", Text: "Has left the bed"}, Model: "eye", ModelVersion: "1", Recognises: carewire.RecognitionImage,
			Inputs: []Input{{Code: "zone", System: "urn:x"}, {Code: "out", System: "urn:x"}}, Window: time.Minute,
			Judge: func(_ context.Context, vitals []carewire.Vital) (Finding, error) {
				return Finding{Present: len(vitals) > 3, Confidence: 1}, nil
			}})
		for range 3 {
			_, err := w.hub.Publish(t.Context(),
				carewire.Vital{Patient: "p1", System: "urn:x", Code: "zone", Coded: &carewire.Coding{System: "urn:x", Code: "floor"}},
				carewire.Vital{Patient: "p1", System: "urn:x", Code: "out", Value: "0.9", Unit: "1"})
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		list := w.alerts("exit")
		require.Len(t, list, 1)
		var inputs []string
		for _, in := range list[0].Source.Inputs {
			inputs = append(inputs, in.Code+" "+string(in.Value)+in.Coded.Code)
		}
		require.ElementsMatch(t, []string{"zone floor", "out 0.9"}, inputs)
	})
}

// A source that cannot be told does not cost the alert.
func TestRefusedSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		j, _ := w.run(w.hub, Options{}, high(Timing{}))
		x := Transition{Kind: Raised, Alert: carewire.Raise{Patient: "p1", Key: "k", Text: "T", Priority: carewire.PriorityHigh,
			Source: carewire.Source{Rule: "k v1", Inputs: []carewire.SourceInput{{Code: "x", Value: "1", Coded: carewire.Coding{System: "s", Code: "c"}}}}}}
		require.Error(t, x.Alert.Validate())
		_, err := j.do(t.Context(), &x)
		require.NoError(t, err)
		require.Equal(t, "k v1", w.alerts("k")[0].Source.Rule)
	})
}

// A vital that comes while the model rests is judged afterwards, though no other comes.
// If the model rests on and on, it is told that it cannot judge.
func TestFuncJudgesAfterItsRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		set := mustSet(t, Func{About: About{Key: "fast", Text: "Fast"}, Model: "m", ModelVersion: "1", Inputs: []Input{{Code: carewire.HeartRate.Code}}, Timeout: time.Second,
			Judge: func(ctx context.Context, vitals []carewire.Vital) (Finding, error) {
				rate := vitals[len(vitals)-1].Value.Float64()
				if rate == 70 {
					<-ctx.Done()
				} else {
					calls++
				}
				return Finding{Present: rate > 180, Confidence: 1}, nil
			}})
		patient := func() *chart { return &chart{t: t, c: NewCase(set, "p1", Settings{}), now: start} }
		slow := patient()
		tire := func() { slow.rate(time.Second, 70) }
		rested := func(h *chart) string {
			h.wait(8 * time.Second)
			require.Empty(t, h.kinds())
			time.Sleep(9 * time.Second)
			h.wait(2 * time.Second)
			return h.kinds()
		}
		late := func(rate float64) *chart {
			tire()
			h := patient()
			h.vital(heart(rate, named("a")))
			return h
		}
		h := late(200)
		require.Equal(t, "raised medium", rested(h))
		require.Equal(t, "a", h.c.states[0].found.id.String())
		h.wait(time.Second)
		h.vital(heart(200, func(v *carewire.Vital) { v.Status, v.Replaces, v.ID = carewire.VitalEnteredInError, "a", "gone" }))
		require.Equal(t, "cleared", h.kinds(), "it is taken back like another")

		h = late(200)
		for range 31 {
			time.Sleep(9 * time.Second)
			tire()
			h.wait(10 * time.Second)
		}
		require.Len(t, h.found, 1)
		require.Equal(t, "Cannot be judged: fast: the model rests, for it took too long.", h.found[0].Alert.Text)
		h.found = nil
		time.Sleep(9 * time.Second)
		h.wait(10 * time.Second)
		require.Equal(t, "raised medium, cleared", h.kinds())

		calls = 0
		h = late(200)
		h.vital(heart(200, func(v *carewire.Vital) { v.Status, v.Replaces, v.ID = carewire.VitalEnteredInError, "a", "gone" }))
		require.Empty(t, rested(h))
		require.Zero(t, calls, "a withdrawn reading is not judged")

		h = patient()
		said := func(rev uint64, condition carewire.Condition) {
			h.seq++
			h.c.Alert(carewire.Position{Epoch: "e", Seq: h.seq}, &carewire.Alert{Patient: "p1", Key: "fast", ID: "x", Rev: rev, Priority: carewire.PriorityMedium,
				Condition: condition, Source: carewire.Source{By: host}, Raised: start, Updated: h.now})
		}
		said(1, carewire.ConditionPresent)
		tire()
		h.vital(heart(100, named("a")))
		said(2, carewire.ConditionOver)
		require.Empty(t, rested(h), "the Judge before has seen that it is over")
	})
}
