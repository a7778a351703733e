package carewire

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The machine that has understood an event is stored with it, and history shows
// it: of a call, of an answer and of a call that is repeated.
func TestRecognitionIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		heard := Recognition{RecognitionSpeech, "ears 2", "0.670"}
		call := Raise{Patient: "p1", Key: "call", Text: "Nurse called", Priority: PriorityMedium, Source: Source{Rule: "speech", Recognition: heard}}
		a, err := w.hub.Raise(t.Context(), call)
		require.NoError(t, err)
		again, err := w.hub.Raise(t.Context(), call)
		require.NoError(t, err)
		require.Equal(t, a.Rev, again.Rev, "nothing has changed")
		surer := Recognition{RecognitionSpeech, "ears 2", "1"}
		_, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerAccept, Source: surer})
		require.NoError(t, err)
		page, err := w.hub.History(t.Context(), HistoryQuery{Patient: "p1", Kinds: []Kind{KindAlert}})
		require.NoError(t, err)
		var answers []Answered
		for _, e := range page.Events {
			require.Equal(t, heard, e.Alert.Source.Recognition)
			answers = append(answers, e.Alert.Answers...)
		}
		require.Equal(t, surer, answers[len(answers)-1].Source)

		_, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerRelease, Source: Recognition{Kind: "telepathy", Model: "m", Confidence: "1"}})
		require.ErrorContains(t, err, "source.kind")
		call.Source.Recognition.Confidence = "1.01"
		_, err = w.hub.Raise(t.Context(), call)
		require.ErrorContains(t, err, "source.recognition.confidence")
	})
}

// The time at which a score asks for the next measurement is part of its source's
// statement. A repeated raise says nothing new, in any zone and precision of its
// time.
func TestNextDueIsKept(t *testing.T) {
	due := wireTime.Add(time.Hour)
	r := Raise{Patient: "p1", Key: "news2", Text: "x", Priority: PriorityLow, Source: Source{Rule: "news2", NextDue: due.Add(time.Microsecond).In(time.FixedZone("", 3600))}}
	a := raiseAlert(nil, r, "judge", wireTime)
	require.Equal(t, due, a.Source.NextDue)
	require.True(t, a.unchangedBy(&r, "judge"))
	r.Source.NextDue = due.Add(time.Minute)
	require.False(t, a.unchangedBy(&r, "judge"))
	a = raiseAlert(&a, r, "judge", wireTime)
	require.Equal(t, due.Add(time.Minute), a.Source.NextDue)
	require.Equal(t, due.Add(time.Minute), a.Again().Source.NextDue)
}

// Numbers as computers write them, with up to 17 digits, are taken in all places, on
// the wire and from the host, and rounded to 15 digits.
func TestLongDecimalsElsewhere(t *testing.T) {
	const long, short = "0.8372549019607843", Decimal("0.837254901960784")
	text := `{"rule":"speech","value":` + long + `,"unit":"1","inputs":[{"code":"8867-4","value":` + long + `,"unit":"/min"}],"recognition":{"kind":"speech","model":"ears 2","confidence":` + long + `}}`
	source := func(d Decimal) Source {
		return Source{Rule: "speech", Value: d, Unit: "1", Inputs: []SourceInput{{Code: "8867-4", Value: d, Unit: "/min"}}, Recognition: Recognition{RecognitionSpeech, "ears 2", d}}
	}
	var src Source
	s := scanner{b: []byte(text)}
	src.decode(&s)
	require.NoError(t, s.err)
	require.Equal(t, source(short), src)

	given := source(long)
	require.NoError(t, given.check())
	call := Raise{Patient: "p1", Key: "call", Text: "x", Priority: PriorityMedium, Source: given}
	kept := source(short)
	kept.By = "nurse"
	require.Equal(t, kept, call.source("nurse"))
	require.Equal(t, Decimal(long), given.Inputs[0].Value, "the caller's is as it was")

	a := raiseAlert(nil, call, "nurse", wireTime)
	a, err := answerAlert(&a, Answer{Do: AnswerAccept, Source: given.Recognition}, Person{ID: "ada"}, nil, wireTime)
	require.NoError(t, err)
	require.Equal(t, short, a.Answers[0].Source.Confidence)

	w := Wave{Patient: "p1", Code: "131330", System: MDC, Unit: "mV", Factor: long, Origin: long, Rate: 1000.0 / 3, Number: 1, Time: wireTime, Samples: []int32{1}}
	require.NoError(t, w.Validate())
	b, err := w.MarshalJSON()
	require.NoError(t, err)
	var got Wave
	s = scanner{b: b}
	got.decode(&s)
	require.NoError(t, s.err)
	w.Factor, w.Origin = short, short
	require.Equal(t, w, got)
}
